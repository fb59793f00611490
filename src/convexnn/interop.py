r"""Networks of other libraries as points of problem (1), their penalties as β, and their certificates.

A hidden layer (X W₁ + b₁)_+ is (X̃ U)_+ with X̃ = [X, 1] and U = [W₁; b₁]. An output bias c is one more neuron
on the column of ones, u = √|c| e_ones with α = sign(c)√|c|: the same function, at the penalty β|c|, the least
that one neuron for a constant costs. So the model becomes a network of problem (1),

    L(Σ_j (X̃ u_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²),   L a sum over samples (½ Σ(f − y)² if squared),

and `certify` says how far it is from the optimum of THAT problem, where biases are penalised like weights. A
library that leaves biases free minimises less: its own optimum may lie below the certified bound.

What the penalties of the libraries are in these units (n samples):

=====================================================  ======================================
scikit-learn MLP, ``alpha``, lbfgs                     β = alpha (biases free)
scikit-learn MLP, ``alpha``, sgd or adam, batches of B  β = alpha·n/B (biases free)
torch, ``weight_decay``, MSE, mean | sum               β = weight_decay·n/2 | weight_decay/2
torch, ``weight_decay``, logistic, mean | sum          β = weight_decay·n | weight_decay
=====================================================  ======================================

Those of torch hold for SGD and Adam on all parameters, biases included, and full batches (or mean reductions
over batches of size B, with n kept, not B). The decay of AdamW is not a penalty and has no β.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._types import Array
from convexnn.certificate import Certificate, certify
from convexnn.losses import get_loss
from convexnn.network import Network

__all__ = [
    "Foreign",
    "ModelCertificate",
    "certify_model",
    "from_arrays",
    "from_sklearn",
    "from_torch",
    "sklearn_beta",
    "torch_beta",
]

_ONE_HIDDEN = "a certificate is for one hidden layer"


@dataclass(frozen=True)
class Foreign:
    """A model of another library as a network of problem (1).

    Attributes
    ----------
    network : Network
        On [X, 1] if the model has a bias of any kind, else on X; weights as they were, not rescaled.
    output_bias : float
        c; its neuron, if c ≠ 0, is the last one of `network`.
    has_ones : bool
        Whether `design` appends the column of ones.
    own_penalty : float
        ½ Σ of the squares that the library penalises: weights only (scikit-learn), all parameters otherwise.
    loss : str or None
        The loss the model was trained with, where the model says so.
    classes : (2,) array or None
        Labels of a classifier: the first is −1.
    """

    network: Network
    output_bias: float
    has_ones: bool
    own_penalty: float
    loss: str | None = None
    classes: NDArray[Any] | None = None

    def design(self, X: ArrayLike) -> Array:
        """[X, 1] (n, d+1), or X for a model without biases."""
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2:
            raise ValueError(f"X must be n×d; its shape is {rows.shape}.")
        return np.column_stack([rows, np.ones(len(rows))]) if self.has_ones else rows

    def predict(self, X: ArrayLike) -> Array:
        """The model's output before any sigmoid, (n,)."""
        return self.network.predict(self.design(X))

    def targets(self, y: ArrayLike) -> Array:
        """y as floats (n,); −1 and +1 for the labels of a classifier, or for labels 0 and 1."""
        values = np.asarray(y)
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if self.classes is not None:
            if not np.isin(values, self.classes).all():
                raise ValueError(f"y has labels other than the model's two, {self.classes.tolist()}.")
            return np.where(values == self.classes[1], 1.0, -1.0)
        return np.asarray(values, dtype=np.float64)

    def own_objective(self, X: ArrayLike, y: ArrayLike, beta: float, loss: str = "squared") -> float:
        """L(f, y) + β·own_penalty: the library's objective in the units of this package."""
        return get_loss(loss).value(self.predict(X), self.targets(y)) + beta * self.own_penalty


@dataclass(frozen=True)
class ModelCertificate:
    """How far a model is from the optimum of problem (1).

    Attributes
    ----------
    certificate : Certificate
        Of `network`.
    network : Network
    beta : float
    loss : str
    bias_cost : float
        β|c|, the part of the primal that is the neuron of the output bias.
    """

    certificate: Certificate
    network: Network
    beta: float
    loss: str
    bias_cost: float

    def __str__(self) -> str:
        return (
            f"{self.certificate}\n"
            f"For the problem with penalised biases, {self.loss} loss summed over samples, "
            f"β = {self.beta:.8g}; the output bias costs {self.bias_cost:.4g} of the objective."
        )


