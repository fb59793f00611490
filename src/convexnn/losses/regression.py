"""Losses of real targets or counts; σ = 1, so q is ν itself."""

from dataclasses import dataclass

import numpy as np
from scipy.special import kl_div, xlogy

from convexnn._types import Array
from convexnn.losses._separable import Separable, within
from convexnn.losses.conjugates import Exponential, Insensitive, Linear, Quadratic
from convexnn.losses.protocols import DOMAIN_SLACK, Conjugate, SeparableLoss

#: Rows with |y − f| below this share of the mean |y| may take any ν that the quantile loss has on its kink.
_ON_KINK = 1e-2


@dataclass(frozen=True)
class Squared(Separable):
    """½ Σ (f_i − y_i)², for any real targets."""

    name = "squared"

    def each(self, f: Array, y: Array) -> Array:
        """½ (f_i − y_i)²."""
        return 0.5 * (f - y) ** 2

    def gradient(self, f: Array, y: Array) -> Array:
        """The residual f − y."""
        return f - y

    def hessian(self, f: Array, y: Array) -> Array:
        """One for each sample."""
        return np.ones_like(f)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """yν − ½ν²."""
        return nu * (y - 0.5 * nu)

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """y − ν."""
        return y - nu

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """Clip of yᵀν/‖ν‖² to [0, t_max]."""
        square = float(np.sum(nu * nu))
        return min(t_max, max(0.0, float(np.sum(nu * y)) / square)) if square > 0 else 0.0

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """q²/2 − yq."""
        return Quadratic(np.ones_like(y), y)

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """ℓ(size·f, size·y) = size² ℓ(f, y)."""
        return self, size**2


@dataclass(frozen=True)
class Huber(Separable):
    """Σ h(f_i − y_i), h(r) = ½r² for |r| ≤ δ, else δ|r| − ½δ²: outliers pull with a force of δ at most.

    Parameters
    ----------
    delta : float
        Positive, in the units of y.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn.losses import Huber
    >>> Huber(0.5).value(np.array([0.0, 3.0]), np.array([0.5, 0.0]))  # ½·0.5² and 0.5·3 − ½·0.5²
    1.5
    """

    delta: float = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        _check_parameter("Huber", "delta", self.delta, self.delta > 0, "positive")

    def each(self, f: Array, y: Array) -> Array:
        """½r² or δ|r| − ½δ²."""
        r = np.abs(f - y)
        small = np.minimum(r, self.delta)
        return small * (r - 0.5 * small)

    def gradient(self, f: Array, y: Array) -> Array:
        """The residual f − y, clipped to ±δ."""
        return np.clip(f - y, -self.delta, self.delta)

    def hessian(self, f: Array, y: Array) -> Array:
        """1[|f − y| < δ], the generalised second derivative."""
        return (np.abs(f - y) < self.delta).astype(np.float64)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """yν − ½ν², |ν| ≤ δ."""
        return within(nu * (y - 0.5 * nu), np.abs(nu) <= self.delta * (1.0 + DOMAIN_SLACK))

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """y − ν."""
        return y - nu

    def dual_limit(self, nu: Array, y: Array) -> float:
        """δ/max |ν|."""
        largest = float(np.max(np.abs(nu), initial=0.0))
        return self.delta / largest if largest > 0 else np.inf

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """q²/2 − yq on |q| ≤ δ."""
        return Quadratic(np.ones_like(y), y, -self.delta, self.delta)

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """size² times the Huber loss of δ/size."""
        return Huber(self.delta / size), size**2


@dataclass(frozen=True)
class Quantile(Separable):
    """Σ level·(y_i − f_i)₊ + (1 − level)·(f_i − y_i)₊, the pinball loss: f estimates that quantile of y.

    ν is not determined where f = y: see `convexnn.certify`.

    Parameters
    ----------
    level : float
        Between 0 and 1; 0.5 is half the absolute error, for the median.
    """

    level: float = 0.5
    name = "quantile"
    is_smooth = False

    def __post_init__(self) -> None:
        _check_parameter("Quantile", "level", self.level, 0 < self.level < 1, "between 0 and 1")

    def each(self, f: Array, y: Array) -> Array:
        """level·r₊ + (1 − level)·(−r)₊, r = y − f."""
        r = y - f
        return np.maximum(self.level * r, (self.level - 1.0) * r)

    def gradient(self, f: Array, y: Array) -> Array:
        """−level where f < y, 1 − level where f > y, and 0 on the kink: one subgradient."""
        return (1.0 - self.level) * (f > y) - self.level * (f < y)

    def subgradients(self, f: Array, y: Array) -> tuple[Array, Array]:
        """Every ν ∈ [level − 1, level] where |y − f| ≤ 0.01 mean |y|."""
        nu = -self.gradient(f, y)
        free = np.abs(y - f) <= _ON_KINK * _size(y)
        return np.where(free, self.level - 1.0, nu), np.where(free, self.level, nu)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """yν, ν ∈ [level − 1, level]."""
        inside = np.clip(nu, self.level - 1.0, self.level)
        return within(y * inside, np.abs(nu - inside) <= DOMAIN_SLACK)

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """The target."""
        return y

    def dual_limit(self, nu: Array, y: Array) -> float:
        """min(level/max ν, (1 − level)/max −ν)."""
        largest = float(np.max(np.maximum(nu / self.level, nu / (self.level - 1.0)), initial=0.0))
        return 1.0 / largest if largest > 0 else np.inf

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """−yq + mean |y|·(q − q_k)²/(2τ) on [level − 1, level]."""
        centre = np.zeros_like(y) if centre is None else centre
        return Linear(np.ones_like(y), y, self.level - 1.0, self.level, centre, tau, _size(y))

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """ℓ(size·f, size·y) = size ℓ(f, y)."""
        return self, size


