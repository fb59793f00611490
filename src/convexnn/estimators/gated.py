r"""Gated ReLU networks: the convex program without cones, over sampled gates.

    f(z) = Σ_i 1[zᵀg_i ≥ 0] zᵀw_i,     min over w  Σ ω_k ℓ(f(z_k), y_k) + β Σ_i ‖w_i‖

The gates g_i are drawn at random and stay; only w is trained, a group lasso. Its certificate is about these
gates alone (kind ``patterns``): it is no bound for other gates, nor for ReLU networks.

Source: Mishkin, Sahiner & Pilanci (ICML 2022).
"""

from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from scipy import sparse

from convexnn._types import Array
from convexnn.certificate import Certificate
from convexnn.certificate_outputs import join_certificates
from convexnn.data import Scaler
from convexnn.estimators._labels import loss_name, regression_loss
from convexnn.estimators._progress import FitProgress, with_callbacks
from convexnn.estimators._rows import Problem, design, make_problem, times
from convexnn.estimators._shared import (
    CertifiedClassifier,
    CertifiedRegressor,
    auto_beta,
    checked_classification,
    checked_regression,
    checked_rows,
    end_fit,
    require_auto,
    seed_of,
    set_labels,
    warn_unfinished,
)
from convexnn.gated_network import GatedNetwork
from convexnn.losses import LossLike, weigh
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve
from convexnn.status import Status

__all__ = ["GatedNetwork", "GatedReLUClassifier", "GatedReLURegressor"]


