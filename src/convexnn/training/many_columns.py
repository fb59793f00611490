r"""Global training when both n and d are large (images), in principal axes.

    min over U, c ≥ 0, s = ±1 of  L(Σ_j s_j c_j (Xû_j)_+, y) + β Σ_j c_j,     ‖û_j‖ = 1

A round: *slide* all neurons at once on a smoothed ReLU (L-BFGS in the metric of a Kronecker factor), *lasso*
their masses on the exact one, take ν = −∇L, *price* a running mean ν̄ from many starts on the sphere, take in
the violators. Products are float32 in row blocks; objectives and the values behind a bound are recomputed in
float64 from X itself.

Whatever columns the search works on, its networks are mapped back to X, and the final search for ρ(±ν)
polishes its maxima over all directions: the leading columns narrow the search and bias nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from convexnn._types import Array
from convexnn.losses import LossLike, get_separable
from convexnn.network import Network
from convexnn.status import Status
from convexnn.training._wide_axes import Axes, Real, principal_axes
from convexnn.training._wide_masses import activations, best_masses
from convexnn.training._wide_slide import make_metric, slide
from convexnn.training._wide_smoothed import Tied, mean_spread
from convexnn.training._wide_sphere import SAME, Ascent, Schedule, ascend, distinct, exact_values, relu_values
from convexnn.training._wide_start import adam
from convexnn.training.loop import Best, Task, bound_of, value_at_zero

#: Below this many rows or columns the exact methods on cells are used.
MANY = 300
_ROUNDS = 200
_NEURONS, _EPOCHS = 512, 40
#: Width of the smoothing over the mean spread of Xu, in the first rounds; it shrinks slowly after them.
_WIDTHS = (0.1, 0.1, 0.07, 0.05)
_WIDTH_FACTOR, _WIDTH_LEAST = 0.93, 0.01
_SLIDE_STEPS = 50
#: The first slides work on the columns that Adam works on: all but this share of the variance.
_FIRST_SLIDES, _FIRST_SHARE = 3, 1e-2
#: A first width of 0.4 finds higher maxima than 0.2, at less cost: more starts run together. On the leading
#: axes with 98 % of the variance the first stage finds the same ones in less than half the time.
_LOOP: Schedule = ((0.4, 25, 0.02), (0.1, 15, 0.0), (0.03, 12, 0.0))
_LONG: Schedule = ((0.4, 40, 0.02), (0.1, 40, 0.0), (0.03, 30, 0.0), (0.01, 20, 0.0))
_POLISH: Schedule = ((0.05, 15, 0.0), (0.02, 20, 0.0))
#: Starts of a pricing around neurons: (side, sign against the neuron's, size of the noise, whether it is
#: spread like the data, how many). Measured at β = 3 on CIFAR: white noise of any size finds ρ ≥ 3.45, noise
#: spread like the data 3.57; the opposite sign gives the most maxima that are nearly as high.
_NEAR = (
    (1, 1, 0.3, False, 60),
    (1, -1, 0.3, False, 150),
    (-1, 1, 0.3, False, 40),
    (1, 1, 1.0, True, 90),
    (1, -1, 1.0, True, 60),
)
_FROM_ROWS, _RANDOM = 50, 60
_VERIFY = 2  # times the starts of a pricing
_CHUNK = 80
_FLOOR = 0.6  # share of β below which a climb is given up after its first stage
#: What a verification takes in pricings, and the largest share of the time that is kept for it.
_VERIFY_COST, _RESERVE = 6.0, 0.3
_MERGE_WORK = 2_000_000_000
_PATIENCE = 12  # rounds without a better gap after which to give up
_POLISHED = 60
_MEAN_FROM = 3  # round from which ν is averaged
#: Columns are left out while their part of XᵀDν, were ν random in them, stays below this share of β.
_COLUMN_SHARE = 0.15


@dataclass
class WideState:
    """Everything that a round changes; neurons are unit columns of U with masses c and signs."""

    best: Best
    axes: Axes
    rng: np.random.Generator
    U: Real  # (r, m), all axes
    c: Array
    signs: Array
    nu: Array  # of the present network
    mean: Array  # ν̄
    stop: float  # when to leave the rounds, so that the verification fits in
    seconds: float = 0.0  # of the last pricing


def has_many_columns(X: Array, loss: LossLike) -> bool:
    """The rule for this form: more than 300 rows and columns, and a differentiable loss."""
    return min(X.shape) > MANY and get_separable(loss).is_smooth


def train_many_columns(
    task: Task, record: Callable[[Best], None], warm_start: Network | None = None
) -> tuple[Best, Status]:
    """The best network and bound, and why the run ended; also on Ctrl-C, at whatever point.

    Parameters
    ----------
    task : Task
        Its `rows` are not used. `tol` is the relative gap at which to verify and stop.
    record : callable
        Called after each round with the best so far.
    warm_start : Network, optional
        Neurons to start from in place of Adam's.
    """
    n, d = task.X.shape
    nu = -task.function.gradient(np.zeros(n), task.y)
    best = Best(value_at_zero(task), np.zeros((0, d)), np.zeros(0), 0.0, nu, 0.0, is_large=True)
    state = None
    begin = perf_counter()
    try:
        axes = principal_axes(task.X)
        empty = np.zeros((axes.X.shape[1], 0), np.float32)
        none = np.zeros(0)
        rng = np.random.default_rng(task.seed)
        state = WideState(best, axes, rng, empty, none, none, nu, nu.copy(), task.deadline)
        status = _run(task, state, record, warm_start, begin)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    stored = best.nu, best.rho, best.bound, best.starts
    try:
        if state is not None and (status is not Status.CONVERGED or not best.starts):
            if status is Status.TIME_LIMIT:
                _renew(task, state)
            _verify(task, state, max(perf_counter() + 2.0, task.deadline))
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
        best.nu, best.rho, best.bound, best.starts = stored
    if not best.starts:  # no search was finished: ρ is not known, and the bound is that of ν = 0
        best.nu, best.rho, best.bound = np.zeros(n), 0.0, 0.0
    _merge(task, best)
    return best, status


def _run(
    task: Task,
    state: WideState,
    record: Callable[[Best], None],
    warm_start: Network | None,
    begin: float,
) -> Status:
    found = _price(task, state, state.nu)
    if found.finished and found.values[0] <= task.beta:
        _verify(task, state, task.deadline)
        if state.best.rho <= task.beta:
            record(state.best)
            return Status.ZERO
    _start(task, state, warm_start)
    record(state.best)
    least, stalled = state.best.gap, 0
    for step in range(_ROUNDS):
        reserve = min(_VERIFY_COST * state.seconds, _RESERVE * (task.deadline - begin))
        state.stop = task.deadline - reserve
        _slide(task, state, step)
        state.mean = 0.5 * (state.mean + state.nu) if step >= _MEAN_FROM else state.nu
        _take_in(task, state, _price(task, state, state.mean))
        if state.best.gap <= task.tol and _is_verified(task, state):
            record(state.best)
            return Status.CONVERGED
        record(state.best)
        if perf_counter() > state.stop:
            return Status.TIME_LIMIT
        stalled = 0 if state.best.gap < 0.999 * least else stalled + 1
        least = min(least, state.best.gap)
        if stalled >= _PATIENCE:
            return Status.STALLED
    return Status.ITERATION_LIMIT


def _renew(task: Task, state: WideState) -> None:
    """Put the mean of ν̄ and the last ν in place of the stored ν: it obeys the last violators too.

    Neither has survived a verification: the one that follows decides.
    """
    best = state.best
    best.nu, best.rho, best.starts = 0.5 * (state.mean + state.nu), task.beta, 0
    best.bound = bound_of(task, best.nu, best.rho)


def _is_verified(task: Task, state: WideState) -> bool:
    """Whether the gap survives `_verify`; what refutes it becomes neurons."""
    found = _verify(task, state, task.deadline)
    if state.best.gap <= task.tol:
        return found.finished
    _take_in(task, state, found)
    return False


def _columns(task: Task, state: WideState) -> int:
    """How many leading columns the search works on: more the smaller β is."""
    trace = float(state.axes.eigenvalues.sum())
    energy = float(state.nu @ state.nu)
    share = 2.0 * (_COLUMN_SHARE * task.beta) ** 2 * len(task.y) / max(energy * trace, 1e-300)
    return state.axes.leading(min(1e-2, max(1e-6, share)))


def _start(task: Task, state: WideState, warm_start: Network | None) -> None:
    """The neurons of a network, or of Adam, with their best masses."""
    if warm_start is None:
        k = state.axes.leading(_FIRST_SHARE)
        X = np.ascontiguousarray(state.axes.X[:, :k])
        size = float(np.sqrt(np.mean(task.y**2))) if task.loss == "squared" else 1.0
        row = float(np.sqrt(state.axes.eigenvalues.sum() / len(X)))
        beta = task.beta / (row * size)
        U, alpha = adam(
            X / np.float32(row), task.y / size, beta, task.loss, _NEURONS, _EPOCHS, task.seed, task.deadline
        )
        signs, c = np.sign(alpha), np.abs(alpha) * np.linalg.norm(U, axis=0) * size / row
    else:
        U, signs = state.axes.into(warm_start.U), np.sign(warm_start.alpha)
        c = np.abs(warm_start.alpha) * np.linalg.norm(warm_start.U, axis=0)
    full = np.zeros((state.axes.X.shape[1], U.shape[1]), np.float32)
    full[: len(U)] = U
    _replace(task, state, full, c, signs)


def _replace(task: Task, state: WideState, U: Real, c: Array, signs: Array) -> None:
    """Normalise the neurons, find their best masses on the exact ReLU, and keep those with mass."""
    length = np.linalg.norm(U, axis=0)
    keep = (length > 0) & (signs != 0)
    U, c, signs = U[:, keep] / length[keep], c[keep], signs[keep]
    k = _support(U)
    A = activations(state.axes.X[:, :k], U[:k], signs)
    c = best_masses(A, task.y, task.beta, task.loss, c)
    keep = c > 1e-9 * c.sum()
    state.U, state.c, state.signs = np.ascontiguousarray(U[:, keep]), c[keep], signs[keep]
    _evaluate(task, state)


def _support(U: Real) -> int:
    """Leading rows of U that are not all zero."""
    used = np.flatnonzero(U.any(axis=1))
    return int(used[-1]) + 1 if used.size else 1


def _evaluate(task: Task, state: WideState) -> None:
    """The exact objective and ν of the present network in float64, on X itself; keeps the best."""
    k = _support(state.U)
    V = state.axes.back(state.U[:k]) * state.c
    norm = np.linalg.norm(V, axis=0)
    f = np.empty(len(task.y))
    for begin in range(0, len(f), 2048):
        Z = task.X[begin : begin + 2048] @ V
        f[begin : begin + 2048] = np.maximum(Z, 0.0, out=Z) @ state.signs
    primal = task.function.value(f, task.y) + task.beta * float(norm.sum())
    state.nu = -task.function.gradient(f, task.y)
    if primal < state.best.primal:
        state.best.primal, state.best.v, state.best.signs = primal, V.T.copy(), state.signs.copy()


def _slide(task: Task, state: WideState, step: int) -> None:
    """Move all neurons on the smoothed objective, then find their masses on the exact one."""
    if not len(state.c):
        return
    k = _columns(task, state)
    if step < _FIRST_SLIDES:
        k = min(k, state.axes.leading(_FIRST_SHARE))
    X = np.ascontiguousarray(state.axes.X[:, :k])
    relative = _WIDTHS[min(step, len(_WIDTHS) - 1)] * _WIDTH_FACTOR ** max(0, step - len(_WIDTHS))
    b = max(max(relative, _WIDTH_LEAST) * mean_spread(X, state.U[:k], state.axes.eigenvalues), 1e-20)
    problem = Tied(X, task.y, state.signs.astype(np.float32), task.beta, task.loss, b)
    U = state.U[:k] * np.sqrt(state.c).astype(np.float32)
    metric = make_metric(problem, U, state.axes.eigenvalues)
    U = slide(problem, U, metric, _SLIDE_STEPS, state.stop - 1.2 * state.seconds)
    full = np.zeros_like(state.U)
    full[:k] = U
    c = np.sum(U.astype(np.float64) ** 2, axis=0)
    _replace(task, state, full, c, state.signs)


def _starts(task: Task, state: WideState, nu: Array, k: int, times: int) -> tuple[Real, Array]:
    """Unit starts around neurons, at data rows and at random like the data, with the sign each is for."""
    rng, m = state.rng, len(state.c)
    spread = np.sqrt(state.axes.eigenvalues[:k] / max(state.axes.eigenvalues[:k].sum(), 1e-300))
    white, coloured = np.full((k, 1), np.float32(1 / np.sqrt(k))), spread[:, None].astype(np.float32)

    def noise(count: int, like_data: bool) -> Real:
        return rng.standard_normal((k, count), np.float32) * (coloured if like_data else white)

    parts, signs = [], []
    for side, sign, size, like_data, count in _NEAR if m else ():
        pick = rng.integers(m, size=times * count)
        parts.append(side * state.U[:k, pick] + np.float32(size) * noise(len(pick), like_data))
        signs.append(sign * state.signs[pick])
    rows = rng.integers(len(task.y), size=times * _FROM_ROWS)
    parts += [state.axes.X[rows, :k].T, noise(times * _RANDOM, True)]
    signs += [np.where(nu[rows] < 0, -1.0, 1.0), rng.choice([-1.0, 1.0], size=times * _RANDOM)]
    U = np.concatenate(parts, axis=1)
    return U / (np.linalg.norm(U, axis=0) + np.float32(1e-20)), np.concatenate(signs)


def _price(task: Task, state: WideState, nu: Array) -> Ascent:
    """Local maxima of ±νᵀ(Xu)_+ over the leading columns; the bound of ν is kept if it is the best."""
    begin = perf_counter()
    axes, k = state.axes, _columns(task, state)
    X = np.ascontiguousarray(axes.X[:, :k])
    U, signs = _starts(task, state, nu, k, 1)
    floor = _FLOOR * task.beta
    found = ascend(X, axes.eigenvalues, nu, U, signs, task.beta, _LOOP, floor=floor, deadline=state.stop)
    _refute(task, state, found)
    if found.finished:
        rho = _exact_rho(task, state, nu, found)
        bound, best = bound_of(task, nu, rho), state.best
        if bound > best.bound:
            best.bound, best.nu, best.rho, best.starts = bound, nu.copy(), rho, len(signs)
        state.seconds = perf_counter() - begin
    return found


def _exact_rho(task: Task, state: WideState, nu: Array, found: Ascent) -> float:
    """The largest of the best maxima, recomputed in float64 on X."""
    top = found.take(np.arange(min(20, len(found.signs))))
    values = exact_values(task.X, nu, state.axes.back(top.U)) * top.signs
    return float(max(0.0, values.max(initial=0.0)))


def _refute(task: Task, state: WideState, found: Ascent) -> None:
    """Lower the stored bound if a direction has a larger value at its dual point."""
    best = state.best
    if not best.starts or not len(found.signs):
        return
    values = relu_values(state.axes.X[:, : len(found.U)], best.nu, found.U) * found.signs
    order = np.argsort(-values, kind="stable")
    rho = _exact_rho(task, state, best.nu, found.take(order))
    if rho > best.rho:
        best.rho, best.bound = rho, bound_of(task, best.nu, rho)


def _verify(task: Task, state: WideState, deadline: float) -> Ascent:
    """Search the stored ν from fresh starts by a longer schedule, and polish the best in all columns.

    The first chunk of starts is always finished, whatever the deadline.
    """
    best, axes = state.best, state.axes
    k, eigenvalues = _columns(task, state), state.axes.eigenvalues
    X = np.ascontiguousarray(axes.X[:, :k])
    U, signs = _starts(task, state, best.nu, k, _VERIFY)
    order = state.rng.permutation(len(signs))
    count, floor = 0, _FLOOR * task.beta
    found: list[Ascent] = []
    for begin in range(0, len(signs), _CHUNK):
        part = order[begin : begin + _CHUNK]
        limit = deadline if found else np.inf
        starts = np.ascontiguousarray(U[:, part])
        found.append(
            ascend(
                X, eigenvalues, best.nu, starts, signs[part], task.beta, _LONG, floor=floor, deadline=limit
            )
        )
        if found[-1].finished:
            count += len(part)
        if perf_counter() > deadline:
            break
    top = _joined(found)
    top = top.take(np.arange(min(_POLISHED, len(top.signs))))
    full = np.zeros((axes.X.shape[1], len(top.signs)), np.float32)
    full[:k] = top.U
    polished = ascend(axes.X, eigenvalues, best.nu, full, top.signs, task.beta, _POLISH, deadline=deadline)
    rho = max(_exact_rho(task, state, best.nu, part) for part in (top, polished))
    best.rho = max(best.rho, rho)
    best.bound = bound_of(task, best.nu, best.rho)
    best.starts += count
    return polished


def _joined(parts: list[Ascent]) -> Ascent:
    """Several results as one, by value, without repetitions."""
    values = np.concatenate([part.values for part in parts])
    U = np.concatenate([part.U for part in parts], axis=1)
    signs = np.concatenate([part.signs for part in parts])
    keep = distinct(U, signs, values)
    return Ascent(values[keep], U[:, keep], signs[keep], all(part.finished for part in parts))


def _take_in(task: Task, state: WideState, found: Ascent) -> None:
    """New neurons from the violators, with masses from the lasso over old and new ones."""
    new = found.take(np.flatnonzero(found.values > task.beta * (1.0 + 0.1 * min(state.best.gap, 0.01))))
    if not len(new.signs):
        return
    full = np.zeros((len(state.U), len(new.signs)), np.float32)
    full[: len(new.U)] = new.U
    U = np.concatenate([state.U, full], axis=1)
    c = np.concatenate([state.c, np.zeros(len(new.signs))])
    _replace(task, state, U, c, np.concatenate([state.signs, new.signs]))


def _merge(task: Task, best: Best) -> None:
    """Add up neurons of one sign that share a cell of X; skipped where none are close and m²n is large."""
    m = len(best.v)
    close = best.v @ best.v.T
    norm = np.sqrt(np.diag(close)) + 1e-300
    close /= np.outer(norm, norm)
    np.fill_diagonal(close, 0.0)
    if m and (close.max() > SAME or m * m * len(task.y) < _MERGE_WORK):
        merged = best.network(task.X).merged(task.X)
        best.v, best.signs = (merged.U * np.abs(merged.alpha)).T, np.sign(merged.alpha)
        best.primal = merged.objective(task.X, task.y, task.beta, task.loss)