@dataclass(frozen=True)
class SquaredEpsilonInsensitive(Separable):
    """½ Σ (|f_i − y_i| − ε)₊²: errors below ε cost nothing.

    Parameters
    ----------
    epsilon : float
        Not negative, in the units of y; 0 is the squared loss.
    """

    epsilon: float = 0.1
    name = "squared_epsilon_insensitive"

    def __post_init__(self) -> None:
        _check_parameter(
            "SquaredEpsilonInsensitive", "epsilon", self.epsilon, self.epsilon >= 0, "at least 0"
        )

    def _outside(self, r: Array) -> Array:
        """sign(r) (|r| − ε)₊."""
        return r - np.clip(r, -self.epsilon, self.epsilon)

    def each(self, f: Array, y: Array) -> Array:
        """½ (|f_i − y_i| − ε)₊²."""
        return 0.5 * self._outside(f - y) ** 2

    def gradient(self, f: Array, y: Array) -> Array:
        """sign(f − y) (|f − y| − ε)₊."""
        return self._outside(f - y)

    def hessian(self, f: Array, y: Array) -> Array:
        """1[|f − y| > ε], the generalised second derivative."""
        return (np.abs(f - y) > self.epsilon).astype(np.float64)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """yν − ½ν² − ε|ν|."""
        return nu * (y - 0.5 * nu) - self.epsilon * np.abs(nu)

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """y − ν − ε sign(ν)."""
        return y - nu - self.epsilon * np.sign(nu)

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """q²/2 − yq + ε|q|."""
        return Insensitive(np.ones_like(y), y, self.epsilon)

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """size² times the loss of ε/size."""
        return SquaredEpsilonInsensitive(self.epsilon / size), size**2


@dataclass(frozen=True)
class Poisson(Separable):
    """Σ exp(f_i) − y_i f_i − y_i + y_i log y_i, half the Poisson deviance of the rate exp(f); y ≥ 0.

    It differs from exp(f) − y f by a constant of y, which makes its infimum 0.
    """

    name = "poisson"

    def check_targets(self, y: Array) -> None:
        """Raise ValueError unless every target is at least 0."""
        if (y < 0).any():
            row = int(np.argwhere(y < 0)[0][0])
            raise ValueError(f"The poisson loss takes targets y >= 0, such as counts; y[{row}] is {y[row]}.")

    def each(self, f: Array, y: Array) -> Array:
        """y (e^g − 1 − g), g = f − log y; exp(f) where y = 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            g = f - np.log(np.where(y > 0, y, 1.0))
            return np.where(y > 0, y * (np.expm1(g) - g), np.exp(f))

    def gradient(self, f: Array, y: Array) -> Array:
        """exp(f) − y."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(f) - y)

    def hessian(self, f: Array, y: Array) -> Array:
        """exp(f)."""
        with np.errstate(over="ignore"):
            return np.exp(f)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """p − p log p − (y − y log y), p = y − ν ≥ 0."""
        p = np.maximum(y - nu, 0.0)
        centre = np.where(y > 0, y, 1.0)
        value = np.where(y > 0, nu * np.log(centre) - kl_div(p, centre), p - xlogy(p, p))
        return within(value, y - nu >= -DOMAIN_SLACK * np.maximum(y, 1.0))

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """log p."""
        p = y - nu
        return np.log(np.maximum(p, 0.0))

    def dual_limit(self, nu: Array, y: Array) -> float:
        """min y/ν over ν > 0."""
        up = nu > DOMAIN_SLACK * float(np.max(np.abs(nu), initial=0.0))
        return float(np.min(y[up] / nu[up], initial=np.inf))

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """p log p − p − (y log y − y), p = y − q."""
        return Exponential(np.ones_like(y), y)

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """None: counts have no scale."""
        return None


def _size(y: Array) -> float:
    """mean |y|, or 1 where all are 0."""
    size = float(np.mean(np.abs(y)))
    return size if size > 0 else 1.0


def _check_parameter(loss: str, name: str, value: float, holds: bool, wanted: str) -> None:
    if not (holds and np.isfinite(value)):
        raise ValueError(f"{name} of {loss} must be {wanted} and finite; it is {value!r}.")
