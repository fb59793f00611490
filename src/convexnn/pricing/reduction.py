r"""ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+ in few coordinates, with the error of the way there proven.

X is scaled by powers of two (exact), written as X = ZBᵀ + E with B (d×r) orthonormal up to rounding, and rows
of Z that share a direction are added up: ν_i(z_iᵀv)_+ + ν_j(z_jᵀv)_+ = (ν_i + cν_j)(z_iᵀv)_+ for z_j = cz_i,
c > 0. With v = Bᵀu, ‖v‖ ≤ ‖B‖₂ ≤ stretch, this gives

    ρ(ν) ≤ scale · (stretch · max_{‖v‖≤1} Σ_i sign_i (a_iᵀv)_+ + slack),

where slack bounds Σ|ν_i|‖E_i‖ and the rounding of every later step. E and BᵀB − I are computed, with a
bound of their own rounding, so the proof does not rest on the SVD nor on the rank chosen.

For νᵀσ_s(Xu) = (1 − s)νᵀ(Xu)_+ + s(Xᵀν)ᵀu (`convexnn.activation`) the weights are those of (1 − s)ν, and the
linear term sZᵀν is kept apart; |s| ≤ 1, so that E costs no more than before.
"""

from typing import NamedTuple

import numpy as np

from convexnn._types import Array
from convexnn.activation import activate

_UNIT = 2.0**-53
#: Rows whose unit vectors agree to this count as parallel; the difference goes into the slack.
_PARALLEL = 1e-12


class Reduced(NamedTuple):
    """Rows of the reduced problem, each already multiplied by |ν_i|."""

    A: Array  # (p, r) rows with ν_i > 0
    B: Array  # (m, r) rows with ν_i < 0
    basis: Array  # (d, r)
    stretch: float
    slack: float
    scale: float
    mass: float  # Σ|ν_i|‖x_i‖/scale
    linear: Array  # (r,) b, of a term bᵀv beside the rows; 0 for a ReLU

    def upper(self, bound: float) -> float:
        """The bound on ρ(ν) that follows from one on the reduced problem."""
        total = (self.stretch * max(bound, 0.0) + self.slack) * (1.0 + 4 * _UNIT)
        return float(np.nextafter(total * self.scale, np.inf)) if total > 0 else 0.0

    def lower(self, value: float) -> float:
        """The value τ with upper(τ) ≤ value, about; it may be negative."""
        return (value / self.scale - self.slack) / self.stretch * (1.0 - 16 * _UNIT)

    @property
    def rank(self) -> int:
        """r."""
        return int(self.basis.shape[1])


def check_vector(X: Array, nu: Array) -> tuple[Array, Array]:
    """X (n×d) and ν (n,) as contiguous float64.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is not finite.
    """
    X = np.ascontiguousarray(X, dtype=np.float64)
    nu = np.ascontiguousarray(nu, dtype=np.float64)
    if X.ndim != 2 or nu.shape != (len(X),):
        raise ValueError(f"X must be n×d and nu of length n; their shapes are {X.shape} and {nu.shape}.")
    if not (np.isfinite(X).all() and np.isfinite(nu).all()):
        raise ValueError("X and nu must be finite.")
    return X, nu


def reduce_problem(X: Array, nu: Array, negative_slope: float = 0.0) -> Reduced:
    """The problem in coordinates of the row space of X, without zero and with parallel rows merged.

    Parameters
    ----------
    X : (n, d), nu : (n,)
        The rank is the number of singular values above max(n, d)·2⁻⁵²·σ_max.
    """
    used = (nu != 0) & X.any(axis=1)
    X, nu, scale, lost = _scaled(X[used], nu[used])
    n, d = X.shape
    if not n or not ((nu > 0).any() or negative_slope > 0):  # h ≤ 0 everywhere: ρ = 0, exactly
        none = np.zeros((0, 0))
        return Reduced(none, none, np.zeros((d, 0)), 1.0, 0.0, 1.0, 0.0, np.zeros(0))
    _, sigma, Vt = np.linalg.svd(X, full_matrices=False)
    r = int(np.count_nonzero(sigma > max(n, d) * 2.0**-52 * sigma[0]))
    basis = np.ascontiguousarray(Vt[:r].T)
    Z = X @ basis
    size = np.linalg.norm(Z, axis=1)
    rounding = 4 * (d + r + 4) * _UNIT * (np.sqrt(r) * size + np.linalg.norm(X, axis=1))
    missed = np.linalg.norm(X - Z @ basis.T, axis=1) + rounding
    rows, weights, moved = _merge(Z, nu, size)
    total = float(np.abs(nu) @ size)
    slack = float(np.abs(nu) @ (missed + moved)) + (n + 16) * _UNIT * total + lost
    linear = np.zeros(r)
    if negative_slope != 0.0:
        weights = (1.0 - negative_slope) * weights
        linear = negative_slope * (nu @ Z)
        slack += float(np.abs(nu) @ moved) + 2 * (n + 16) * _UNIT * total  # weights up to 2ν; rounding of b
    defect = float(np.linalg.norm(basis.T @ basis - np.eye(r))) + 4 * (d + 4) * r * _UNIT
    positive, negative = weights > 0, weights < 0
    return Reduced(
        np.ascontiguousarray(rows[positive] * weights[positive, None]),
        np.ascontiguousarray(rows[negative] * -weights[negative, None]),
        basis, float(np.sqrt(1.0 + defect)) * (1.0 + 4 * _UNIT), slack * (1.0 + 1e-9), scale, total,
        linear,
    )  # fmt: skip


def proven_value(X: Array, nu: Array, u: Array, negative_slope: float = 0.0) -> float:
    """A number ≤ νᵀσ_s(Xu) / ‖u‖, by at most rounding; 0 where that is negative or u is 0."""
    X, nu, scale, lost = _scaled(X, nu)
    largest = float(np.abs(u).max(initial=0.0))
    if not largest > 0:
        return 0.0
    u = u / largest
    value = float(nu @ activate(X @ u, negative_slope))
    error = 2 * (sum(X.shape) + 8) * _UNIT * float(np.abs(nu) @ (np.abs(X) @ np.abs(u)))
    length = float(np.linalg.norm(u)) * (1.0 + 2 * (len(u) + 4) * _UNIT)
    return max(0.0, float(np.nextafter((value - error - 2 * lost) / length * scale, -np.inf)))


def _scaled(X: Array, nu: Array) -> tuple[Array, Array, float, float]:
    """X and ν divided by powers of two to a largest entry below 1, the product, what underflow may cost."""
    exponents = [int(np.frexp(np.abs(part).max(initial=0.0))[1]) for part in (X, nu)]
    small_X, small_nu = np.ldexp(X, -exponents[0]), np.ldexp(nu, -exponents[1])
    return small_X, small_nu, float(np.ldexp(1.0, sum(exponents))), 1e-290 * (X.size + 1)


def _merge(Z: Array, nu: Array, size: Array) -> tuple[Array, Array, Array]:
    """Distinct unit rows, their summed weights Σν_i‖z_i‖, and how far each row was moved (a bound)."""
    unit = Z / np.where(size > 0, size, 1.0)[:, None]
    keys = np.floor(unit / _PARALLEL + 0.3183098861837907)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    weights = np.zeros(len(first))
    np.add.at(weights, inverse, nu * size)
    moved = np.linalg.norm(Z - size[:, None] * unit[first[inverse]], axis=1) + 8 * _UNIT * size
    return unit[first], weights, moved
