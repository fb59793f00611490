r"""Depth, layer by layer: a stack of convex two-layer fits, each on the features of the one before.

Layer 1 fits f_1(Z) = (Z U_1)_+ α_1 to the targets. Its neurons of length one give the features
H_1 = (Z Û_1)_+, û_j = u_j/‖u_j‖, and layer k + 1 fits f_{k+1} = (Z_k U_{k+1})_+ α_{k+1} to the same targets
on Z_k = [H_k, Z] (`skip`), or [H_k, ones] without it. The output is that of the last layer, and all layers
share β.

* Global, with a certificate: each layer, given the features below it.
* Proven: the optima do not rise from layer to layer. With masses a_j = ‖u_j‖|α_j|, f_k = H_k a⁺ − H_k a⁻ has
  two neurons on H_k ≥ 0, at the penalty ‖a⁺‖ + ‖a⁻‖ ≤ Σ a_j. Training of layer k + 1 starts there.
* Not global: the stack. The features are frozen, chosen greedily for the layer above them, and the penalty
  of a layer counts its own weights only, so no bound on deep networks follows.

Source: Belilovsky, Eickenberg & Oyallon (ICML 2019) for greedy layers; the convex program of each is that of
Pilanci & Ergen (ICML 2020).
"""

import warnings
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn import training
from convexnn._types import Array
from convexnn.data import Scaler
from convexnn.estimators import _beta, _design, _encode, _print_row, _seed
from convexnn.losses import get_loss
from convexnn.network import Network
from convexnn.status import Status

__all__ = ["LayerwiseReLUClassifier", "LayerwiseReLURegressor"]


class LayerwiseReLURegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""min ½‖f(Z_{k−1}) − y‖² + (β/2) Σ_j (‖u_j‖² + α_j²) for each layer k: global on its features alone.

    Parameters
    ----------
    n_layers : int, default 2
        Convex fits in the stack; 1 is the ordinary two-layer network.
    beta : float or "auto", default "auto"
        Regularisation of every layer; "auto" is β_max/100 of the first layer.
    loss : {"squared"}, default "squared"
    tol : float, default 1e-3
        Relative duality gap at which each layer stops.
    max_time : float, optional
        Seconds for the stack; a layer may take its share of what is left.
    max_neurons : int, optional
        Most neurons of a layer. A layer that was cut may be worse than the one before.
    skip : bool, default True
        Keep the input beside the hidden features; the column of ones is always kept.
    standardize : bool, default True
        Standardise the columns by the training rows and divide by √(d+1). False only appends the ones.
    random_state : int, RandomState instance or None, default 0
        Seed of the search.
    verbose : bool, default False
        Print one line an iteration.

    Attributes
    ----------
    networks_ : list of Network
        One a layer, each in the coordinates of its own features.
    certificates_ : list of Certificate
        For layer k the gap between its objective and the least on its features: about that layer alone.
    objectives_ : list of float
        The objectives of the layers; they do not rise (unless `max_neurons` cut one).
    statuses_ : list of Status
    n_layers_ : int
        Layers trained: fewer than asked for once a layer is the zero network.
    beta_ : float
    scaler_ : Scaler or None
    n_features_in_ : int
    feature_names_in_ : (d,) array of str

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from convexnn.layerwise import LayerwiseReLURegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LayerwiseReLURegressor(tol=1e-2).fit(X[:200], y[:200])
    >>> bool(model.objectives_[1] <= model.objectives_[0])
    True
    """

    def __init__(
        self,
        n_layers: int = 2,
        beta: float | Literal["auto"] = "auto",
        loss: str = "squared",
        tol: float = 1e-3,
        max_time: float | None = None,
        max_neurons: int | None = None,
        skip: bool = True,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.n_layers = n_layers
        self.beta = beta
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.max_neurons = max_neurons
        self.skip = skip
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> "LayerwiseReLURegressor":
        """Train on X (n, d) and y (n,); returns the estimator."""
        rows, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        if get_loss(self.loss).is_classification:
            raise ValueError(f"The {self.loss} loss is for classes; a regression takes loss='squared'.")
        _fit(self, rows, np.asarray(targets, dtype=np.float64))
        return self

    def predict(self, X: ArrayLike) -> Array:
        """The last layer's output, (n,)."""
        return list(_outputs(self, X))[-1]

    def staged_predict(self, X: ArrayLike) -> Iterator[Array]:
        """The output (n,) of each layer in turn."""
        yield from _outputs(self, X)


def _is_logistic(model: "LayerwiseReLUClassifier") -> bool:
    if model.loss != "logistic":
        raise AttributeError(f"predict_proba takes loss='logistic'; this classifier has {model.loss!r}.")
    return True


class LayerwiseReLUClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""min Σ ℓ(y_i f_i) + (β/2) Σ_j (‖u_j‖² + α_j²) for each layer k: global on its features alone.

    Parameters
    ----------
    n_layers : int, default 2
        Convex fits in the stack; 1 is the ordinary two-layer network.
    beta : float or "auto", default "auto"
        Regularisation of every layer; "auto" is β_max/100 of the first layer.
    loss : {"logistic", "hinge", "squared_hinge", "squared"}, default "logistic"
    tol : float, default 1e-3
        Relative duality gap at which each layer stops.
    max_time : float, optional
        Seconds for the stack; a layer may take its share of what is left.
    max_neurons : int, optional
        Most neurons of a layer. A layer that was cut may be worse than the one before.
    skip : bool, default True
        Keep the input beside the hidden features; the column of ones is always kept.
    standardize : bool, default True
        Standardise the columns by the training rows and divide by √(d+1). False only appends the ones.
    random_state : int, RandomState instance or None, default 0
        Seed of the search.
    verbose : bool, default False
        Print one line an iteration.

    Attributes
    ----------
    networks_ : list of Network
        One a layer, each in the coordinates of its own features.
    certificates_ : list of Certificate
        For layer k the gap between its objective and the least on its features: about that layer alone.
    objectives_ : list of float
        The objectives of the layers; they do not rise (unless `max_neurons` cut one).
    statuses_ : list of Status
    n_layers_ : int
        Layers trained: fewer than asked for once a layer is the zero network.
    beta_ : float
    scaler_ : Scaler or None
    classes_ : (2,) array
        The two labels, sorted.
    n_features_in_ : int
    feature_names_in_ : (d,) array of str

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from convexnn.layerwise import LayerwiseReLUClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = LayerwiseReLUClassifier(tol=1e-2).fit(X[:200], y[:200])
    >>> bool(model.objectives_[1] <= model.objectives_[0])
    True
    """

    def __init__(
        self,
        n_layers: int = 2,
        beta: float | Literal["auto"] = "auto",
        loss: str = "logistic",
        tol: float = 1e-3,
        max_time: float | None = None,
        max_neurons: int | None = None,
        skip: bool = True,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.n_layers = n_layers
        self.beta = beta
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.max_neurons = max_neurons
        self.skip = skip
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> "LayerwiseReLUClassifier":
        """Train on X (n, d) and two-class labels y (n,); returns the estimator."""
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        get_loss(self.loss)
        classes, signs = _encode(labels)
        _fit(self, rows, signs)
        self.classes_ = classes
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """The last layer's output, (n,): positive for ``classes_[1]``."""
        return list(_outputs(self, X))[-1]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """``classes_[1]`` where the output is positive, else ``classes_[0]``; of shape (n,)."""
        positive = self.decision_function(X) > 0
        chosen: NDArray[Any] = self.classes_[positive.astype(np.intp)]
        return chosen

    def staged_predict(self, X: ArrayLike) -> Iterator[NDArray[Any]]:
        """The labels (n,) of each layer in turn."""
        for output in _outputs(self, X):
            yield self.classes_[(output > 0).astype(np.intp)]

    @available_if(_is_logistic)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> Array:
        """(1 − σ(f), σ(f)) with σ(f) = 1/(1 + e^{−f}), of shape (n, 2) in the order of ``classes_``."""
        f = self.decision_function(X)
        return np.exp(-np.logaddexp(0.0, np.column_stack([f, -f])))


_Model = LayerwiseReLURegressor | LayerwiseReLUClassifier


def _fit(model: _Model, X: Array, y: Array) -> None:
    """Train layer after layer on validated data, and set the fitted attributes."""
    if model.n_layers < 1:
        raise ValueError(f"n_layers must be at least 1; it is {model.n_layers!r}.")
    begin = perf_counter()
    model.scaler_ = Scaler.fit(X) if model.standardize else None
    Z = features = _design(model.scaler_, X)
    seed = _seed(model.random_state)
    model.beta_ = _beta(model.beta, Z, y, model.loss, seed)
    results: list[training.TrainResult] = []
    for k in range(model.n_layers):
        left = None
        if model.max_time is not None:
            left = max(1e-3, (model.max_time - (perf_counter() - begin)) / (model.n_layers - k))
        results.append(
            training.train(
                features, y, model.beta_, loss=model.loss, tol=model.tol, max_time=left,
                max_neurons=model.max_neurons, seed=seed,
                warm_start=_same_function(results[-1].network, features.shape[1]) if results else None,
                progress=_print_row if model.verbose else None,
            )
        )  # fmt: skip
        if not results[-1].network.n_neurons:
            break
        features = _features(results[-1].network, features, Z, model.skip)
    model.networks_ = [r.network for r in results]
    model.certificates_ = [r.certificate for r in results]
    model.objectives_ = [r.certificate.primal for r in results]
    model.statuses_ = [r.status for r in results]
    model.n_layers_ = len(results)
    for k, result in enumerate(results):
        if result.status not in (Status.CONVERGED, Status.ZERO):
            gap = f"Its relative gap is {result.certificate.relative_gap:.2g}, tol is {model.tol:g}."
            warnings.warn(f"Layer {k + 1}: {result.status} {gap}", ConvergenceWarning, stacklevel=3)


def _features(network: Network, features: Array, Z: Array, skip: bool) -> Array:
    """[(features Û)_+, Z], or with the last column of Z, the ones, in place of Z."""
    U = network.U / np.linalg.norm(network.U, axis=0)
    return np.column_stack([np.maximum(features @ U, 0.0), Z if skip else Z[:, -1:]])


def _same_function(network: Network, width: int) -> Network:
    """f = H a⁺ − H a⁻ as two neurons on [H, …]: the function of `network` at no larger penalty."""
    mass = np.linalg.norm(network.U, axis=0) * network.alpha
    blocks = np.zeros((width, 2))
    blocks[: len(mass), 0] = np.maximum(mass, 0.0)
    blocks[: len(mass), 1] = np.maximum(-mass, 0.0)
    size = np.linalg.norm(blocks, axis=0)
    keep = size > 0
    root = np.sqrt(size[keep])
    return Network(blocks[:, keep] / root, np.array([1.0, -1.0])[keep] * root)


def _outputs(model: _Model, X: ArrayLike) -> Iterator[Array]:
    """The output of each layer for new rows."""
    check_is_fitted(model)
    rows = validate_data(model, X, dtype=np.float64, reset=False)
    Z = features = _design(model.scaler_, rows)
    for network in model.networks_:
        yield network.predict(features)
        if network.n_neurons:
            features = _features(network, features, Z, model.skip)
