r"""Exact counting and enumeration of activation patterns, and what it will cost.

The patterns of X (n×d, rank r) are the full-dimensional cells of the hyperplanes x_iᵀu = 0; at most
2 Σ_{k<r} C(n−1, k), with equality in general position (Cover 1965). Zero rows cut nothing, parallel rows are
one hyperplane, and X is taken to coordinates of its row space in which its rows are well spread, so that the
units of the columns do not matter. The method is in `convexnn._arrangement`. Two hyperplanes within
`DEGENERATE` (1e-11) radians of each other there, or in a flat to which they were restricted, count as one;
singular values of X, once its rows and columns are balanced, below 1e-9 of the largest count as zero.
"""

from dataclasses import dataclass
from math import e, inf, log10

import numpy as np
from numpy.typing import NDArray

from convexnn import _arrangement as arrangement
from convexnn._arrangement import DEGENERATE
from convexnn._types import Array, IntArray
from convexnn.patterns import Patterns

__all__ = [
    "DEGENERATE",
    "CostEstimate",
    "PackedPatterns",
    "count_patterns",
    "enumerate_packed",
    "enumerate_patterns",
    "estimate_cost",
    "pattern_bound",
]

#: Singular values below this part of the largest count as zero.
RANK = 1e-9
#: Patterns that `count_patterns` counts before it gives up, and that `Patterns.enumerate` lists.
COUNT_LIMIT = 100_000_000
ENUMERATE_LIMIT = 1_000_000
#: Bytes that the masks of one pattern set may take.
MASK_BYTES = 4 * 2**30
#: Processor seconds of enumeration for each pattern and row, and for each pattern and dimension: a fit to the
#: six sizes of `benchmarks/enumeration.py`, right there within a quarter, on one core of a server.
SECONDS_ROW = 3.5e-9
SECONDS_RANK = 1.1e-7


@dataclass(frozen=True)
class PackedPatterns:
    """Distinct patterns with eight rows to a byte: n·P/8 bytes instead of the n·P of `Patterns`.

    Attributes
    ----------
    bits : (⌈n/8⌉, P) uint8
        Column j is d_j as `numpy.packbits` stores it: row 0 in the highest bit of byte 0.
    generators : (d, P) float64
        Unit vectors; column j lies strictly inside K_j.
    n : int
        Number of rows.
    """

    bits: NDArray[np.uint8]
    generators: Array
    n: int

    def __len__(self) -> int:
        return int(self.bits.shape[1])

    def unpack(self, columns: IntArray | slice = slice(None)) -> Patterns:
        """`Patterns` of all or of the given columns; n bytes a pattern."""
        chosen = np.ascontiguousarray(self.bits[:, columns].T)
        masks = np.unpackbits(chosen, axis=1, count=self.n).view(np.bool_).T
        return Patterns(masks, np.ascontiguousarray(self.generators[:, columns]))


@dataclass(frozen=True)
class CostEstimate:
    """What all patterns of n samples in dimension d and rank r would cost; every number is an upper bound
    over data of that size, or a prediction from one.

    Attributes
    ----------
    patterns : int
        P = 2 Σ_{k<r} C(n−1, k).
    variables, constraints : int
        2dP and 2nP, those of the convex program over all of them.
    interior_point : int
        d³r³(n/r)^{3r}, rounded down: the order of an interior-point solution (Pilanci & Ergen 2020).
    seconds : float
        Predicted processor time of enumeration, P(3.5e-9 n + 1.1e-7 r), compilation apart.
    packed_bytes, mask_bytes : int
        Memory of the result: generators with packed masks, and the unpacked masks (n P) beside them.
    """

    n: int
    d: int
    r: int
    patterns: int
    variables: int
    constraints: int
    interior_point: int
    seconds: float
    packed_bytes: int
    mask_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.n} samples, dimension {self.d}, rank {self.r}\n"
            f"patterns:    at most {_number(self.patterns)}\n"
            f"program:     {_number(self.variables)} variables, {_number(self.constraints)} constraints; "
            f"interior point of the order of {_number(self.interior_point)} operations\n"
            f"enumeration: about {_number(self.seconds)} s; {_mebibytes(self.packed_bytes)} packed, "
            f"{_mebibytes(self.mask_bytes)} more unpacked"
        )


def pattern_bound(n: int, r: int) -> tuple[int, float]:
    """The bounds 2 Σ_{k<r} C(n−1, k) ≤ 2r(e(n−1)/r)^r on the number of patterns.

    The first is exact, and attained in general position. The second holds for n ≥ 2 and is infinite for
    n = 1 and above the range of a float.

    Parameters
    ----------
    n : int
        Non-zero rows.
    r : int
        Rank, 1 ≤ r ≤ n.

    Raises
    ------
    ValueError
        If r is not between 1 and n.

    Source: Cover (1965); Pilanci & Ergen (2020), section 2.1.
    """
    if not 1 <= r <= n:
        raise ValueError(f"The rank r must lie between 1 and n = {n}; it is {r}.")
    term, total = 1, 0
    for k in range(r):
        total += term
        term = term * (n - 1 - k) // (k + 1)
    try:
        second = 2 * r * (e * (n - 1) / r) ** r if n >= 2 else inf
    except OverflowError:
        second = inf
    return 2 * total, second


