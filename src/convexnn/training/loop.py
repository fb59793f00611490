r"""Column generation over cells with the augmented Lagrangian on the dual as master.

A round: one inner minimisation over the present cells (new masses V, dual point ν), pricing of ν by exact
ascent from many starts, a bound D(tν), and new cells from the violators. Once the gap is within the
tolerance, ν is verified from fresh starts; a refuted bound is lowered and the refuting cells go in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from convexnn._threads import OutOfTime, single_blas
from convexnn._types import Array
from convexnn.activation import activate
from convexnn.certificate import default_starts
from convexnn.cones import Rows, prepare_rows
from convexnn.intercepts import balanced, best_intercept
from convexnn.losses import Loss, LossLike, get_loss
from convexnn.network import Network
from convexnn.pricing.search import Found, climb_signed, concatenate, distinct, hops, search
from convexnn.solvers.conjugates import make_conjugate, starting_point
from convexnn.solvers.inner import InnerPoint, InnerProblem, blocks_fit, minimise_inner, step_length
from convexnn.status import Status
from convexnn.training.cells import Cells, absorb, cells_of_neurons, drop_idle, merge, relabel

_FEWEST = 30  # neurons that the starts of a round are counted from, at least
_NEW = 400  # violators added a round
_ROUNDS = 300
_HOP_BELOW = 3e-2  # gap from which on rounds hop around new violators
_HOPS = 10
_HOP_FROM = 60
#: σ₀ Σ 1/c″, the weight of the constraint 1ᵀν = 0 in the inner problem.
_PULL = 1e6
_LATE_BELOW = 1e-2
#: Starts: (+1 near a neuron or −1 near its mirror, width of the noise, how many for each neuron).
_EARLY_NOISE = ((-1, 0.3, 0.5), (1, 0.3, 0.5), (1, 0.6, 0.5), (-1, 0.6, 0.5), (1, 1.0, 0.5), (1, 1.4, 0.5))
_LATE_NOISE = ((-1, 0.3, 1.0), (1, 0.6, 1.0), (-1, 0.6, 1.0), (1, 1.0, 2.0), (1, 1.4, 2.0))


@dataclass(frozen=True)
class Task:
    """The problem and its limits."""

    X: Array
    y: Array
    beta: float
    loss: LossLike
    tol: float
    deadline: float
    seed: int
    rows: Rows = field(repr=False)
    intercept: bool = False  # whether an unpenalised b₀ is free

    @property
    def function(self) -> Loss:
        """The loss as an object."""
        return get_loss(self.loss)

    @property
    def negative_slope(self) -> float:
        """s of the activation."""
        return self.rows.negative_slope


@dataclass
class Best:
    """The best network and the best bound so far."""

    primal: float
    v: Array  # (m, d) signed blocks of the best network
    signs: Array
    bound: float
    nu: Array  # unscaled dual point of the bound
    rho: float  # largest ρ(±nu) known
    starts: int = 0  # verification starts that nu has survived
    is_large: bool = False  # of a form for large data: neurons are merged already, or not worth merging
    intercept: float = 0.0
    negative_slope: float = 0.0

    @property
    def gap(self) -> float:
        """(primal − bound)/primal."""
        return (self.primal - self.bound) / self.primal if self.primal > 0 else 0.0

    @property
    def n_blocks(self) -> int:
        """Blocks with mass: the neurons before those that share a closed cell are merged."""
        return int(np.count_nonzero(self.v.any(axis=1)))

    def network(self, X: Array) -> Network:
        """The network of the blocks, balanced; merged unless `is_large`."""
        norm = np.linalg.norm(self.v, axis=1)
        keep = norm > 0
        root = np.sqrt(norm[keep])
        net = Network(
            (self.v[keep] / root[:, None]).T, self.signs[keep] * root, intercept=self.intercept,
            negative_slope=self.negative_slope,
        )  # fmt: skip
        return net if self.is_large else net.merged(X)


@dataclass
class State:
    """Everything that a round changes."""

    cells: Cells
    q: Array
    sigma: float
    sigma_start: float
    best: Best
    intercept: float = 0.0  # the multiplier of 1ᵀν = 0


def make_task(
    X: Array,
    y: Array,
    beta: float,
    loss: LossLike,
    tol: float,
    max_time: float | None,
    seed: int,
    *,
    is_large: bool = False,
    intercept: bool = False,
    negative_slope: float = 0.0,
) -> Task:
    """A Task whose time starts now; `is_large` leaves out the copies of X that only cells need."""
    none = np.zeros((0, 0))
    rows = Rows(none, none, np.zeros(0)) if is_large else prepare_rows(X, negative_slope)
    deadline = np.inf if max_time is None else perf_counter() + max_time
    return Task(X, y, beta, loss, tol, deadline, seed, rows, intercept)


def value_at_zero(task: Task) -> float:
    """The objective of the zero network, with the best b₀ if that is free."""
    zero = np.zeros_like(task.y)
    if task.intercept:
        zero += best_intercept(task.loss, zero, task.y)
    return task.function.value(zero, task.y)


def beats_zero(task: Task, network: Network) -> bool:
    """Whether a network's objective is below that of the zero network, which proves β < β_max."""
    return network.objective(task.X, task.y, task.beta, task.loss) < value_at_zero(task)


