r"""β_max, where the zero network becomes optimal: ρ(±ν₀) at ν₀ = −∇L(0)."""

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array
from convexnn.losses import LossLike, check_problem, get_loss, weigh
from convexnn.pricing.local import rho_estimate
from convexnn.pricing.smooth import rho_smoothly

#: Rows above which, at up to so many columns, a smoothed search is quicker than exact ascent.
MANY_ROWS, FEW_COLUMNS = 4000, 40
#: The fewest starts for one of several outputs.
_SHARE = 200
#: Limit on starts × rows × columns, and the fewest starts whatever that says.
_WORK, _LEAST = 2e8, 20


def beta_max(
    X: Array,
    y: Array,
    loss: LossLike = "squared",
    *,
    sample_weight: ArrayLike | None = None,
    starts: int = 2000,
    seed: int = 0,
) -> float:
    """β_max = max(ρ(ν₀), ρ(−ν₀)), ν₀ = −∇L(0): from this β on the zero network is optimal.

    Parameters
    ----------
    X : (n, d), y : (n,) or (n, c)
        For ``"softmax"`` class labels 0, 1, … (n,) or probabilities (n, c).
    loss : str or SeparableLoss
        A name or an object of `convexnn.losses`. For the hinge ν₀ = y, one of its subgradients' negatives at
        0; for the quantile loss ν₀ is 0 where y is.
    sample_weight : (n,), optional
        Weights ω ≥ 0 of the rows in L; 1 by default.
    starts : int
        Starts of the search over both signs and all outputs; fewer where X is large, and 200 for each output
        at least. The value is an estimate from below.
    seed : int

    Examples
    --------
    >>> from convexnn import beta_max, train
    >>> from convexnn.data import five_points
    >>> data = five_points()
    >>> train(data.X, data.y, beta=1.001 * beta_max(data.X, data.y)).network.n_neurons
    0
    """
    X, y, _ = check_problem(X, y, 1.0, loss, any_loss=True)
    X, y, loss = weigh(X, y, loss, sample_weight)[:3]
    nu = -get_loss(loss).gradient(np.zeros_like(y), y).reshape(len(y), -1)
    share = max(min(_SHARE, starts), starts // nu.shape[1])
    return max(_largest(X, np.ascontiguousarray(column), share, seed) for column in nu.T)


def _largest(X: Array, nu: Array, starts: int, seed: int) -> float:
    if len(X) > MANY_ROWS and X.shape[1] <= FEW_COLUMNS:
        return rho_smoothly(X, nu, starts, seed)
    return rho_estimate(X, nu, max(min(_LEAST, starts), min(starts, int(_WORK / X.size))), seed)