class GatedReLURegressor(CertifiedRegressor):
    r"""min Σ_k ω_k ℓ(f(z_k), y_k) + β Σ_i ‖w_i‖ with f(z) = Σ_i 1[zᵀg_i ≥ 0] zᵀw_i, over sampled gates g_i.

    A fast convex model, not a ReLU network. With several outputs each has its own weights behind the same
    gates. Z is [(X − mean)/scale, 1]/√(d+1), or [X, 1] without standardisation.

    Parameters
    ----------
    beta : float or "auto", default "auto"
        Regularisation, positive; "auto" is a hundredth of the β above which these gates give zero.
    loss : {"squared", "huber", "quantile", "squared_epsilon_insensitive", "poisson"} or object
        As in `ConvexReLURegressor`.
    n_gates : int, default 100
        Directions drawn; gates that are equal on the training rows count once.
    tol : float, default 1e-3
        Relative duality gap, over these gates, at which training stops.
    max_time : float, optional
        Seconds after which training stops with the best point so far and a ConvergenceWarning.
    standardize : bool, default True
        As in `ConvexReLURegressor`.
    random_state : int, RandomState instance or None, default 0
        Seed of the gates.
    verbose : bool, default False
        Print one line an iteration.

    Attributes
    ----------
    network_ : GatedNetwork
        Gates and weights in the coordinates of Z.
    scaler_ : Scaler or None
    certificate_ : Certificate
        Of kind ``patterns``: the gap to the optimum over these gates. No bound beyond them.
    history_ : list of dict
        One row an iteration: seconds, iteration, primal, bound; outputs are solved one after the other.
    beta_, loss_, n_iter_, status_, n_features_in_, feature_names_in_
        As in `ConvexReLURegressor`.

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence.

    Notes
    -----
    Sparse X and Ctrl-C: as in `ConvexReLURegressor`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from convexnn.estimators import GatedReLURegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GatedReLURegressor(n_gates=20).fit(X, y)
    >>> model.certificate_.kind
    'patterns'
    """

    def __init__(
        self,
        beta: float | Literal["auto"] = "auto",
        loss: LossLike = "squared",
        n_gates: int = 100,
        tol: float = 1e-3,
        max_time: float | None = None,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.n_gates = n_gates
        self.tol = tol
        self.max_time = max_time
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "GatedReLURegressor":
        """Train on X (n, d), dense, sparse or a frame, and y (n,) or (n, c); returns the estimator."""
        rows, targets, weights = checked_regression(self, X, y, sample_weight)
        loss = regression_loss(self.loss)
        progress = FitProgress(self, rows, targets, weights)
        _fit(self, make_problem(rows, targets, weights, self.standardize), loss, progress)
        return self

    def _scores(self, X: Any) -> Array:
        return _outputs(self, X)


class GatedReLUClassifier(CertifiedClassifier):
    r"""min Σ_k ω_k ℓ(y_k f(z_k)) + β Σ_i ‖w_i‖ with f(z) = Σ_i 1[zᵀg_i ≥ 0] zᵀw_i, over sampled gates g_i.

    A fast convex model, not a ReLU network. More than two classes: each against the rest, for every loss,
    behind the same gates; probabilities are then σ(f) scaled to sum to one. Z is as in the regressor.

    Parameters
    ----------
    beta : float or "auto", default "auto"
        Regularisation, positive; "auto" is a hundredth of the β above which these gates give zero.
    loss : {"logistic", "hinge", "squared_hinge", "squared"}, default "logistic"
    n_gates : int, default 100
        Directions drawn; gates that are equal on the training rows count once.
    tol : float, default 1e-3
        Relative duality gap, over these gates, at which training stops.
    max_time : float, optional
        Seconds after which training stops with the best point so far and a ConvergenceWarning.
    standardize : bool, default True
        As in `ConvexReLUClassifier`.
    class_weight : dict, "balanced" or None, default None
        As in `ConvexReLUClassifier`.
    random_state : int, RandomState instance or None, default 0
        Seed of the gates.
    verbose : bool, default False
        Print one line an iteration.

    Attributes
    ----------
    classes_, multilabel_
        As in `ConvexReLUClassifier`.
    network_ : GatedNetwork
        Gates and weights in the coordinates of Z.
    scaler_ : Scaler or None
    certificate_ : Certificate
        Of kind ``patterns``: the gap to the optimum over these gates. No bound beyond them.
    history_ : list of dict
        One row an iteration: seconds, iteration, primal, bound; outputs are solved one after the other.
    beta_, loss_, n_iter_, status_, n_features_in_, feature_names_in_
        As in `ConvexReLUClassifier`.

    Raises
    ------
    ValueError
        If an argument or the data are unfit, or y has one class only; one sentence.

    Notes
    -----
    Sparse X and Ctrl-C: as in `ConvexReLUClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from convexnn.estimators import GatedReLUClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GatedReLUClassifier(n_gates=20).fit(X, y)
    >>> bool(model.score(X, y) > 0.97)
    True
    """

    def __init__(
        self,
        beta: float | Literal["auto"] = "auto",
        loss: LossLike = "logistic",
        n_gates: int = 100,
        tol: float = 1e-3,
        max_time: float | None = None,
        standardize: bool = True,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.n_gates = n_gates
        self.tol = tol
        self.max_time = max_time
        self.standardize = standardize
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "GatedReLUClassifier":
        """Train on X (n, d), dense, sparse or a frame, and labels y (n,) or (n, k); returns the estimator."""
        rows, y, labels, weights = checked_classification(self, X, y, sample_weight, coupled=False)
        progress = FitProgress(self, rows, y, weights)
        problem = make_problem(rows, labels.targets, weights, self.standardize)
        set_labels(self, labels)
        _fit(self, problem, labels.loss, progress)
        return self

    def _scores(self, X: Any) -> Array:
        return _outputs(self, X)


_Model = GatedReLURegressor | GatedReLUClassifier


def _fit(model: _Model, problem: Problem, loss: LossLike, progress: FitProgress) -> None:
    """Solve one program an output, and set the fitted attributes."""
    begin, seed = perf_counter(), seed_of(model.random_state)
    weighted = weigh(problem.Z, problem.y, loss, problem.weights)
    patterns = Patterns.sample(weighted.X, model.n_gates, rng=seed)
    columns = weighted.y.reshape(len(weighted.y), -1).T
    one = ConvexProgram(weighted.X, columns[0], patterns, 1.0, weighted.loss, gated=True)
    beta = _beta(model, [replace(one, y=column) for column in columns])
    solutions: list[Solution] = []
    certificates: list[Certificate] = []
    history: list[dict[str, Any]] = []

    def step(row: dict[str, Any]) -> None:
        row = row | {"seconds": perf_counter() - begin, "iteration": len(history)}
        history.append(row)
        if progress.wanted:
            progress.step(row)

    for k, column in enumerate(columns):
        program = replace(one, y=column, beta=beta)
        left = None
        if model.max_time is not None:
            left = max(1e-3, (model.max_time - (perf_counter() - begin)) / (len(columns) - k))
        is_cut = bool(solutions) and solutions[-1].status is Status.INTERRUPTED
        solutions.append(
            _zero_solution(program) if is_cut else solve(program, tol=model.tol, max_time=left, progress=step)
        )
        certificates.append(_certificate(program, solutions[-1], begin))
    W = np.stack([solution.v - solution.w for solution in solutions], axis=2)
    if problem.y.ndim == 1:
        W = W[:, :, 0]
        certificate = certificates[0]
    else:
        certificate = join_certificates(certificates, sum(one.primal for one in certificates), begin)
    used = W.any(axis=0) if W.ndim == 2 else W.any(axis=(0, 2))
    G = problem.lift(patterns.generators[:, used])
    kept = W[:, used]
    flat = problem.lift(kept.reshape(len(kept), -1))
    model.network_ = GatedNetwork(G, flat.reshape(len(flat), *kept.shape[1:]))
    model.certificate_ = replace(certificate, nu=problem.restore(weighted.restore(certificate.nu)))
    model.scaler_ = problem.scaler
    model.beta_ = beta
    model.loss_ = loss_name(loss)
    model.history_ = history
    model.status_ = _joint([solution.status for solution in solutions])
    model.n_iter_ = len(history)
    warn_unfinished(model.status_, certificate, model.tol, progress)
    end_fit(model.status_, progress)


def _beta(model: _Model, programs: list[ConvexProgram]) -> float:
    if not isinstance(model.beta, str):
        return float(model.beta)
    require_auto(model.beta)
    return auto_beta(max(program.beta_max for program in programs))


def _zero_solution(program: ConvexProgram) -> Solution:
    """An output that an interruption left out."""
    zero = np.zeros_like(program.patterns.generators)
    nu = np.zeros_like(program.y)
    return Solution(zero, zero, Status.INTERRUPTED, program.primal(zero, zero), 0.0, 1.0, 0.0, nu)


def _certificate(program: ConvexProgram, solution: Solution, begin: float) -> Certificate:
    """Primal, bound and gap recomputed from the weights and the dual point, over the program's gates."""
    primal = program.primal(solution.v, solution.w)
    bound, nu = program.dual(solution.nu)
    bound = max(bound, 0.0)
    gap = primal - bound
    return Certificate(
        primal, bound, gap, gap / primal if primal > 0 else 0.0, "patterns", nu, program.rho(nu),
        program.beta, len(program.patterns), perf_counter() - begin,
    )  # fmt: skip


def _joint(statuses: list[Status]) -> Status:
    """The first that is not a success, else converged; zero if all are."""
    for status in statuses:
        if status not in (Status.CONVERGED, Status.ZERO_HERE):
            return status
    return Status.ZERO_HERE if set(statuses) == {Status.ZERO_HERE} else Status.CONVERGED


def _outputs(model: _Model, X: Any) -> Array:
    """f(Z) for new rows."""
    rows = checked_rows(model, X)
    network, scaler = model.network_, model.scaler_
    if not sparse.issparse(rows):
        output: Array = network.predict(design(scaler, rows))
        return output
    return _sparse_outputs(network, scaler, rows)


def _sparse_outputs(network: GatedNetwork, scaler: Scaler | None, X: Any) -> Array:
    """f(Z) for CSR rows, without Z."""
    flat = network.W.reshape(network.n_features, -1)
    out = np.empty((X.shape[0], *network.W.shape[2:]))
    step = max(1, 4_000_000 // max(1, flat.shape[1]))
    for start in range(0, X.shape[0], step):
        rows = X[start : start + step]
        values = times(rows, scaler, flat).reshape(rows.shape[0], *network.W.shape[1:])
        gates = times(rows, scaler, network.G) >= 0
        out[start : start + step] = np.einsum("nm,nm...->n...", gates, values)
    return out
