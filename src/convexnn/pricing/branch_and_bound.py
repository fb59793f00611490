r"""ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+ bounded from above, with proof, by branch and bound over boxes.

`convexnn.pricing.reduction` writes the problem in r = rank X coordinates, `boxes` bounds it on the cone over
a box, `tree` splits the boxes, largest bound first. A box is closed once its bound is at most
τ = max(threshold, lower bound)(1 + rtol): ρ itself need not be known, only that nothing exceeds τ. The
answer is the largest bound of an open, a closed or a set-aside box, carried back to X by the proven error of
the reduction, so it is a bound at every moment.
"""

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import NamedTuple

import numpy as np

from convexnn._threads import THREADS
from convexnn._types import Array
from convexnn.activation import checked_slope
from convexnn.cones import prepare_rows
from convexnn.pricing.local import climb
from convexnn.pricing.reduction import Reduced, check_vector, proven_value, reduce_problem
from convexnn.pricing.sweep import sweep_reduced
from convexnn.pricing.tree import COUNT, NODES, STUCK, VALUE, Tree, advance, grown, halved, make_tree

#: Highest rank taken: a box has 2^(rank − 1) vertices.
MAX_RANK = 12
#: Trees worked on at a time: fixed, so that the answer does not depend on the number of cores.
_TREES = 4
_STARTS = 200
#: Open boxes of one tree at which to give up (about 200 bytes each).
_MAX_OPEN = 4_000_000
_FIRST_NODES, _MOST_NODES = 64, 2048


class RhoBound(NamedTuple):
    """lower ≤ ρ ≤ upper."""

    lower: float  # a value that `direction` attains, rounding taken off
    upper: float  # proven
    nodes: int  # boxes bounded
    finished: bool  # upper ≤ max(threshold, lower)(1 + rtol), as asked
    seconds: float
    direction: Array  # (d,) unit vector, or 0 where lower is 0


def rho_bound(
    X: Array,
    nu: Array,
    *,
    threshold: float | None = None,
    rtol: float = 1e-3,
    max_time: float | None = None,
    max_nodes: int | None = None,
    negative_slope: float = 0.0,
) -> RhoBound:
    r"""lower ≤ max(0, max_{‖u‖≤1} νᵀσ_s(Xu)) ≤ upper, and upper ≤ max(threshold, lower)(1 + rtol) at the end.

    Parameters
    ----------
    X : (n, d)
        Of rank at most 12; ranks up to 8 are practical. Ranks 0 to 2 are swept exactly.
    nu : (n,)
        One sign only: ρ(−ν) is another call, or `rho_bounds` does both.
    threshold : float, optional
        β: a bound below it is as good as any, which saves work where ρ < β.
    rtol : float
        At least 1e-8; the work grows like log(1/rtol).
        Where ρ is below a hundredth of rtol of Σ|ν_i|‖x_i‖, that much of the sum is the tolerance.
    max_time, max_nodes : float and int, optional
        Seconds, and boxes to bound; then the best proven bound so far is returned with finished=False.
    negative_slope : float
        s of the activation; 0 is the ReLU.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, an option is out of range or the rank is above 12.
    """
    return _search(X, nu, (1.0,), threshold, rtol, max_time, max_nodes, negative_slope)


def rho_bounds(
    X: Array,
    nu: Array,
    *,
    threshold: float | None = None,
    rtol: float = 1e-3,
    max_time: float | None = None,
    max_nodes: int | None = None,
    negative_slope: float = 0.0,
) -> RhoBound:
    r"""lower ≤ max(ρ(ν), ρ(−ν)) ≤ upper: both signs at once, in threads; `rho_bound` has the arguments.

    `direction` belongs to the sign with the larger lower bound.
    """
    return _search(X, nu, (1.0, -1.0), threshold, rtol, max_time, max_nodes, negative_slope)


class _Side:
    """One sign: its data, its lower bound."""

    def __init__(self, X: Array, nu: Array, negative_slope: float) -> None:
        self.X, self.nu, self.slope = X, nu, negative_slope
        self.problem: Reduced = reduce_problem(X, nu, negative_slope)
        self.lower, self.direction = 0.0, np.zeros(X.shape[1])
        rank = self.problem.rank
        if rank > MAX_RANK:
            raise ValueError(f"Branch and bound is for ranks up to {MAX_RANK}; X has rank {rank}.")
        self.swept = 0.0
        if rank <= 2:
            self.swept, found = sweep_reduced(self.problem)
            self.try_directions(found)
        else:
            self.climb_from(np.random.default_rng(0).standard_normal((_STARTS, rank)))

    def climb_from(self, starts: Array) -> None:
        """Raise the lower bound by local ascent."""
        rows = np.concatenate([self.problem.A, self.problem.B])
        signs = np.repeat([1.0, -1.0], [len(self.problem.A), len(self.problem.B)])
        maxima = climb(prepare_rows(rows), signs, starts, linear=self.problem.linear)
        self.try_directions(maxima.directions[np.argsort(-maxima.values, kind="stable")[:3]])

    def try_directions(self, found: Array) -> None:
        """Keep the best of some directions of the reduced problem, by its value on X itself."""
        for v in found:
            u = self.problem.basis @ v
            value = proven_value(self.X, self.nu, u, self.slope)
            if value > self.lower:
                self.lower, self.direction = value, u / np.linalg.norm(u)

    def tau(self, wanted: float, lower: float, rtol: float) -> float:
        """The value in reduced coordinates at which a box is closed; `wanted` is the bound asked for."""
        floor = 1e-2 * rtol * self.problem.mass
        least = lower / self.problem.scale * (1.0 + 0.25 * rtol)
        return max(self.problem.lower(wanted), least, floor)


