r"""Global training of networks with several outputs.

    min over m, U, A of  L((XU)_+ A, Y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²),      A (m, c) with rows α_j

An optimum has one output a neuron. A separable loss (squared, logistic, …) therefore decouples into one
training for each column of Y; softmax cross-entropy couples the outputs (`convexnn.training.softmax`).

With two classes softmax and logistic training have the same optimum: the loss depends on g = f_1 − f_2 only,
log(1 + exp(−yg)) with y = ±1, and of all f with that g the penalty is least at f = (g, 0).
"""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from scipy.optimize import minimize

from convexnn._types import Array, Progress
from convexnn.activation import gains
from convexnn.certificate import Certificate, CertificateKind, certify, make_certificate
from convexnn.certificate_outputs import join_certificates, prove_softmax
from convexnn.intercepts import best_intercept
from convexnn.losses import LossLike, get_loss
from convexnn.losses.softmax import is_softmax
from convexnn.network import Network
from convexnn.pricing.zero import beta_max
from convexnn.status import Status
from convexnn.training import TrainResult, train
from convexnn.training._softmax_start import softmax_descent
from convexnn.training.loop import Task, beats_zero, make_task
from convexnn.training.softmax import SoftmaxBest, run_softmax, start_softmax

#: Neurons at the start, over all outputs, and the fewest for one.
_NEURONS, _FEWEST = 200, 10
#: Share of `tol` at which training stops where a proof, which costs some of the gap, comes after.
_PROVEN_SHARE = 0.6
#: Seconds for the certificate of a run cut short, for a proof, and starts of a search for β_max.
_LAST_SECONDS, _PROOF_SECONDS, _TOP_STARTS = 2.0, 60.0, 200
_POLISH_STEPS = 2000


def train_outputs(
    X: Array,
    Y: Array,
    beta: float,
    *,
    loss: LossLike,
    tol: float,
    max_time: float | None,
    max_neurons: int | None,
    seed: int,
    warm_start: Network | None,
    certificate: CertificateKind,
    progress: Progress | None,
    intercept: bool = False,
    negative_slope: float = 0.0,
) -> TrainResult:
    """`train` for checked data with Y (n, c); the network has α (m, c) with one non-zero entry a row."""
    d, c = X.shape[1], Y.shape[1]
    if warm_start is not None and (warm_start.n_features != d or warm_start.alpha.shape[1:] != (c,)):
        raise ValueError(
            f"warm_start must be a network of {d} features and {c} outputs; "
            f"it has {warm_start.n_features} features and alpha of shape {warm_start.alpha.shape}."
        )
    begin = perf_counter()
    options: dict[str, Any] = {"tol": tol, "seed": seed, "certificate": certificate}
    if intercept:
        options["intercept"] = True
    if negative_slope != 0.0:
        options["negative_slope"] = negative_slope
    each = _train_softmax if is_softmax(loss) else _train_each
    result = each(X, Y, beta, loss, max_time, warm_start, progress, **options)
    if max_neurons is None or result.network.n_neurons <= max_neurons:
        return result
    network = _narrowed(result.network, X, Y, beta, loss, max_neurons)
    left = _LAST_SECONDS if max_time is None else max(_LAST_SECONDS, begin + max_time - perf_counter())
    proof = certify(
        network, X, Y, beta, loss, left if certificate != "auto" else None,
        nu=result.certificate.nu, certificate=certificate, seed=seed, intercept=intercept,
    )  # fmt: skip
    cut = Status.CONVERGED if proof.relative_gap <= tol else Status.WIDTH_LIMIT
    return TrainResult(network, proof, result.history, cut)


# ---- separable losses ---------------------------------------------------------------------------------


