r"""From X, y and weights to the problem that is trained: min Σ ω_i ℓ(f(z_i), y_i) + penalty over rows z_i.

* Rows of weight zero are left out, and equal rows with equal targets become one row with their summed weight:
  integer weights and repeated rows are the same problem, to the last digit.
* z = [(x − mean)/scale, 1]/√(d+1) with weighted mean and scale, or [x, 1] without standardisation. With a
  penalty w_k of its own for each column, training sees z_k/√w_k and u_k is what it finds over √w_k.
* A sparse X with as many columns as rows, or more, is never made dense. ZZᵀ = VΛVᵀ needs sparse products
  only, and since the penalty is invariant under rotations, training on the n×r matrix R = VΛ^½ is training on
  Z; u in those coordinates is ZᵀVΛ^{−½}u in the columns of Z.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import eigh
from sklearn.utils.sparsefuncs import mean_variance_axis

from convexnn._types import Array, IntArray
from convexnn.activation import activate
from convexnn.data import Scaler
from convexnn.feature_penalty import penalty_root
from convexnn.network import Network

#: Most entries of a sparse X, with at least as many rows as columns, that is made dense (8 bytes each).
MOST_DENSE = 2**27
#: Eigenvalues of ZZᵀ below this share of the largest are zero.
_RANK = 1e-12
#: A column is constant where its standard deviation is below this share of its largest entry.
_CONSTANT = 1e-14


@dataclass(frozen=True, eq=False)
class Problem:
    """What `train` gets, and the way back.

    Attributes
    ----------
    Z : (n', p)
        The rows to train on: those of z, or of R where `basis` is there.
    y : (n',) or (n', c)
    weights : (n',) or None
        None for ones.
    scaler : Scaler or None
    basis : (n', r) or None
        VΛ^{−½} where Z is R.
    rows : sparse (n', d) or None
        The rows of X where `basis` is there.
    groups : (n,) or None
        The row of this problem that holds each row given, −1 for none; None if nothing changed.
    shares : (n,) or None
        The weight of each row given over that of its group.
    root : (d+1,) or None
        √w of penalties for each column, with 1 for the bias.
    """

    Z: Array
    y: Array
    weights: Array | None
    scaler: Scaler | None
    basis: Array | None = None
    rows: Any = None
    groups: IntArray | None = None
    shares: Array | None = None
    root: Array | None = None

    def restore(self, nu: Array) -> Array:
        """The dual point over the rows given: ν of a group is shared by weight."""
        if self.groups is None or self.shares is None:
            return nu
        shares = self.shares.reshape(-1, *[1] * (nu.ndim - 1))
        return np.asarray(nu[self.groups] * shares)

    def lift(self, U: Array) -> Array:
        """(p, m) in the coordinates of this problem to (d+1, m) in those of z."""
        if self.basis is not None:
            U = transposed_times(self.rows, self.scaler, self.basis @ U)
            return U if self.root is None else U / self.root[:, None] ** 2
        return U if self.root is None else U / self.root[:, None]

    def lower(self, U: Array) -> Array:
        """(d+1, m) in the coordinates of z, projected on those of this problem."""
        if self.basis is not None:
            return np.asarray(self.basis.T @ times(self.rows, self.scaler, U))
        return U if self.root is None else U * self.root[:, None]


def make_problem(
    X: Any, y: Array, weights: Array | None, standardize: bool, feature_penalty: ArrayLike | None = None
) -> Problem:
    """The problem of rows X (n, d), dense or CSR, targets y (n,) or (n, c), and weights ω ≥ 0 (n,).

    Raises
    ------
    ValueError
        If X is sparse, has at least as many rows as columns, and would not fit into a gigabyte, or
        `feature_penalty` is not one positive number for each column.
    """
    root = None if feature_penalty is None else np.append(penalty_root(feature_penalty, X.shape[1]), 1.0)
    X, y, weights, groups, shares = _merged(X, y, weights)
    if not sparse.issparse(X):
        scaler = fit_scaler(X, weights) if standardize else None
        return Problem(_over(design(scaler, X), root), y, weights, scaler, None, None, groups, shares, root)
    n, d = X.shape
    if d < n:
        dense = _dense(X)
        scaler = fit_scaler(dense, weights) if standardize else None
        Z = _over(design(scaler, dense), root)
        return Problem(Z, y, weights, scaler, None, None, groups, shares, root)
    scaler = fit_scaler(X, weights) if standardize else None
    values, V = eigh(_gram(X, scaler, root))
    kept = values > _RANK * values[-1]
    lengths = np.sqrt(values[kept])
    Z = np.ascontiguousarray(V[:, kept] * lengths)
    return Problem(Z, y, weights, scaler, V[:, kept] / lengths, X, groups, shares, root)


def _over(Z: Array, root: Array | None) -> Array:
    """Z/√w."""
    return Z if root is None else np.ascontiguousarray(Z / root)


def fit_scaler(X: Any, weights: Array | None) -> Scaler:
    """Weighted mean and standard deviation of the columns, 1 for a constant one."""
    if sparse.issparse(X):
        mean, variance = mean_variance_axis(X, axis=0, weights=weights)
        std = np.sqrt(variance)
        largest = np.abs(X).max(axis=0).toarray().ravel()
        return Scaler(mean, np.where(std > _CONSTANT * largest, std, 1.0))
    if weights is None:
        return Scaler.fit(X)
    largest = np.abs(X).max(axis=0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    Z = X / unit
    mean = weights @ Z / weights.sum()
    std = np.sqrt(weights @ (Z - mean) ** 2 / weights.sum())
    return Scaler(unit * mean, np.where(std > _CONSTANT, unit * std, 1.0))


def design(scaler: Scaler | None, X: Array) -> Array:
    """Z of dense rows: scaled with a column of ones, or X with a column of ones."""
    return np.column_stack([X, np.ones(len(X))]) if scaler is None else scaler.transform(X)


def times(X: Any, scaler: Scaler | None, U: Array) -> Array:
    """Z U for sparse X, without Z."""
    if scaler is None:
        return np.asarray(X @ U[:-1] + U[-1])
    W = U[:-1] / scaler.scale[:, None]
    return np.asarray((X @ W + (U[-1] - scaler.mean @ W)) / np.sqrt(len(U)))


def transposed_times(X: Any, scaler: Scaler | None, W: Array) -> Array:
    """Zᵀ W for sparse X, without Z."""
    total = W.sum(axis=0)
    if scaler is None:
        return np.vstack([X.T @ W, total])
    top = (X.T @ W - np.outer(scaler.mean, total)) / scaler.scale[:, None]
    return np.asarray(np.vstack([top, total]) / np.sqrt(X.shape[1] + 1))


def outputs(network: Network, scaler: Scaler | None, X: Any) -> Array:
    """f of a network in the coordinates of z, for rows X, dense or CSR."""
    if not sparse.issparse(X):
        return network.predict(design(scaler, X))
    intercept = network.intercept
    out = np.empty((X.shape[0], *network.alpha.shape[1:]))
    step = max(1, 8_000_000 // max(1, network.U.shape[1]))
    for start in range(0, X.shape[0], step):
        hidden = activate(times(X[start : start + step], scaler, network.U), network.negative_slope)
        out[start : start + step] = hidden @ network.alpha
    return out + intercept if network.has_intercept else out


def hidden_layer(network: Network, scaler: Scaler | None, X: Any) -> Array:
    """(Z U)_+ for rows X, dense or CSR."""
    Z = times(X, scaler, network.U) if sparse.issparse(X) else design(scaler, X) @ network.U
    return np.asarray(activate(Z, network.negative_slope))


def _gram(X: Any, scaler: Scaler | None, root: Array | None) -> Array:
    """ZZᵀ of sparse X, or (Z/√w)(Z/√w)ᵀ."""
    own = 1.0 if root is None else root[:-1]
    if scaler is None:
        X = X if root is None else sparse.csr_array(X.multiply(1.0 / own))
        return np.asarray((X @ X.T).toarray() + 1.0)
    A = sparse.csr_array(X.multiply(1.0 / (scaler.scale * own)))
    centre = scaler.mean / (scaler.scale * own)
    c = A @ centre
    K = (A @ A.T).toarray() - c[:, None] - c + (centre @ centre + 1.0)
    return np.asarray(K / (X.shape[1] + 1))


def _dense(X: Any) -> Array:
    n, d = X.shape
    if n * d > MOST_DENSE:
        raise ValueError(
            f"X is sparse with {n} rows and {d} columns. With more rows than columns training needs it "
            f"dense, which would take {8 * n * d / 2**30:.1f} GiB: pass fewer columns (SelectKBest, "
            "TruncatedSVD) or rows, or X.toarray() if the memory is there."
        )
    return np.asarray(X.toarray())


def _merged(
    X: Any, y: Array, weights: Array | None
) -> tuple[Any, Array, Array | None, IntArray | None, Array | None]:
    """X, y and weights with equal rows merged and rows of weight zero left out; groups and shares of rows."""
    if weights is not None and (weights == 1.0).all():
        weights = None
    if sparse.issparse(X):
        X = sparse.csr_array(X, copy=True)
        X.sum_duplicates()
        X.eliminate_zeros()
        X.sort_indices()
    else:
        X = np.ascontiguousarray(X)  # sums do not depend on the order in memory
        if weights is None and _are_distinct(X, y):
            return X, y, None, None, None
    used = np.arange(X.shape[0]) if weights is None else np.flatnonzero(weights)
    _, first, groups = np.unique(_keys(X, y)[used], return_index=True, return_inverse=True)
    if weights is None and len(first) == X.shape[0]:
        return X, y, None, None, None
    own = np.ones(len(used)) if weights is None else weights[used]
    total = np.bincount(groups, weights=own)
    of_row: IntArray = np.zeros(X.shape[0], dtype=np.int64)
    shares: Array = np.zeros(X.shape[0])
    of_row[used], shares[used] = groups, own / total[groups]
    chosen = used[first]
    merged: Array | None = None if (total == 1.0).all() else np.asarray(total, dtype=np.float64)
    return X[chosen], np.ascontiguousarray(y[chosen]), merged, of_row, shares


def _are_distinct(X: Array, y: Array) -> bool:
    """Whether all rows (x, y) have their own hash: quick for wide X, where comparing bytes is not."""
    multipliers = np.random.default_rng(0).integers(2**64, size=X.shape[1] + 1, dtype=np.uint64) | np.uint64(
        1
    )
    rows = (X + 0.0).view(np.uint64) @ multipliers[:-1]  # modulo 2⁶⁴, exactly
    targets = (y.reshape(len(y), -1) + 0.0).view(np.uint64).sum(axis=1)
    return len(np.unique(rows + targets * multipliers[-1])) == len(X)


def _keys(X: Any, y: Array) -> NDArray[Any]:
    """One value for each row that is equal where (x, y) is: its bytes."""
    targets = y.reshape(len(y), -1)
    if not sparse.issparse(X):
        table = np.ascontiguousarray(np.hstack([X, targets]) + 0.0)  # −0.0 becomes 0.0
        return table.view(np.dtype((np.void, table.itemsize * table.shape[1])))[:, 0]
    keys = np.empty(len(y), dtype=object)
    for i, (start, stop) in enumerate(zip(X.indptr[:-1], X.indptr[1:], strict=True)):
        own = np.int64(stop - start).tobytes() + X.indices[start:stop].astype(np.int64).tobytes()
        keys[i] = own + X.data[start:stop].tobytes() + (targets[i] + 0.0).tobytes()
    return keys