def start_state(task: Task, network: Network) -> State:
    """Cells, masses and dual point of a network, or of the zero network if that has a lower objective."""
    net = network.balanced()
    v = (net.U * np.abs(net.alpha)).T
    size = np.linalg.norm(v, axis=1)
    keep = size > 1e-6 * size.sum()
    if not beats_zero(task, network):
        keep[:] = False
    v, signs, slope = np.ascontiguousarray(v[keep]), np.sign(net.alpha)[keep], task.negative_slope
    cells = cells_of_neurons(task.X, v, signs, slope)
    fit = blocks_fit(task.X, cells.blocks.masks, signs, cells.blocks.v, slope)
    total = float(np.linalg.norm(v, axis=1).sum())
    b = best_intercept(task.loss, fit, task.y) if task.intercept else 0.0
    fit = fit + b if task.intercept else fit
    primal = task.function.value(fit, task.y) + task.beta * total
    mean = total / len(v) if len(v) else 0.01 * value_at_zero(task) / task.beta
    best = Best(
        primal, v.copy(), signs.copy(), 0.0, np.zeros(len(task.y)), 0.0, intercept=b, negative_slope=slope
    )
    sigma = 30.0 * mean / task.beta
    return State(merge(cells), starting_point(task.loss, task.y, fit), sigma, sigma, best, b)


def run(task: Task, state: State, record: Callable[[Best], None]) -> Status:
    """Rounds until the verified gap is within the tolerance, or a limit is hit."""
    with single_blas():
        try:
            return _rounds(task, state, record)
        except OutOfTime:
            return Status.TIME_LIMIT


def _rounds(task: Task, state: State, record: Callable[[Best], None]) -> Status:
    rng = np.random.default_rng(task.seed)
    for _ in range(_ROUNDS):
        nu = _master_step(task, state)
        record(state.best)
        relabel(task.rows, state.cells, nu)
        found = price(task, state, nu, rng)
        _update_bound(task, state, nu, found)
        if state.best.gap <= task.tol:
            refuted = _verify(task, state, rng)
            if refuted is None:
                record(state.best)
                wanted = default_starts(len(state.cells.active))
                is_cut = state.best.starts < wanted and perf_counter() > task.deadline
                return Status.TIME_LIMIT if is_cut else Status.CONVERGED
            found = concatenate([found, refuted])
        if perf_counter() > task.deadline:
            record(state.best)
            return Status.TIME_LIMIT
        _grow(task, state, found)
    return Status.ITERATION_LIMIT


def _master_step(task: Task, state: State) -> Array:
    """One proximal step on the dual over the present cells; returns the new ν."""
    blocks = state.cells.blocks
    tau = 0.3 * state.sigma / state.sigma_start
    conjugate = make_conjugate(task.loss, task.y, state.q, tau)
    pull = _PULL / float(conjugate.inverse_curvature(state.q).sum()) if task.intercept else 0.0
    problem = InnerProblem(
        task.X, task.rows, conjugate, task.beta, state.sigma, deadline=task.deadline,
        intercept=state.intercept, pull=pull,
    )  # fmt: skip
    best = state.best

    def should_stop(measure: float, scale: float, point: InnerPoint) -> bool:
        gap = min(best.primal - best.bound, 0.3 * best.primal)
        moved = 0.1 * (point.intercept - state.intercept) ** 2 / pull if pull else 0.0
        return (
            measure <= 0.1 * step_length(blocks, point) / state.sigma + moved
            or np.sqrt(measure) * scale <= 0.1 * gap
            or perf_counter() > task.deadline
        )

    point, _ = minimise_inner(problem, blocks, state.q, should_stop=should_stop)
    state.q = point.q
    blocks.v[:] = 0.0
    blocks.v[point.active] = point.u
    state.cells.idle += 1
    state.cells.idle[point.active] = 0
    size = float(np.linalg.norm(point.u, axis=1).sum())
    fit = point.fit
    if task.intercept:
        moved_on = best_intercept(task.loss, fit, task.y)
        fit = fit + moved_on
        state.intercept = point.intercept
    primal = task.function.value(fit, task.y) + task.beta * size
    if primal < best.primal:
        best.primal, best.v, best.signs = primal, point.u.copy(), blocks.signs[point.active]
        best.intercept = point.intercept + moved_on if task.intercept else 0.0
    nu = np.asarray(conjugate.sign * state.q)
    return balanced(nu) if task.intercept else nu


