r"""The unpenalised output bias b₀ of f(X) = (XU)_+ α + b₀, and what it changes in the dual problem.

    min over m, U, α, b₀ of  L((XU)_+ α + b₀, y) + (β/2) Σ_j (‖u_j‖² + α_j²)
    max over ν of  D(ν)   subject to  ρ(ν) ≤ β,  ρ(−ν) ≤ β  and  1ᵀν = 0

Minimising the Lagrangian over the free b₀ gives −∞ unless 1ᵀν = 0: that is the one new condition, for each
output. A bound needs it **exactly**: with 1ᵀν = r ≠ 0 the value D(ν) exceeds a true bound by r·b₀, of any
size. `balanced` therefore puts ν on a grid on which sums have no rounding, and takes the rest of the sum
away there. Multiples tν of such a ν keep the sum 0, so all that scales a dual point stays as it is.
"""

import numpy as np
from scipy.optimize import brentq

from convexnn._types import Array
from convexnn.losses import LossLike, get_loss, get_separable
from convexnn.losses.softmax import is_softmax
from convexnn.network import Network

#: Losses of f − y: moving all targets by one number moves b₀, and changes nothing else.
_RESIDUAL = {"squared", "huber", "quantile", "squared_epsilon_insensitive"}
#: A step across a kink, as a share of the size of f and y.
_ACROSS = 1e-9
#: Bits of a grid number, and of the sum of all.
_DIGITS, _SUM_DIGITS = 52, 62


def best_intercept(loss: LossLike, f: Array, y: Array) -> float:
    """argmin over b of L(f + b, y) for f and y (n,): the zero of Σ ℓ′(f_i + b), which rises with b.

    Where the infimum is not attained (the logistic loss of labels that are all the same, Poisson counts that
    are all zero), a b at which the loss is 0 to floating point.
    """
    function = get_separable(loss)
    if function.name == "squared" and not hasattr(function, "weights"):
        return float(np.mean(y - f))

    def slope(b: float) -> float:
        with np.errstate(over="ignore"):
            return float(np.sum(function.gradient(f + b, y)))

    low, high = 0.0, 0.0
    while slope(low) > 0 and low > -1e300:
        low = min(-1.0, 4.0 * low)
    while slope(high) < 0 and high < 1e300:
        high = max(1.0, 4.0 * high)
    if low == high or slope(low) == 0:
        return low
    size = float(np.abs(f).max()) + float(np.abs(y).max())
    return float(brentq(slope, low, high, xtol=max(1e-300, 1e-15 * size), rtol=4e-15, disp=False))


def dual_at(loss: LossLike, f: Array, y: Array) -> Array:
    """ν ∈ −∂L(f + b₀) at the best b₀ for f (n,), with 1ᵀν = 0 exactly.

    On a kink the ends of −∂ℓ, a step to either side, are mixed in the one proportion whose sum is 0.
    """
    function = get_separable(loss)
    f = f + best_intercept(loss, f, y)
    if function.is_smooth:
        return balanced(-function.gradient(f, y))
    step = _ACROSS * max(1.0, float(np.abs(f).max()), float(np.abs(y).max()))
    low, high = -function.gradient(f + step, y), -function.gradient(f - step, y)
    below, above = min(0.0, float(low.sum())), max(0.0, float(high.sum()))
    share = -below / (above - below) if above > below else 0.5
    return balanced((1.0 - share) * low + share * high)


def balanced(nu: Array) -> Array:
    """A dual point with 1ᵀν = 0, for (n, c) in each column, exactly: a sum without rounding gives 0.

    The heavier of the positive and the negative entries are scaled down, all entries are cut towards 0 to
    multiples of one power of two (2⁻⁵² of the largest, or a little more for many rows) and what is left of
    the sum comes off the largest. No entry grows or changes sign, so ν stays in the domain of every loss
    here, a product of intervals that hold 0.
    """
    if nu.ndim == 2:
        return np.stack([balanced(column) for column in nu.T], axis=1)
    up, down = float(nu[nu > 0].sum()), -float(nu[nu < 0].sum())
    if up == 0 or down == 0:
        return np.zeros_like(nu)
    even = np.where(nu > 0, nu * min(1.0, down / up), nu * min(1.0, up / down))
    digits = min(_DIGITS, _SUM_DIGITS - len(nu).bit_length())
    grid = int(np.frexp(np.abs(even).max())[1]) - digits
    units = np.trunc(np.ldexp(even, -grid)).astype(np.int64)
    rest = int(units.sum())
    side = np.flatnonzero(units * np.sign(rest) > 0)
    order = side[np.argsort(-np.abs(units[side]), kind="stable")]
    sizes = np.abs(units[order])
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(order) else sizes
    units[order] -= np.sign(rest) * np.clip(abs(rest) - before, 0, sizes)
    return np.ldexp(units.astype(np.float64), grid)


def centre_of(loss: LossLike, y: Array) -> float | Array:
    """The mean of the targets, of each output, for a loss of f − y; 0 for the others.

    It is exact for a constant target, of which nothing is then left but zeros.
    """
    if get_loss(loss).name not in _RESIDUAL:
        return np.zeros(y.shape[1]) if y.ndim == 2 else 0.0
    mean = y[0] + (y - y[0]).mean(axis=0)
    return np.asarray(mean) if y.ndim == 2 else float(mean)


def refuse_softmax(loss: LossLike) -> None:
    """ValueError for the softmax, whose outputs share their dual constraints."""
    if is_softmax(loss):
        raise ValueError(
            "A free intercept is not available for the softmax loss: use one class against the rest (a "
            "separable loss, y with a column of ±1 for each class), or a column of ones in X."
        )


def refuse_intercept(network: Network, what: str) -> None:
    """ValueError if the network has b₀ ≠ 0, for a problem in which a constant costs what a neuron costs."""
    if network.has_intercept:
        raise ValueError(f"This network has an unpenalised intercept, {network.intercept}: {what}.")
