r"""Global training when n is large and d small, squared loss, with memory that is linear in n·(d + neurons).

    min over unit u_k, s_k = ±1, c ≥ 0 of  ½‖Σ_k s_k c_k (Xu_k)_+ − y‖² + β Σ_k c_k

A round: the masses c of the present bank to high accuracy (*lasso*), ν = y − f, local maxima of ±νᵀ(Xu)_+
from many starts (*price*), a bound D(tν), the violators into the bank, and all neurons at once along the
gradient of smoothed ReLUs (*slide*). Directions are found in float32 on smoothed ReLUs; objectives, ν and
every value behind a bound are float64 sums of the true ReLU over all rows.

The pricing of a round is optimistic, so several dual points are kept, each new maximum lowers the bounds of
all of them, and the result carries a bound only after a verification from fresh starts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from convexnn._threads import single_blas
from convexnn._types import Array
from convexnn.losses import LossLike
from convexnn.network import Network
from convexnn.pricing.smooth import (
    FINE,
    LOOP,
    Columns,
    Peaks,
    around,
    climb_smoothly,
    exact_values,
    fresh_directions,
    join,
    prepare_columns,
    rho_smoothly,
    separate,
    spread,
    verify_smoothly,
)
from convexnn.pricing.zero import FEW_COLUMNS, MANY_ROWS
from convexnn.status import Status
from convexnn.training._bank import Bank, Point, solve_bank
from convexnn.training._slide import Schedule, slide
from convexnn.training.loop import Best, Task, bound_of, value_at_zero

_ROUNDS = 100
_FIRST_SLIDE: Schedule = ((0.3, 25), (0.15, 25), (0.09, 25), (0.06, 25), (0.06, 25), (0.045, 25), (0.03, 25))
_SLIDE: Schedule = ((0.06, 20), (0.045, 20), (0.03, 20))
_LATE_SLIDE: Schedule = ((0.03, 20), (0.02, 20))
_LATE_BELOW = 4e-2  # gap from which on neurons slide on narrow kinks only
_STARTS = 1.3  # a neuron and round
_FINE_BELOW = 0.08  # share of violating starts from which on pricing goes to narrow kinks
_HOP_FROM_ROUND, _HOPS = 3, 2
_NEW = 300  # violators a round, or as many as there are neurons
_CHUNK = 1000
_KEPT = 3  # dual points
#: Starts of a verification down to β_max/30, and below. On protein at β_max/100 a maximum of 1.04 β was met
#: by one start in 1,200: a verification of 4,000 starts missed it, three of 10,000 found it.
VERIFY_STARTS, VERIFY_STARTS_SMALL = 4000, 10_000
#: Starts of the search that compares β with β_max.
_ZERO_STARTS = 1000
_SMALL = 30.5
#: A round is begun only if this many times the last one's seconds are left.
_NEXT_ROUND = 1.2
_RESERVE = 0.3  # the largest share of the time kept for the verification
_LAST_SECONDS = 2.0  # of a verification after an interruption


@dataclass
class DualPoint:
    """A ν with the largest value known there; `starts` is 0 until it is verified."""

    nu: Array
    rho: float
    bound: float
    starts: int = 0


@dataclass
class RowsState:
    """Everything that a round changes."""

    best: Best
    columns: Columns
    rng: np.random.Generator
    stop: float  # when to leave the rounds, so that the verification fits in
    bank: Bank
    starts: int  # of a verification
    kept: list[DualPoint] = field(default_factory=list)
    is_fine: bool = False
    round: int = 0


def has_many_rows(X: Array, loss: LossLike) -> bool:
    """The rule for this form: more than 4,000 rows, at most 40 columns, the squared loss."""
    return X.shape[0] > MANY_ROWS and X.shape[1] <= FEW_COLUMNS and loss == "squared"


def train_many_rows(
    task: Task, record: Callable[[Best], None], warm_start: Network | None = None
) -> tuple[Best, Status]:
    """The best network and its verified bound, and why the run ended; also on Ctrl-C, at whatever point.

    Parameters
    ----------
    task : Task
        Its `rows` are not used. `tol` is the relative gap at which to verify and stop.
    record : callable
        Called after each round with the best so far.
    warm_start : Network, optional
        Neurons to start from in place of random ones.
    """
    n, d = task.X.shape
    none = Bank(np.zeros((0, d)), np.zeros(0), np.zeros(0))
    best = Best(value_at_zero(task), none.directions, none.signs, 0.0, np.zeros(n), 0.0, is_large=True)
    try:
        top = rho_smoothly(task.X, task.y, _ZERO_STARTS, task.seed)
    except KeyboardInterrupt:
        return best, Status.INTERRUPTED
    if top <= task.beta:
        best.nu, best.rho, best.starts = task.y, top, _ZERO_STARTS
        best.bound = bound_of(task, task.y, top)
        return best, Status.ZERO
    with single_blas():
        status = _guarded_run(task, best, none, top, record, warm_start)
    if not best.starts:  # no search was finished: the bound is that of ν = 0
        best.nu, best.rho, best.bound = np.zeros(n), 0.0, 0.0
    return best, status


def _guarded_run(
    task: Task,
    best: Best,
    none: Bank,
    top: float,
    record: Callable[[Best], None],
    warm_start: Network | None,
) -> Status:
    """The rounds, and a verification of their best bound whatever ended them."""
    state = None
    try:
        starts = VERIFY_STARTS if task.beta >= top / _SMALL else VERIFY_STARTS_SMALL
        columns, rng = prepare_columns(task.X), np.random.default_rng(task.seed)
        state = RowsState(best, columns, rng, _stop_time(task, 0.0), none, starts)
        state.kept.append(DualPoint(task.y, top, bound_of(task, task.y, top)))
        state.bank = _start(task, state, top, warm_start)
        status = _run(task, state, record)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    try:
        if state is not None and not best.starts:
            _verify(task, state, -np.inf, max(perf_counter() + _LAST_SECONDS, task.deadline))
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return status


def _stop_time(task: Task, seconds: float) -> float:
    """The deadline less the `seconds` that a verification will take, or a share of what is left."""
    if not np.isfinite(task.deadline):
        return np.inf
    left = max(0.0, task.deadline - perf_counter())
    return task.deadline - min(seconds, _RESERVE * left)


def _run(task: Task, state: RowsState, record: Callable[[Best], None]) -> Status:
    begin = perf_counter()
    for state.round in range(_ROUNDS):
        point = solve_bank(state.columns, task.y, task.beta, state.bank)
        _take_primal(state.best, point)
        peaks = _price(task, state, point)
        seconds = perf_counter() - begin
        _take_bound(task, state, point.nu, peaks)
        if state.best.gap <= task.tol:
            refuting = _verify(task, state, task.tol, task.deadline)
            if state.best.gap <= task.tol and state.best.starts:
                record(state.best)
                return Status.CONVERGED if perf_counter() <= task.deadline else Status.TIME_LIMIT
            peaks = join([peaks, refuting])
        record(state.best)
        if perf_counter() + _NEXT_ROUND * seconds > state.stop:
            return Status.TIME_LIMIT
        begin = perf_counter()
        state.bank = _grow(task, state, point, peaks)
    return Status.ITERATION_LIMIT


def _start(task: Task, state: RowsState, top: float, warm_start: Network | None) -> Bank:
    """Random neurons in whitened coordinates with small equal masses, slid; or those of a network."""
    columns, d = state.columns, task.X.shape[1]
    if warm_start is not None:
        net = warm_start.balanced()
        size = np.linalg.norm(net.U, axis=0)
        return Bank((net.U / size).T, np.sign(net.alpha), size * np.abs(net.alpha))
    count = 100 if task.beta >= top / 300 else 500
    U, signs = fresh_directions(columns, np.zeros((0, d)), np.zeros(0), count, state.rng)
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    mass = 0.01 * float(np.sqrt(np.mean(task.y**2))) / (np.sqrt(count) * spread(columns, U).mean())
    bank = Bank(U, signs, np.full(count, mass))
    return slide(columns, task.y, task.beta, bank, schedule=_FIRST_SLIDE, rng=state.rng, deadline=state.stop)


def _take_primal(best: Best, point: Point) -> None:
    if point.primal < best.primal:
        best.primal = point.primal
        best.v = point.bank.masses[:, None] * point.bank.directions
        best.signs = point.bank.signs.copy()


def _limit(task: Task) -> float:
    """Values above this are violations worth a neuron."""
    return task.beta * (1.0 + 0.05 * task.tol)


def _price(task: Task, state: RowsState, point: Point) -> Peaks:
    """Local maxima of ±νᵀ(Xu)_+ from the neurons, their mirrors and fresh starts, then around violators."""
    begin, bank = perf_counter(), point.bank
    m = len(bank.signs)
    count = int(_STARTS * max(m, 60)) + 100
    U, signs = fresh_directions(state.columns, bank.directions, bank.signs, count, state.rng)
    U = np.concatenate([bank.directions, -bank.directions, U])
    signs = np.concatenate([bank.signs, bank.signs, signs])
    schedule = FINE if state.is_fine else LOOP

    def climb(U: Array, signs: Array) -> Peaks:
        parts = []
        for lo in range(0, len(U), _CHUNK):
            part = slice(lo, lo + _CHUNK)
            parts.append(climb_smoothly(state.columns, point.nu, U[part], signs[part], schedule, task.beta))
            if perf_counter() > state.stop:
                break
        return join(parts)

    found = climb(U, signs)
    violating = found.values > _limit(task)
    state.is_fine = state.is_fine or float(violating.mean()) < _FINE_BELOW
    for _ in range(_HOPS if state.round >= _HOP_FROM_ROUND else 0):
        violating = found.values > _limit(task)
        if not violating.any() or perf_counter() > state.stop:
            break
        found = join([found, climb(*around(found.take(violating), state.columns, state.rng))])
    seconds = perf_counter() - begin
    state.stop = _stop_time(task, 1.5 * state.starts * seconds / len(found.values))
    return found


def _take_bound(task: Task, state: RowsState, nu: Array, peaks: Peaks) -> None:
    """Lower the kept dual points with the new maxima, then keep ν if its bound is among the best."""
    _refute(task, state, peaks.take(peaks.values > 0.9 * task.beta))
    rho = float(peaks.values.max())
    state.kept.append(DualPoint(nu, rho, bound_of(task, nu, rho)))
    state.kept.sort(key=lambda point: -point.bound)
    del state.kept[_KEPT:]
    _show(state)


def _refute(task: Task, state: RowsState, peaks: Peaks) -> None:
    """Lower every kept bound whose dual point has a larger value at one of these directions."""
    if not len(peaks.signs):
        return
    for point in state.kept:
        values = peaks.signs * exact_values(state.columns, point.nu, peaks.directions)
        if values.max() > point.rho:
            point.rho = float(values.max())
            point.bound = bound_of(task, point.nu, point.rho)


def _show(state: RowsState) -> None:
    """Put the best of the kept dual points into `best`."""
    if state.kept:
        point = max(state.kept, key=lambda point: point.bound)
        best = state.best
        best.nu, best.rho, best.bound, best.starts = point.nu, point.rho, point.bound, point.starts


def _verify(task: Task, state: RowsState, tol: float, deadline: float) -> Peaks:
    """Search the best kept dual points from fresh starts until one stands; returns what refuted the others.

    With `tol` ≥ 0 a search ends once the gap leaves it; with −∞ each search runs to its end or the deadline.
    """
    bank, found = _best_bank(state.best), []
    for _ in range(_KEPT):
        if not state.kept or (tol >= 0 and state.best.gap > tol) or state.best.starts:
            break
        point = max(state.kept, key=lambda point: point.bound)
        outcome = verify_smoothly(
            task.X, state.columns, point.nu, bank.directions, bank.signs, starts=state.starts, rng=state.rng,
            stop_above=_refuted_from(task, state.best, point, tol), keep_above=task.beta, deadline=deadline,
        )  # fmt: skip
        if outcome.rho > point.rho:
            point.rho = outcome.rho
            point.bound = bound_of(task, point.nu, outcome.rho)
        _refute(task, state, outcome.peaks)
        found.append(outcome.peaks)
        stands = tol < 0 or state.best.primal - point.bound <= tol * state.best.primal
        point.starts = outcome.starts if stands else 0
        _show(state)
        if perf_counter() > deadline:
            break
    if not state.best.starts and any(point.starts for point in state.kept):  # out of time: the best verified
        state.kept = [point for point in state.kept if point.starts]
        _show(state)
    return join(found) if found else Peaks(np.zeros(0), np.zeros((0, task.X.shape[1])), np.zeros(0))


def _refuted_from(task: Task, best: Best, point: DualPoint, tol: float) -> float:
    """The ρ at which the gap leaves `tol`."""
    if tol < 0:
        return np.inf
    low, high = point.rho, 2.0 * point.rho
    for _ in range(60):
        middle = 0.5 * (low + high)
        inside = best.primal - bound_of(task, point.nu, middle) <= tol * best.primal
        low, high = (middle, high) if inside else (low, middle)
    return low


def _best_bank(best: Best) -> Bank:
    masses = np.linalg.norm(best.v, axis=1)
    return Bank(best.v / np.maximum(masses, 1e-300)[:, None], best.signs, masses)


def _grow(task: Task, state: RowsState, point: Point, peaks: Peaks) -> Bank:
    """Take in the violators, give all neurons their masses, and slide."""
    bank, columns = point.bank, state.columns
    new = separate(peaks.take(peaks.values > _limit(task)), max(_NEW, len(bank.signs)))
    joined = Bank(
        np.concatenate([bank.directions, new.directions]),
        np.concatenate([bank.signs, new.signs]),
        np.concatenate([bank.masses, np.zeros(len(new.signs))]),
    )
    grown = solve_bank(columns, task.y, task.beta, joined)
    _take_primal(state.best, grown)
    schedule = _LATE_SLIDE if state.best.gap < _LATE_BELOW else _SLIDE
    return slide(
        columns, task.y, task.beta, grown.bank, schedule=schedule, rng=state.rng, deadline=state.stop
    )
