r"""Activation patterns: the cells that the hyperplanes x_iᵀu = 0 cut from R^d.

Pattern i is the mask d_i = 1[X u ≥ 0] of a full-dimensional cell, with cone
K_i = {u : (2 diag(d_i) − I) X u ≥ 0}. At most 2 Σ_{k<r} C(n−1, k) exist, r = rank X (Pilanci & Ergen 2020).
"""

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Literal

import numpy as np

from convexnn._types import Array, BoolArray, IntArray

if TYPE_CHECKING:
    from convexnn.network import Network

#: |x_iᵀu| ≤ KINK·‖x_i‖‖u‖ counts as zero: u lies on the hyperplane of row i.
KINK = 1e-12


@dataclass(frozen=True, eq=False)
class Patterns:
    """Distinct patterns of X with a vector strictly inside each cell.

    Attributes
    ----------
    masks : (n, P) bool
        Column i is d_i. A zero row of X is False everywhere.
    generators : (d, P) float64
        Column i lies strictly inside K_i: no x_iᵀg is 0 on a non-zero row of X.
    """

    masks: BoolArray
    generators: Array

    def __post_init__(self) -> None:
        if (
            self.masks.ndim != 2
            or self.generators.ndim != 2
            or self.masks.shape[1] != self.generators.shape[1]
        ):
            raise ValueError(
                f"masks must be n×P and generators d×P with the same P; "
                f"they are {self.masks.shape} and {self.generators.shape}."
            )

    def __len__(self) -> int:
        return int(self.masks.shape[1])

    @classmethod
    def from_generators(cls, X: Array, generators: Array) -> "Patterns":
        """The distinct cells of the columns of `generators`, in order of first appearance.

        Parameters
        ----------
        X : (n, d)
        generators : (d, k)
            A column on a hyperplane x_iᵀg = 0 is moved into a neighbouring cell.

        Raises
        ------
        ValueError
            If the shapes disagree or a column is zero or not finite.
        """
        return cls.locate(X, generators)[0]

    @classmethod
    def locate(cls, X: Array, generators: Array) -> tuple["Patterns", IntArray]:
        """As `from_generators`, with the index (k,) of the cell that holds each column."""
        X = np.asarray(X, dtype=np.float64)
        G = np.asarray(generators, dtype=np.float64)
        if X.ndim != 2 or G.ndim != 2 or G.shape[0] != X.shape[1]:
            raise ValueError(f"X must be n×d and generators d×k; they are {X.shape} and {G.shape}.")
        norms = np.linalg.norm(G, axis=0)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise ValueError("Every generator must be finite and non-zero.")
        G = _off_the_kinks(X, G)
        masks = (X @ G >= 0) & np.any(X, axis=1, keepdims=True)
        first, index = _first_occurrences(masks)
        return cls(np.asfortranarray(masks[:, first]), np.ascontiguousarray(G[:, first])), index

    @classmethod
    def sample(
        cls,
        X: Array,
        count: int,
        *,
        rng: np.random.Generator | int | None = 0,
        directions: Literal["gaussian", "rows"] = "gaussian",
    ) -> "Patterns":
        """The distinct patterns among `count` random directions (so there may be fewer than `count`).

        Parameters
        ----------
        X : (n, d)
        count : int
            Number of directions drawn.
        rng : Generator or int
            Generator or seed; the Gaussian draw is ``rng.standard_normal((d, count))``.
        directions : {"gaussian", "rows"}
            Standard normal vectors, or rows of X drawn with replacement, with a random sign and Gaussian
            noise of a tenth of their length.

        Raises
        ------
        ValueError
            If `count` is not positive or `directions` is unknown.
        """
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or not X.size or not np.isfinite(X).all():
            raise ValueError(f"X must be a non-empty, finite n×d matrix; its shape is {X.shape}.")
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"count must be a whole number, at least 1; it is {count!r}.")
        rng = np.random.default_rng(rng)
        n, d = X.shape
        if directions == "gaussian":
            return cls.from_generators(X, rng.standard_normal((d, count)))
        if directions != "rows":
            raise ValueError(f"directions must be 'gaussian' or 'rows'; it is {directions!r}.")
        rows = X[rng.integers(n, size=count)] * rng.choice([-1.0, 1.0], size=(count, 1))
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        noise = rng.standard_normal((count, d)) / np.sqrt(d)
        return cls.from_generators(X, (rows + np.where(length > 0, 0.1 * length, 1.0) * noise).T)

    @classmethod
    def enumerate(cls, X: Array, max_patterns: int = 1_000_000) -> "Patterns":
        """Every pattern of X: the cells of {x_iᵀu = 0}, at most 2 Σ_{k<r} C(n−1, k), each exactly once.

        Any rank; rows may be zero, equal, parallel or opposite. Column P/2 + j is the opposite of column j.
        Hyperplanes within 1e-11 radians of each other count as one. See `convexnn.enumeration` for the
        method, for masks packed as bits, and for what it costs (`estimate_cost`, `count_patterns`).

        Parameters
        ----------
        X : (n, d)
        max_patterns : int
            Refuse above this number.

        Raises
        ------
        ValueError
            If X is not a finite n×d matrix, has more than `max_patterns` patterns, or their masks (n bytes
            each) would take more than 4 GiB; the message says which number was too large and what to use
            instead.
        ArithmeticError
            If X is neither degenerate nor general at the tolerance.

        Examples
        --------
        >>> from convexnn import Patterns
        >>> from convexnn.data import five_points
        >>> len(Patterns.enumerate(five_points().X))
        10
        """
        from convexnn.enumeration import enumerate_patterns

        found = enumerate_patterns(X, max_patterns)
        return cls(found.masks, found.generators)

    @classmethod
    def from_network(cls, X: Array, network: "Network") -> "Patterns":
        """The cells of the non-zero neurons: each cell's closure contains its neuron."""
        U = network.U[:, np.linalg.norm(network.U, axis=0) > 0]
        return cls.from_generators(X, U)


def _first_occurrences(masks: BoolArray) -> tuple[IntArray, IntArray]:
    """Indices of the first copy of each distinct column, ascending, and each column's place among them."""
    packed = np.packbits(masks, axis=0)
    keys = np.ascontiguousarray(packed.T).view(np.dtype((np.void, packed.shape[0])))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[inverse]


def _off_the_kinks(X: Array, G: Array) -> Array:
    """Move columns that touch a hyperplane into a cell whose closure contains them."""
    Z = X @ G
    row_norms = np.linalg.norm(X, axis=1)[:, None]
    on_kink = np.abs(Z) <= KINK * row_norms * np.linalg.norm(G, axis=0)
    touching = (on_kink & (row_norms > 0)).any(axis=0)
    if not touching.any():
        return G
    G = G.copy()
    direction = np.random.default_rng(0).standard_normal(X.shape[0]) @ X  # in the row space: no row is missed
    direction /= np.linalg.norm(direction)
    step = X @ direction
    for j in np.flatnonzero(touching):
        free = ~on_kink[:, j] & (row_norms[:, 0] > 0)
        room = np.abs(Z[free, j]) / np.maximum(np.abs(step[free]), 1e-300)
        limit = 1e-6 * np.linalg.norm(G[:, j])
        G[:, j] += min(limit, 0.5 * room.min(initial=np.inf)) * direction
    return G