def _train_each(
    X: Array, Y: Array, beta: float, loss: LossLike, max_time: float | None, warm_start: Network | None,
    progress: Progress | None, **options: Any,
) -> TrainResult:  # fmt: skip
    """One training for each column; histories are joined as if the columns waited at the zero network."""
    begin = perf_counter()
    columns = [np.ascontiguousarray(column) for column in Y.T]
    starts = [None] * len(columns) if warm_start is None else warm_start.outputs()
    intercept = options.get("intercept", False)
    waiting = [_waiting(loss, column, intercept) for column in columns]
    results: list[TrainResult] = []
    history: list[dict[str, Any]] = []

    def joined(row: dict[str, Any]) -> None:
        done = [result.certificate for result in results]
        row = {
            "seconds": perf_counter() - begin,
            "iteration": len(history),
            "primal": sum(one.primal for one in done) + row["primal"] + sum(waiting[len(done) + 1 :]),
            "bound": sum(one.lower_bound for one in done) + row["bound"],
            "neurons": sum(result.network.n_neurons for result in results) + row["neurons"],
        }
        history.append(row)
        if progress is not None:
            progress(dict(row))

    for k, column in enumerate(columns):
        left = None if max_time is None else max(1e-3, begin + max_time - perf_counter()) / (len(columns) - k)
        if results and results[-1].status is Status.INTERRUPTED:
            slope = options.get("negative_slope", 0.0)
            waits = Network.zero(X.shape[1], negative_slope=slope)
            results.append(_untrained(X, column, beta, loss, starts[k] or waits, options["seed"], intercept))
            continue
        results.append(
            train(X, column, beta, loss=loss, max_time=left, warm_start=starts[k], progress=joined, **options)
        )
    network = Network.join([result.network for result in results])
    primal = network.objective(X, Y, beta, loss)
    certificate = join_certificates([result.certificate for result in results], primal, begin)
    return TrainResult(network, certificate, history, _joint_status([result.status for result in results]))


def _waiting(loss: LossLike, y: Array, intercept: bool) -> float:
    """The objective of an output before its turn: that of the zero network."""
    flat = np.zeros_like(y)
    return get_loss(loss).value(flat + best_intercept(loss, flat, y) if intercept else flat, y)


def _untrained(
    X: Array, y: Array, beta: float, loss: LossLike, network: Network, seed: int, intercept: bool
) -> TrainResult:
    """An output that an interruption left out."""
    certificate = certify(
        network, X, y, beta, loss, certificate="estimated", starts=1, seed=seed, intercept=intercept
    )
    return TrainResult(network, certificate, [], Status.INTERRUPTED)


def _joint_status(each: list[Status]) -> Status:
    """The first status that is not a success; else zero if all are zero, else converged."""
    for status in each:
        if status not in (Status.CONVERGED, Status.ZERO):
            return status
    return Status.ZERO if all(status is Status.ZERO for status in each) else Status.CONVERGED


# ---- softmax ------------------------------------------------------------------------------------------