class _Job:
    """A tree and the side it belongs to."""

    def __init__(self, tree: Tree, side: _Side) -> None:
        self.tree, self.side, self.tau = tree, side, 0.0

    @property
    def is_open(self) -> bool:
        return self.tree.open_bound > self.tau

    def run(self, limit: int) -> None:
        """Bound up to `limit` more boxes."""
        if len(self.tree.order) < self.tree.tally[COUNT] + limit + 1:
            self.tree = grown(self.tree)
        advance(self.tree, self.tau, limit)


def _search(
    X: Array, nu: Array, signs: tuple[float, ...], threshold: float | None, rtol: float,
    max_time: float | None, max_nodes: int | None, negative_slope: float,
) -> RhoBound:  # fmt: skip
    begin = perf_counter()
    X, nu = check_vector(X, nu)
    _check_options(threshold, rtol, max_time, max_nodes)
    sides = [_Side(X, sign * nu, checked_slope(negative_slope)) for sign in signs]
    jobs = [
        _Job(make_tree(s.problem.A, s.problem.B, s.problem.linear), s) for s in sides if s.problem.rank > 2
    ]
    deadline = np.inf if max_time is None else begin + max_time
    most = np.inf if max_nodes is None else max_nodes
    with ThreadPoolExecutor(max(1, min(THREADS, _TREES))) as pool:
        finished = _run(jobs, sides, threshold or 0.0, rtol, deadline, most, pool) if jobs else True
    best = max(sides, key=lambda s: s.lower)
    upper = max(
        best.lower,
        *(s.problem.upper(s.swept) for s in sides),
        *(j.side.problem.upper(max(j.tree.open_bound, *j.tree.found[:2])) for j in jobs),
    )
    nodes = sum(int(j.tree.tally[NODES]) for j in jobs)
    return RhoBound(best.lower, upper, nodes, finished, perf_counter() - begin, best.direction)


def _run(
    jobs: list[_Job], sides: list[_Side], threshold: float, rtol: float, deadline: float, most: float,
    pool: ThreadPoolExecutor,
) -> bool:  # fmt: skip
    """Work on the trees in rounds of a fixed number of boxes; whether no box stays above its τ."""
    limit = _FIRST_NODES
    cost = max(len(s.problem.A) + len(s.problem.B) for s in sides) * max(s.problem.rank for s in sides)
    largest = max(16, min(_MOST_NODES, 200_000_000 // (5_000 + 40 * cost)))
    while True:
        lower = max(s.lower for s in sides)
        wanted = max(threshold, lower) * (1.0 + rtol)
        for job in jobs:
            job.tau = job.side.tau(wanted, max(threshold, lower), rtol)
        active = [job for job in jobs if job.is_open]
        if not active:
            return all(job.tree.found[STUCK] <= job.tau for job in jobs)
        left = most - sum(int(job.tree.tally[NODES]) for job in jobs)
        if left < 2 or perf_counter() >= deadline:
            return False
        if any(job.tree.tally[COUNT] > _MAX_OPEN for job in active):
            return False
        share = int(min(limit, max(1.0, left // len(active))))
        list(pool.map(_Job.run, active, [share] * len(active)))
        _raise_lower(active)
        if limit > _FIRST_NODES:
            _share_out(jobs)
        limit = min(largest, 4 * limit)


def _raise_lower(jobs: list[_Job]) -> None:
    """Climb from the best direction that a tree met, where it beats the lower bound."""
    for job in jobs:
        side, found = job.side, job.tree.found
        if found[VALUE] * side.problem.scale > side.lower * (1.0 + 1e-9):
            side.climb_from(found[3:][None].copy())
            found[VALUE] = max(found[VALUE], side.lower / side.problem.scale)


def _share_out(jobs: list[_Job]) -> None:
    """Halve the trees with the most open boxes until there are enough for the threads."""
    active = sorted((job for job in jobs if job.is_open), key=lambda job: -int(job.tree.tally[COUNT]))
    while active and len(active) < _TREES and active[0].tree.tally[COUNT] >= 16:
        job = active[0]
        job.tree, other = halved(job.tree)
        jobs.append(_Job(other, job.side))
        jobs[-1].tau = job.tau
        active.append(jobs[-1])
        active.sort(key=lambda job: -int(job.tree.tally[COUNT]))


def _check_options(
    threshold: float | None, rtol: float, max_time: float | None, max_nodes: int | None
) -> None:
    if threshold is not None and not (np.isfinite(threshold) and threshold >= 0):
        raise ValueError(f"threshold must be a finite number that is not negative; it is {threshold!r}.")
    if not 1e-8 <= rtol < 1:
        raise ValueError(f"rtol must be between 1e-8 and 1; it is {rtol!r}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be a positive number of seconds; it is {max_time!r}.")
    if max_nodes is not None and max_nodes < 0:
        raise ValueError(f"max_nodes must not be negative; it is {max_nodes!r}.")
