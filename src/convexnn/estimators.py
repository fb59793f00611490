r"""scikit-learn estimators: min L(f(Z), y) + (β/2) Σ_j (‖u_j‖² + α_j²) over networks, to global optimality.

Z is X standardised with a column of ones, [(X − mean)/scale, 1]/√(d+1) (see `convexnn.data.Scaler`), so the
bias is a weight like any other. The loss is a sum over samples, so β counts against all of it: with twice
the rows, the same β regularises half as much. ``beta="auto"`` is β_max/100, where β_max is the smallest β
whose optimum is the zero network; it scales with the data and so keeps the strength of regularisation.
"""

import numbers
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn import pricing, training
from convexnn._types import Array
from convexnn.data import Scaler
from convexnn.losses import get_loss
from convexnn.status import Status

#: ``beta="auto"`` is β_max divided by this.
AUTO_DIVISOR = 100.0


class ConvexReLURegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""min ½‖f(Z) − y‖² + (β/2) Σ_j (‖u_j‖² + α_j²) with f(Z) = (Z U)₊ α, globally, with a certificate.

    Z is [(X − mean)/scale, 1]/√(d+1), or [X, 1] without standardisation. The target is taken as it is,
    neither centred nor scaled: the bias column carries its mean, and β counts against that too, so for a
    target far from zero compared with its spread use
    ``sklearn.compose.TransformedTargetRegressor(regressor, transformer=StandardScaler())``.

    Parameters
    ----------
    beta : float or "auto", default "auto"
        Regularisation, positive; "auto" is β_max/100 for the training data. The loss is a sum over
        samples, so a fixed β weighs less the more rows there are.
    loss : {"squared"}, default "squared"
        ½ Σ (f_i − y_i)².
    tol : float, default 1e-3
        Relative duality gap at which training stops.
    max_time : float, optional
        Seconds after which training stops with the best network so far and a ConvergenceWarning.
    max_neurons : int, optional
        Most neurons the network may have.
    standardize : bool, default True
        Standardise the columns by the training rows and divide by √(d+1). False only appends the ones.
    random_state : int, RandomState instance or None, default 0
        Seed of the search. The optimum does not depend on it beyond `tol`.
    verbose : bool, default False
        Print one line an iteration.

    Attributes
    ----------
    network_ : Network
        The network in the coordinates of Z, not of X: ``network_.predict(scaler_.transform(X))``.
    scaler_ : Scaler or None
        Makes Z of X; None without standardisation.
    coefs_ : list of two arrays
        [U, alpha] of `network_`: (d+1, m) and (m,). The last row of U holds the biases.
    certificate_ : Certificate
        The gap to the global optimum and the kind of bound it rests on.
    beta_ : float
        The β used.
    history_ : list of dict
        One row an iteration: seconds, iteration, primal, bound, neurons.
    n_iter_ : int
        Rows of `history_`.
    status_ : Status
        Why training stopped; ``str(status_)`` is a sentence.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : (d,) array of str
        Their names, where X had names that are strings.

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from convexnn.estimators import ConvexReLURegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = ConvexReLURegressor().fit(X, y)
    >>> bool(model.certificate_.relative_gap <= 1e-3)
    True
    """

    def __init__(
        self,
        beta: float | Literal["auto"] = "auto",
        loss: str = "squared",
        tol: float = 1e-3,
        max_time: float | None = None,
        max_neurons: int | None = None,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.max_neurons = max_neurons
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> "ConvexReLURegressor":
        """Train on X (n, d) and y (n,); returns the estimator."""
        rows, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        if get_loss(self.loss).is_classification:
            raise ValueError(f"The {self.loss} loss is for classes; a regression takes loss='squared'.")
        _fit(self, rows, np.asarray(targets, dtype=np.float64), self.beta, self.max_neurons, self.max_time)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """f(Z), of shape (n,)."""
        return _output(self, X)


def _is_logistic(model: "ConvexReLUClassifier") -> bool:
    if model.loss != "logistic":
        raise AttributeError(f"predict_proba takes loss='logistic'; this classifier has {model.loss!r}.")
    return True


class ConvexReLUClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""min Σ ℓ(y_i f_i) + (β/2) Σ_j (‖u_j‖² + α_j²) with f(Z) = (Z U)₊ α, globally, with a certificate.

    Z is [(X − mean)/scale, 1]/√(d+1), or [X, 1] without standardisation. There are two classes: y_i is −1
    for ``classes_[0]`` and +1 for ``classes_[1]``, and f > 0 predicts the second.

    Parameters
    ----------
    beta : float or "auto", default "auto"
        Regularisation, positive; "auto" is β_max/100 for the training data. The loss is a sum over
        samples, so a fixed β weighs less the more rows there are.
    loss : {"logistic", "hinge", "squared_hinge", "squared"}, default "logistic"
        ℓ(m) = log(1 + e^{−m}), (1 − m)₊, ½(1 − m)₊² or ½(1 − m)². `predict_proba` is there for the first.
    tol : float, default 1e-3
        Relative duality gap at which training stops.
    max_time : float, optional
        Seconds after which training stops with the best network so far and a ConvergenceWarning.
    max_neurons : int, optional
        Most neurons the network may have.
    standardize : bool, default True
        Standardise the columns by the training rows and divide by √(d+1). False only appends the ones.
    random_state : int, RandomState instance or None, default 0
        Seed of the search. The optimum does not depend on it beyond `tol`.
    verbose : bool, default False
        Print one line an iteration.

    Attributes
    ----------
    classes_ : (2,) array
        The two labels, sorted.
    network_ : Network
        The network in the coordinates of Z, not of X: ``network_.predict(scaler_.transform(X))``.
    scaler_ : Scaler or None
        Makes Z of X; None without standardisation.
    coefs_ : list of two arrays
        [U, alpha] of `network_`: (d+1, m) and (m,). The last row of U holds the biases.
    certificate_ : Certificate
        The gap to the global optimum and the kind of bound it rests on.
    beta_ : float
        The β used.
    history_ : list of dict
        One row an iteration: seconds, iteration, primal, bound, neurons.
    n_iter_ : int
        Rows of `history_`.
    status_ : Status
        Why training stopped; ``str(status_)`` is a sentence.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : (d,) array of str
        Their names, where X had names that are strings.

    Raises
    ------
    ValueError
        If an argument or the data are unfit, or y has not exactly two classes; one sentence.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from convexnn.estimators import ConvexReLUClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ConvexReLUClassifier().fit(X, y)
    >>> bool(model.score(X, y) > 0.97)
    True
    """

    def __init__(
        self,
        beta: float | Literal["auto"] = "auto",
        loss: str = "logistic",
        tol: float = 1e-3,
        max_time: float | None = None,
        max_neurons: int | None = None,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.max_neurons = max_neurons
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> "ConvexReLUClassifier":
        """Train on X (n, d) and two-class labels y (n,); returns the estimator."""
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        get_loss(self.loss)
        classes, signs = _encode(labels)
        _fit(self, rows, signs, self.beta, self.max_neurons, self.max_time)
        self.classes_ = classes
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """f(Z), of shape (n,): positive for ``classes_[1]``."""
        return _output(self, X)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """``classes_[1]`` where f(Z) > 0, else ``classes_[0]``; of shape (n,)."""
        positive = self.decision_function(X) > 0
        chosen: NDArray[Any] = self.classes_[positive.astype(np.intp)]
        return chosen

    @available_if(_is_logistic)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> Array:
        """(1 − σ(f), σ(f)) with σ(f) = 1/(1 + e^{−f}), of shape (n, 2) in the order of ``classes_``."""
        f = self.decision_function(X)
        return np.exp(-np.logaddexp(0.0, np.column_stack([f, -f])))


_Model = ConvexReLURegressor | ConvexReLUClassifier


def _encode(labels: NDArray[Any]) -> tuple[NDArray[Any], Array]:
    """The two classes, sorted, and −1 or +1 for each label."""
    check_classification_targets(labels)
    kind = type_of_target(labels, input_name="y", raise_unknown=True)
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes[0]!r}: there is nothing to classify.")
    return classes, np.where(labels == classes[1], 1.0, -1.0)


