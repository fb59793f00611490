r"""The activation σ_s(z) = (z)_+ − s(−z)_+: slope 1 above 0 and s below, −1 ≤ s < 1.

s = 0 is the ReLU, s = 0.01 the leaky ReLU of most libraries, s = −1 the absolute value. Since
σ_s(z) = (1 − s)(z)_+ + sz,

    νᵀσ_s(Xu) = (1 − s) νᵀ(Xu)_+ + s (Xᵀν)ᵀu

is positively homogeneous in u, so the theory of the ReLU stays: in the cell of a mask D a neuron is the
linear map A = (D + s(I − D))X = sX + (1 − s)DX, the dual constraint is max_{‖u‖≤1} |νᵀσ_s(Xu)| ≤ β, and the
searches and bounds of `convexnn.pricing` carry a linear term beside the rows. Rows with ν_i > 0 stay convex.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from convexnn._types import Array

if TYPE_CHECKING:
    from convexnn.network import Network


def checked_slope(negative_slope: float) -> float:
    """s as a float.

    Raises
    ------
    ValueError
        Unless −1 ≤ s < 1.
    """
    try:
        s = float(negative_slope)
    except (TypeError, ValueError):
        s = float("nan")
    if not -1.0 <= s < 1.0:
        raise ValueError(
            f"negative_slope must lie in [-1, 1); it is {negative_slope!r}. Slope 1 is a linear model, and a "
            "slope s beyond ±1 is the activation of slope 1/s for −u, scaled."
        )
    return s + 0.0


def activate(Z: Any, negative_slope: float) -> Any:
    """σ_s(Z), in place; returns Z. Z is a float array of any precision."""
    if negative_slope == 0.0:
        return np.maximum(Z, 0.0, out=Z)
    Z *= np.where(Z > 0, Z.dtype.type(1.0), Z.dtype.type(negative_slope))
    return Z


def gains(masks: Any, negative_slope: float) -> Any:
    """1 where the mask is, s elsewhere: the diagonal of D + s(I − D). The masks themselves for a ReLU."""
    return masks if negative_slope == 0.0 else np.where(masks, 1.0, negative_slope)


def one_side(directions: Array, negative_slope: float) -> Array:
    """Signs ±1 (m,) that put rows u (m, d) on one side of a fixed hyperplane if σ_s is even, else ones.

    For s = −1 the neurons u and −u are the same, and one of them is enough.
    """
    if negative_slope != -1.0:
        return np.ones(len(directions))
    normal = np.sin(12.9898 * np.arange(1.0, directions.shape[1] + 1.0))
    return np.where(directions @ normal < 0, -1.0, 1.0)


def require_relu(network: "Network", what: str) -> None:
    """ValueError unless the network's activation is the ReLU."""
    if network.negative_slope != 0.0:
        raise ValueError(
            f"{what} is for ReLU networks; this one has negative_slope = {network.negative_slope:g}."
        )
