r"""Global training of two-layer ReLU networks: descend, price, correct.

min over m, U, α of  L(Σ_j (X u_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²)
"""

import logging
from dataclasses import dataclass, replace
from numbers import Integral
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from convexnn._threads import single_blas
from convexnn._types import Array, Progress
from convexnn.activation import checked_slope
from convexnn.certificate import Certificate, CertificateKind, certify, check_kind, make_certificate
from convexnn.descent import descend
from convexnn.feature_penalty import divided
from convexnn.intercepts import balanced, centre_of, dual_at, refuse_intercept, refuse_softmax
from convexnn.losses import LossLike, check_problem, get_loss, weigh
from convexnn.network import Network
from convexnn.rigorous import prove
from convexnn.status import Status
from convexnn.training._start import constant_network, descended, estimate
from convexnn.training.loop import Best, State, Task, beats_zero, make_task, run, start_state
from convexnn.training.many_columns import has_many_columns, train_many_columns
from convexnn.training.many_rows import has_many_rows, train_many_rows
from convexnn.training.row_space import train_in_row_space

__all__ = ["TrainResult", "train"]

_log = logging.getLogger(__name__)

#: Starts of the search that decides whether the zero network is worth a certificate.
_ZERO_STARTS = 200
#: Seconds that the certificate of a run cut short may take, and the share of `max_time` if that is more.
_LAST_SECONDS, _LAST_SHARE = 2.0, 0.1
#: Seconds for a proof without a time limit.
_PROOF_SECONDS = 60.0
#: Share of `tol` at which training stops where a proof, which costs some of the gap, comes after.
_PROVEN_SHARE = 0.6


class _Wanted(NamedTuple):
    """What the caller asked of the result."""

    tol: float
    kind: CertificateKind
    seconds: float  # for the final certificate
    max_neurons: int | None


@dataclass(frozen=True)
class TrainResult:
    """What `train` returns.

    Attributes
    ----------
    network : Network
        The best network found, balanced, at most one neuron a cell and sign.
    certificate : Certificate
        Its distance from the global optimum, recomputed from X, y and the weights.
    history : list of dict
        Rows with the keys seconds, iteration, primal, bound, neurons. In the form over cells the first
        are those of the run of Adam that finds the start, with the bound 0 (not for the softmax).
    status : Status
        Why training ended.
    """

    network: Network
    certificate: Certificate
    history: list[dict[str, Any]]
    status: Status


