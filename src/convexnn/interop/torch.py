"""torch modules as networks, and networks and estimators as torch modules."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexnn._types import Array
from convexnn.interop._extras import load_extra
from convexnn.interop.foreign import ONE_HIDDEN, Foreign, from_arrays
from convexnn.interop.gated import gated_to_torch, is_gated
from convexnn.interop.layers import read_layers


def from_torch(module: Any, *, penalize_intercept: bool = True) -> Foreign:
    """``torch.nn.Sequential(Linear(d, m), ReLU(), Linear(m, 1))``, with or without biases.

    ``LeakyReLU(s)`` in place of ReLU is a network with that `negative_slope`.
    A ``Flatten()`` before the first layer is allowed. `own_penalty` is ½ Σ of all squared parameters: what
    ``weight_decay`` of SGD or Adam multiplies when all of ``module.parameters()`` are given to it; with
    ``penalize_intercept=False`` the bias of the last layer is left out, and is the network's `intercept`.
    Importing torch is left to the caller, who has a module of it.

    Raises
    ------
    ValueError
        If the module is anything else; the sentence says what.
    """
    return from_arrays(*torch_arrays(module), penalize_intercept=penalize_intercept)


def torch_arrays(module: Any) -> tuple[Array, Array | None, Array, Array | None, float]:
    """(W1, b1, W2, b2, s) of ``Sequential(Linear, ReLU, Linear)``, W1 d×m, W2 m×c; raises as `from_torch`.

    s is the slope of a LeakyReLU, 0 for a ReLU.
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
    if layers and type(layers[0]) is nn.Flatten and (layers[0].start_dim, layers[0].end_dim) == (1, -1):
        layers = layers[1:]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if len(linear) > 2:
        raise ValueError(f"The module has {len(linear) - 1} hidden layers; {ONE_HIDDEN}.")
    kinds = [type(layer) for layer in layers]
    if kinds not in ([nn.Linear, nn.ReLU, nn.Linear], [nn.Linear, nn.LeakyReLU, nn.Linear]):
        names = ", ".join(type(layer).__name__ for layer in module)
        raise ValueError(
            f"The module is Sequential({names}); a certificate is for Linear, ReLU, Linear (or LeakyReLU)."
        )
    first, middle, last = layers
    W1, W2 = _array(first.weight).T, _array(last.weight).T
    return (W1, _bias(first), W2, _bias(last), float(getattr(middle, "negative_slope", 0.0)))


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)


def _bias(layer: Any) -> Array | None:
    return None if layer.bias is None else _array(layer.bias)


def to_torch(model: Any, *, dtype: Any = None) -> Any:
    r"""f(x) = (xᵀW₁ + b₁)_+ W₂ + b₂ as ``Sequential(Linear(d, m), ReLU(), Linear(m, c))``.

    Parameters
    ----------
    model : Network or fitted estimator of this package
        A network gives a first layer without a bias, on the network's own columns. An estimator gives a bias
        in the first layer and takes the columns that its `predict` takes: the scaler is folded into that
        layer. For a classifier the module computes `decision_function`, for a Poisson regression the log of
        `predict`. The last layer has a bias where there is an unpenalised intercept.
        A `negative_slope` s ≠ 0 gives ``LeakyReLU(s)`` in place of ReLU; for s = −1 that is |z|. A gated
        network gives a module of its own, `convexnn.interop.gated_module.GatedReLU`.
    dtype : torch.dtype, optional
        float32 by default. For columns whose mean is hundreds of times their spread, or to compare digits,
        take ``torch.float64``: folding leaves differences of large numbers.

    Returns
    -------
    torch.nn.Sequential, or GatedReLU
        (n, d) → (n, c), with c = 1 where `predict` gives (n,).

    Raises
    ------
    ImportError
        If torch is missing; the sentence has the command that installs it.
    ValueError
        If `model` is of another kind or not fitted, or a weight is beyond the dtype.
    """
    torch = load_extra("torch", "to_torch", "torch")
    if is_gated(model):
        return gated_to_torch(model, dtype)
    layers = read_layers(model)
    W1, b1 = layers.folded()
    dtype = dtype or torch.float32

    def linear(W: NDArray[Any], bias: NDArray[Any] | None) -> Any:
        # skip_init leaves the caller's random state as it is.
        layer = torch.nn.utils.skip_init(
            torch.nn.Linear, W.shape[0], W.shape[1], bias=bias is not None, dtype=dtype
        )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(W.T.copy()))
            if bias is not None:
                layer.bias.copy_(torch.from_numpy(bias.copy()))
        if not all(bool(torch.isfinite(value).all()) for value in layer.parameters()):
            raise ValueError(f"A weight of this network is beyond {dtype}: pass dtype=torch.float64.")
        return layer

    out_bias = layers.b2 if layers.b2.any() else None
    s = layers.negative_slope
    middle = torch.nn.ReLU() if s == 0.0 else torch.nn.LeakyReLU(s)
    return torch.nn.Sequential(linear(W1, b1), middle, linear(layers.W2, out_bias))
