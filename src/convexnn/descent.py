r"""Gradient descent on the network itself: the non-convex problem (1).

    P(U, α) = L((XU)_+ α, y) + (β/2) Σ_j (‖u_j‖² + α_j²)

It is the baseline that the convex method is compared with, and the first step of the global solver.
Nothing here proves optimality: a status of this module is never ``CONVERGED``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from convexnn._recorder import Evaluate, Recorder
from convexnn._relu_gradient import (
    Buffers,
    Real,
    adam_update,
    compile_kernels,
    fill_gradient,
    make_buffers,
    threads_for,
)
from convexnn._types import Array, Progress, Record
from convexnn.intercepts import best_intercept, refuse_intercept
from convexnn.losses import LossLike, check_problem, split_weights, weigh
from convexnn.network import Network
from convexnn.status import Status

METHODS = ("adam", "sgd", "lbfgs")
SCHEDULES = ("one-cycle", "linear", "constant")
DTYPES = ("float32", "float64")
#: Adam's constants, those of torch.optim.Adam.
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
#: Share of the steps in which a one-cycle schedule rises.
WARM_UP = 0.05


@dataclass(frozen=True)
class DescentResult:
    """What `descend` returns.

    Parameters
    ----------
    network : Network
        The best recorded network, not necessarily the last one.
    history : list of dict
        One record an evaluation: ``seconds`` (evaluations left out), ``iteration``, ``epoch``, ``primal``
        (P over all rows in float64; inf if that is not finite) and whatever `evaluate` returned.
    status : Status
        Why the run ended.
    """

    network: Network
    history: list[Record]
    status: Status


@dataclass(frozen=True)
class _Options:
    """The settings of `descend` that the loops read."""

    loss: LossLike  # without weights
    method: str
    steps: int
    batch_size: int | None
    learning_rate: float
    schedule: str
    momentum: float
    record_every: int
    max_time: float


@dataclass(frozen=True)
class _Run:
    """The data in the precision of the steps, and all that the loops share."""

    X: Real
    y: Real
    sample_weight: Real | None
    beta: float
    work: Buffers
    options: _Options
    recorder: Recorder
    rng: np.random.Generator


def gradient(
    X: Array, y: Array, U: Array, alpha: Array, beta: float, loss: LossLike = "squared"
) -> tuple[float, Array, Array]:
    """P = L((XU)_+α, y) + (β/2)(‖U‖² + ‖α‖²), ∂P/∂U = Xᵀ(rαᵀ ∘ M) + βU, ∂P/∂α = (XU)_+ᵀr + βα.

    Here r = ∇L(f) and M = 1[XU > 0]. At a kink, x_iᵀu_j = 0, the derivative of the ReLU counts as 0 (as in
    PyTorch), so there the answer need not be a subgradient.

    Parameters
    ----------
    X : (n, d);  y : (n,);  U : (d, m);  alpha : (m,)
        Data and weights, taken as float64 and not changed.
    beta, loss
        As in `convexnn.losses`: the loss is a sum over rows.

    Returns
    -------
    (objective, gU, galpha) : (float, (d, m), (m,))

    Raises
    ------
    ValueError
        If the problem is invalid, y has several outputs, or the weights do not fit X.
    """
    X, y, beta = _check_one_output(X, y, beta, loss)
    network = _check_start(Network(U, alpha), X)
    work = make_buffers(network.U, network.alpha, len(X), "float64")
    base, weights = split_weights(loss)
    value = fill_gradient(X, y, work, base, beta, with_value=True, sample_weight=weights)
    objective = value + 0.5 * beta * float(work.theta @ work.theta)
    return objective, work.H.copy(), work.grad_alpha.copy()


def schedule_factor(schedule: str, step: int, steps: int) -> float:
    """The factor on the learning rate at step t = 0 … T−1 of T.

    ``constant``: 1. ``linear``: 1 − t/T. ``one-cycle``, with W = max(1, ⌊T/20⌋): (t+1)/W for t < W, then
    ½(1 + cos(π(t+1−W)/(T+1−W))). Raises ValueError for another name.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - step / steps
    if schedule != "one-cycle":
        raise ValueError(f"Unknown schedule {schedule!r}: choose one of {', '.join(map(repr, SCHEDULES))}.")
    warm = max(1, int(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step + 1 - warm) / (steps + 1 - warm)))