def from_arrays(W1: ArrayLike, b1: ArrayLike | None, w2: ArrayLike, b2: ArrayLike | None = None) -> Foreign:
    r"""f(x) = Σ_j (xᵀW₁ + b₁)_+ w₂ + b₂ as a network of problem (1).

    Parameters
    ----------
    W1 : (d, m)
        One column a neuron (the transpose of a torch weight).
    b1 : (m,) or None
    w2 : (m,) or (m, 1)
    b2 : float, (1,) or None

    Raises
    ------
    ValueError
        If shapes disagree, there are several outputs, or a value is not finite.
    """
    W = np.asarray(W1, dtype=np.float64)
    out = np.asarray(w2, dtype=np.float64)
    if out.ndim == 2 and out.shape[1] > 1:
        raise ValueError(
            f"The model has {out.shape[1]} outputs: weight decay on several outputs is not the penalty "
            "‖α_j‖₁² that a certificate needs, so give one output at a time."
        )
    out = out.reshape(-1)
    c = 0.0 if b2 is None else float(np.asarray(b2, dtype=np.float64).reshape(()))
    bias = np.zeros(len(out)) if b1 is None else np.asarray(b1, dtype=np.float64)
    if W.ndim != 2 or bias.shape != out.shape or W.shape[1] != len(out):
        raise ValueError(
            f"W1 must be d×m with b1 and w2 of length m; they are {W.shape}, {bias.shape} and {out.shape}."
        )
    has_ones = b1 is not None or b2 is not None
    U = np.vstack([W, bias]) if has_ones else W
    penalty = 0.5 * float(np.sum(U**2) + np.sum(out**2) + c**2)
    if c:
        neuron = np.zeros((len(U), 1))
        neuron[-1] = np.sqrt(abs(c))
        U, out = np.hstack([U, neuron]), np.append(out, np.sign(c) * np.sqrt(abs(c)))
    return Foreign(Network(U, out), c, has_ones, penalty)


def from_sklearn(model: Any) -> Foreign:
    """A fitted MLPRegressor or two-class MLPClassifier with one hidden layer of ReLUs.

    `own_penalty` is ½ Σ‖coefs_‖²: scikit-learn leaves biases free.

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
        raise ValueError(f"The model has {len(model.coefs_) - 1} hidden layers; {_ONE_HIDDEN}.")
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
    plain = from_arrays(W1, b1, W2, b2)
    penalty = 0.5 * float(np.sum(np.square(W1)) + np.sum(np.square(W2)))
    classes = np.asarray(model.classes_) if isinstance(model, MLPClassifier) else None
    return Foreign(plain.network, plain.output_bias, True, penalty, known[model.loss], classes)


def from_torch(module: Any) -> Foreign:
    """``torch.nn.Sequential(Linear(d, m), ReLU(), Linear(m, 1))``, with or without biases.

    `own_penalty` is ½ Σ of all squared parameters: what ``weight_decay`` of SGD or Adam multiplies when all
    of ``module.parameters()`` are given to it. Importing torch is left to the caller, who has a module of it.

    Raises
    ------
    ValueError
        If the module is anything else; the sentence says what.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(module, torch.nn.Module):
        raise ValueError(f"from_torch takes a torch module, not a {type(module).__name__}.")
    nn = torch.nn
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        raise ValueError(
            f"from_torch takes torch.nn.Sequential(Linear, ReLU, Linear), not a {type(module).__name__}: "
            "pass its weights to from_arrays."
        )
    layers = list(module)
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if len(linear) > 2:
        raise ValueError(f"The module has {len(linear) - 1} hidden layers; {_ONE_HIDDEN}.")
    if [type(layer) for layer in layers] != [nn.Linear, nn.ReLU, nn.Linear]:
        names = ", ".join(type(layer).__name__ for layer in layers)
        raise ValueError(f"The module is Sequential({names}); a certificate is for Linear, ReLU, Linear.")

    def array(tensor: Any) -> Array | None:
        return None if tensor is None else np.asarray(tensor.detach().cpu().double().numpy())

    first, _, last = layers
    return from_arrays(first.weight.detach().cpu().double().numpy().T, array(first.bias),
                       last.weight.detach().cpu().double().numpy().T, array(last.bias))  # fmt: skip


