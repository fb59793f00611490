"""What the estimators have in common: checked input, β, one training run, fitted attributes, and outputs."""

import numbers
import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn import pricing, training
from convexnn._html import CertificateHTML
from convexnn._types import Array
from convexnn.certificate import Certificate
from convexnn.estimators._labels import (
    Labels,
    apply_class_weight,
    decode_labels,
    encode_labels,
    loss_name,
    probabilities,
)
from convexnn.estimators._progress import CallbackSupportMixin, FitProgress
from convexnn.estimators._rows import Problem, outputs
from convexnn.losses import LossLike, checked_weights
from convexnn.network import Network
from convexnn.status import Status

#: ``beta="auto"`` is β_max divided by this.
AUTO_DIVISOR = 100.0

_INTERRUPTED = (
    "The fit was interrupted. The estimator holds the best network so far, with its certificate, and can be "
    "used."
)


# ---- input ----------------------------------------------------------------------------------------------


def checked_regression(model: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
    """X (float64, dense or CSR), y (n,) or (n, c) as float64 and the weights, or None."""
    rows, targets = validate_data(
        model, X, y, dtype=np.float64, accept_sparse=_accepted(model), y_numeric=True, multi_output=True
    )
    weights = None if sample_weight is None else checked_weights(sample_weight, rows.shape[0])
    return rows, np.asarray(targets, dtype=np.float64), weights


def checked_classification(
    model: Any, X: Any, y: Any, sample_weight: Any, *, coupled: bool = True
) -> tuple[Any, NDArray[Any], Labels, Array | None]:
    """X (float64, dense or CSR), y as validated, its targets, and the weights, or None.

    `coupled` is that of `encode_labels`.
    """
    rows, labels = validate_data(
        model, X, y, dtype=np.float64, accept_sparse=_accepted(model), multi_output=True
    )
    weights = None if sample_weight is None else checked_weights(sample_weight, rows.shape[0])
    encoded = encode_labels(labels, model.loss, weights, coupled=coupled)
    return rows, labels, encoded, apply_class_weight(model.class_weight, labels, weights)


def checked_rows(model: Any, X: Any) -> Any:
    """New rows for a fitted estimator, float64, dense or CSR."""
    check_is_fitted(model)
    return validate_data(model, X, dtype=np.float64, accept_sparse=_accepted(model), reset=False)


def _accepted(model: Any) -> str | bool:
    """The sparse form that an estimator takes."""
    return "csr" if get_tags(model).input_tags.sparse else False


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """The seed itself, or one drawn from the random state."""
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def choose_beta(
    beta: float | str,
    problem: Problem,
    loss: LossLike,
    seed: int,
    intercept: bool = False,
    negative_slope: float = 0.0,
) -> float:
    """The number given, or β_max/100; 1 where β_max is 0, since then zero is optimal for every β."""
    if not isinstance(beta, str):
        return float(beta)
    require_auto(beta)
    largest = pricing.beta_max(
        problem.Z, problem.y, loss=loss, sample_weight=problem.weights, seed=seed, intercept=intercept,
        negative_slope=negative_slope,
    )  # fmt: skip
    return auto_beta(float(largest))


def require_auto(beta: str) -> None:
    """ValueError for any other word than "auto"."""
    if beta != "auto":
        raise ValueError(f"beta must be a positive number or 'auto'; it is {beta!r}.")


def auto_beta(largest: float) -> float:
    """β_max/100, or 1 where β_max is 0."""
    return largest / AUTO_DIVISOR if largest > 0 else 1.0


# ---- one training run -----------------------------------------------------------------------------------


def fit_network(
    model: Any,
    problem: Problem,
    loss: LossLike,
    progress: FitProgress,
    *,
    beta: float | str,
    max_neurons: int | None = None,
    max_time: float | None = None,
    warm_start: bool = False,
) -> None:
    """Train, and set the fitted attributes: all but those of labels."""
    seed = seed_of(model.random_state)
    intercept = not model.penalize_intercept
    beta = choose_beta(beta, problem, loss, seed, intercept, model.negative_slope)
    result = training.train(
        problem.Z,
        problem.y,
        beta,
        loss=loss,
        sample_weight=problem.weights,
        intercept=intercept,
        negative_slope=model.negative_slope,
        tol=model.tol,
        max_time=max_time,
        max_neurons=max_neurons,
        seed=seed,
        warm_start=previous_network(model, problem) if warm_start else None,
        progress=progress.step if progress.wanted else None,
    )
    certificate = result.certificate
    network = replace(result.network, U=problem.lift(result.network.U))
    model.network_ = network
    model.intercept_ = network.intercept
    model.certificate_ = replace(certificate, nu=problem.restore(certificate.nu))
    model.coefs_ = [network.U, network.alpha]
    model.scaler_ = problem.scaler
    model.beta_ = beta
    model.loss_ = loss_name(loss)
    model.history_ = result.history
    model.status_ = result.status
    model.n_iter_ = len(result.history)
    warn_unfinished(result.status, certificate, model.tol, progress)
    end_fit(result.status, progress)


def previous_network(model: Any, problem: Problem) -> Network | None:
    """The network of the last fit in the coordinates of this problem; None without one, or without neurons.

    Raises
    ------
    ValueError
        If the last fit had other columns, outputs or classes.
    """
    network = getattr(model, "network_", None)
    if not isinstance(network, Network) or not network.n_neurons:
        return None
    width = problem.Z.shape[1] if problem.basis is None else problem.rows.shape[1] + 1
    if network.n_features != width or network.alpha.shape[1:] != problem.y.shape[1:]:
        raise ValueError(
            f"warm_start=True needs the columns and outputs of the last fit: its network has "
            f"{network.n_features - 1} columns and alpha of shape {network.alpha.shape}; X has {width - 1} "
            f"columns and the targets have shape {problem.y.shape}. Use a new estimator."
        )
    lowered = replace(network, U=problem.lower(network.U))
    return replace(lowered, intercept=0.0) if model.penalize_intercept else lowered


def warn_unfinished(
    status: Status, certificate: Certificate, tol: float, progress: FitProgress, prefix: str = ""
) -> None:
    """A ConvergenceWarning in the caller's line unless the run converged, or a callback stopped it."""
    if status not in (Status.CONVERGED, Status.ZERO, Status.ZERO_HERE) and not progress.stopped:
        gap = f"The relative gap is {certificate.relative_gap:.2g}, tol is {tol:g}."
        warnings.warn(f"{prefix}{status} {gap}", ConvergenceWarning, stacklevel=users_level())


def end_fit(status: Status, progress: FitProgress) -> None:
    """End the callbacks, and pass an interruption on once the fitted attributes are set."""
    if status is Status.INTERRUPTED and not progress.stopped:
        raise KeyboardInterrupt(_INTERRUPTED)
    progress.end()


def users_level() -> int:
    """The stack level, seen from the caller, of the first frame outside this package and scikit-learn."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in ("convexnn", "sklearn", "contextlib"):
            return level
        level, frame = level + 1, frame.f_back
    return level


# ---- base classes ---------------------------------------------------------------------------------------


class CertifiedEstimator(CertificateHTML, CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """Base of all: outputs f(Z), and files that keep a Status by its name, since skops knows no enums."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "status_" in state:
            state["status_"] = state["status_"].name
        if "statuses_" in state:
            state["statuses_"] = [status.name for status in state["statuses_"]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        if "status_" in state:
            state["status_"] = Status[state["status_"]]
        if "statuses_" in state:
            state["statuses_"] = [Status[name] for name in state["statuses_"]]
        super().__setstate__(state)

    def _scores(self, X: Any) -> Array:
        """f(Z), of shape (n,) or (n, c)."""
        rows = checked_rows(self, X)
        return outputs(self.network_, self.scaler_, rows)


class CertifiedRegressor(RegressorMixin, CertifiedEstimator):  # type: ignore[misc]
    """Base of the regressors: f(Z), or exp(f(Z)) for the Poisson loss."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X: Any) -> Array:
        """f(Z), or exp(f(Z)) for the Poisson loss; (n,), or (n, c) for targets (n, c)."""
        scores = self._scores(X)
        return expected_target(scores, self.loss_)


class CertifiedClassifier(ClassifierMixin, CertifiedEstimator):  # type: ignore[misc]
    """Base of the classifiers: labels and probabilities of f(Z)."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def decision_function(self, X: Any) -> Array:
        """f(Z): (n,), positive for ``classes_[1]``; with k > 2 classes or labels (n, k)."""
        return self._scores(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of largest f (n,), or indicators f > 0 of the labels (n, k)."""
        scores = self._scores(X)
        return decode_labels(scores, self.classes_, self.multilabel_)

    @available_if(lambda model: has_probabilities(model))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """(n, k) in the order of ``classes_``: (1 − σ(f), σ(f)), or the softmax of f; for labels σ(f)."""
        scores = self._scores(X)
        return probabilities(scores, self.loss_, self.multilabel_)


def expected_target(scores: Array, loss: str) -> Array:
    """The prediction for outputs f: exp(f) for the Poisson loss, else f."""
    if loss != "poisson":
        return scores
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(scores))


def has_probabilities(model: Any) -> bool:
    """True for the logistic loss; AttributeError, with a sentence, for the others."""
    if loss_name(model.loss) not in ("logistic", "softmax"):
        raise AttributeError(f"predict_proba takes loss='logistic'; this classifier has {model.loss!r}.")
    return True


def set_labels(model: Any, labels: Labels) -> None:
    """The fitted attributes of labels; ValueError if ``warm_start`` meets other classes."""
    if getattr(model, "warm_start", False) and hasattr(model, "classes_"):
        same = np.array_equal(model.classes_, labels.classes) and model.multilabel_ == labels.multilabel
        if not same:
            raise ValueError(
                f"warm_start=True needs the classes of the last fit, {list(model.classes_)}; y has "
                f"{list(labels.classes)}. Use a new estimator."
            )
    model.classes_, model.multilabel_ = labels.classes, labels.multilabel