def _batches(
    X: Real, y: Real, weights: Real | None, size: int | None, rng: np.random.Generator
) -> Iterator[tuple[Real, Real, Real | None]]:
    """Batches without end: all rows, or a fresh permutation each epoch cut into pieces of `size`."""
    if size is None:
        while True:
            yield X, y, weights
    rows, labels = np.empty((size, X.shape[1]), X.dtype), np.empty(size, y.dtype)
    while True:
        order = rng.permutation(len(X))
        for start in range(0, len(X), size):
            chosen = order[start : start + size]
            k = len(chosen)
            np.take(X, chosen, axis=0, out=rows[:k], mode="clip")
            np.take(y, chosen, out=labels[:k], mode="clip")
            yield rows[:k], labels[:k], None if weights is None else weights[chosen]


def _run_first_order(run: _Run) -> Status:
    """Adam, or SGD with momentum; θ is updated in place."""
    X, work, options = run.X, run.work, run.options
    theta, grad, real = work.theta, work.grad, work.theta.dtype.type
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    keep = np.array([1.0 - BETA1, BETA2, 1.0 - BETA2], theta.dtype)
    batches = _batches(X, run.y, run.sample_weight, options.batch_size, run.rng)
    for t in range(options.steps):
        Xb, yb, own = next(batches)
        fill_gradient(Xb, yb, work, options.loss, run.beta, len(X) / len(yb), sample_weight=own)
        rate = options.learning_rate * schedule_factor(options.schedule, t, options.steps)
        if options.method == "adam":
            root = math.sqrt(1.0 - BETA2 ** (t + 1))
            scaled = rate / (1.0 - BETA1 ** (t + 1))
            adam_update(theta, grad, first, second, keep, real(scaled), real(root), real(EPS))
        else:
            first *= options.momentum
            first += grad
            np.multiply(first, -rate, out=grad)
            theta += grad
        run.recorder.iteration = t + 1
        if not math.isfinite(float(theta @ theta)):
            return Status.FAILED
        if options.record_every and (t + 1) % options.record_every == 0:
            run.recorder.record(theta)
        if run.recorder.seconds() > options.max_time:
            return Status.TIME_LIMIT
    return Status.ITERATION_LIMIT


def _run_lbfgs(run: _Run) -> Status:
    """L-BFGS-B (SciPy) until no further decrease is found; θ holds the last accepted iterate."""
    work, options = run.work, run.options
    last = work.theta.copy()
    out_of_time = False

    def objective(theta: Array) -> tuple[float, Array]:
        work.theta[:] = theta
        value = fill_gradient(
            run.X, run.y, work, options.loss, run.beta, with_value=True, sample_weight=run.sample_weight
        )
        weights = theta[: len(theta) - work.b.size]  # all but b₀
        return value + 0.5 * run.beta * float(weights @ weights), work.grad.copy()

    def after_step(theta: Array) -> None:
        nonlocal out_of_time
        last[:] = theta
        run.recorder.iteration += 1
        if options.record_every and run.recorder.iteration % options.record_every == 0:
            run.recorder.record(last)
        if run.recorder.seconds() > options.max_time:
            out_of_time = True
            raise StopIteration

    solve: Any = minimize
    limits = {"maxiter": options.steps, "maxfun": 100 * options.steps + 100, "ftol": 0.0, "gtol": 1e-10}
    try:
        solve(objective, last.copy(), jac=True, method="L-BFGS-B", callback=after_step, options=limits)
    finally:
        work.theta[:] = last
    if out_of_time:
        return Status.TIME_LIMIT
    return Status.ITERATION_LIMIT if run.recorder.iteration >= options.steps else Status.STALLED


def _run(run: _Run) -> Status:
    """Record, descend, record; an interruption becomes a status."""
    theta = run.work.theta
    try:
        run.recorder.record(theta)
        status = _run_lbfgs(run) if run.options.method == "lbfgs" else _run_first_order(run)
        run.recorder.record(theta)
    except KeyboardInterrupt:
        run.recorder.record(theta, quiet=True)
        return Status.INTERRUPTED
    return status


