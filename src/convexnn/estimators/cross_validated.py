r"""Estimators that choose β by cross-validation, one regularisation path a fold.

β̂ = argmax over β of the mean over folds of score(network trained on the other folds at β·ω_train/ω)

The loss is a sum over samples, so on a fold β is multiplied by the fold's share of the rows (of their
weights): the regularisation that a row feels is then that of the final fit on all rows.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv

from convexnn._types import Array
from convexnn.estimators._labels import loss_name, regression_loss
from convexnn.estimators._progress import FitProgress, with_callbacks
from convexnn.estimators._rows import Problem, make_problem
from convexnn.estimators._shared import (
    checked_classification,
    checked_regression,
    fit_network,
    seed_of,
    set_labels,
)
from convexnn.estimators.classifier import ConvexReLUClassifier
from convexnn.estimators.regressor import ConvexReLURegressor
from convexnn.losses import LossLike
from convexnn.regularisation_path import checked_betas, default_betas, path
from convexnn.status import Status

__all__ = ["ConvexReLUClassifierCV", "ConvexReLURegressorCV"]


class ConvexReLURegressorCV(ConvexReLURegressor):
    r"""min Σ ω_i ℓ(f(z_i), y_i) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²), globally, with β chosen by cross-validation.

    Each fold trains one warm-started path over all β (see `convexnn.path`), each β multiplied by the fold's
    share of the rows; the β of best mean score is then trained on all rows, with a certificate.

    Parameters
    ----------
    betas : "auto" or array of float, default "auto"
        Values to choose from; "auto" takes `n_betas` from β_max of all rows down to `ratio` · β_max.
    n_betas : int, default 10
    ratio : float, default 1e-2
    cv : int, splitter or iterable, default 5
        As in scikit-learn; an int means KFold.
    scoring : str or callable, optional
        As in scikit-learn; by default R². Larger is better. Weighted where `fit` has weights and the scorer
        takes them.
    loss : {"squared", "huber", "quantile", "squared_epsilon_insensitive", "poisson"} or object
        As in `ConvexReLURegressor`.
    tol : float, default 1e-3
        Relative duality gap at which each training stops.
    max_time : float, optional
        Seconds for all paths and the final fit together, shared evenly. A β that a fold did not reach has the
        score NaN and cannot be chosen.
    standardize : bool, default True
        As in `ConvexReLURegressor`; the folds standardise by their own training rows.
    penalize_intercept, feature_penalty, negative_slope
        As in `ConvexReLURegressor`.
    random_state : int, RandomState instance or None, default 0
    verbose : bool, default False
        Print one line a β and fold.

    Attributes
    ----------
    beta_ : float
        The β chosen: the largest among equal scores.
    betas_ : (k,) array
        Largest first.
    scores_ : (k, folds) array
    best_score_ : float
        Mean score of `beta_` over the folds.
    network_, scaler_, coefs_, intercept_, certificate_, loss_, history_, n_iter_, status_
        Of the fit on all rows, as in `ConvexReLURegressor`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence.

    Notes
    -----
    Ctrl-C during a fold ends the fit without a result; during the final fit it is as in
    `ConvexReLURegressor`. KeyboardInterrupt goes on in both cases.
    """

    def __init__(
        self,
        betas: ArrayLike | Literal["auto"] = "auto",
        n_betas: int = 10,
        ratio: float = 1e-2,
        cv: Any = 5,
        scoring: str | Callable[..., float] | None = None,
        loss: LossLike = "squared",
        tol: float = 1e-3,
        max_time: float | None = None,
        standardize: bool = True,
        penalize_intercept: bool = True,
        feature_penalty: ArrayLike | None = None,
        negative_slope: float = 0.0,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.betas = betas
        self.n_betas = n_betas
        self.ratio = ratio
        self.cv = cv
        self.scoring = scoring
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.standardize = standardize
        self.penalize_intercept = penalize_intercept
        self.feature_penalty = feature_penalty
        self.negative_slope = negative_slope
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ConvexReLURegressorCV":
        """Choose β on X (n, d) and y (n,) or (n, c), then train on all rows; returns the estimator."""
        rows, targets, weights = checked_regression(self, X, y, sample_weight)
        loss = regression_loss(self.loss)
        progress = FitProgress(self, rows, targets, weights)
        data = _Data(rows, targets, targets, weights, weights, loss)
        _choose_and_fit(self, data, ConvexReLURegressor(loss=self.loss), progress)
        return self


class ConvexReLUClassifierCV(ConvexReLUClassifier):
    r"""min Σ ω_i ℓ(f(z_i), y_i) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²), globally, with β chosen by cross-validation.

    Each fold trains one warm-started path over all β (see `convexnn.path`), each β multiplied by the fold's
    share of the rows; the β of best mean score is then trained on all rows, with a certificate. Two classes,
    more, and indicator matrices are as in `ConvexReLUClassifier`.

    Parameters
    ----------
    betas : "auto" or array of float, default "auto"
        Values to choose from; "auto" takes `n_betas` from β_max of all rows down to `ratio` · β_max.
    n_betas : int, default 10
    ratio : float, default 1e-2
    cv : int, splitter or iterable, default 5
        As in scikit-learn; an int means StratifiedKFold.
    scoring : str or callable, optional
        As in scikit-learn; by default the accuracy. Larger is better. Weighted where `fit` has weights and
        the scorer takes them.
    loss : {"logistic", "hinge", "squared_hinge", "squared"}, default "logistic"
    tol : float, default 1e-3
        Relative duality gap at which each training stops.
    max_time : float, optional
        Seconds for all paths and the final fit together, shared evenly. A β that a fold did not reach has the
        score NaN and cannot be chosen.
    standardize : bool, default True
        As in `ConvexReLUClassifier`; the folds standardise by their own training rows.
    penalize_intercept, feature_penalty, negative_slope
        As in `ConvexReLUClassifier`.
    class_weight : dict, "balanced" or None, default None
        As in `ConvexReLUClassifier`, by all rows; scores do not use it.
    random_state : int, RandomState instance or None, default 0
    verbose : bool, default False
        Print one line a β and fold.

    Attributes
    ----------
    classes_, multilabel_
        As in `ConvexReLUClassifier`.
    beta_ : float
        The β chosen: the largest among equal scores.
    betas_ : (k,) array
        Largest first.
    scores_ : (k, folds) array
    best_score_ : float
        Mean score of `beta_` over the folds.
    network_, scaler_, coefs_, intercept_, certificate_, loss_, history_, n_iter_, status_
        Of the fit on all rows, as in `ConvexReLUClassifier`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    ValueError
        If an argument or the data are unfit, or y has one class only; one sentence.

    Notes
    -----
    Ctrl-C during a fold ends the fit without a result; during the final fit it is as in
    `ConvexReLUClassifier`. KeyboardInterrupt goes on in both cases.
    """

    def __init__(
        self,
        betas: ArrayLike | Literal["auto"] = "auto",
        n_betas: int = 10,
        ratio: float = 1e-2,
        cv: Any = 5,
        scoring: str | Callable[..., float] | None = None,
        loss: LossLike = "logistic",
        tol: float = 1e-3,
        max_time: float | None = None,
        standardize: bool = True,
        penalize_intercept: bool = True,
        feature_penalty: ArrayLike | None = None,
        negative_slope: float = 0.0,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.betas = betas
        self.n_betas = n_betas
        self.ratio = ratio
        self.cv = cv
        self.scoring = scoring
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.standardize = standardize
        self.penalize_intercept = penalize_intercept
        self.feature_penalty = feature_penalty
        self.negative_slope = negative_slope
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ConvexReLUClassifierCV":
        """Choose β on X (n, d) and labels y (n,) or (n, k), then train on all rows; returns the estimator."""
        rows, y, labels, weights = checked_classification(self, X, y, sample_weight)
        progress = FitProgress(self, rows, y, weights)
        set_labels(self, labels)
        single = ConvexReLUClassifier(loss=self.loss)
        set_labels(single, labels)
        given = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        data = _Data(rows, labels.targets, y, weights, given, labels.loss)
        _choose_and_fit(self, data, single, progress)
        return self


_ModelCV = ConvexReLURegressorCV | ConvexReLUClassifierCV
_Single = ConvexReLURegressor | ConvexReLUClassifier


@dataclass(frozen=True, eq=False)
class _Data:
    """Validated data: rows, the targets of the loss, y for scorers, weights of the loss and of the scores."""

    X: Any
    targets: Array
    y: NDArray[Any]
    weights: Array | None
    score_weights: Array | None
    loss: LossLike

    def problem(self, inside: NDArray[np.intp], model: "_ModelCV") -> Problem:
        weights = None if self.weights is None else self.weights[inside]
        return make_problem(
            self.X[inside], self.targets[inside], weights, model.standardize, model.feature_penalty
        )

    def share(self, inside: NDArray[np.intp]) -> float:
        """The part of all weights that some rows have."""
        if self.weights is None:
            return len(inside) / len(self.y)
        return float(self.weights[inside].sum() / self.weights.sum())


def _choose_and_fit(model: _ModelCV, data: _Data, single: _Single, progress: FitProgress) -> None:
    """Set betas_, scores_ and best_score_, and train at the best β on all rows."""
    begin, seed = perf_counter(), seed_of(model.random_state)
    whole = make_problem(data.X, data.targets, data.weights, model.standardize, model.feature_penalty)
    betas = _betas(model, whole, data.loss, seed)
    is_classifier = isinstance(model, ConvexReLUClassifier)
    folds = list(check_cv(model.cv, data.y, classifier=is_classifier).split(data.X, data.y))
    scores = np.full((len(betas), len(folds)), np.nan)
    for k, (inside, outside) in enumerate(folds):
        left = _left(model.max_time, begin)
        share = None if left is None else left / (len(folds) + 1 - k)
        scores[:, k] = _fold_scores(model, data, single, inside, outside, betas, seed, share)
        if model.verbose:
            _print_scores(k, betas, scores[:, k])
    mean = scores.mean(axis=1)
    if np.isnan(mean).all():
        raise ValueError("No beta has a score in every fold: allow more time, or look at the scoring.")
    model.betas_, model.scores_ = betas, scores
    best = int(np.nanargmax(mean))
    model.best_score_ = float(mean[best])
    left = _left(model.max_time, begin)
    fit_network(model, whole, data.loss, progress, beta=float(betas[best]), max_time=left)


def _left(max_time: float | None, begin: float) -> float | None:
    return None if max_time is None else max(1e-3, max_time - (perf_counter() - begin))


def _betas(model: _ModelCV, problem: Problem, loss: LossLike, seed: int) -> Array:
    """The values to choose from, largest first."""
    if isinstance(model.betas, str):
        if model.betas != "auto":
            raise ValueError(f"betas must be positive numbers or 'auto'; it is {model.betas!r}.")
        return default_betas(
            problem.Z, problem.y, model.n_betas, model.ratio, loss, seed, sample_weight=problem.weights,
            intercept=not model.penalize_intercept, negative_slope=model.negative_slope,
        )  # fmt: skip
    return checked_betas(model.betas)


def _fold_scores(
    model: _ModelCV,
    data: _Data,
    single: _Single,
    inside: NDArray[np.intp],
    outside: NDArray[np.intp],
    betas: Array,
    seed: int,
    max_time: float | None,
) -> Array:
    """The score of each β on the rows left out; NaN for a β that the path did not finish, but for its first.

    The networks' bounds are only estimated here: nothing of a fold is kept but its scores. `single` is an
    estimator for scorers, fitted but for its network.
    """
    problem = data.problem(inside, model)
    result = path(
        problem.Z, problem.y, betas * data.share(inside), loss=data.loss, sample_weight=problem.weights,
        tol=model.tol, max_time=max_time, seed=seed, certificate="estimated",
        intercept=not model.penalize_intercept, negative_slope=model.negative_slope,
    )  # fmt: skip
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    single.scaler_, single.n_features_in_ = problem.scaler, data.X.shape[1]
    single.loss_ = loss_name(data.loss)
    score = check_scoring(single, scoring=model.scoring)
    options = _score_options(score, data, outside)
    scores = np.full(len(betas), np.nan)
    finished = len(result) - (result.status is Status.TIME_LIMIT)
    for k, network in enumerate(result.networks[: max(finished, 1)]):
        single.network_ = replace(network, U=problem.lift(network.U))
        scores[k] = score(single, data.X[outside], data.y[outside], **options)
    return scores


def _score_options(score: Any, data: _Data, outside: NDArray[np.intp]) -> dict[str, Array]:
    """The weights of the rows left out, where `fit` has weights and the scorer takes them."""
    if data.score_weights is None:
        return {}
    parameters = inspect.signature(getattr(score, "_score_func", score)).parameters.values()
    takes = any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)
    return {"sample_weight": data.score_weights[outside]} if takes else {}


def _print_scores(fold: int, betas: Array, scores: Array) -> None:
    for beta, score in zip(betas, scores, strict=True):
        print(f"fold {fold:3d}  beta {beta:12.6g}  score {score:.6g}")
