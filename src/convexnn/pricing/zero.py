r"""β_max, where the zero network becomes optimal: ρ(±ν₀) at ν₀ = −∇L(0)."""

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array
from convexnn.activation import checked_slope
from convexnn.feature_penalty import divided
from convexnn.intercepts import centre_of, dual_at, refuse_softmax
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
    intercept: bool = False,
    feature_penalty: ArrayLike | None = None,
    starts: int = 2000,
    seed: int = 0,
    negative_slope: float = 0.0,
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
    intercept : bool
        Whether an unpenalised output bias is free: ν₀ is then at the best constant, with 1ᵀν₀ = 0.
    feature_penalty : (d,), optional
        As in `convexnn.train`.
    starts : int
        Starts of the search over both signs and all outputs; fewer where X is large, and 200 for each output
        at least. The value is an estimate from below.
    seed : int
    negative_slope : float
        s of the activation; 0 is the ReLU.

    Examples
    --------
    >>> from convexnn import beta_max, train
    >>> from convexnn.data import five_points
    >>> data = five_points()
    >>> train(data.X, data.y, beta=1.001 * beta_max(data.X, data.y)).network.n_neurons
    0
    """
    X, y, _ = check_problem(X, y, 1.0, loss, any_loss=True)
    if feature_penalty is not None:
        X = divided(X, feature_penalty)[0]
    if intercept:
        refuse_softmax(loss)
    X, y, loss = weigh(X, y, loss, sample_weight, fold=not intercept)[:3]
    if intercept:
        columns = (y - centre_of(loss, y)).reshape(len(y), -1).T
        nu = np.stack([dual_at(loss, np.zeros_like(column), column) for column in columns], axis=1)
    else:
        nu = -get_loss(loss).gradient(np.zeros_like(y), y).reshape(len(y), -1)
    share = max(min(_SHARE, starts), starts // nu.shape[1])
    slope = checked_slope(negative_slope)
    return max(_largest(X, np.ascontiguousarray(column), share, seed, slope) for column in nu.T)


def _largest(X: Array, nu: Array, starts: int, seed: int, negative_slope: float) -> float:
    """The largest maximum found, or 0 where rounding alone makes as much: ν ⟂ the only column, for one."""
    found = _found(X, nu, starts, seed, negative_slope)
    noise = len(X) * float(np.finfo(np.float64).eps) * float(np.abs(nu) @ np.linalg.norm(X, axis=1))
    return found if found > noise else 0.0


def _found(X: Array, nu: Array, starts: int, seed: int, negative_slope: float) -> float:
    if len(X) > MANY_ROWS and X.shape[1] <= FEW_COLUMNS and negative_slope == 0.0:
        return rho_smoothly(X, nu, starts, seed)
    starts = max(min(_LEAST, starts), min(starts, int(_WORK / X.size)))
    return rho_estimate(X, nu, starts, seed, negative_slope)
