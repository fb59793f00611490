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

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convexnn import training
from convexnn._types import Array
from convexnn.estimators._labels import decode_labels, loss_name, regression_loss
from convexnn.estimators._progress import FitProgress, with_callbacks
from convexnn.estimators._rows import Problem, design, make_problem
from convexnn.estimators._shared import (
    CertifiedClassifier,
    CertifiedRegressor,
    checked_classification,
    checked_regression,
    checked_rows,
    choose_beta,
    end_fit,
    expected_target,
    seed_of,
    set_labels,
    warn_unfinished,
)
from convexnn.losses import LossLike
from convexnn.network import Network
from convexnn.status import Status

__all__ = ["LayerwiseReLUClassifier", "LayerwiseReLURegressor"]


class LayerwiseReLURegressor(CertifiedRegressor):
    r"""min L(f(Z_k), y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²) for each layer k: global on its features alone.

    Parameters
    ----------
    n_layers : int, default 2
        Convex fits in the stack; 1 is the ordinary two-layer network.
    beta : float or "auto", default "auto"
        Regularisation of every layer; "auto" is β_max/100 of the first layer.
    loss : {"squared", "huber", "quantile", "squared_epsilon_insensitive", "poisson"} or object
        As in `convexnn.ConvexReLURegressor`.
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
    loss_ : str
    scaler_ : Scaler or None
    n_features_in_ : int
    feature_names_in_ : (d,) array of str

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence. A sparse X is refused: hidden features are dense.

    Notes
    -----
    Ctrl-C: the layers so far are kept and can be used, and KeyboardInterrupt goes on.

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
        loss: LossLike = "squared",
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
        tags.input_tags.sparse = False
        return tags

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LayerwiseReLURegressor":
        """Train on X (n, d) and y (n,) or (n, c), with weights of the rows; returns the estimator."""
        rows, targets, weights = checked_regression(self, X, y, sample_weight)
        loss = regression_loss(self.loss)
        progress = FitProgress(self, rows, targets, weights)
        _fit(self, make_problem(rows, targets, weights, self.standardize), loss, progress)
        return self

    def _scores(self, X: Any) -> Array:
        return list(_outputs(self, X))[-1]

    def staged_predict(self, X: Any) -> Iterator[Array]:
        """The prediction of each layer in turn."""
        for output in _outputs(self, X):
            yield expected_target(output, self.loss_)


class LayerwiseReLUClassifier(CertifiedClassifier):
    r"""min L(f(Z_k), y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²) for each layer k: global on its features alone.

    Two classes, more, and indicator matrices are as in `convexnn.ConvexReLUClassifier`.

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
    class_weight : dict, "balanced" or None, default None
        As in `convexnn.ConvexReLUClassifier`.
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
    loss_ : str
    scaler_ : Scaler or None
    classes_, multilabel_
        As in `convexnn.ConvexReLUClassifier`.
    n_features_in_ : int
    feature_names_in_ : (d,) array of str

    Raises
    ------
    ValueError
        If an argument or the data are unfit; one sentence. A sparse X is refused: hidden features are dense.

    Notes
    -----
    Ctrl-C: the layers so far are kept and can be used, and KeyboardInterrupt goes on.

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
        loss: LossLike = "logistic",
        tol: float = 1e-3,
        max_time: float | None = None,
        max_neurons: int | None = None,
        skip: bool = True,
        standardize: bool = True,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
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
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LayerwiseReLUClassifier":
        """Train on X (n, d) and labels y (n,) or (n, k), with weights of the rows; returns the estimator."""
        rows, y, labels, weights = checked_classification(self, X, y, sample_weight)
        progress = FitProgress(self, rows, y, weights)
        set_labels(self, labels)
        _fit(self, make_problem(rows, labels.targets, weights, self.standardize), labels.loss, progress)
        return self

    def _scores(self, X: Any) -> Array:
        return list(_outputs(self, X))[-1]

    def staged_predict(self, X: Any) -> Iterator[NDArray[Any]]:
        """The labels of each layer in turn."""
        for output in _outputs(self, X):
            yield decode_labels(output, self.classes_, self.multilabel_)


_Model = LayerwiseReLURegressor | LayerwiseReLUClassifier


def _fit(model: _Model, problem: Problem, loss: LossLike, progress: FitProgress) -> None:
    """Train layer after layer, and set the fitted attributes."""
    if model.n_layers < 1:
        raise ValueError(f"n_layers must be at least 1; it is {model.n_layers!r}.")
    begin, seed = perf_counter(), seed_of(model.random_state)
    Z = features = problem.Z
    beta = choose_beta(model.beta, problem, loss, seed)
    results: list[training.TrainResult] = []
    for k in range(model.n_layers):
        left = None
        if model.max_time is not None:
            left = max(1e-3, (model.max_time - (perf_counter() - begin)) / (model.n_layers - k))
        results.append(
            training.train(
                features, problem.y, beta, loss=loss, sample_weight=problem.weights, tol=model.tol,
                max_time=left, max_neurons=model.max_neurons, seed=seed,
                warm_start=_same_function(results[-1].network, features.shape[1]) if results else None,
                progress=progress.step if progress.wanted else None,
            )
        )  # fmt: skip
        if not results[-1].network.n_neurons or results[-1].status is Status.INTERRUPTED:
            break
        features = _features(results[-1].network, features, Z, model.skip)
    model.scaler_, model.beta_, model.loss_ = problem.scaler, beta, loss_name(loss)
    model.networks_ = [r.network for r in results]
    model.certificates_ = [replace(r.certificate, nu=problem.restore(r.certificate.nu)) for r in results]
    model.objectives_ = [r.certificate.primal for r in results]
    model.statuses_ = [r.status for r in results]
    model.n_layers_ = len(results)
    for k, result in enumerate(results):
        warn_unfinished(result.status, result.certificate, model.tol, progress, f"Layer {k + 1}: ")
    end_fit(results[-1].status, progress)


def _features(network: Network, features: Array, Z: Array, skip: bool) -> Array:
    """[(features Û)_+, Z], or with the last column of Z, the ones, in place of Z."""
    U = network.U / np.linalg.norm(network.U, axis=0)
    return np.column_stack([np.maximum(features @ U, 0.0), Z if skip else Z[:, -1:]])


def _same_function(network: Network, width: int) -> Network:
    """f_c = H a⁺ − H a⁻ as two neurons an output on [H, …]: the same function at no larger penalty."""
    masses = np.linalg.norm(network.U, axis=0)[:, None] * network.alpha.reshape(len(network.alpha), -1)
    outputs = masses.shape[1]
    blocks = np.zeros((width, 2 * outputs))
    blocks[: len(masses), 0::2] = np.maximum(masses, 0.0)
    blocks[: len(masses), 1::2] = np.maximum(-masses, 0.0)
    size = np.linalg.norm(blocks, axis=0)
    keep = size > 0
    root = np.sqrt(size[keep])
    alpha = np.repeat(np.eye(outputs), 2, axis=0) * np.tile([1.0, -1.0], outputs)[:, None]
    alpha = alpha[keep] * root[:, None]
    return Network(blocks[:, keep] / root, alpha[:, 0] if network.alpha.ndim == 1 else alpha)


def _outputs(model: _Model, X: Any) -> Iterator[Array]:
    """The output of each layer for new rows."""
    rows = checked_rows(model, X)
    Z = features = design(model.scaler_, rows)
    for network in model.networks_:
        yield network.predict(features)
        if network.n_neurons:
            features = _features(network, features, Z, model.skip)