def price(task: Task, state: State, nu: Array, rng: np.random.Generator) -> Found:
    """Local maxima of ±νᵀ(Xu)_+ from the neurons, their mirrors and noise, then hops around new violators.

    Violators cluster: a start near one is twenty times as likely to find another as any other start.
    """
    starts, signs = _starts(task, state, rng)
    found = climb_signed(task.rows, nu, starts, signs, cut=task.beta, deadline=task.deadline)
    if state.best.gap >= _HOP_BELOW:
        return found
    seen, seen_signs = _unit_neurons(state)
    last = found
    for _ in range(_HOPS):
        violators = distinct(last.take(last.maxima.values > violation_limit(task)), _NEW)
        cosine = violators.maxima.directions @ seen.T
        cosine[violators.signs[:, None] != seen_signs] = -1.0
        new = np.flatnonzero(cosine.max(axis=1, initial=-1.0) < 0.98)[:_HOP_FROM]
        if not len(new):
            break
        violators = violators.take(new)
        seen = np.concatenate([seen, violators.maxima.directions])
        seen_signs = np.concatenate([seen_signs, violators.signs])
        around, around_signs = hops(violators, rng)
        last = climb_signed(task.rows, nu, around, around_signs, cut=task.beta, deadline=task.deadline)
        found = concatenate([found, last])
    return found


def _unit_neurons(state: State) -> tuple[Array, Array]:
    """Directions and signs of the blocks with mass."""
    b, active = state.cells.blocks, state.cells.active
    v = b.v[active]
    return v / np.linalg.norm(v, axis=1, keepdims=True), b.signs[active]


def _starts(task: Task, state: State, rng: np.random.Generator) -> tuple[Array, Array]:
    """The neurons, their mirrors, both with noise, and Gaussians; more of them once the gap is small."""
    units, own = _unit_neurons(state)
    d = task.X.shape[1]

    def noise(count: int) -> Array:
        return np.asarray(rng.standard_normal((count, d)) / np.sqrt(d))

    is_late = state.best.gap < _LATE_BELOW
    gaussians = 100 if is_late else 50
    starts, signs = [noise(gaussians)], [np.repeat([1.0, -1.0], gaussians // 2)]
    if len(units):
        starts += [units, -units]
        signs += [own, own]
        for mirror, width, share in _LATE_NOISE if is_late else _EARLY_NOISE:
            pick = rng.integers(len(units), size=int(share * max(len(units), _FEWEST)))
            starts.append(mirror * units[pick] + width * noise(len(pick)))
            signs.append(own[pick])
    return np.concatenate(starts), np.concatenate(signs)


def violation_limit(task: Task) -> float:
    """Values above this are violations worth a new cell."""
    return task.beta * (1.0 + 0.05 * task.tol)


def _update_bound(task: Task, state: State, nu: Array, found: Found) -> None:
    """Refute the stored bound with the new maxima, then take the bound of ν if it is better."""
    best = state.best
    near = found.maxima.values > 0.9 * task.beta
    _refute(task, best, found.take(near))
    rho = float(found.maxima.values.max())
    bound = bound_of(task, nu, rho)
    if bound > best.bound:
        best.bound, best.nu, best.rho, best.starts = bound, nu.copy(), rho, 0


def _refute(task: Task, best: Best, found: Found) -> None:
    """Lower the stored bound if a direction has a larger value at its dual point."""
    if not len(found.signs) or not best.nu.any():
        return
    z = activate(found.maxima.directions @ task.X.T, task.negative_slope) @ best.nu
    largest = float(np.max(found.signs * z))
    if largest > best.rho:
        best.rho = largest
        best.bound = bound_of(task, best.nu, largest)


def bound_of(task: Task, nu: Array, rho: float) -> float:
    """max_t D(tν) for t ≤ β/ρ, never below 0."""
    t = task.function.best_scale(nu, task.y, task.beta / rho if rho > 0 else np.inf)
    return max(0.0, task.function.dual_value(t * nu, task.y))


def _verify(task: Task, state: State, rng: np.random.Generator) -> Found | None:
    """Search the stored ν from fresh starts: None if the gap stands, else the maxima that refute it."""
    best = state.best
    b, active = state.cells.blocks, state.cells.active
    wanted = default_starts(len(active)) - best.starts
    if wanted <= 0:
        return None
    wide = task.tol * best.primal
    limit = largest_rho(lambda rho: best.primal - bound_of(task, best.nu, rho) <= wide, best.rho)
    outcome = search(
        task.X, task.rows, best.nu, starts=wanted, rng=rng, neurons=b.v[active], neuron_signs=b.signs[active],
        stop_above=limit, deadline=task.deadline,
    )  # fmt: skip
    if outcome.rho > best.rho:
        best.rho = outcome.rho
        best.bound = bound_of(task, best.nu, outcome.rho)
    if best.gap <= task.tol:
        best.starts += outcome.starts
        return None
    return outcome.found


def largest_rho(holds: Callable[[float], bool], rho: float) -> float:
    """The largest ρ in [rho, 2 rho] at which the gap still holds, by bisection."""
    low, high = rho, 2.0 * rho
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _grow(task: Task, state: State, found: Found) -> None:
    """Merge cells, take in the violators, drop idle cells and raise σ."""
    cells = merge(state.cells)
    violators = distinct(found.take(found.maxima.values > violation_limit(task)), _NEW)
    cells, _ = absorb(task.X, cells, violators)
    state.cells = drop_idle(cells)
    gap = max(state.best.gap, 1e-12)
    state.sigma = max(
        state.sigma, min(4.0 * state.sigma, 1e3 * state.sigma_start, 0.1 * state.sigma_start / gap)
    )
