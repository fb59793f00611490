r"""Training of ReLU convolutions with global pooling: descend, price, correct, on the stacked patches.

A round: one proximal step over the present cells (`convexnn.convolution.dual`), exact ascent of the pooled
±ρ from many starts (`convexnn.pricing`), a bound, and new cells from what violates it. Once the gap is
within the tolerance, the dual point is verified from fresh starts. With given patterns there is no pricing:
the program over these patterns is solved, and its certificate is about these patterns only.
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._types import Array, Progress
from convexnn.certificate import default_starts, make_certificate
from convexnn.convolution.dual import DualState, first_sigma, lower_bound, outer_step, solve_dual
from convexnn.convolution.patches import check_limits, check_patches
from convexnn.convolution.pooling import (
    CellPenalty,
    PooledCNN,
    Pooling,
    Stack,
    certify_pooled,
    descend_pooled,
    is_zero,
    make_stack,
    network_of_blocks,
    program_value,
    reduced_masks,
)
from convexnn.convolution.result import ConvolutionResult, zero_result
from convexnn.losses import get_loss
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.pricing.search import Found, climb_signed, concatenate, distinct, hops, search
from convexnn.solvers.conjugates import make_conjugate, starting_point
from convexnn.status import Status
from convexnn.training.cells import Cells, absorb, cells_of_neurons, drop_idle, merge, relabel

_ROUNDS = 200
_NEW = 300  # violators added a round
_HOPS = 4
_NEURONS, _STEPS = 60, 300  # of the descent that starts it
_POLISH = 200  # steps of the descent that ends it
_TINY = 1e-7  # share of the total mass below which a neuron goes
_SHORT = 1000  # ascents of the certificate of a run that was cut short
_START_NOISE = ((-1.0, 0.3), (1.0, 0.3), (1.0, 0.6), (-1.0, 0.6), (1.0, 1.0), (1.0, 1.4))


@dataclass(frozen=True)
class _Task:
    patches: Array
    y: Array
    beta: float
    loss: str
    pooling: Pooling
    tol: float
    deadline: float
    seed: int
    stack: Stack = field(repr=False)


@dataclass
class _State:
    """The cells, the proximal state over them, and the best network and bound so far."""

    cells: Cells
    sigma: float
    sigma_start: float
    q: Array
    primal: float
    v: Array  # (m, h) masses of the best network
    signs: Array
    bound: float = 0.0
    nu: Array | None = None
    rho: float = 0.0
    starts: int = 0  # verification starts that nu has survived

    @property
    def gap(self) -> float:
        return (self.primal - self.bound) / self.primal if self.primal > 0 else 0.0


def train_pooled(
    patches: Array,
    y: Array,
    beta: float,
    *,
    pooling: Pooling = "mean",
    patterns: Patterns | None = None,
    loss: str = "squared",
    tol: float = 1e-3,
    max_time: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConvolutionResult[PooledCNN]:
    """min L(c Σ_k Σ_j (X_k u_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²), c = 1/K (mean) or 1 (sum).

    Parameters
    ----------
    patches : (K, n, h)
        As `extract_patches` returns.
    y : (n,)
        Real for the squared loss, ±1 for the others.
    beta : float
        Positive; multiplies what is written above. Nothing is divided by n.
    pooling : {"mean", "sum"}
    patterns : Patterns, optional
        Patterns of the stack (`pooled_patterns`): train among the networks of these patterns only.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
    tol : float
        Relative gap at which to stop, after verification.
    max_time : float, optional
        Seconds; then the best network so far is returned, with its certificate.
    seed : int
        Same inputs and seed, same result.
    progress : callable, optional
        Receives each row of the history.

    Returns
    -------
    ConvolutionResult
        Certificate of kind ``estimated``; with `patterns` of kind ``patterns``, which gives no bound on the
        global optimum.

    Raises
    ------
    ValueError
        If shapes, values, β, loss, patterns or limits are not valid.
    """
    begin = perf_counter()
    checked = check_patches(patches, y, beta, loss)
    check_limits(tol, max_time)
    stack = make_stack(checked, pooling)
    deadline = np.inf if max_time is None else begin + max_time
    task = _Task(checked.patches, checked.y, checked.beta, loss, pooling, tol, deadline, seed, stack)
    nu = -get_loss(loss).gradient(np.zeros_like(task.y), task.y)
    if patterns is not None:
        return _train_patterns(task, patterns, nu, max_time, progress, begin)
    if is_zero(stack, nu, task.beta, seed):
        return _zero_result(task, begin)
    history: list[dict[str, Any]] = []
    state = _start(task)
    try:
        status = _run(task, state, history, progress, begin)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return _result(task, state, history, status, begin)


def _zero_result(
    task: _Task, begin: float, penalty: CellPenalty | None = None
) -> ConvolutionResult[PooledCNN]:
    network = PooledCNN(np.zeros((task.stack.X.shape[1], 0)), np.zeros(0), task.pooling)
    value = network.objective(task.patches, task.y, task.beta, task.loss)
    if penalty is None:
        certificate = certify_pooled(network, task.patches, task.y, task.beta, task.loss, seed=task.seed)
    else:
        nu = -get_loss(task.loss).gradient(np.zeros_like(task.y), task.y)
        certificate = make_certificate(
            value,
            nu,
            penalty.rho(nu),
            task.y,
            task.beta,
            task.loss,
            "patterns",
            len(penalty.blocks) // 2,
            begin,
        )
    return zero_result(network, value, certificate, begin)


def _train_patterns(
    task: _Task, patterns: Patterns, nu0: Array, max_time: float | None, progress: Progress | None,
    begin: float,
) -> ConvolutionResult[PooledCNN]:  # fmt: skip
    """The program over given patterns."""
    masks = reduced_masks(task.stack, patterns)
    penalty = CellPenalty.of_masks(task.stack, masks)
    if penalty.rho(nu0) <= task.beta:
        return _zero_result(task, begin, penalty)
    solved = solve_dual(
        penalty, task.y, task.beta, task.loss, parts=2 * len(patterns), tol=task.tol, max_time=max_time,
        progress=progress,
    )  # fmt: skip
    v, signs = solved.centre, penalty.blocks.signs
    network = network_of_blocks(v, signs, task.pooling)
    value = get_loss(task.loss).value(penalty.fit(v), task.y)
    value += task.beta * float(np.linalg.norm(v, axis=1).sum())
    objective = network.objective(task.patches, task.y, task.beta, task.loss)
    rho = CellPenalty.of_masks(task.stack, masks).rho(solved.nu)  # from a cold start
    certificate = make_certificate(
        objective, solved.nu, rho, task.y, task.beta, task.loss, "patterns", len(patterns), begin
    )
    return ConvolutionResult(network, objective, value, certificate, solved.history, solved.status)


def _start(task: _Task) -> _State:
    """Cells and masses of a network from a short descent, in units where rows and targets have size one."""
    X, K = task.stack.X, len(task.patches)
    row = float(np.sqrt(np.mean(np.sum(task.patches**2, axis=2))))
    row *= K if task.pooling == "sum" else 1
    size = float(np.sqrt(np.mean(task.y**2))) if task.loss == "squared" else 1.0
    scaled = descend_pooled(
        task.patches / row, task.y / size, task.beta / (row * size), loss=task.loss, pooling=task.pooling,
        neurons=_NEURONS, steps=_STEPS, seed=task.seed,
    )  # fmt: skip
    net = Network(scaled.filters, scaled.outputs * size / row).balanced()
    v = (net.U * np.abs(net.alpha)).T
    mass = np.linalg.norm(v, axis=1)
    keep = mass > 1e-6 * mass.sum()
    v, signs = np.ascontiguousarray(v[keep]), np.sign(net.alpha)[keep]
    cells = cells_of_neurons(X, v, signs)
    fit = CellPenalty(task.stack, cells.blocks).fit(v)
    mass = np.linalg.norm(v, axis=1)
    primal = get_loss(task.loss).value(fit, task.y) + task.beta * float(mass.sum())
    zero_value = get_loss(task.loss).value(np.zeros_like(task.y), task.y)
    if len(v):
        sigma = 30.0 * float(mass.mean()) / task.beta
    else:
        sigma = first_sigma(len(task.y), zero_value, task.beta)
    q = starting_point(task.loss, task.y, fit)
    return _State(merge(cells), sigma, sigma, q, primal, v.copy(), signs.copy())


def _run(
    task: _Task, state: _State, history: list[dict[str, Any]], progress: Progress | None, begin: float
) -> Status:
    rng = np.random.default_rng(task.seed)
    for iteration in range(_ROUNDS):
        nu = _master_step(task, state)
        relabel(task.stack.rows, state.cells, task.stack.spread(nu))
        found = _price(task, state, nu, rng)
        _update_bound(task, state, nu, found)
        converged = False
        if state.gap <= task.tol:
            refuted = _verify(task, state, rng)
            converged = refuted is None
            found = found if refuted is None else concatenate([found, refuted])
        row = {"seconds": perf_counter() - begin, "iteration": iteration, "primal": state.primal}
        history.append({**row, "bound": state.bound, "neurons": int(state.v.any(axis=1).sum())})
        if progress is not None:
            progress(history[-1])
        if converged:
            return Status.CONVERGED
        if perf_counter() > task.deadline:
            return Status.TIME_LIMIT
        cells = merge(state.cells)
        violators = distinct(found.take(found.maxima.values > _limit(task)), _NEW)
        state.cells = drop_idle(absorb(task.stack.X, cells, violators)[0])
    return Status.ITERATION_LIMIT


def _master_step(task: _Task, state: _State) -> Array:
    """One proximal step on the dual over the present cells; returns ν."""
    blocks = state.cells.blocks
    reach = min(1e3 * state.sigma_start, 0.1 * state.sigma_start / max(state.gap, 1e-12))
    master = DualState(
        blocks.v.copy(), state.q, state.sigma, state.sigma_start, state.primal, blocks.v.copy(), reach,
        state.bound,
    )  # fmt: skip
    penalty = CellPenalty(task.stack, blocks)
    q = outer_step(penalty, master, task.y, task.beta, task.loss, task.tol, task.deadline)
    state.q, state.sigma = master.q, master.sigma
    blocks.v[:] = master.centre
    state.cells.idle += 1
    state.cells.idle[state.cells.active] = 0
    if master.primal < state.primal:
        active = master.best.any(axis=1)
        state.primal, state.v, state.signs = master.primal, master.best[active], blocks.signs[active]
    return np.asarray(make_conjugate(task.loss, task.y).sign * q)


def _limit(task: _Task) -> float:
    """Values above this are violations worth a new cell."""
    return task.beta * (1.0 + 0.05 * task.tol)


def _price(task: _Task, state: _State, nu: Array, rng: np.random.Generator) -> Found:
    """Local maxima from the neurons, their mirrors and noise around both, then hops around violators."""
    rows, spread = task.stack.rows, task.stack.spread(nu)
    found = climb_signed(rows, spread, *_starts(state, task.stack.X.shape[1], rng), cut=task.beta)
    last = found
    for _ in range(_HOPS if state.gap < 3e-2 else 0):
        violators = last.take(last.maxima.values > _limit(task))
        if not len(violators.signs):
            break
        last = climb_signed(rows, spread, *hops(violators, rng), cut=task.beta)
        found = concatenate([found, last])
    return found


def _starts(state: _State, h: int, rng: np.random.Generator) -> tuple[Array, Array]:
    b, active = state.cells.blocks, state.cells.active
    starts, signs = [rng.standard_normal((60, h))], [np.repeat([1.0, -1.0], 30)]
    if len(active):
        units = b.v[active] / np.linalg.norm(b.v[active], axis=1, keepdims=True)
        own = b.signs[active]
        starts += [units, -units]
        signs += [own, own]
        for mirror, width in _START_NOISE:
            pick = rng.integers(len(active), size=max(len(active), 60) // 2)
            noise = rng.standard_normal((len(pick), h)) / np.sqrt(h)
            starts.append(mirror * units[pick] + width * noise)
            signs.append(own[pick])
    return np.concatenate(starts), np.concatenate(signs)


def _update_bound(task: _Task, state: _State, nu: Array, found: Found) -> None:
    """Lower the stored bound if a new maximum refutes it; take the bound of ν if it is better."""
    if state.nu is not None:
        z = np.maximum(found.maxima.directions @ task.stack.X.T, 0.0) @ task.stack.spread(state.nu)
        _raise_rho(task, state, float(np.max(found.signs * z)))
    rho = float(found.maxima.values.max())
    bound = lower_bound(nu, task.y, task.beta, task.loss, rho)
    if bound > state.bound:
        state.bound, state.nu, state.rho, state.starts = bound, nu.copy(), rho, 0


def _raise_rho(task: _Task, state: _State, rho: float) -> None:
    if state.nu is not None and rho > state.rho:
        state.rho = rho
        state.bound = lower_bound(state.nu, task.y, task.beta, task.loss, rho)


def _verify(task: _Task, state: _State, rng: np.random.Generator) -> Found | None:
    """Search the stored ν from fresh starts: None if the gap stands, else the maxima that refute it."""
    b, active = state.cells.blocks, state.cells.active
    wanted = default_starts(len(active)) - state.starts
    if wanted <= 0 or state.nu is None:
        return None
    outcome = search(
        task.stack.X, task.stack.rows, task.stack.spread(state.nu), starts=wanted, rng=rng,
        neurons=b.v[active], neuron_signs=b.signs[active],
        stop_above=_allowed_rho(task, state), deadline=task.deadline,
    )  # fmt: skip
    _raise_rho(task, state, outcome.rho)
    if state.gap <= task.tol:
        state.starts += outcome.starts
        return None
    return outcome.found


def _allowed_rho(task: _Task, state: _State) -> float:
    """The largest ρ at which the stored ν would still prove the tolerance."""
    assert state.nu is not None
    low, high = state.rho, 2.0 * max(state.rho, task.beta)
    for _ in range(60):
        middle = 0.5 * (low + high)
        bound = lower_bound(state.nu, task.y, task.beta, task.loss, middle)
        low, high = (middle, high) if state.primal - bound <= task.tol * state.primal else (low, middle)
    return low


def _result(
    task: _Task, state: _State, history: list[dict[str, Any]], status: Status, begin: float
) -> ConvolutionResult[PooledCNN]:
    net = _polished(task, network_of_blocks(state.v, state.signs, task.pooling))
    network = PooledCNN(net.U, net.alpha, task.pooling)
    objective = network.objective(task.patches, task.y, task.beta, task.loss)
    if status is Status.CONVERGED and state.nu is not None:
        certificate = make_certificate(
            objective, state.nu, state.rho, task.y, task.beta, task.loss, "estimated", state.starts, begin
        )
    else:
        certificate = certify_pooled(
            network, task.patches, task.y, task.beta, task.loss, nu=state.nu, starts=_SHORT, seed=task.seed
        )
    return ConvolutionResult(
        network,
        objective,
        program_value(task.stack, task.y, task.beta, task.loss, net),
        certificate,
        history,
        status,
    )


def _polished(task: _Task, start: PooledCNN) -> Network:
    """The network, merged; after a descent from there without its tiny neurons, if that is better."""
    net = Network(start.filters, start.outputs).merged(task.stack.X)
    if not net.n_neurons or perf_counter() > task.deadline:
        return net
    lower = descend_pooled(
        task.patches, task.y, task.beta, loss=task.loss, pooling=task.pooling, steps=_POLISH,
        start=PooledCNN(net.U, net.alpha, task.pooling),
    )  # fmt: skip
    new = Network(lower.filters, lower.outputs).balanced()
    keep = new.alpha**2 > _TINY * np.sum(new.alpha**2)
    new = Network(new.U[:, keep], new.alpha[keep]).merged(task.stack.X)
    values = [
        PooledCNN(x.U, x.alpha, task.pooling).objective(task.patches, task.y, task.beta, task.loss)
        for x in (net, new)
    ]
    return new if values[1] <= values[0] else net
