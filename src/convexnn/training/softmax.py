r"""Global training for softmax cross-entropy: column generation over cells, one set of them for each output.

    min over networks   Σ_i (log Σ_k exp f_ik − Y_iᵀf_i) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²)

An optimum has one output a neuron; the dual is max Σ_i S(Y_i − ν_i) subject to ρ(±ν_k) ≤ β for every output
k. A round is that of `convexnn.training.loop`: an inner minimisation over all outputs together
(`convexnn.solvers.softmax_inner`), pricing of every column of ν by exact ascent, a bound D(tν), new cells
from the violators; once the gap is within the tolerance, every column of ν is verified from fresh starts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import numpy as np

from convexnn._threads import OutOfTime, single_blas
from convexnn._types import Array, IntArray
from convexnn.activation import activate
from convexnn.certificate_outputs import starts_of_output
from convexnn.losses.softmax import Softmax
from convexnn.network import Network
from convexnn.pricing.search import Found, concatenate, distinct, search
from convexnn.solvers.inner import step_length
from convexnn.solvers.softmax_inner import SoftmaxPoint, SoftmaxProblem, minimise_softmax, normalised
from convexnn.status import Status
from convexnn.training.cells import Cells, absorb, cells_of_neurons, drop_idle, merge, relabel
from convexnn.training.loop import (
    Best,
    State,
    Task,
    beats_zero,
    bound_of,
    largest_rho,
    price,
    value_at_zero,
    violation_limit,
)

_NEW = 400  # violators added a round, over all outputs
_ROUNDS = 300


@dataclass
class SoftmaxBest:
    """The best network and the best bound so far."""

    primal: float
    v: Array  # (m, d) signed blocks of the best network
    signs: Array  # (m,)
    outputs: IntArray  # (m,) the output that each feeds
    bound: float
    nu: Array  # (n, c) unscaled dual point of the bound
    rho: float  # largest ρ(±nu_k) known
    starts: int = 0  # verification starts that nu has survived
    negative_slope: float = 0.0

    @property
    def gap(self) -> float:
        """(primal − bound)/primal."""
        return (self.primal - self.bound) / self.primal if self.primal > 0 else 0.0

    def network(self, X: Array) -> Network:
        """The network of the blocks, balanced and merged, α of shape (m, c)."""
        norm = np.linalg.norm(self.v, axis=1)
        keep = norm > 0
        root = np.sqrt(norm[keep])
        alpha = np.zeros((len(root), self.nu.shape[1]))
        alpha[np.arange(len(root)), self.outputs[keep]] = self.signs[keep] * root
        U = (self.v[keep] / root[:, None]).T
        return Network(U, alpha, negative_slope=self.negative_slope).merged(X)


@dataclass
class SoftmaxState:
    """Everything that a round changes."""

    cells: list[Cells]  # of each output
    z: Array  # (n, c) log P of the inner problem
    sigma: float
    sigma_start: float
    best: SoftmaxBest

    def one_output(self, k: int, nu: Array) -> State:
        """What pricing needs to know of output k."""
        none, best = np.zeros(0), self.best
        known = Best(best.primal, none, none, best.bound, none, best.rho)
        return State(self.cells[k], nu[:, k], self.sigma, self.sigma_start, known)


def start_softmax(task: Task, network: Network) -> SoftmaxState:
    """Cells, masses and dual point of a network, or of the zero network if that has a lower objective."""
    if not beats_zero(task, network):
        network = Network.zero(task.X.shape[1], task.y.shape[1], negative_slope=task.negative_slope)
    parts = network.outputs()
    total = sum(part.penalty() for part in parts)
    cells = []
    for part in parts:
        v = (part.U * np.abs(part.alpha)).T
        keep = np.linalg.norm(v, axis=1) > 1e-6 * total
        signs, slope = np.sign(part.alpha)[keep], task.negative_slope
        cells.append(cells_of_neurons(task.X, np.ascontiguousarray(v[keep]), signs, slope))
    count = sum(len(c.blocks) for c in cells)
    mean = total / count if count else 0.01 * value_at_zero(task) / task.beta
    v, signs = np.concatenate([c.blocks.v for c in cells]), np.concatenate([c.blocks.signs for c in cells])
    outputs = np.repeat(np.arange(len(cells)), [len(c.blocks) for c in cells])
    nu = np.zeros_like(task.y)
    best = SoftmaxBest(np.inf, v, signs, outputs, 0.0, nu, 0.0, negative_slope=task.negative_slope)
    best.primal = best.network(task.X).objective(task.X, task.y, task.beta, task.loss)
    sigma = 30.0 * mean / task.beta
    z = normalised(network.predict(task.X))
    return SoftmaxState([merge(c) for c in cells], z, sigma, sigma, best)


def run_softmax(task: Task, state: SoftmaxState, record: Callable[[SoftmaxBest], None]) -> Status:
    """Rounds until the verified gap is within the tolerance, or a limit is hit."""
    with single_blas():
        try:
            return _rounds(task, state, record)
        except OutOfTime:
            return Status.TIME_LIMIT


def _rounds(task: Task, state: SoftmaxState, record: Callable[[SoftmaxBest], None]) -> Status:
    rng = np.random.default_rng(task.seed)
    columns = range(task.y.shape[1])
    for _ in range(_ROUNDS):
        nu = _master_step(task, state)
        found = []
        for k in columns:
            relabel(task.rows, state.cells[k], nu[:, k])
            found.append(price(task, state.one_output(k, nu), np.ascontiguousarray(nu[:, k]), rng))
        _update_bound(task, state.best, nu, found)
        if state.best.gap <= task.tol:
            refuted = _verify(task, state, rng)
            if refuted is None:
                record(state.best)
                wanted = sum(starts_of_output(len(cells.active)) for cells in state.cells)
                is_cut = state.best.starts < wanted and perf_counter() > task.deadline
                return Status.TIME_LIMIT if is_cut else Status.CONVERGED
            found = [concatenate([a, b]) for a, b in zip(found, refuted, strict=True)]
        record(state.best)
        if perf_counter() > task.deadline:
            return Status.TIME_LIMIT
        _grow(task, state, found)
    return Status.ITERATION_LIMIT


def _master_step(task: Task, state: SoftmaxState) -> Array:
    """One proximal step on the dual over the present cells; returns the new ν (n, c)."""
    weights = cast(Softmax, task.function).row_weights(len(task.y))
    problem = SoftmaxProblem(
        task.X, task.rows, task.y, weights, task.beta, state.sigma, deadline=task.deadline
    )
    blocks = [cells.blocks for cells in state.cells]
    best = state.best

    def should_stop(measure: float, scale: float, point: SoftmaxPoint) -> bool:
        gap = min(best.primal - best.bound, 0.3 * best.primal)
        moved = sum(step_length(b, part) for b, part in zip(blocks, point.parts, strict=True))
        return (
            measure <= 0.1 * moved / state.sigma
            or np.sqrt(measure) * scale <= 0.1 * gap
            or perf_counter() > task.deadline
        )

    point, _ = minimise_softmax(problem, blocks, state.z, should_stop=should_stop)
    state.z = point.z
    for cells, part in zip(state.cells, point.parts, strict=True):
        cells.blocks.v[:] = 0.0
        cells.blocks.v[part.active] = part.u
        cells.idle += 1
        cells.idle[part.active] = 0
    v = np.concatenate([part.u for part in point.parts])
    primal = task.function.value(point.fit, task.y) + task.beta * float(np.linalg.norm(v, axis=1).sum())
    if primal < best.primal:
        best.primal, best.v = primal, v
        best.signs = np.concatenate([b.signs[p.active] for b, p in zip(blocks, point.parts, strict=True)])
        best.outputs = np.repeat(np.arange(len(blocks)), [len(part.active) for part in point.parts])
    return np.asarray(weights * (task.y - point.p))


def _update_bound(task: Task, best: SoftmaxBest, nu: Array, found: list[Found]) -> None:
    """Refute the stored bound with the new maxima, then take the bound of ν if it is better."""
    if best.nu.any():
        for k, maxima in enumerate(found):
            near = maxima.take(maxima.maxima.values > 0.9 * task.beta)
            z = activate(near.maxima.directions @ task.X.T, task.negative_slope) @ best.nu[:, k]
            best.rho = max(best.rho, float(np.max(near.signs * z, initial=0.0)))
        best.bound = bound_of(task, best.nu, best.rho)
    rho = max(float(maxima.maxima.values.max()) for maxima in found)
    bound = bound_of(task, nu, rho)
    if bound > best.bound:
        best.bound, best.nu, best.rho, best.starts = bound, nu.copy(), rho, 0


def _verify(task: Task, state: SoftmaxState, rng: np.random.Generator) -> list[Found] | None:
    """Search each column of the stored ν from fresh starts: None if the gap stands, else what refutes it."""
    best = state.best
    wide = task.tol * best.primal
    limit = largest_rho(lambda rho: best.primal - bound_of(task, best.nu, rho) <= wide, best.rho)
    found, starts, is_refuted = [], 0, False
    for k, cells in enumerate(state.cells):
        b, active = cells.blocks, cells.active
        outcome = search(
            task.X, task.rows, np.ascontiguousarray(best.nu[:, k]), starts=starts_of_output(len(active)),
            rng=rng, neurons=b.v[active], neuron_signs=b.signs[active], stop_above=limit,
            deadline=task.deadline,
        )  # fmt: skip
        best.rho = max(best.rho, outcome.rho)
        found.append(outcome.found)
        starts += outcome.starts
        is_refuted |= outcome.rho > limit
    best.bound = bound_of(task, best.nu, best.rho)
    if not is_refuted:
        best.starts = starts
        return None
    return found


def _grow(task: Task, state: SoftmaxState, found: list[Found]) -> None:
    """Merge cells, take in the violators, drop idle cells and raise σ."""
    share = max(50, _NEW // len(found))
    for k, maxima in enumerate(found):
        violators = distinct(maxima.take(maxima.maxima.values > violation_limit(task)), share)
        cells, _ = absorb(task.X, merge(state.cells[k]), violators)
        state.cells[k] = drop_idle(cells)
    gap = max(state.best.gap, 1e-12)
    state.sigma = max(
        state.sigma, min(4.0 * state.sigma, 1e3 * state.sigma_start, 0.1 * state.sigma_start / gap)
    )
