r"""Estimators that choose β by cross-validation, one regularisation path a fold.

β̂ = argmax over β of the mean over folds of score(network trained on the other folds at β·n_train/n)

The loss is a sum over samples, so on a fold β is multiplied by the fold's share of the training rows: the
regularisation that a row feels is then that of the final fit on all n rows.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils.validation import validate_data

from convexnn._types import Array
from convexnn.data import Scaler
from convexnn.estimators import ConvexReLUClassifier, ConvexReLURegressor, _design, _encode, _fit, _seed
from convexnn.losses import get_loss
from convexnn.regularisation_path import checked_betas, default_betas, path
from convexnn.status import Status


class ConvexReLURegressorCV(ConvexReLURegressor):
    r"""min ½‖f(Z) − y‖² + (β/2) Σ_j (‖u_j‖² + α_j²), globally, with β chosen by cross-validation.

    Each fold trains one warm-started path over all β (see `convexnn.path`), each β multiplied by
    n_train/n; the β of best mean score is then trained on all rows, with a certificate.

    Parameters
    ----------
    betas : "auto" or array of float, default "auto"
        Values to choose from; "auto" takes `n_betas` from β_max of all rows down to `ratio` · β_max.
    n_betas : int, default 10
    ratio : float, default 1e-2
    cv : int, splitter or iterable, default 5
        As in scikit-learn; an int means KFold.
    scoring : str or callable, optional
        As in scikit-learn; by default R². Larger is better.
    loss : {"squared"}, default "squared"
    tol : float, default 1e-3
        Relative duality gap at which each training stops.
    max_time : float, optional
        Seconds for all paths and the final fit together, shared evenly. A β that a fold did not reach has the
        score NaN and cannot be chosen.
    standardize : bool, default True
        As in `ConvexReLURegressor`; the folds standardise by their own training rows.
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
    network_, scaler_, coefs_, certificate_, history_, n_iter_, status_
        Of the fit on all rows, as in `ConvexReLURegressor`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence.
    """

    def __init__(
        self,
        betas: ArrayLike | Literal["auto"] = "auto",
        n_betas: int = 10,
        ratio: float = 1e-2,
        cv: Any = 5,
        scoring: str | Callable[..., float] | None = None,
        loss: str = "squared",
        tol: float = 1e-3,
        max_time: float | None = None,
        standardize: bool = True,
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
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> "ConvexReLURegressorCV":
        """Choose β on X (n, d) and y (n,), then train on all rows; returns the estimator."""
        rows, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        if get_loss(self.loss).is_classification:
            raise ValueError(f"The {self.loss} loss is for classes; a regression takes loss='squared'.")
        numbers = np.asarray(targets, dtype=np.float64)
        beta, left = _choose(self, rows, numbers, numbers)
        _fit(self, rows, numbers, beta, None, left)
        return self


class ConvexReLUClassifierCV(ConvexReLUClassifier):
    r"""min Σ ℓ(y_i f_i) + (β/2) Σ_j (‖u_j‖² + α_j²), globally, with β chosen by cross-validation.

    Each fold trains one warm-started path over all β (see `convexnn.path`), each β multiplied by
    n_train/n; the β of best mean score is then trained on all rows, with a certificate.

    Parameters
    ----------
    betas : "auto" or array of float, default "auto"
        Values to choose from; "auto" takes `n_betas` from β_max of all rows down to `ratio` · β_max.
    n_betas : int, default 10
    ratio : float, default 1e-2
    cv : int, splitter or iterable, default 5
        As in scikit-learn; an int means StratifiedKFold.
    scoring : str or callable, optional
        As in scikit-learn; by default the accuracy. Larger is better.
    loss : {"logistic", "hinge", "squared_hinge", "squared"}, default "logistic"
    tol : float, default 1e-3
        Relative duality gap at which each training stops.
    max_time : float, optional
        Seconds for all paths and the final fit together, shared evenly. A β that a fold did not reach has the
        score NaN and cannot be chosen.
    standardize : bool, default True
        As in `ConvexReLUClassifier`; the folds standardise by their own training rows.
    random_state : int, RandomState instance or None, default 0
    verbose : bool, default False
        Print one line a β and fold.

    Attributes
    ----------
    classes_ : (2,) array
        The two labels, sorted.
    beta_ : float
        The β chosen: the largest among equal scores.
    betas_ : (k,) array
        Largest first.
    scores_ : (k, folds) array
    best_score_ : float
        Mean score of `beta_` over the folds.
    network_, scaler_, coefs_, certificate_, history_, n_iter_, status_
        Of the fit on all rows, as in `ConvexReLUClassifier`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Raises
    ------
    ValueError
        If an argument or the data are unfit, or y has not exactly two classes; one sentence.
    """

    def __init__(
        self,
        betas: ArrayLike | Literal["auto"] = "auto",
        n_betas: int = 10,
        ratio: float = 1e-2,
        cv: Any = 5,
        scoring: str | Callable[..., float] | None = None,
        loss: str = "logistic",
        tol: float = 1e-3,
        max_time: float | None = None,
        standardize: bool = True,
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
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> "ConvexReLUClassifierCV":
        """Choose β on X (n, d) and two-class labels y (n,), then train on all rows; returns the estimator."""
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        get_loss(self.loss)
        self.classes_, signs = _encode(labels)
        beta, left = _choose(self, rows, signs, labels)
        _fit(self, rows, signs, beta, None, left)
        return self


_ModelCV = ConvexReLURegressorCV | ConvexReLUClassifierCV


def _choose(model: _ModelCV, X: Array, y: Array, labels: NDArray[Any]) -> tuple[float, float | None]:
    """Set betas_, scores_ and best_score_; the best β, and the seconds left for the final fit."""
    begin, seed = perf_counter(), _seed(model.random_state)
    betas = _betas(model, X, y, seed)
    is_classifier = isinstance(model, ConvexReLUClassifier)
    folds = list(check_cv(model.cv, labels, classifier=is_classifier).split(X, labels))
    scores = np.full((len(betas), len(folds)), np.nan)
    for k, (inside, outside) in enumerate(folds):
        left = _left(model.max_time, begin)
        share = None if left is None else left / (len(folds) + 1 - k)
        scores[:, k] = _fold_scores(model, X, y, labels, inside, outside, betas, seed, share)
        if model.verbose:
            _print_scores(k, betas, scores[:, k])
    mean = scores.mean(axis=1)
    if np.isnan(mean).all():
        raise ValueError("No beta has a score in every fold: allow more time, or look at the scoring.")
    model.betas_, model.scores_ = betas, scores
    best = int(np.nanargmax(mean))
    model.best_score_ = float(mean[best])
    return float(betas[best]), _left(model.max_time, begin)


def _left(max_time: float | None, begin: float) -> float | None:
    return None if max_time is None else max(1e-3, max_time - (perf_counter() - begin))


def _betas(model: _ModelCV, X: Array, y: Array, seed: int) -> Array:
    """The values to choose from, largest first."""
    if isinstance(model.betas, str):
        if model.betas != "auto":
            raise ValueError(f"betas must be positive numbers or 'auto'; it is {model.betas!r}.")
        Z = _design(Scaler.fit(X) if model.standardize else None, X)
        return default_betas(Z, y, model.n_betas, model.ratio, model.loss, seed)
    return checked_betas(model.betas)


def _fold_scores(
    model: _ModelCV,
    X: Array,
    y: Array,
    labels: NDArray[Any],
    inside: NDArray[np.intp],
    outside: NDArray[np.intp],
    betas: Array,
    seed: int,
    max_time: float | None,
) -> Array:
    """The score of each β on the rows left out; NaN for a β that the path did not finish, but for its first.

    The networks' bounds are only estimated here: nothing of a fold is kept but its scores.
    """
    scaler = Scaler.fit(X[inside]) if model.standardize else None
    result = path(
        _design(scaler, X[inside]), y[inside], betas * (len(inside) / len(X)), loss=model.loss, tol=model.tol,
        max_time=max_time, seed=seed, certificate="estimated",
    )  # fmt: skip
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    single = _single(model, scaler, X.shape[1])
    score = check_scoring(single, scoring=model.scoring)
    scores = np.full(len(betas), np.nan)
    finished = len(result) - (result.status is Status.TIME_LIMIT)
    for k, network in enumerate(result.networks[: max(finished, 1)]):
        single.network_ = network
        scores[k] = score(single, X[outside], labels[outside])
    return scores


def _single(
    model: _ModelCV, scaler: Scaler | None, columns: int
) -> ConvexReLURegressor | ConvexReLUClassifier:
    """An estimator for scorers, fitted but for its network."""
    single: ConvexReLURegressor | ConvexReLUClassifier
    if isinstance(model, ConvexReLUClassifierCV):
        single = ConvexReLUClassifier(loss=model.loss, standardize=model.standardize)
        single.classes_ = model.classes_
    else:
        single = ConvexReLURegressor(loss=model.loss, standardize=model.standardize)
    single.scaler_, single.n_features_in_ = scaler, columns
    return single


def _print_scores(fold: int, betas: Array, scores: Array) -> None:
    for beta, score in zip(betas, scores, strict=True):
        print(f"fold {fold:3d}  beta {beta:12.6g}  score {score:.6g}")