def train(
    X: Array,
    y: Array,
    beta: float,
    *,
    loss: LossLike = "squared",
    sample_weight: ArrayLike | None = None,
    intercept: bool = False,
    feature_penalty: ArrayLike | None = None,
    negative_slope: float = 0.0,
    tol: float = 1e-3,
    max_time: float | None = None,
    max_neurons: int | None = None,
    seed: int = 0,
    warm_start: Network | None = None,
    certificate: CertificateKind = "auto",
    progress: Progress | None = None,
) -> TrainResult:
    r"""min over m, U, α of L(Σ_j (Xu_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²), to a certified gap.

    Parameters
    ----------
    X : (n, d)
        Rows are samples; a bias is a column of ones.
    y : (n,) or (n, c)
        Targets as the loss takes them: real, labels ±1, or counts. With (n, c) the network has α (m, c), one
        output a neuron, and the penalty is (β/2) Σ (‖u_j‖² + ‖α_j‖₁²). ``"softmax"`` takes class labels
        0, 1, … (n,) or probabilities (n, c), one-hot for instance.
    beta : float
        Positive. Losses are sums over samples, so β is not divided by n.
    loss : str or SeparableLoss
        A name or an object of `convexnn.losses`: ``"squared"``, ``"logistic"``, ``"hinge"``,
        ``"squared_hinge"``, ``"huber"``, ``"quantile"``, ``"squared_epsilon_insensitive"``, ``"poisson"``,
        or with parameters ``Huber(0.5)``; ``"softmax"`` for classes.
    sample_weight : (n,), optional
        Weights ω ≥ 0 of the rows in L = Σ ω_i ℓ(f_i, y_i); 1 by default. They are not normalised.
    intercept : bool
        Whether the network has an output bias b₀, one for each output, that no penalty counts. The dual then
        has the constraint 1ᵀν = 0, and the certificate's ν keeps it exactly. Not for the softmax.
    feature_penalty : (d,), optional
        w > 0 of the penalty (β/2) Σ_j (Σ_k w_k u_jk² + α_j²); 1 by default.
    negative_slope : float
        s in [−1, 1): the activation is σ_s(z) = (z)_+ − s(−z)_+ in place of (z)_+. 0.01 is the usual leaky
        ReLU, −1 the absolute value.
    tol : float
        Relative gap (primal − bound)/primal at which to stop, after verification.
    max_time : float, optional
        Seconds; then the best network so far is returned. Its certificate may take two seconds more, or a
        tenth of this if that is longer; a proof that was asked for may take what is left of it.
    max_neurons : int, optional
        Limit on the width. If the optimum needs more, the largest neurons are kept and polished by
        descent; the certificate tells what that costs.
    seed : int
        Same inputs and seed, same result.
    warm_start : Network, optional
        Start here in place of a short run of Adam.
    certificate : {"auto", "exact", "bounded", "estimated"}
        The kind of the final certificate, as in `certify`. Training itself stops on estimated bounds;
        ``auto`` keeps the estimate unless an exact one is cheap and within `tol`.
    progress : callable, optional
        Receives each row of the history.

    Returns
    -------
    TrainResult
        Also on Ctrl-C or at a limit: the best so far, with its certificate.

    Raises
    ------
    ValueError
        If the data, β, loss, weights, tol or limits are not valid.

    Notes
    -----
    Three forms, chosen by the data. With more than 300 rows and more than 300 columns (images) and a
    differentiable loss, neurons slide on a smoothed problem in principal axes, and prices come from float32
    ascents. With more than 4,000 rows, at most 40 columns and the squared loss, they slide in row blocks on
    a smoothed problem too. Their certificates are ``estimated`` unless a proof is asked for. Otherwise, and
    always with an intercept or a negative slope, the method is column generation over cells, with an
    augmented Lagrangian on the dual as master; with more columns than rows it works in the space of the rows.

    Several outputs: all losses but the softmax are sums over outputs, so that each is trained by itself, in
    its share of `max_time`; bounds add up. The softmax couples them: cells of all outputs share one master,
    whatever the size of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import train
    >>> X = np.column_stack([np.arange(-2.0, 3.0), np.ones(5)])  # a bias is a column of ones
    >>> result = train(X, np.array([1.0, -1.0, 1.0, 1.0, -1.0]), beta=0.1, tol=1e-4)
    >>> result.network.n_neurons, result.certificate.kind, round(result.certificate.primal, 3)
    (4, 'exact', 0.891)
    """
    begin = perf_counter()
    X, y, beta = check_problem(X, y, beta, loss, any_loss=True)
    check_kind(certificate)
    slope = checked_slope(negative_slope)
    if warm_start is not None and warm_start.negative_slope != slope:
        raise ValueError(
            f"warm_start has negative_slope = {warm_start.negative_slope:g}, the problem {slope:g}: "
            "they must be equal."
        )
    root: Array | None = None
    if feature_penalty is not None:
        X, root = divided(X, feature_penalty)
    if intercept:
        refuse_softmax(loss)
    problem = weigh(X, y, loss, sample_weight, fold=not intercept)
    centre = centre_of(problem.loss, problem.y) if intercept else 0.0
    if warm_start is not None:
        warm_start = _warm_start(warm_start, root, intercept, centre)
    result = _train(
        problem.X, problem.y - centre if intercept else problem.y, beta, problem.loss, tol=tol,
        max_time=max_time, max_neurons=max_neurons, seed=seed, warm_start=warm_start,
        certificate=certificate, progress=progress, intercept=intercept, negative_slope=slope,
    )  # fmt: skip
    nu, seconds = problem.restore(result.certificate.nu), perf_counter() - begin
    certified = replace(result.certificate, nu=balanced(nu) if intercept else nu, seconds=seconds)
    _log.info("%s %s", result.status, str(certified).splitlines()[0])
    network = result.network
    if root is not None:
        network = replace(network, U=network.U / root[:, None])
    if intercept:
        network = replace(network, intercept=network.intercept + centre)
    return replace(result, network=network, certificate=certified)


def _warm_start(network: Network, root: Array | None, intercept: bool, centre: float | Array) -> Network:
    """A network in the coordinates of X/√w, for targets less their centre."""
    if not intercept:
        refuse_intercept(network, "start from it with intercept=True")
    if root is not None and len(root) == network.n_features:
        network = replace(network, U=network.U * root[:, None])
    if intercept and np.shape(centre) == network.alpha.shape[1:]:
        network = replace(network, intercept=network.intercept - centre)
    return network