def sklearn_beta(model: Any, n_samples: int) -> float:
    r"""β = alpha (lbfgs), or alpha·n/B for sgd and adam with batches of B samples.

    scikit-learn minimises ½·mean (f − y)² + (alpha/2)‖coefs‖²/n over the n samples of a batch (mean log-loss
    for a classifier). Times n this is L + (alpha/2)‖coefs‖² for the full batch; over an epoch of batches of
    B it is L + (alpha·n/B/2)‖coefs‖², exactly so when B divides n. With ``early_stopping`` count the rows
    that remain for training. `model.batch_size` "auto" is min(200, n).
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1; it is {n_samples}.")
    if model.solver == "lbfgs":
        return float(model.alpha)
    batch = 200 if model.batch_size == "auto" else int(model.batch_size)
    return float(model.alpha) * n_samples / min(batch, n_samples)


def torch_beta(
    weight_decay: float,
    n_samples: int,
    loss: str = "squared",
    reduction: Literal["mean", "sum"] = "mean",
) -> float:
    r"""β of ``weight_decay`` in SGD or Adam: the penalty (weight_decay/2)‖θ‖² in units of the summed loss.

    MSELoss has no ½: mean gives (1/n)Σ(f − y)² + (λ/2)‖θ‖² = (2/n)[½Σ(f − y)² + ½(λn/2)‖θ‖²], so β = λn/2,
    and sum gives β = λ/2. BCEWithLogitsLoss and SoftMarginLoss: β = λn and β = λ, as for a hinge written as
    a mean or sum of max(0, 1 − yf), or of ½max(0, 1 − yf)².

    Parameters
    ----------
    weight_decay : float
        λ ≥ 0. The decay of AdamW is decoupled from the loss: it is no penalty and has no β.
    n_samples : int
        All training rows, also when the mean is over batches.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
    reduction : {"mean", "sum"}
        For sum over batches of B < n samples multiply by n/B.
    """
    get_loss(loss)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum'; it is {reduction!r}.")
    if not weight_decay >= 0 or n_samples < 1:
        raise ValueError(
            f"weight_decay must be ≥ 0 and n_samples ≥ 1; they are {weight_decay} and {n_samples}."
        )
    scale = n_samples if reduction == "mean" else 1
    return float(weight_decay) * scale * (0.5 if loss == "squared" else 1.0)


def certify_model(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float | None = None,
    weight_decay: float | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    loss: str | None = None,
    balance: bool = False,
    **options: Any,
) -> ModelCertificate:
    r"""(P(model) − bound)/P(model) for problem (1), its biases penalised, an output bias c at β|c|.

    Parameters
    ----------
    model : MLPRegressor, MLPClassifier, torch.nn.Sequential, Foreign, or arrays (W1, b1, w2, b2)
    X : (n, d), y : (n,)
        The data the model was trained on, as the model saw them; a classifier's own labels, or 0/1 or ±1.
    beta : float, optional
        In the units of this package. By default that of `sklearn_beta` (scikit-learn), or of `torch_beta`
        with the given `weight_decay` and `reduction`.
    loss : str, optional
        By default the model's own where it says so, else squared.
    balance : bool
        First rescale each neuron to ‖u_j‖ = |α_j|: the same function at its least penalty.
    options
        For `certify`: max_time, starts, seed, ….

    Raises
    ------
    ValueError
        If the model is not of this kind, or no positive β is given or can be read off.
    """
    foreign = _as_foreign(model)
    loss = loss or foreign.loss or "squared"
    Z, targets = foreign.design(X), foreign.targets(y)
    if get_loss(loss).is_classification and foreign.classes is None and np.isin(targets, (0.0, 1.0)).all():
        targets = 2.0 * targets - 1.0
    if beta is None and weight_decay is not None:
        beta = torch_beta(weight_decay, len(Z), loss, reduction)
    if beta is None and hasattr(model, "alpha") and hasattr(model, "solver"):
        beta = sklearn_beta(model, len(Z))
    if beta is None:
        raise ValueError(
            "Give beta, or weight_decay with its reduction: this model does not hold its penalty."
        )
    if not beta > 0:
        raise ValueError("The model was trained without a penalty (β = 0): give a positive beta.")
    network = foreign.network.balanced() if balance else foreign.network
    certificate = certify(network, Z, targets, beta, loss, **options)
    return ModelCertificate(certificate, network, beta, loss, beta * abs(foreign.output_bias))


def _as_foreign(model: Any) -> Foreign:
    if isinstance(model, Foreign):
        return model
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return from_torch(model)
    if isinstance(model, Sequence) and len(model) in (3, 4):
        return from_arrays(*model)
    if type(model).__module__.startswith("sklearn."):
        return from_sklearn(model)
    raise ValueError(
        "certify_model takes an MLPRegressor, an MLPClassifier, a torch.nn.Sequential, a Foreign or arrays "
        f"(W1, b1, w2, b2), not a {type(model).__name__}."
    )
