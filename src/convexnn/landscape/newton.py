r"""Newton's method for the stationarity conditions with the kinks held fixed.

Neuron j keeps its sign s_j and its trichotomy: w_j = Q_j z_j with Q_j a basis of {w : x_iᵀw = 0, i ∈ T_j},
and F_j = s_j D_j X Q_j. Solved are

    F_jᵀν = β z_j/‖z_j‖,   ν_i = −ℓ'(f_i),   f = Σ F_j z_j;

for the hinge, rows with y f = 1 stay there and their ν_i are unknowns. The system is singular where optima
are not unique; each step is its shortest least-squares solution.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from convexnn._types import Array, BoolArray, IntArray
from convexnn.landscape.neurons import null_space
from convexnn.losses import get_loss

_STEPS = 30
#: |1 − y f| up to which a row of the hinge counts as lying on the margin.
MARGIN = 1e-6


@dataclass(frozen=True)
class Point:
    """Blocks w (d, m) with their dual vector, and the largest residual relative to β."""

    w: Array
    nu: Array
    residual: float


@dataclass(frozen=True)
class _System:
    """What stays fixed: one basis and one F_j a neuron, side by side."""

    bases: list[Array]  # d×p_j
    F: Array  # n×Σp_j
    owner: IntArray  # (Σp_j,), the neuron of each coordinate
    y: Array
    beta: float
    loss: str
    edge: BoolArray  # rows held on the margin


def newton(
    X: Array, y: Array, beta: float, loss: str, signs: Array, w: Array, cells: Array, nu: Array
) -> Point:
    """Refine w, started at `w` with trichotomies `cells` (n, m); `nu` starts the rows on the hinge's margin.

    The best point met comes back: the start itself if no step lowers the residual.
    """
    bases = [null_space(X[cell == 0], 1e-9) if (cell == 0).any() else np.eye(X.shape[1]) for cell in cells.T]
    F = [s * ((cell > 0)[:, None] * X) @ Q for s, cell, Q in zip(signs, cells.T, bases, strict=True)]
    owner = np.repeat(np.arange(len(bases), dtype=np.int64), [Q.shape[1] for Q in bases])
    z = np.concatenate([Q.T @ block for Q, block in zip(bases, w.T, strict=True)])
    Fz = np.concatenate(F, axis=1)
    edge = np.abs(1.0 - y * (Fz @ z)) <= MARGIN if loss == "hinge" else np.zeros(len(y), dtype=bool)
    system = _System(bases, Fz, owner, y, beta, loss, edge)
    nu = _dual(system, z, nu)
    r = _residual(system, z, nu)
    for _ in range(_STEPS):
        dz, dnu = _direction(system, z, nu, r)
        t = _longest(system, z, dz)
        new_z = z + t * dz
        new_nu = _dual(system, new_z, nu + t * dnu)
        new_r = _residual(system, new_z, new_nu)
        if not np.linalg.norm(new_r) < np.linalg.norm(r):
            break
        z, nu, r = new_z, new_nu, new_r
    blocks = [Q @ z[owner == j] for j, Q in enumerate(bases)]
    refined = np.stack(blocks, axis=1) if blocks else w
    return Point(refined, nu, float(np.abs(r).max(initial=0.0)) / beta)


def _dual(system: _System, z: Array, nu: Array) -> Array:
    """−∇L at the fit; on the margin of the hinge, the given values."""
    slope = -get_loss(system.loss).gradient(system.F @ z, system.y)
    return np.where(system.edge, nu, slope)


def _lengths(system: _System, z: Array) -> Array:
    squares = np.bincount(system.owner, weights=z * z, minlength=len(system.bases))
    return np.asarray(np.sqrt(squares)[system.owner])


def _residual(system: _System, z: Array, nu: Array) -> Array:
    """Fᵀν − β z/‖z‖, then y − f on the margin (y f = 1)."""
    slope = system.F.T @ nu - system.beta * z / _lengths(system, z)
    return np.concatenate([slope, (system.y - system.F @ z)[system.edge]])


def _direction(system: _System, z: Array, nu: Array, r: Array) -> tuple[Array, Array]:
    loss: Any = get_loss(system.loss)
    f = system.F @ z
    curvature = np.zeros_like(f) if system.loss == "hinge" else loss.hessian(f, system.y)
    length = _lengths(system, z)
    unit = z / length
    same = system.owner[:, None] == system.owner
    H = system.F.T @ (curvature[:, None] * system.F)
    H += system.beta * (np.diag(1.0 / length) - same * np.outer(unit, unit / length))
    E = system.F[system.edge]
    K = np.block([[H, -E.T], [E, np.zeros((len(E), len(E)))]])
    step = np.linalg.lstsq(K, r, rcond=1e-13)[0]
    dnu = np.zeros_like(nu)
    dnu[system.edge] = step[len(z) :]
    return step[: len(z)], dnu


def _longest(system: _System, z: Array, dz: Array) -> float:
    """At most 1, and no block moves by more than half of its length."""
    ratio = _lengths(system, dz) / _lengths(system, z)
    return float(min(1.0, 0.5 / max(float(ratio.max(initial=0.0)), 1e-300)))