def _train(
    X: Array,
    y: Array,
    beta: float,
    loss: LossLike,
    *,
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
    """`train` with all rows of positive weight, and weights only in the loss."""
    begin = perf_counter()
    fits = warm_start is None or warm_start.n_features == X.shape[1]
    is_plain = not intercept and negative_slope == 0.0  # the forms for large data know nothing else
    is_wide = has_many_columns(X, loss) and is_plain
    if X.shape[1] > len(X) and fits and not (y.ndim == 1 and is_wide):
        result: TrainResult = train_in_row_space(
            _train, X, y, beta, loss, tol=tol, max_time=max_time, max_neurons=max_neurons, seed=seed,
            warm_start=warm_start, certificate=certificate, progress=progress, intercept=intercept,
            negative_slope=negative_slope,
        )  # fmt: skip
        return result
    if y.ndim == 2:
        from convexnn.training.outputs import train_outputs  # which imports this module

        _check_options(X, y[:, 0], tol, max_time, max_neurons, None, seed)
        return train_outputs(
            X, y, beta, loss=loss, tol=tol, max_time=max_time, max_neurons=max_neurons, seed=seed,
            warm_start=warm_start, certificate=certificate, progress=progress, intercept=intercept,
            negative_slope=negative_slope,
        )  # fmt: skip
    _check_options(X, y, tol, max_time, max_neurons, warm_start, seed)
    inner_tol = _PROVEN_SHARE * tol if certificate in ("exact", "bounded") else tol
    is_long = has_many_rows(X, loss) and is_plain
    task = make_task(
        X, y, beta, loss, inner_tol, max_time, seed, is_large=is_wide or is_long, intercept=intercept,
        negative_slope=negative_slope,
    )  # fmt: skip
    form = "many columns" if is_wide else "many rows" if is_long else "cells"
    _log.info("form %s: X %d×%d, beta %g, tol %g", form, *X.shape, beta, tol)
    history: list[dict[str, Any]] = []

    def record(best: Best) -> None:
        note(best.primal, best.bound, best.n_blocks)

    def note(primal: float, bound: float, neurons: int) -> None:
        row = {
            "seconds": perf_counter() - begin,
            "iteration": len(history),
            "primal": primal,
            "bound": bound,
            "neurons": neurons,
        }
        history.append(row)
        _log.debug("%(seconds).2f s: objective %(primal)g, bound %(bound)g, %(neurons)d neurons", row)
        if progress is not None:
            progress(dict(row))

    if is_wide or is_long:
        train_large = train_many_columns if is_wide else train_many_rows
        best, status = train_large(task, record, warm_start)
        wanted = _wanted(task, tol, max_time, max_neurons, certificate)
        return _result(task, best, history, status, wanted, begin)
    state: State | None = None
    try:
        flat = np.zeros_like(y)
        nu = dual_at(loss, flat, y) if intercept else -get_loss(loss).gradient(flat, y)
        start, is_stopped = descended(task, nu, seed, note) if warm_start is None else (warm_start, False)
        if not beats_zero(task, start) and estimate(task, nu, starts=_ZERO_STARTS, seed=seed) <= beta:
            constant = constant_network(task)
            zero = certify(
                constant, X, y, beta, loss, max_time, certificate=certificate, seed=seed, intercept=intercept
            )
            if zero.relative_gap <= tol:
                note(zero.primal, zero.lower_bound, 0)
                return TrainResult(constant, zero, history, Status.ZERO)
        with single_blas():
            state = start_state(task, start)
        if not is_stopped:
            record(state.best)
        status = Status.INTERRUPTED if is_stopped else run(task, state, record)
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    wanted = _wanted(task, tol, max_time, max_neurons, certificate)
    return _result(task, None if state is None else state.best, history, status, wanted, begin)


def _wanted(
    task: Task, tol: float, max_time: float | None, max_neurons: int | None, kind: CertificateKind
) -> _Wanted:
    """The caller's wishes, with the seconds that the certificate may take from now."""
    seconds = _LAST_SECONDS if max_time is None else max(_LAST_SECONDS, _LAST_SHARE * max_time)
    if kind in ("exact", "bounded"):
        seconds = max(seconds, _PROOF_SECONDS if max_time is None else task.deadline - perf_counter())
    return _Wanted(tol, kind, seconds, max_neurons)


def _check_options(
    X: Array,
    y: Array,
    tol: float,
    max_time: float | None,
    max_neurons: int | None,
    warm_start: Network | None,
    seed: int,
) -> None:
    if y.ndim != 1:
        raise ValueError(f"train takes one output; y has shape {y.shape}.")
    if not 0 < tol < np.inf:
        raise ValueError(f"tol must be positive and finite; it is {tol!r}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be a positive number of seconds; it is {max_time!r}.")
    if max_neurons is not None and (not isinstance(max_neurons, Integral) or max_neurons < 1):
        raise ValueError(f"max_neurons must be a whole number, at least 1; it is {max_neurons!r}.")
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number that is not negative; it is {seed!r}.")
    if warm_start is not None and (warm_start.n_features != X.shape[1] or warm_start.alpha.ndim != 1):
        raise ValueError(
            f"warm_start must be a network of {X.shape[1]} features and one output; "
            f"it has {warm_start.n_features} features and alpha of shape {warm_start.alpha.shape}."
        )


def _result(
    task: Task,
    best: Best | None,
    history: list[dict[str, Any]],
    status: Status,
    wanted: _Wanted,
    begin: float,
) -> TrainResult:
    """The network of the best point with its certificate; zero where none was reached."""
    if best is None:
        network = constant_network(task)
        certificate = _searched(task, network, None, wanted)
        return TrainResult(network, certificate, history, status)
    network = best.network(task.X)
    is_cut = wanted.max_neurons is not None and network.n_neurons > wanted.max_neurons
    if is_cut and wanted.max_neurons is not None:
        network = _narrowed(task, network, wanted.max_neurons)
    elif network.n_neurons > len(task.X):  # an optimum needs no more than n
        from convexnn.landscape.neurons import prune  # which is above this module

        network = prune(network, task.X)
    certificate = _certificate(task, best, network, wanted, begin)
    if status is Status.CONVERGED and certificate.relative_gap > wanted.tol * (1.0 + 1e-6):
        status = Status.WIDTH_LIMIT if is_cut else Status.UNPROVEN
    return TrainResult(network, certificate, history, status)


def _searched(task: Task, network: Network, nu: Array | None, wanted: _Wanted) -> Certificate:
    """A certificate by search alone, unless a proof was asked for; Ctrl-C leaves a hasty one."""
    kind: CertificateKind = "estimated" if wanted.kind == "auto" else wanted.kind
    data = (task.X, task.y, task.beta, task.loss)
    rest: dict[str, Any] = {"seed": task.seed, "intercept": task.intercept}
    try:
        return certify(network, *data, wanted.seconds, nu=nu, certificate=kind, **rest)
    except KeyboardInterrupt:
        return certify(network, *data, nu=nu, certificate="estimated", starts=1, **rest)


def _certificate(task: Task, best: Best, network: Network, wanted: _Wanted, begin: float) -> Certificate:
    """The verified bound of the run, then a proven one if that is asked for, or cheap and good enough."""
    kind, seconds = wanted.kind, wanted.seconds
    primal = network.objective(task.X, task.y, task.beta, task.loss)
    data = (task.y, task.beta, task.loss)
    if not best.is_large and (not best.starts or best.gap > task.tol):
        return _searched(task, network, best.nu if best.nu.any() else None, wanted)
    estimated = make_certificate(primal, best.nu, best.rho, *data, "estimated", best.starts, begin)
    if kind == "estimated" or (kind == "auto" and best.is_large):
        return estimated
    try:
        proof = prove(
            task.X, *data, best.nu, kind=kind, primal=primal, rtol=min(1e-3, 0.1 * wanted.tol),
            max_time=None if kind == "auto" else seconds, intercept=task.intercept,
            negative_slope=task.negative_slope,
        )  # fmt: skip
    except KeyboardInterrupt:
        proof = None
    if proof is None:
        return estimated
    proven = make_certificate(primal, proof.nu, proof.rho, *data, proof.kind, 0, begin)
    return estimated if kind == "auto" and proven.relative_gap > task.tol else proven


def _narrowed(task: Task, network: Network, width: int) -> Network:
    """The `width` largest neurons, polished by descent on the training problem."""
    order = np.argsort(-np.abs(network.alpha), kind="stable")[:width]
    kept = replace(network, U=network.U[:, order], alpha=network.alpha[order])
    left = None if np.isinf(task.deadline) else max(0.5, task.deadline - perf_counter())
    return descend(
        task.X, task.y, task.beta, loss=task.loss, method="lbfgs", steps=2000, start=kept, seed=task.seed,
        max_time=left, intercept=task.intercept,
    ).network.balanced()  # fmt: skip
