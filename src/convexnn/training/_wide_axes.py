r"""X ← XQ with XᵀX = QΛQᵀ: data in principal axes, where a few leading columns carry almost everything.

The training problem does not change under a rotation: (XQ)(Qᵀu) = Xu and ‖Qᵀu‖ = ‖u‖. Work on leading columns
alone restricts u to a subspace, so what comes out is a network of the original problem with the same
objective; only the search is narrower.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from convexnn._types import Array, IntArray

#: float32 arrays of the inner loops.
Real = NDArray[Any]
#: Directions with a smaller share of the largest eigenvalue carry nothing in float32.
_RANK = 1e-9


class Axes(NamedTuple):
    """X in principal axes, the largest first."""

    X: Real  # (n, r) float32: XQ
    Q: Real  # (d, r) float32, orthonormal columns
    eigenvalues: Array  # (r,) of XᵀX, descending

    def leading(self, share: float) -> int:
        """The fewest columns that leave out at most this share of the trace of XᵀX; all of them for 0."""
        return leading(self.eigenvalues, share)

    def back(self, U: Real) -> Array:
        """QU in float64 for U in the leading columns (k×m)."""
        return np.asarray(self.Q[:, : len(U)] @ U, dtype=np.float64)

    def into(self, U: Array) -> Real:
        """QᵀU in float32 for U of the original columns (d×m)."""
        return np.asarray(self.Q.T @ U.astype(np.float32))


def leading(eigenvalues: Array, share: float) -> int:
    """The fewest leading axes that leave out at most this share of Σλ; all of them for 0."""
    rest = 1.0 - np.cumsum(eigenvalues) / max(eigenvalues.sum(), 1e-300)
    return len(rest) if share <= 0 else min(len(rest), int(np.searchsorted(-rest, -share)) + 1)


def principal_axes(X: Array) -> Axes:
    """Rotate X (n×d): one eigendecomposition of the smaller of XᵀX and XXᵀ."""
    n, d = X.shape
    small = X.astype(np.float32)
    if d <= n:
        values, Q = sl.eigh(small.T @ small, driver="evd", overwrite_a=True, check_finite=False)
        keep = _carrying(values)
        Q = np.ascontiguousarray(Q[:, keep])
    else:
        values, left = sl.eigh(X @ X.T, driver="evd", overwrite_a=True, check_finite=False)
        keep = _carrying(values)
        Q = sl.qr(X.T @ left[:, keep], mode="economic", overwrite_a=True)[0].astype(np.float32)
    rotated = np.ascontiguousarray(small @ Q)
    return Axes(rotated, Q, np.sum(rotated.astype(np.float64) ** 2, axis=0))


def _carrying(values: Real) -> IntArray:
    """Indices of the eigenvalues (ascending) that count, the largest first; one at least."""
    keep = np.flatnonzero(values > _RANK * max(float(values[-1]), 0.0))[::-1]
    return keep if keep.size else np.array([len(values) - 1])