def estimate_cost(n: int, d: int, r: int | None = None) -> CostEstimate:
    """P = 2 Σ_{k<r} C(n−1, k) patterns, 2dP variables, 2nP constraints, d³r³(n/r)^{3r}, time and memory.

    Nothing is run. Degenerate data have fewer patterns, `count_patterns` says how many.

    Parameters
    ----------
    n, d : int
        Shape of X.
    r : int, optional
        Rank of X; min(n, d) if not given.

    Raises
    ------
    ValueError
        If n or d is not positive, or r is not between 1 and min(n, d).
    """
    if n < 1 or d < 1:
        raise ValueError(f"n and d must be at least 1; they are {n} and {d}.")
    r = min(n, d) if r is None else r
    if not 1 <= r <= min(n, d):
        raise ValueError(f"The rank r must lie between 1 and min(n, d) = {min(n, d)}; it is {r}.")
    P = pattern_bound(n, r)[0]
    try:
        seconds = P * (SECONDS_ROW * n + SECONDS_RANK * r)
    except OverflowError:
        seconds = inf
    return CostEstimate(
        n, d, r, P, 2 * d * P, 2 * n * P, d**3 * r**3 * n ** (3 * r) // r ** (3 * r), seconds,
        P * (-(-n // 8) + 8 * d), P * n,
    )  # fmt: skip


def count_patterns(X: Array, max_patterns: int = COUNT_LIMIT) -> int:
    """The exact number of full-dimensional cells of the arrangement {x_iᵀu = 0}, with no list of them.

    Equal to ``len(Patterns.enumerate(X))``; about 0.1 µs a pattern. A matrix of zeros has one.

    Parameters
    ----------
    X : (n, d)
    max_patterns : int
        Give up above this number (100 million unless told).

    Raises
    ------
    ValueError
        If X is not a finite n×d matrix, or has more than `max_patterns` patterns; the message says which
        number was too large and what to use instead.

    Source: Zaslavsky (1975), Theorem A, by deletion and restriction.
    """
    spread = _spread_rows(X, max_patterns)
    return 2 * _count_half(spread, max_patterns) if len(spread.lines) else 1


def enumerate_packed(X: Array, max_patterns: int = ENUMERATE_LIMIT) -> PackedPatterns:
    """Every pattern 1[Xu ≥ 0] of a full-dimensional cell, once, with a unit vector strictly inside it.

    The order is stable: the first half are the cells on the positive side of the first non-zero row, in the
    order in which rows cut them off, and column P/2 + j is the opposite of column j.

    Parameters
    ----------
    X : (n, d)
        Any rank; rows may be zero, equal, parallel or opposite.
    max_patterns : int
        Refuse above this number (a million unless told).

    Raises
    ------
    ValueError
        If X is not a finite n×d matrix, has more than `max_patterns` patterns, or their masks would take
        more than 4 GiB packed; the message says which number was too large and what to use instead.
    ArithmeticError
        If X is neither degenerate nor general at the tolerance of 1e-11 radians, or so badly scaled that a
        cell is thinner than the rounding of Xu.

    Source: Zaslavsky (1975) for the recursion; Rada & Černý (2018) for the problem.
    """
    return _enumerate(X, max_patterns, unpacked=False)


def enumerate_patterns(X: Array, max_patterns: int = ENUMERATE_LIMIT) -> Patterns:
    """As `enumerate_packed`, with masks of one byte a row: what `Patterns.enumerate` calls."""
    return _enumerate(X, max_patterns, unpacked=True).unpack()


def _enumerate(X: Array, max_patterns: int, *, unpacked: bool) -> PackedPatterns:
    spread = _spread_rows(X, max_patterns)
    n, d = spread.rows.shape
    if not len(spread.lines):
        return PackedPatterns(np.zeros((-(-n // 8), 1), dtype=np.uint8), np.eye(d)[:, :1], n)
    half = _count_half(spread, max_patterns)
    _check_memory(2 * half, n, unpacked)
    try:
        cells = arrangement.half_cells(spread.lines, arrangement.words(len(spread.lines)))
    except ArithmeticError:
        cells = np.empty((0, 0))
    if len(cells) != half:
        raise ArithmeticError(
            f"Some hyperplanes of X meet within about {DEGENERATE:g} radians, neither together nor apart: "
            f"round X, or use Patterns.sample."
        )
    return _with_opposites(spread, cells)


@dataclass(frozen=True)
class _Spread:
    """X in coordinates in which its rows are well spread."""

    rows: Array  # (n, d) unit rows of X, zero rows stay zero
    basis: Array  # (d, r): u = basis @ w takes a vector w of the new coordinates back
    lines: Array  # (m, r) unit rows in the new coordinates, no two parallel


def _spread_rows(X: Array, max_patterns: int) -> _Spread:
    """Validate X, refuse ranks that are too high, and choose the coordinates."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"X must be a non-empty n×d matrix; its shape is {X.shape}.")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite.")
    X = np.ldexp(X, -np.frexp(np.abs(X).max(axis=1, keepdims=True))[1])
    norms = np.linalg.norm(X, axis=1)
    rows = X / np.where(norms > 0, norms, 1.0)[:, None]
    kept = X[norms > 0]
    if not len(kept):
        return _Spread(rows, np.empty((X.shape[1], 0)), np.empty((0, 0)))
    _refuse_rank(_basis(kept[:256]).shape[1], max_patterns)
    basis = _basis(kept)
    _refuse_rank(basis.shape[1], max_patterns)
    W = np.zeros((len(kept), basis.shape[1]))
    for x, b in zip(kept.T, basis, strict=True):  # in one order for all rows, so that equal rows stay equal
        W += x[:, None] * b
    W /= np.linalg.norm(W, axis=1)[:, None]
    return _Spread(rows, basis, W if W.shape[1] == 2 else arrangement.distinct_lines(W)[0])


def _basis(X: Array) -> Array:
    """A d×r matrix T such that X T has rank r and its columns are about orthonormal.

    Any such T will do, so where X allows it is rounded to 24 bits: then X T is exact for integer data.
    """
    scale = np.ones((1, X.shape[1]))
    for _ in range(10):
        scale = scale * _power_of_two(X * scale, axis=0)
        X = X * _power_of_two(X * scale, axis=1)
    _, s, Vt = np.linalg.svd(X * scale, full_matrices=False)
    r = int((s > RANK * s[0]).sum())
    T: Array = Vt[:r].T / (s[:r] / s[0])
    if s[r - 1] > 1e-5 * s[0]:
        T = T.astype(np.float32).astype(np.float64)
    return np.ascontiguousarray(T * scale.T)


def _power_of_two(X: Array, axis: int) -> Array:
    """Factors, exact in binary, that bring the length along `axis` to [½, 1); 1 where it is 0."""
    scale: Array = np.ldexp(1.0, -np.frexp(np.linalg.norm(X, axis=axis, keepdims=True))[1])
    return scale


def _refuse_rank(r: int, max_patterns: int) -> None:
    if 2**r > max_patterns:
        raise ValueError(
            f"X has rank {r} or more and so at least 2^{r} = {_number(2**r)} patterns, above max_patterns = "
            f"{max_patterns:,}: use Patterns.sample(X, count), or raise max_patterns."
        )


def _count_half(spread: _Spread, max_patterns: int) -> int:
    m, r = spread.lines.shape
    half = int(arrangement.count_half(spread.lines, max_patterns // 2))
    if 2 * half > max_patterns:
        raise ValueError(
            f"X has more than max_patterns = {max_patterns:,} patterns (its {m:,} hyperplanes of rank {r} "
            f"may have {_number(pattern_bound(m, r)[0])}): use Patterns.sample(X, count), or raise "
            f"max_patterns."
        )
    return half


def _check_memory(patterns: int, n: int, unpacked: bool) -> None:
    size = patterns * (n if unpacked else -(-n // 8))
    if size > MASK_BYTES:
        what = f"{patterns:,} masks of {n:,} rows {'unpacked' if unpacked else 'packed'}"
        instead = (
            "convexnn.enumeration.enumerate_packed or Patterns.sample" if unpacked else "Patterns.sample"
        )
        raise ValueError(
            f"The {what} would take {_mebibytes(size)}, above {_mebibytes(MASK_BYTES)}: use {instead}."
        )


def _with_opposites(spread: _Spread, cells: Array) -> PackedPatterns:
    """Masks and generators of half the cells (rows of `cells`), then those of −u for each of them."""
    n, d = spread.rows.shape
    G = spread.basis @ cells.T
    G /= np.linalg.norm(G, axis=0)
    bits = np.empty((-(-n // 8), G.shape[1]), dtype=np.uint8)
    nearest = float(arrangement.pack_signs(spread.rows, G, bits))
    if nearest <= 4 * (d + 4) * np.finfo(np.float64).eps:
        raise ArithmeticError(
            f"A cell of X is as thin as the rounding of Xu ({nearest:.1e}): rescale or centre the columns "
            f"of X, or use Patterns.sample."
        )
    flipped = bits ^ np.packbits(spread.rows.astype(np.bool_).any(axis=1, keepdims=True), axis=0)
    return PackedPatterns(np.concatenate([bits, flipped], axis=1), np.concatenate([G, -G], axis=1), n)


def _mebibytes(size: int) -> str:
    return f"{_number(size / 2**20 if size < 2**50 else size // 2**20)} MiB"


def _number(value: float) -> str:
    """Digits with separators below ten million, else a power of ten; for integers of any size."""
    if value < 1e7:
        return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    if value == inf:
        return "more than 1e308"
    exponent = int(log10(value))
    return f"{10 ** (log10(value) - exponent):.2f}e{exponent}"
