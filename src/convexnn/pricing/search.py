r"""Searching ±νᵀ(Xu)_+ from many fresh starts: the evidence behind an ``estimated`` certificate."""

from time import perf_counter
from typing import NamedTuple

import numpy as np

from convexnn._types import Array, BoolArray, IntArray
from convexnn.cones import Rows
from convexnn.pricing.local import Maxima, climb, fresh_starts

_CHUNK = 500
#: Starts between two looks at the clock, where there is a deadline.
_TIMED_CHUNK = 125
_HOP_FROM = 20
_HOP_NOISE = (0.2, 0.4, 0.7)


class Found(NamedTuple):
    """Local maxima with the sign s of each: values are s νᵀ(Xu)_+."""

    maxima: Maxima
    signs: Array  # (S,)

    def take(self, index: IntArray | BoolArray) -> "Found":
        """Some of them."""
        return Found(self.maxima.take(index), self.signs[index])


class Search(NamedTuple):
    """Outcome of `search`."""

    rho: float  # largest value found
    starts: int  # ascents made
    found: Found  # maxima above `stop_above`, best first


def climb_signed(
    rows: Rows, nu: Array, starts: Array, signs: Array, *, cut: float = 0.0, deadline: float = np.inf
) -> Found:
    """`climb` from each start for its own sign s: local maxima of s νᵀ(Xu)_+."""
    S, d = starts.shape
    out = Maxima(
        np.zeros(S), np.zeros((S, d)), np.zeros((S, d), dtype=np.int64),
        np.zeros((S, d), dtype=bool), np.zeros(S, dtype=np.int64),
    )  # fmt: skip
    for sign in (1.0, -1.0):
        index = np.flatnonzero(signs == sign)
        if index.size:
            part = climb(rows, sign * nu, starts[index], cut=cut, deadline=deadline)
            for whole, piece in zip(out, part, strict=True):
                whole[index] = piece
    return Found(out, signs)


def concatenate(parts: list[Found]) -> Found:
    """Join several results."""
    maxima = Maxima(*(np.concatenate(arrays) for arrays in zip(*(p.maxima for p in parts), strict=True)))
    return Found(maxima, np.concatenate([p.signs for p in parts]))


def distinct(found: Found, limit: int, cosine: float = 0.98) -> Found:
    """Up to `limit` maxima by value; one too close to a better one of its sign is skipped."""
    order = np.argsort(-found.maxima.values, kind="stable")
    taken: list[int] = []
    chosen = np.zeros((0, found.maxima.directions.shape[1]))
    for s in order:
        if len(taken) >= limit:
            break
        u = found.signs[s] * found.maxima.directions[s]
        same = found.signs[taken] == found.signs[s] if taken else np.zeros(0, dtype=bool)
        if not taken or not np.any((chosen @ u > cosine) & same):
            taken.append(int(s))
            chosen = np.vstack([chosen, u])
    return found.take(np.array(taken, dtype=np.int64))


def hops(found: Found, rng: np.random.Generator, top: int = 60) -> tuple[Array, Array]:
    """Starts around the best maxima (with noise, and mirrored), and their signs: violators cluster."""
    best = distinct(found, top)
    u = best.maxima.directions
    parts = [u + noise * _noise(u, rng) for noise in _HOP_NOISE]
    parts.append(-u + 0.1 * _noise(u, rng))
    return np.concatenate(parts), np.tile(best.signs, len(parts))


def _noise(like: Array, rng: np.random.Generator) -> Array:
    return np.asarray(rng.standard_normal(like.shape) / np.sqrt(like.shape[1]))


def search(
    X: Array,
    rows: Rows,
    nu: Array,
    *,
    starts: int,
    rng: np.random.Generator,
    neurons: Array | None = None,
    neuron_signs: Array | None = None,
    stop_above: float = np.inf,
    deadline: float = np.inf,
) -> Search:
    """max over both signs of local maxima of ±νᵀ(Xu)_+ on the unit ball, from fresh starts.

    Parameters
    ----------
    X : (n, d), rows : `prepare_rows(X)`, nu : (n,)
    starts : int
        Ascents, over both signs, hops apart.
    rng : Generator
    neurons, neuron_signs : (m, d) and (m,), optional
        Directions near which maxima are likely, with the sign of their output weight.
    stop_above : float
        End at the first chunk with a larger value, after hops around the best of it.
    deadline : float
        Value of `time.perf_counter` at which to stop; at least one chunk is done.
    """
    if neurons is None or neuron_signs is None:
        neurons, neuron_signs = np.zeros((0, X.shape[1])), np.zeros(0)
    rho, done = 0.0, 0
    kept: list[Found] = []
    while done < starts:
        size = min(_CHUNK if deadline == np.inf else _TIMED_CHUNK, starts - done)
        halves = (size - size // 2, size // 2)
        parts = [
            fresh_starts(X, neurons[neuron_signs == sign], half, rng)
            for sign, half in zip((1.0, -1.0), halves, strict=True)
        ]
        found = climb_signed(rows, nu, np.concatenate(parts), np.repeat([1.0, -1.0], halves))
        done += size
        if found.maxima.values.max() > min(rho, stop_above) and found.maxima.values.max() > 0:
            around, signs = hops(found, rng, _HOP_FROM)
            found = concatenate([found, climb_signed(rows, nu, around, signs)])
            done += len(around)
        rho = max(rho, float(found.maxima.values.max()))
        kept.append(found.take(found.maxima.values > stop_above))
        if rho > stop_above or perf_counter() > deadline:
            break
    everything = concatenate(kept)
    return Search(rho, done, everything.take(np.argsort(-everything.maxima.values, kind="stable")))