def descend(
    X: Array,
    y: Array,
    beta: float,
    *,
    loss: LossLike = "squared",
    sample_weight: ArrayLike | None = None,
    intercept: bool = False,
    negative_slope: float = 0.0,
    neurons: int = 100,
    method: str = "adam",
    steps: int = 1500,
    batch_size: int | None = None,
    learning_rate: float = 0.05,
    schedule: str = "one-cycle",
    momentum: float = 0.9,
    seed: int = 0,
    start: Network | None = None,
    init_scale: float = 0.1,
    dtype: str = "float32",
    record_every: int = 0,
    max_time: float | None = None,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
) -> DescentResult:
    """Descend on P(U, α) = L((XU)_+α, y) + (β/2) Σ_j (‖u_j‖² + α_j²), a non-convex problem.

    The network that comes back is the **best recorded** one. Step 0 and the last step are always recorded,
    so with ``record_every=0`` it is the last network unless that is worse than the start. The same arguments
    on the same machine give the same bits (unless `max_time` cuts the run).

    Parameters
    ----------
    X : (n, d);  y : (n,)
        Rows and targets; one output only. A bias is a column of ones in X.
    beta, loss
        As in `convexnn.losses`: the loss is a sum over rows, nothing is divided by n.
    sample_weight : (n,), optional
        Weights ω ≥ 0 of the rows in L; 1 by default.
    intercept : bool
        Whether b₀, an output bias that no penalty counts, is free: f = (XU)_+α + b₀. It starts at its best.
    negative_slope : float
        s in [−1, 1): the activation is σ_s(z) = (z)_+ − s(−z)_+. A given `start` brings its own.
    neurons : int
        Width m; ignored if `start` is given.
    method : {"adam", "sgd", "lbfgs"}
        Adam (β₁ = 0.9, β₂ = 0.999, eps = 1e-8); SGD, buf ← momentum·buf + g, θ ← θ − rate·buf; or SciPy's
        L-BFGS-B on all rows in float64, which has no learning rate and ends with ``STALLED`` once it finds
        no further decrease: at a stationary point, or on a kink. Adam and SGD follow ``torch.optim``.
    steps : int
        Gradient steps (iterations of L-BFGS).
    batch_size : int, optional
        Rows in a step, drawn without replacement within an epoch; the loss of a batch is multiplied by
        n/(its rows). None: all rows.
    learning_rate, schedule : float, {"one-cycle", "linear", "constant"}
        The rate is learning_rate × `schedule_factor`.
    seed, init_scale
        U and α start as init_scale × N(0, 1); the same generator shuffles the batches.
    start : Network, optional
        Start from these weights instead.
    dtype : {"float32", "float64"}
        Arithmetic of the steps; the recorded objective is float64 always.
    record_every : int
        Steps between records; 0 records the first and the last only.
    max_time : float, optional
        Seconds of stepping after which the run ends; evaluations and compilation do not count.
    evaluate : callable(network) -> dict, optional
        Its result is merged into each record, for a test accuracy, say.
    progress : callable(record), optional
        Called after each record. KeyboardInterrupt, from it or from Ctrl-C, ends the run in good order.

    Returns
    -------
    DescentResult
        ``status`` is ITERATION_LIMIT, TIME_LIMIT, INTERRUPTED, STALLED (L-BFGS) or FAILED: the weights
        overflowed, and the network is the best finite one.

    Raises
    ------
    ValueError
        For an invalid problem or option, with one sentence.
    """
    X, y, beta = _check_one_output(X, y, beta, loss)
    X, y, loss = weigh(X, y, loss, sample_weight, fold=not intercept)[:3]
    base, weights = split_weights(loss)
    limit = math.inf if max_time is None else max_time
    rates = (learning_rate, schedule, momentum)
    options = _Options(base, method, steps, batch_size, *rates, record_every, limit)
    _check_options(options, len(X), neurons, init_scale, dtype)
    rng = np.random.default_rng(seed)
    if start is None:
        U = init_scale * rng.standard_normal((X.shape[1], neurons))
        start = Network(U, init_scale * rng.standard_normal(neurons), negative_slope=negative_slope)
    start = _check_start(start, X)
    if not intercept:
        refuse_intercept(start, "descend from it with intercept=True")
    own_intercept = _first_intercept(start, X, y, loss) if intercept else None
    real = "float64" if method == "lbfgs" else dtype
    rows = batch_size or len(X)
    slope = start.negative_slope
    work = make_buffers(start.U, start.alpha, rows, real, own_intercept, slope)
    Xr, yr = X.astype(real, copy=False), y.astype(real, copy=False)
    own = None if weights is None else weights.astype(real)
    compile_kernels(real, slope)
    recorder = Recorder((X, y, beta, loss), start.U.shape, -(-len(X) // rows), evaluate, progress, slope)
    with threads_for(rows, work), np.errstate(over="ignore", invalid="ignore", under="ignore"):
        status = _run(_Run(Xr, yr, own, beta, work, options, recorder, rng))
    return DescentResult(recorder.best or start, recorder.history, status)


def _first_intercept(start: Network, X: Array, y: Array, loss: LossLike) -> float:
    """The best b₀ for the start's neurons."""
    return best_intercept(loss, replace(start, intercept=0.0).predict(X), y)


def tune_learning_rate(
    X: Array, y: Array, beta: float, grid: Sequence[float], *, steps: int = 1500, **options: Any
) -> tuple[float, list[dict[str, Any]]]:
    """argmin over the grid of the best recorded P after `steps` steps, the same budget for each rate.

    Parameters
    ----------
    grid : sequence of float
        Learning rates to try.
    steps, **options
        Passed to `descend`; the seed, too, is the same for each rate.

    Returns
    -------
    (best_rate, table)
        The table has one row a rate, in the order of the grid: ``learning_rate``, ``primal``, ``seconds``
        (of stepping: their sum is what the search cost) and ``status``. A rate that diverged has primal inf.

    Raises
    ------
    ValueError
        If the grid is empty or every rate diverged.
    """
    table: list[dict[str, Any]] = []
    for rate in grid:
        result = descend(X, y, beta, steps=steps, learning_rate=rate, **options)
        failed = result.status is Status.FAILED
        primal = math.inf if failed else min(record["primal"] for record in result.history)
        row = {"learning_rate": float(rate), "primal": primal, "seconds": result.history[-1]["seconds"]}
        table.append(row | {"status": result.status})
        if result.status is Status.INTERRUPTED:
            break
    best = min(table, key=lambda row: cast(float, row["primal"]), default=None)
    if best is None or not math.isfinite(best["primal"]):
        raise ValueError("No learning rate of the grid gave a finite network: try smaller ones.")
    return best["learning_rate"], table


def _check_one_output(X: Array, y: Array, beta: float, loss: LossLike) -> tuple[Array, Array, float]:
    X, y, beta = check_problem(X, y, beta, loss, any_loss=True)
    if y.ndim != 1:
        raise ValueError(f"Descent supports one output: y must have shape (n,); its shape is {y.shape}.")
    return X, y, beta


def _check_start(network: Network, X: Array) -> Network:
    d, m = network.U.shape
    if network.alpha.ndim != 1 or d != X.shape[1] or m == 0:
        raise ValueError(
            f"The weights must be {X.shape[1]}×m and (m,) with m > 0; "
            f"they are {network.U.shape} and {network.alpha.shape}."
        )
    return network


def _check_options(options: _Options, n: int, neurons: int, init_scale: float, dtype: str) -> None:
    names = (("method", options.method, METHODS), ("schedule", options.schedule, SCHEDULES))
    for label, name, allowed in (*names, ("dtype", dtype, DTYPES)):
        if name not in allowed:
            raise ValueError(f"Unknown {label} {name!r}: choose one of {', '.join(map(repr, allowed))}.")
    size = options.batch_size
    if options.method == "lbfgs" and size is not None:
        raise ValueError("L-BFGS uses all rows: leave batch_size out.")
    rules = (
        (neurons >= 1, "neurons must be at least 1", neurons),
        (options.steps >= 0, "steps must not be negative", options.steps),
        (options.record_every >= 0, "record_every must not be negative", options.record_every),
        (size is None or 1 <= size <= n, f"batch_size must lie in 1 … {n}", size),
        (0 < options.learning_rate < math.inf, "learning_rate must be positive", options.learning_rate),
        (0 <= options.momentum < 1, "momentum must lie in [0, 1)", options.momentum),
        (0 < init_scale < math.inf, "init_scale must be positive", init_scale),
        (options.max_time > 0, "max_time must be positive", options.max_time),
    )
    for holds, sentence, value in rules:
        if not holds:
            raise ValueError(f"{sentence}; it is {value!r}.")
