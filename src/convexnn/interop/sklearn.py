"""scikit-learn's MLPs as networks, and networks and estimators as fitted MLPs."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from convexnn.interop.foreign import ONE_HIDDEN, Foreign, from_arrays
from convexnn.interop.layers import Layers, read_layers


def from_sklearn(model: Any, *, penalize_intercept: bool = True) -> Foreign:
    """A fitted MLPRegressor or two-class MLPClassifier with one hidden layer of ReLUs.

    `own_penalty` is ½ Σ‖coefs_‖²: scikit-learn leaves biases free. With ``penalize_intercept=False`` the
    output bias is free here too, as the network's `intercept`; those of the hidden layer are penalised.

    Raises
    ------
    ValueError
        If the model is not fitted, not a ReLU network, or has two hidden layers, several outputs or another
        loss.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    if not isinstance(model, MLPRegressor | MLPClassifier):
        raise ValueError(
            f"from_sklearn takes an MLPRegressor or MLPClassifier, not a {type(model).__name__}."
        )
    if not hasattr(model, "coefs_"):
        raise ValueError("The model is not fitted yet: call fit first.")
    if len(model.coefs_) != 2:
        raise ValueError(f"The model has {len(model.coefs_) - 1} hidden layers; {ONE_HIDDEN}.")
    if model.activation != "relu":
        raise ValueError(f"The model's activation is {model.activation!r}; a certificate is for 'relu'.")
    known = {"squared_error": "squared", "log_loss": "logistic"}  # binary: the log-loss is the logistic one
    if model.loss not in known:
        raise ValueError(f"The model's loss is {model.loss!r}, which has no certificate here.")
    if model.n_outputs_ > 1:
        raise ValueError(
            f"The model has {model.n_outputs_} outputs (or classes): a certificate is for one output, so "
            "train one model for each."
        )
    (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
    plain = from_arrays(W1, b1, W2, b2, penalize_intercept=penalize_intercept)
    penalty = 0.5 * float(np.sum(np.square(W1)) + np.sum(np.square(W2)))
    classes = np.asarray(model.classes_) if isinstance(model, MLPClassifier) else None
    return replace(plain, own_penalty=penalty, loss=known[model.loss], classes=classes)


def to_sklearn(model: Any) -> Any:
    r"""A fitted MLPRegressor or MLPClassifier with f(x) = ((x − mean)/scale … U)_+ α + b₀ of `model`.

    It computes in float64. A classifier with two classes predicts the second where σ(f) > ½, with n classes
    the one of largest f, as `model` does. scikit-learn gives every MLPClassifier a `predict_proba`: it holds
    probabilities of the model only where the model's loss is logistic or softmax.

    Parameters
    ----------
    model : Network or fitted estimator of this package
        A network becomes an MLPRegressor on the network's own columns. An estimator's MLP takes the columns
        that its `predict` takes: the scaler is folded into the first layer.

    Returns
    -------
    MLPRegressor or MLPClassifier
        ``loss_`` is the objective a row, if `model` holds its certificate, else NaN. ``alpha`` is β where the
        columns were not scaled, so that `certify_model` reads it; else 0, since no ``alpha`` on the folded
        weights is the penalty that was trained.

    Raises
    ------
    ValueError
        If `model` is of another kind or not fitted.
    """
    layers = read_layers(model)
    if layers.negative_slope != 0.0:
        raise ValueError(
            f"scikit-learn's MLP has no leaky ReLU: a model with negative_slope = {layers.negative_slope:g} "
            "goes to torch or ONNX only."
        )
    W1, b1 = layers.folded()
    mlp = _fitted_shell(layers, W1.shape)
    biases = np.zeros(W1.shape[1]) if b1 is None else b1
    mlp.coefs_ = [W1, layers.W2]
    mlp.intercepts_ = [biases, layers.b2.copy()]
    scaled = getattr(model, "scaler_", None) is not None
    mlp.set_params(max_iter=200, alpha=0.0 if scaled else float(getattr(model, "beta_", 0.0)))
    certificate = getattr(model, "certificate_", None)
    mlp.loss_ = float("nan") if certificate is None else certificate.primal / len(certificate.nu)
    return mlp


def _fitted_shell(layers: Layers, shape: tuple[int, ...]) -> Any:
    """An MLP of the right shape that scikit-learn itself has fitted, to two rows of zeros or one a class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    options = {"hidden_layer_sizes": (shape[1],), "solver": "lbfgs", "max_iter": 1, "random_state": 0}
    n = 2 if layers.classes is None or layers.multilabel else len(layers.classes)
    X: Any = np.zeros((n, shape[0]))
    if layers.names is not None:
        import pandas as pd

        X = pd.DataFrame(X, columns=layers.names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        c = layers.W2.shape[1]
        if layers.multilabel:
            return MLPClassifier(**options).fit(X, np.array([[0] * c, [1] * c]))
        if layers.classes is not None:
            return MLPClassifier(**options).fit(X, layers.classes)
        if layers.is_rate:
            options["loss"] = "poisson"
        return MLPRegressor(**options).fit(X, np.zeros(n) if c == 1 else np.zeros((n, c)))