def _fit(
    model: _Model,
    X: Array,
    y: Array,
    beta: float | str,
    max_neurons: int | None,
    max_time: float | None,
) -> None:
    """Train on validated X and y, and set the fitted attributes."""
    scaler = Scaler.fit(X) if model.standardize else None
    Z = _design(scaler, X)
    seed = _seed(model.random_state)
    beta = _beta(beta, Z, y, model.loss, seed)
    result = training.train(
        Z,
        y,
        beta,
        loss=model.loss,
        tol=model.tol,
        max_time=max_time,
        max_neurons=max_neurons,
        seed=seed,
        progress=_print_row if model.verbose else None,
    )
    model.scaler_ = scaler
    model.network_ = result.network
    model.certificate_ = result.certificate
    model.coefs_ = [result.network.U, result.network.alpha]
    model.beta_ = beta
    model.history_ = result.history
    model.status_ = result.status
    model.n_iter_ = len(result.history)
    if result.status not in (Status.CONVERGED, Status.ZERO):
        gap = f"The relative gap is {result.certificate.relative_gap:.2g}, tol is {model.tol:g}."
        warnings.warn(f"{result.status} {gap}", ConvergenceWarning, stacklevel=3)


def _output(model: _Model, X: ArrayLike) -> Array:
    """f(Z) for new rows."""
    check_is_fitted(model)
    rows = validate_data(model, X, dtype=np.float64, reset=False)
    output: Array = model.network_.predict(_design(model.scaler_, rows))
    return output


def _design(scaler: Scaler | None, X: Array) -> Array:
    """Z: scaled with a column of ones, or X with a column of ones."""
    return np.column_stack([X, np.ones(len(X))]) if scaler is None else scaler.transform(X)


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _beta(beta: float | str, Z: Array, y: Array, loss: str, seed: int) -> float:
    """The number given, or β_max/100; 1 where β_max is 0, since then zero is optimal for every β."""
    if isinstance(beta, str):
        if beta != "auto":
            raise ValueError(f"beta must be a positive number or 'auto'; it is {beta!r}.")
        largest = float(pricing.beta_max(Z, y, loss=loss, seed=seed))
        return largest / AUTO_DIVISOR if largest > 0 else 1.0
    return float(beta)


def _print_row(row: dict[str, Any]) -> None:
    print(
        f"iteration {row['iteration']:4d}  {row['seconds']:8.2f} s  objective {row['primal']:.6g}  "
        f"bound {row['bound']:.6g}  neurons {row['neurons']}"
    )
