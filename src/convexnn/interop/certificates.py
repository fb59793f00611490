"""Certificates of models that another library trained, with that library's penalty."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array
from convexnn.certificate import Certificate, certify
from convexnn.interop.betas import sklearn_beta, torch_beta
from convexnn.interop.foreign import Foreign, from_arrays
from convexnn.interop.onnx import from_onnx
from convexnn.interop.sklearn import from_sklearn
from convexnn.interop.torch import from_torch
from convexnn.losses import LossLike, get_loss
from convexnn.network import Network

#: A relative gap above this may well be the bound's fault and not the network's: the text says so.
WIDE = 0.05
#: Seconds for the training of `tighten`, unless max_time is given.
_TIGHTEN_TIME = 60.0


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
        β|c|, the part of the primal that is the neuron of the output bias; 0 if that is not penalised.
    reached : float or None
        Objective that global training reached on the same problem, if `tighten` was asked for.
    penalize_intercept : bool
        Whether the problem is that in which β counts the output bias.
    """

    certificate: Certificate
    network: Network
    beta: float
    loss: str
    bias_cost: float
    reached: float | None = None
    penalize_intercept: bool = True

    def __str__(self) -> str:
        text = (
            f"{self.certificate}\n"
            f"For the problem with penalised biases, {self.loss} loss summed over samples, "
            f"β = {self.beta:.8g}; the output bias costs {self.bias_cost:.4g} of the objective."
            if self.penalize_intercept
            else f"{self.certificate}\nFor the problem with a free output bias and penalised hidden biases, "
            f"{self.loss} loss summed over samples, β = {self.beta:.8g}."
        )
        if self.reached is not None:
            text += f"\nGlobal training on the same problem reached the objective {self.reached:.8g}."
        elif self.certificate.relative_gap > WIDE:
            text += "\nThe bound is the one this network gives; tighten=True trains for a better one."
        return text


def certify_model(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float | None = None,
    weight_decay: float | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    loss: LossLike | None = None,
    balance: bool = False,
    tighten: bool = False,
    penalize_intercept: bool = True,
    **options: Any,
) -> ModelCertificate:
    r"""(P(model) − bound)/P(model) for problem (1), its biases penalised, an output bias c at β|c|.

    Parameters
    ----------
    model : MLPRegressor, MLPClassifier, torch.nn.Sequential, Foreign, or arrays (W1, b1, w2, b2)
        Or an ONNX graph: a ``ModelProto``, or the path of a file that ends in ``.onnx``.
    X : (n, d), y : (n,)
        The data the model was trained on, as the model saw them; a classifier's own labels, or 0/1 or ±1.
    beta : float, optional
        In the units of this package. By default that of `sklearn_beta` (scikit-learn), or of `torch_beta`
        with the given `weight_decay` and `reduction`.
    loss : str or SeparableLoss, optional
        A name or an object of `convexnn.losses`; by default the model's own where it says so, else squared.
    balance : bool
        First rescale each neuron to ‖u_j‖ = |α_j|: the same function at its least penalty.
    tighten : bool
        Also train this problem to global optimality (`max_time` or 60 seconds at most) and take its dual
        point where it gives the better bound. The bound from ν = −∇L at the model's own fit is weak unless
        the model is close to optimal: a gap of 70% became one of 4% for an Adam-trained network.
    penalize_intercept : bool
        False: the problem in which the output bias is free, as scikit-learn has it (the biases of the hidden
        layer stay penalised). A `Foreign` says itself which problem it is of.
    options
        For `certify`: max_time, starts, seed, ….

    Raises
    ------
    ValueError
        If the model is not of this kind, or no positive β is given or can be read off.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn.interop import certify_model
    >>> X = np.array([[-1.0], [0.0], [2.0]])
    >>> model = (np.array([[1.0]]), np.zeros(1), np.ones(1), 0.0)  # W₁, b₁, w₂, b₂
    >>> result = certify_model(model, X, np.array([0.0, 0.0, 2.0]), beta=0.1)
    >>> result.certificate.kind, result.certificate.primal
    ('exact', 0.1)
    """
    foreign = _as_foreign(model, penalize_intercept)
    free = not foreign.penalize_intercept
    loss = loss or foreign.loss or "squared"
    Z, targets = foreign.design(X), foreign.targets(y)
    if get_loss(loss).is_classification and foreign.classes is None and np.isin(targets, (0.0, 1.0)).all():
        targets = 2.0 * targets - 1.0
    if beta is None and weight_decay is not None:
        beta = torch_beta(weight_decay, len(Z), loss if isinstance(loss, str) else loss.name, reduction)
    if beta is None and hasattr(model, "alpha") and hasattr(model, "solver"):
        beta = sklearn_beta(model, len(Z))
    if beta is None:
        raise ValueError(
            "Give beta, or weight_decay with its reduction: this model does not hold its penalty."
        )
    if not beta > 0:
        raise ValueError("The model comes without a penalty (β = 0): give a positive beta.")
    network = foreign.network.balanced() if balance else foreign.network
    reached = None
    if tighten:
        from convexnn.training import train

        seconds = options.get("max_time") or _TIGHTEN_TIME
        best = train(
            Z, targets, beta, loss=loss, max_time=seconds, certificate="estimated",
            negative_slope=network.negative_slope, intercept=free,
        ).certificate  # fmt: skip
        reached, options = best.primal, {"nu": best.nu, **options}
    certificate = certify(network, Z, targets, beta, loss, intercept=free, **options)
    name = loss if isinstance(loss, str) else loss.name
    cost = 0.0 if free else beta * abs(foreign.output_bias)
    return ModelCertificate(certificate, network, beta, name, cost, reached, not free)


