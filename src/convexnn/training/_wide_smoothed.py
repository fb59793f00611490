r"""The smoothed ReLU φ_b(z) = 0 | (z+b)²/4b | z, split at z = ∓b, over many neurons in row blocks (float32).

Two products of n×k by k×m and two passes over a block give a sum over neurons and its gradient; no n×m array
is held.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from convexnn._types import Array
from convexnn.cones import FAST
from convexnn.losses import LossLike, get_separable, rows_of
from convexnn.training._wide_axes import Real

#: Rows in a block: at 2,000 neurons its array is 16 MB.
BLOCK = 2048


def blocks(n: int) -> Iterator[slice]:
    """Slices that cover range(n)."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def curvature(loss: LossLike, f: Array, y: Array) -> tuple[Array, Array]:
    """(∇L, the Hessian's diagonal); ValueError for a loss without one, such as the hinge."""
    function: Any = get_separable(loss)
    if not function.is_smooth:
        raise ValueError(f"The {function.name} loss has no second derivative.")
    return function.gradient(f, y), function.hessian(f, y)


@njit(cache=True, fastmath=FAST, nogil=True)
def forward(Z, b, weight, f):  # type: ignore[no-untyped-def]
    """f_i = Σ_j weight_j φ_b(Z_ij)."""
    zero, double = b - b, b + b
    quarter = np.float32(0.25) / b
    for i in range(Z.shape[0]):
        total = zero
        for j in range(Z.shape[1]):
            z = Z[i, j]
            p = min(max(z + b, zero), double)
            total += weight[j] * (quarter * p * p + max(z - b, zero))
        f[i] = total


@njit(cache=True, fastmath=FAST, nogil=True)
def backward(Z, b, r, sums):  # type: ignore[no-untyped-def]
    """sums_j += Σ_i r_i φ_b(Z_ij), then Z_ij ← r_i φ_b′(Z_ij)."""
    zero, double = b - b, b + b
    half, quarter = np.float32(0.5) / b, np.float32(0.25) / b
    for i in range(Z.shape[0]):
        ri = r[i]
        for j in range(Z.shape[1]):
            z = Z[i, j]
            p = min(max(z + b, zero), double)
            sums[j] += ri * (quarter * p * p + max(z - b, zero))
            Z[i, j] = ri * half * p


@njit(cache=True, fastmath=FAST, nogil=True)
def kinks(Z, b, r, below, above):  # type: ignore[no-untyped-def]
    """below_j += Σ (−r_i)₊ and above_j += Σ (r_i)₊ over the rows with |Z_ij| < b."""
    zero = b - b
    for i in range(Z.shape[0]):
        ri = r[i]
        low, high = max(-ri, zero), max(ri, zero)
        for j in range(Z.shape[1]):
            near = abs(Z[i, j]) < b
            below[j] += low if near else zero
            above[j] += high if near else zero


def pull(X: Real, nu: Real, U: Real, b: float) -> tuple[Real, Real]:
    """(Σ_i ν_i φ_b(x_iᵀu_j), Xᵀ(ν ∘ φ_b′(Xu_j))) for every column of U (k×m): (m,) and k×m."""
    width = np.float32(b)
    value = np.zeros(U.shape[1])
    G = np.zeros_like(U)
    for rows in blocks(len(X)):
        Z = X[rows] @ U
        sums = np.zeros(U.shape[1], np.float32)
        backward(Z, width, nu[rows], sums)
        value += sums
        G += X[rows].T @ Z
    return value, G


def kink_curvature(X: Real, nu: Real, U: Real, b: float, signs: Array) -> Array:
    """κ_j = (1/2bn) Σ_{|x_iᵀu_j| < b} (−s_jν_i)₊: curvature of −s_jνᵀφ_b(Xu) at the kinks, over XᵀX."""
    below, above = np.zeros(U.shape[1], np.float32), np.zeros(U.shape[1], np.float32)
    for rows in blocks(len(X)):
        kinks(X[rows] @ U, np.float32(b), nu[rows], below, above)
    return np.where(signs > 0, below, above) / (2.0 * b * len(X))


def mean_spread(X: Real, U: Real, eigenvalues: Array) -> float:
    """The mean over the unit columns u of the root mean square of Xu, for X in principal axes."""
    return float(np.mean(np.sqrt(eigenvalues[: len(U)] @ (U.astype(np.float64) ** 2) / len(X))))


class Tied(NamedTuple):
    """min over U of L(Σ_j s_j φ_b(Xû_j)‖u_j‖², y) + β Σ_j ‖u_j‖²: masses and directions in one variable."""

    X: Real
    y: Array
    signs: Real
    beta: float
    loss: LossLike
    b: float

    def evaluate(self, U: Real) -> tuple[float, Real]:
        """The objective and its gradient ∂/∂u = s(2au + ‖u‖(I − ûûᵀ)Bs) + 2βu."""
        function, width = get_separable(self.loss), np.float32(self.b)
        length = np.sqrt(np.einsum("ij,ij->j", U, U)) + np.float32(1e-20)
        unit = U / length
        weight = self.signs * length**2
        value, a, B = 0.0, np.zeros(U.shape[1]), np.zeros_like(U)
        f = np.empty(BLOCK, np.float32)
        for rows in blocks(len(self.X)):
            Z = self.X[rows] @ unit
            part = f[: len(Z)]
            forward(Z, width, weight, part)
            fit = part.astype(np.float64)
            own = rows_of(function, rows)
            value += own.value(fit, self.y[rows])
            slope = own.gradient(fit, self.y[rows]).astype(np.float32)
            sums = np.zeros(U.shape[1], np.float32)
            backward(Z, width, slope, sums)
            a += sums
            B += self.X[rows].T @ Z
        B -= unit * np.einsum("ij,ij->j", unit, B)
        B *= self.signs * length
        B += U * (2.0 * (self.signs * a + self.beta)).astype(np.float32)
        return value + self.beta * float(np.sum(length.astype(np.float64) ** 2)), B
