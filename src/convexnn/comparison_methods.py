r"""The methods of a comparison: how each is fitted, with one setting chosen out of `CANDIDATES`.

A method is a function (X, y) ↦ (fitted model, setting), X standardised and y as the network sees it.
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convexnn._types import Array
from convexnn.status import Status
from convexnn.table_losses import parse_loss, scaled

OURS = "convex network"
CANDIDATES = 5
INNER_FOLDS = 3
_DIVISORS = np.array([2.0, 5.0, 15.0, 40.0, 100.0])  # β = β_max / these
_DECADES = (0.1, 1.0, 10.0, 100.0, 1000.0)
_SMALL = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_LEAST_RATE = 1e-3  # of the mean count

Make = Callable[[Array, Array], tuple[Any, str]]
Score = Callable[[Any, Array, Array], float]


class Setup(NamedTuple):
    """What a fold's methods need to know; `loss` has its number, in the unit of the target.

    The last two are of the convex network, as `convexnn.train` takes them.
    """

    task: str
    loss: str
    target_scale: float
    tol: float
    max_time: float | None
    seed: int
    negative_slope: float = 0.0
    intercept: bool = False


def score_name(task: str, loss: str) -> str:
    """The name of what `scorer` computes."""
    if task == "classification":
        return "accuracy"
    return "D²" if parse_loss(loss)[0] in ("quantile", "poisson") else "R²"


def scorer(setup: Setup) -> Score:
    """(model, X, y) ↦ score, larger is better: 1 − loss/(loss of the best constant) for two losses."""
    name, level = parse_loss(setup.loss)
    if name == "quantile":
        return lambda model, X, y: _d2_quantile(y, model.predict(X), level or 0.5)
    if name == "poisson":
        return lambda model, X, y: _d2_poisson(y, model.predict(X))
    return lambda model, X, y: float(model.score(X, y))


def _d2_quantile(y: Array, f: Array, level: float) -> float:
    from sklearn.metrics import d2_pinball_score

    return float(d2_pinball_score(y, f, alpha=level))


def _d2_poisson(y: Array, f: Array) -> float:
    from sklearn.metrics import d2_tweedie_score

    if not y.any():
        return 0.0
    return float(d2_tweedie_score(y, np.maximum(f, _LEAST_RATE * y.mean()), power=1))


def made(make: Make, X: Array, y: Array) -> tuple[Any, str]:
    """`make` without warnings: an MLP that stops at its last epoch is still a candidate.

    Ctrl-C is no such thing, though scikit-learn's MLP makes a warning of it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Training interrupted by user")
        try:
            return make(X, y)
        except UserWarning:
            raise KeyboardInterrupt from None


def methods(setup: Setup) -> dict[str, Make]:
    """Name → function that fits on rows, choosing a setting, and returns (model, setting)."""
    if setup.task == "classification":
        return _classifiers(setup)
    return _regressors(setup)


def _classifiers(setup: Setup) -> dict[str, Make]:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    seed = setup.seed
    network = MLPClassifier(hidden_layer_sizes=(100,), max_iter=500, random_state=seed)
    boosting = HistGradientBoostingClassifier(random_state=seed)
    return {
        OURS: lambda X, y: _fit_ours(X, y, setup),
        "MLP": _searched(setup, network, "alpha", _SMALL),
        "gradient boosting": _searched(setup, boosting, "learning_rate", (0.02, 0.05, 0.1, 0.2, 0.4)),
        "logistic regression": _searched(
            setup, LogisticRegression(max_iter=2000), "C", (0.01, 0.1, 1.0, 10.0, 100.0)
        ),
        "SVM": _searched(setup, SVC(), "C", _DECADES),
        "larger class": lambda X, y: (DummyClassifier().fit(X, y), ""),
    }


def _regressors(setup: Setup) -> dict[str, Make]:
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import PoissonRegressor, QuantileRegressor, Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.svm import SVR

    seed, (loss, level) = setup.seed, parse_loss(setup.loss)
    boosted: dict[str, Any] = {}
    linear, dummy = ("ridge", Ridge(), _DECADES), ("mean", DummyRegressor())
    network = MLPRegressor(hidden_layer_sizes=(100,), max_iter=500, random_state=seed)
    if loss == "quantile":
        boosted = {"loss": "quantile", "quantile": level}
        linear = ("quantile regression", QuantileRegressor(quantile=level), _SMALL)
        dummy = ("quantile", DummyRegressor(strategy="quantile", quantile=level))
    elif loss == "poisson":
        boosted = {"loss": "poisson"}
        linear = ("Poisson regression", PoissonRegressor(max_iter=2000), _SMALL)
        if "loss" in inspect.signature(MLPRegressor).parameters:  # scikit-learn 1.7
            network.set_params(loss="poisson")
    boosting = HistGradientBoostingRegressor(random_state=seed, **boosted)
    return {
        OURS: lambda X, y: _fit_ours(X, y, setup),
        "MLP": _searched(setup, network, "alpha", _SMALL),
        "gradient boosting": _searched(setup, boosting, "learning_rate", (0.02, 0.05, 0.1, 0.2, 0.4)),
        linear[0]: _searched(setup, linear[1], "alpha", linear[2]),
        "SVM": _searched(setup, SVR(), "C", _DECADES),
        dummy[0]: lambda X, y: (dummy[1].fit(X, y), ""),
    }


def _searched(setup: Setup, model: Any, name: str, values: tuple[float, ...]) -> Make:
    """`model` with the value of best inner score."""

    def make(X: Array, y: Array) -> tuple[Any, str]:
        from sklearn.model_selection import GridSearchCV

        found = GridSearchCV(
            model, {name: list(values)}, cv=_inner(setup), scoring=scorer(setup), error_score="raise"
        ).fit(X, y)
        return found.best_estimator_, f"{name}={found.best_params_[name]:g}"

    return make


def _inner(setup: Setup) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if setup.task == "classification" else KFold
    return kind(INNER_FOLDS, shuffle=True, random_state=setup.seed)


def _fit_ours(X: Array, y: Array, setup: Setup) -> tuple[Any, str]:
    from convexnn.data import Scaler
    from convexnn.estimators import ConvexReLUClassifierCV, ConvexReLURegressorCV
    from convexnn.pricing import beta_max

    loss = scaled(setup.loss, setup.target_scale)
    slope, free = setup.negative_slope, setup.intercept
    Z = Scaler.fit(X).transform(X)
    largest = float(beta_max(Z, y, loss, seed=setup.seed, negative_slope=slope, intercept=free))
    betas = (largest if largest > 0 else 1.0) / _DIVISORS
    kind = ConvexReLUClassifierCV if setup.task == "classification" else ConvexReLURegressorCV
    model = kind(
        betas=betas, cv=_inner(setup), scoring=scorer(setup), loss=loss, tol=setup.tol,
        max_time=setup.max_time, random_state=setup.seed, negative_slope=slope, penalize_intercept=not free,
    ).fit(X, y)  # fmt: skip
    if model.status_ is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return model, f"beta={model.beta_:.4g}"
