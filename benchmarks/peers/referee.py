r"""The referee: objectives, feasibility and bounds, recomputed from returned weights. No method is believed.

    P(U, α) = ½‖(XU)_+α − y‖² + (β/2) Σ_j (‖u_j‖² + α_j²)                                             (1)

    ½‖Σ_i D_iX(v_i − w_i) − y‖² + β Σ_i (‖v_i‖ + ‖w_i‖)   s.t.  v_i, w_i ∈ K_i  (no cones if gated)   (2)

All in float64, by its own lines; the library's are used only to move blocks into their cones and to bound ρ.
"""

import math
from collections.abc import Sequence

import numpy as np

from convexnn import ConvexProgram, Network, certify
from convexnn.solvers.solution import project_on_cones

#: Entries of the largest temporary matrix.
_BLOCK = 8_000_000


def objective(X: np.ndarray, y: np.ndarray, U: np.ndarray, alpha: np.ndarray, beta: float) -> float:
    """P(U, α) of (1); inf where it is not finite."""
    U, alpha = np.asarray(U, dtype=np.float64), np.asarray(alpha, dtype=np.float64)
    rows = max(1, _BLOCK // max(1, U.shape[1]))
    loss = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(X), rows):
            activations = X[first : first + rows] @ U
            residual = np.where(activations > 0, activations, 0.0) @ alpha - y[first : first + rows]
            loss += 0.5 * float(residual @ residual)
        value = loss + 0.5 * beta * float(np.vdot(U, U) + alpha @ alpha)
    return value if math.isfinite(value) else math.inf


def program_value(program: ConvexProgram, v: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """The objective of (2) at the blocks moved into their cones, and how far outside they had been."""
    violation = program.violation(v, w)
    if not program.gated:
        v, w = project_on_cones(program, v), project_on_cones(program, w)
    fit = np.zeros(len(program.y))
    for i in np.flatnonzero((v != w).any(axis=0)):
        fit += program.patterns.masks[:, i] * (program.X @ (v[:, i] - w[:, i]))
    size = float(np.sqrt((v**2).sum(axis=0)).sum() + np.sqrt((w**2).sum(axis=0)).sum())
    return 0.5 * float(np.sum((fit - program.y) ** 2)) + program.beta * size, violation


def program_bound(program: ConvexProgram, v: np.ndarray, w: np.ndarray, nu: np.ndarray | None) -> float:
    """The best lower bound on (2) from ν = y − f at the blocks and from a solver's ν, which is only tried."""
    points = [program.y - program.predict(v, w)] + ([] if nu is None else [nu])
    return max(program.dual(point)[0] for point in points)


def bound(
    X: np.ndarray, y: np.ndarray, beta: float, network: Network, nu: np.ndarray | None, seconds: float
) -> tuple[float, str, int]:
    """(lower bound on p*, its kind, local searches behind it), from starts that no training run has used."""
    certificate = certify(network, X, y, beta, max_time=seconds, nu=nu, seed=20_261)
    return certificate.lower_bound, certificate.kind, certificate.starts


def time_to(curve: Sequence[tuple[float, float]], target: float) -> float:
    """The first second at which the objective is at or below the target; inf if it never is."""
    return next((seconds for seconds, value in curve if value <= target), math.inf)