def _train_softmax(
    X: Array, Y: Array, beta: float, loss: LossLike, max_time: float | None, warm_start: Network | None,
    progress: Progress | None, *, tol: float, seed: int, certificate: CertificateKind,
    negative_slope: float = 0.0,
) -> TrainResult:  # fmt: skip
    begin = perf_counter()
    inner_tol = _PROVEN_SHARE * tol if certificate in ("exact", "bounded") else tol
    slope = negative_slope
    task = make_task(X, Y, beta, loss, inner_tol, max_time, seed, negative_slope=slope)
    history: list[dict[str, Any]] = []
    record = _recorder(task, history, progress, begin)
    best: SoftmaxBest | None = None
    try:
        if warm_start is None:
            neurons = max(_FEWEST, _NEURONS // Y.shape[1])
            warm_start = softmax_descent(
                X, Y, beta, neurons, seed=seed, deadline=task.deadline, negative_slope=slope
            )
        is_proven_below = beats_zero(task, warm_start)  # β < β_max then
        top = 0.0
        if not is_proven_below:
            top = beta_max(X, Y, loss, starts=_TOP_STARTS, seed=seed, negative_slope=slope)
        if not is_proven_below and top <= beta * (1 + 1e-12):
            zero = _zero_result(task, certificate, max_time, tol, progress)
            if zero is not None:
                return zero
        state = start_softmax(task, warm_start)
        best = state.best
        status = run_softmax(task, state, record)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    zeros = Network.zero(X.shape[1], Y.shape[1], negative_slope=slope)
    network = zeros if best is None else best.network(X)
    left = _LAST_SECONDS if max_time is None else max(_LAST_SECONDS, 0.1 * max_time)
    if certificate in ("exact", "bounded"):
        left = max(left, _PROOF_SECONDS if max_time is None else task.deadline - perf_counter())
    proof = _softmax_certificate(task, best, network, certificate, left, tol, begin)
    if status is Status.CONVERGED and proof.relative_gap > tol * (1.0 + 1e-6):
        status = Status.UNPROVEN
    return TrainResult(network, proof, history, status)


def _recorder(
    task: Task, history: list[dict[str, Any]], progress: Progress | None, begin: float
) -> Callable[[SoftmaxBest], None]:
    def record(best: SoftmaxBest) -> None:
        row = {
            "seconds": perf_counter() - begin,
            "iteration": len(history),
            "primal": best.primal,
            "bound": best.bound,
            "neurons": best.network(task.X).n_neurons,
        }
        history.append(row)
        if progress is not None:
            progress(dict(row))

    return record


def _zero_result(
    task: Task, kind: CertificateKind, max_time: float | None, tol: float, progress: Progress | None
) -> TrainResult | None:
    """The zero network at β ≥ β_max, if its certificate is within the tolerance."""
    network = Network.zero(task.X.shape[1], task.y.shape[1], negative_slope=task.negative_slope)
    zero = certify(network, task.X, task.y, task.beta, task.loss, max_time, certificate=kind, seed=task.seed)
    if zero.relative_gap > tol:
        return None
    row = {
        "seconds": zero.seconds, "iteration": 0, "primal": zero.primal, "bound": zero.lower_bound,
        "neurons": 0,
    }  # fmt: skip
    if progress is not None:
        progress(dict(row))
    return TrainResult(network, zero, [row], Status.ZERO)


def _softmax_certificate(
    task: Task, best: SoftmaxBest | None, network: Network, kind: CertificateKind, seconds: float, tol: float,
    begin: float,
) -> Certificate:  # fmt: skip
    """The verified bound of the run, then a proven one if that is asked for, or cheap and good enough."""
    data = (task.X, task.y, task.beta, task.loss)
    if best is None or not best.starts or best.gap > task.tol:
        nu = None if best is None or not best.nu.any() else best.nu
        searched: CertificateKind = "estimated" if kind == "auto" else kind
        try:
            return certify(network, *data, seconds, nu=nu, certificate=searched, seed=task.seed)
        except KeyboardInterrupt:
            return certify(network, *data, nu=nu, certificate="estimated", starts=1, seed=task.seed)
    primal = network.objective(*data)
    limits = data[1:]
    estimated = make_certificate(primal, best.nu, best.rho, *limits, "estimated", best.starts, begin)
    if kind == "estimated":
        return estimated
    try:
        proof = prove_softmax(
            *data, best.nu, kind, primal, min(1e-3, 0.1 * tol), None if kind == "auto" else seconds,
            task.negative_slope,
        )  # fmt: skip
    except KeyboardInterrupt:
        proof = None
    if proof is None:
        return estimated
    proven = make_certificate(primal, proof.nu, proof.rho, *limits, proof.kind, 0, begin)
    return estimated if kind == "auto" and proven.relative_gap > task.tol else proven


# ---- narrow networks ----------------------------------------------------------------------------------


def _narrowed(network: Network, X: Array, Y: Array, beta: float, loss: LossLike, width: int) -> Network:
    """The `width` largest neurons, polished by L-BFGS on the training problem, one output a neuron.

    Intercepts stay as they are.
    """
    order = np.argsort(-np.abs(network.alpha).sum(axis=1), kind="stable")[:width]
    outputs = np.argmax(np.abs(network.alpha[order]), axis=1)
    rows, (d, m), function = np.arange(len(order)), (X.shape[1], len(order)), get_loss(loss)

    def unpacked(theta: Array) -> tuple[Array, Array]:
        alpha = np.zeros((m, Y.shape[1]))
        alpha[rows, outputs] = theta[d * m :]
        return theta[: d * m].reshape(d, m), alpha

    def objective(theta: Array) -> tuple[float, Array]:
        U, alpha = unpacked(theta)
        Z = X @ U
        slopes = gains(Z > 0, network.negative_slope)
        Z *= slopes
        f = Z @ alpha + network.intercept
        residual = function.gradient(f, Y)[:, outputs]
        g = np.concatenate(
            [(X.T @ (residual * theta[d * m :] * slopes)).ravel(), np.einsum("ij,ij->j", Z, residual)]
        )
        return function.value(f, Y) + 0.5 * beta * float(theta @ theta), g + beta * theta

    kept = network.alpha[order, outputs]
    begin = np.concatenate([network.U[:, order].ravel(), kept])
    found = minimize(objective, begin, jac=True, method="L-BFGS-B", options={"maxiter": _POLISH_STEPS})
    U, alpha = unpacked(found.x)
    return replace(network, U=U, alpha=alpha).balanced()
