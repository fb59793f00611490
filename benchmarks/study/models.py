"""The methods, each with eight settings, and the one search that all of them share.

setting = argmin over the settings of the mean over 3 inner folds of the error on the fold left out

Every method standardises the columns by the rows that it trains on. No candidate is begun once the time cap,
in seconds of CPU, is spent; a setting without a score in every fold cannot be chosen. The convex network does
the same search with its own estimators, one warm-started path a fold, and the cap as their `max_time`.
"""

import warnings
from collections.abc import Callable, Mapping
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from convexnn import ConvexReLUClassifierCV, ConvexReLURegressorCV

OURS = "convex network"
#: The convex network with `LONGER` times the cap: beside the comparison, not in it.
LONG = "convex network, longer"
LONGER = 4
INNER_FOLDS = 3
SETTINGS = 8
RATIO = 10**-3.5
TOL = 1e-2

Setting = Mapping[str, Any]
Array = NDArray[Any]


class Fitted(NamedTuple):
    """A fitted model, its setting in words, and how many settings have a score in every inner fold."""

    model: Any
    setting: str
    finished: int


def inner_folds(y: Array, classes: bool) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The same inner folds for every method."""
    kind = StratifiedKFold if classes else KFold
    return list(kind(INNER_FOLDS, shuffle=True, random_state=1).split(y, y))


def fit(name: str, X: Array, y: Array, classes: bool, cap: float) -> Fitted:
    """Search the settings of one method on the training rows, then fit the best on all of them."""
    folds = inner_folds(y, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an MLP that stops at its last epoch is still a candidate
        if name in (OURS, LONG):
            return _fit_ours(X, y, classes, folds, cap)
        make, settings = METHODS[name](classes, X.shape[1])
        return _search(make, settings, X, y, classes, folds, cap)


def _search(
    make: Callable[..., Any],
    settings: list[Setting],
    X: Array,
    y: Array,
    classes: bool,
    folds: Any,
    cap: float,
) -> Fitted:
    begin, scorer = process_time(), get_scorer(scoring(classes))
    means: list[float] = []
    for setting in settings:
        scores: list[float] = []
        for inside, outside in folds:
            if means and process_time() - begin > cap:
                break
            model = make_pipeline(StandardScaler(), make(**setting)).fit(X[inside], y[inside])
            scores.append(scorer(model, X[outside], y[outside]))
        if len(scores) < len(folds):
            break
        means.append(float(np.mean(scores)))
    best = settings[int(np.argmax(means))]
    model = make_pipeline(StandardScaler(), make(**best)).fit(X, y)
    return Fitted(model, ", ".join(f"{key}={value}" for key, value in best.items()), len(means))


def _fit_ours(X: Array, y: Array, classes: bool, folds: Any, cap: float) -> Fitted:
    kind = ConvexReLUClassifierCV if classes else ConvexReLURegressorCV
    several = len(np.unique(y)) if classes else 1
    share = cap / (several if several > 2 else 1)
    model = kind(n_betas=SETTINGS, ratio=RATIO, cv=folds, scoring=scoring(classes), tol=TOL, max_time=share)
    if several > 2:
        model = OneVsRestClassifier(model)
    model.fit(X, y)
    parts = networks(model)
    chosen = ", ".join(f"{part.beta_:.3g}" for part in parts)
    finished = min(int(np.sum(~np.isnan(part.scores_.mean(axis=1)))) for part in parts)
    return Fitted(model, f"beta={chosen}", finished)


def networks(model: Any) -> list[Any]:
    """The fitted estimators with a network that a model holds: one, or one a class."""
    return list(model.estimators_) if isinstance(model, OneVsRestClassifier) else [model]


def scoring(classes: bool) -> str:
    """What the inner folds are scored by."""
    return "accuracy" if classes else "neg_mean_squared_error"


def parameters(model: Any) -> int:
    """Numbers that prediction needs, without those of the scaling.

    Networks and linear models: weights and biases. SVM: support vectors and their coefficients. Trees: a
    column and a threshold for every split, a value for every leaf.
    """
    if isinstance(model, OneVsRestClassifier):
        return sum(parameters(part) for part in model.estimators_)
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if hasattr(last, "network_"):
        return int(last.network_.U.size + last.network_.alpha.size)
    if hasattr(last, "coefs_"):
        return sum(array.size for array in (*last.coefs_, *last.intercepts_))
    if hasattr(last, "support_vectors_"):
        return int(last.support_vectors_.size + last.dual_coef_.size + last.intercept_.size)
    if hasattr(last, "_predictors"):
        leaves = [tree.nodes["is_leaf"] for trees in last._predictors for tree in trees]
        return sum(int(np.where(is_leaf, 1, 2).sum()) for is_leaf in leaves)
    return int(np.size(last.coef_) + np.size(last.intercept_))


def _mlp(classes: bool, d: int) -> tuple[Callable[..., Any], list[Setting]]:
    def make(**setting: Any) -> Any:
        return (MLPClassifier if classes else MLPRegressor)(max_iter=500, random_state=0, **setting)

    wide, deep = (100,), (50, 50)
    full = [{"hidden_layer_sizes": wide, "solver": "lbfgs", "alpha": 10.0**-k} for k in range(-1, 3)]
    steps = [
        {"hidden_layer_sizes": layers, "solver": "adam", "alpha": alpha, "learning_rate_init": 0.01}
        for layers in (wide, deep)
        for alpha in (1.0, 1e-4)
    ]
    return make, [*full, *steps]


def _linear(classes: bool, d: int) -> tuple[Callable[..., Any], list[Setting]]:
    values = np.logspace(-3, 4, SETTINGS)
    if classes:
        return lambda **s: LogisticRegression(max_iter=2000, **s), [{"C": float(1 / v)} for v in values[::-1]]
    return Ridge, [{"alpha": float(v)} for v in values[::-1]]


def _svm(classes: bool, d: int) -> tuple[Callable[..., Any], list[Setting]]:
    def make(**setting: Any) -> Any:
        return SVC(**setting) if classes else SVR(epsilon=0.03, **setting)

    return make, [{"C": C, "gamma": width / d} for C in (1.0, 10.0, 100.0, 1000.0) for width in (0.3, 1.0)]


def _boosting(classes: bool, d: int) -> tuple[Callable[..., Any], list[Setting]]:
    def make(**setting: Any) -> Any:
        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        return kind(max_iter=200, random_state=0, **setting)

    return make, [
        {"learning_rate": rate, "max_leaf_nodes": leaves, "min_samples_leaf": least}
        for leaves in (6, 31)
        for rate in (0.05, 0.2)
        for least in (20, 5)
    ]


#: Name → the maker of a model from a setting, and the settings, simplest first.
METHODS = {"MLP": _mlp, "linear": _linear, "SVM": _svm, "gradient boosting": _boosting}
NAMES = (OURS, *METHODS)