def certify_module(
    module: Any,
    loader: Iterable[Any],
    weight_decay: float,
    *,
    loss: str = "squared",
    reduction: Literal["mean", "sum"] = "mean",
    balance: bool = False,
    tighten: bool = True,
    penalize_intercept: bool = True,
    **options: Any,
) -> ModelCertificate:
    r"""(P(module) − bound)/P(module) for problem (1), data from a loader and β from the optimiser.

    β is `torch_beta` of all n rows, times the number of batches if the loss is a sum over each batch. All
    batches are collected in memory. A loader with ``drop_last=True`` or with random augmentation gives other
    rows each time: give one that runs once over the rows of the training.

    Parameters
    ----------
    module : torch.nn.Sequential
        ``Sequential(Linear(d, m), ReLU(), Linear(m, 1))``, a ``Flatten()`` before it allowed.
    loader : torch DataLoader, or any iterable of batches (X, y)
        X is flattened to a row a sample; y holds (B,) or (B, 1) numbers, or labels 0/1 or ±1.
    weight_decay : float
        Of SGD or Adam, given all parameters of the module.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
        "squared" is MSELoss, "logistic" BCEWithLogitsLoss or SoftMarginLoss.
    reduction : {"mean", "sum"}
        Of that loss over a batch.
    balance, tighten, options
        As in `certify_model`; here `tighten` is on unless switched off.
    penalize_intercept : bool
        False where the optimiser has the bias of the last layer in a group with ``weight_decay=0``.

    Raises
    ------
    ValueError
        If the module is of another kind, the loader gives no batches of this form, or weight_decay is 0.
    """
    foreign = from_torch(module, penalize_intercept=penalize_intercept)
    X, y, batches = _collect(loader)
    if X.shape[1] != foreign.network.n_features - foreign.has_ones:
        raise ValueError(
            f"The module takes {foreign.network.n_features - foreign.has_ones} columns; the loader gives "
            f"{X.shape[1]} a sample."
        )
    beta = torch_beta(weight_decay, len(X), loss, reduction) * (batches if reduction == "sum" else 1)
    return certify_model(foreign, X, y, beta=beta, loss=loss, balance=balance, tighten=tighten, **options)


def _collect(loader: Iterable[Any]) -> tuple[Array, Array, int]:
    """(X, y, number of batches), X with one row a sample."""
    rows: list[Array] = []
    targets: list[Array] = []
    for batch in loader:
        if not isinstance(batch, Sequence) or isinstance(batch, str) or len(batch) != 2:
            raise ValueError(
                f"The loader must give batches (X, y); this one gives a {type(batch).__name__}"
                f"{f' of length {len(batch)}' if isinstance(batch, Sequence) else ''}."
            )
        X, y = (_numbers(part) for part in batch)
        if not len(X) or X.ndim < 2 or y.shape not in ((len(X),), (len(X), 1)):
            raise ValueError(
                "Each batch must hold X with a row a sample and as many targets, (B,) or (B, 1); "
                f"the shapes are {X.shape} and {y.shape}."
            )
        rows.append(X.reshape(len(X), -1))
        targets.append(y.reshape(-1))
    if not rows:
        raise ValueError("The loader gave no batch: there is nothing to certify.")
    if len({X.shape[1] for X in rows}) > 1:
        raise ValueError("The loader gives batches with different numbers of columns.")
    return np.concatenate(rows), np.concatenate(targets), len(rows)


def _numbers(part: Any) -> Array:
    """A torch tensor, on any device, or an array."""
    return np.asarray(part.detach().cpu() if hasattr(part, "detach") else part, dtype=np.float64)


def _as_foreign(model: Any, penalize_intercept: bool) -> Foreign:
    if isinstance(model, Foreign):
        if model.penalize_intercept and not penalize_intercept:
            raise ValueError(
                "This Foreign has its output bias as a penalised neuron: make it with "
                "penalize_intercept=False."
            )
        return model
    options = {"penalize_intercept": penalize_intercept}
    torch, onnx = sys.modules.get("torch"), sys.modules.get("onnx")
    if torch is not None and isinstance(model, torch.nn.Module):
        return from_torch(model, **options)
    if isinstance(model, str | Path) or (onnx is not None and isinstance(model, onnx.ModelProto)):
        return from_onnx(model, **options)
    if isinstance(model, Sequence) and len(model) in (3, 4):
        return from_arrays(*model, **options)
    if type(model).__module__.startswith("sklearn."):
        return from_sklearn(model, **options)
    raise ValueError(
        "certify_model takes an MLPRegressor, an MLPClassifier, a torch.nn.Sequential, an ONNX graph, a "
        f"Foreign or arrays (W1, b1, w2, b2), not a {type(model).__name__}."
    )
