r"""The conjugates of the losses, c(q) = L*(−ν), q = σ∘ν, each separable and convex.

=============================== ==================================== ================= ==========
loss                            c_i(q)                               domain            1/c_i″
=============================== ==================================== ================= ==========
``squared``                     q²/2 − y q                           R                 1
``squared_hinge``               q²/2 − q                             q ≥ 0             1
``huber``                       q²/2 − y q                           abs(q) ≤ δ        1
``squared_epsilon_insensitive`` q²/2 − y q + ε abs(q)                R, a kink at 0    1
``logistic``                    q log q + (1 − q) log(1 − q)         [0, 1]            q (1 − q)
``poisson``                     p log p − p − y log y + y, p = y − q q ≤ y             p
``hinge``                       −q + (q − q_k)²/(2τ)                 [0, 1]            τ
``quantile``                    −y q + (q − q_k)²/(2τ)               [level − 1, level] τ
=============================== ==================================== ================= ==========

σ_i = y_i for losses with labels ±1 and 1 for the others. With weights ω, c_i becomes ω_i c_i(q/ω_i). The last
two have no curvature of their own: their proximal term vanishes as the outer iteration converges.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, xlog1py, xlogy

from convexnn._types import Array
from convexnn.losses.protocols import Conjugate

#: |logit q| never exceeds this, so that a logistic dual point stays inside its domain; |log p| likewise.
_LOGIT_MAX = 40.0
#: The least p of the Poisson loss over y: y − q could not tell less from 0.
_LEAST_SHARE = 1e-12
#: Width of the ramp, in the units of f, from which proximal losses start.
_RAMP = 0.3


class _Box:
    """Steps along a straight line within [lower, upper]."""

    lower: float
    upper: float

    def each(self, q: Array) -> Array:
        """c_i(q_i)."""
        raise NotImplementedError

    def value(self, q: Array) -> float:
        """Σ c_i(q_i)."""
        return float(np.sum(self.each(q)))

    @property
    def is_boxed(self) -> bool:
        """Whether there are bounds."""
        return self.lower > -np.inf or self.upper < np.inf

    def bounds(self, q: Array, gradient: Array) -> tuple[Array | float, Array | float]:
        """The domain."""
        return self.lower, self.upper

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """Clip of q + t dq."""
        return np.clip(q + t * dq, self.lower, self.upper)

    def inside(self, q: Array) -> Array:
        """Clip of q."""
        return np.clip(q, self.lower, self.upper)


@dataclass(frozen=True)
class Quadratic(_Box):
    """c = q²/2 − target·q on [lower, upper]: squared, squared hinge, Huber."""

    sign: Array
    target: Array | float
    lower: float = -np.inf
    upper: float = np.inf

    def each(self, q: Array) -> Array:
        """q²/2 − target·q."""
        return q * (0.5 * q - self.target)

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """q − target + pull."""
        return q - self.target + pull

    def inverse_curvature(self, q: Array) -> Array:
        """One."""
        return np.ones_like(q)

    def start(self, f: Array) -> Array:
        """Clip of target − σf."""
        return np.clip(self.target - self.sign * f, self.lower, self.upper)


@dataclass(frozen=True)
class Linear(_Box):
    """c = −target·q + unit·(q − centre)²/(2τ) on [lower, upper]: hinge, quantile."""

    sign: Array
    target: Array | float
    lower: float
    upper: float
    centre: Array
    tau: float
    unit: float = 1.0  # size of f

    def each(self, q: Array) -> Array:
        """−target·q + unit·(q − centre)²/(2τ)."""
        return -self.target * q + self.unit * (q - self.centre) ** 2 / (2.0 * self.tau)

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """−target + unit·(q − centre)/τ + pull."""
        return self.unit * (q - self.centre) / self.tau - self.target + pull

    def inverse_curvature(self, q: Array) -> Array:
        """τ/unit."""
        return np.full_like(q, self.tau / self.unit)

    def start(self, f: Array) -> Array:
        """A ramp over the kink."""
        return np.clip((self.target - self.sign * f) / (_RAMP * self.unit), self.lower, self.upper)


@dataclass(frozen=True)
class Insensitive:
    """c = q²/2 − y q + ε|q|: two smooth pieces, q ≥ 0 and q ≤ 0."""

    sign: Array
    target: Array
    epsilon: float
    lower: float = -np.inf
    upper: float = np.inf
    is_boxed: bool = True

    def each(self, q: Array) -> Array:
        """q²/2 − y q + ε|q|."""
        return q * (0.5 * q - self.target) + self.epsilon * np.abs(q)

    def value(self, q: Array) -> float:
        """Σ c_i(q_i)."""
        return float(np.sum(self.each(q)))

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """q − y + pull ± ε; at q = 0 shrunk towards 0 by ε."""
        g = q - self.target + pull
        shrunk = g - np.clip(g, -self.epsilon, self.epsilon)
        return np.where(q == 0, shrunk, g + self.epsilon * np.sign(q))

    def inverse_curvature(self, q: Array) -> Array:
        """One."""
        return np.ones_like(q)

    def bounds(self, q: Array, gradient: Array) -> tuple[Array | float, Array | float]:
        """The half line of q's sign; at q = 0 the one downhill, or 0 alone if neither is."""
        side = np.where(q == 0, -np.sign(gradient), np.sign(q))
        return np.where(side < 0, -np.inf, 0.0), np.where(side > 0, np.inf, 0.0)

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """q + t dq, stopped at 0."""
        new = q + t * dq
        return np.where(q * new < 0, 0.0, new)

    def start(self, f: Array) -> Array:
        """−ℓ′."""
        r = self.target - f
        return r - np.clip(r, -self.epsilon, self.epsilon)

    def inside(self, q: Array) -> Array:
        """q itself."""
        return q


@dataclass(frozen=True)
class Entropy(_Box):
    """c = q log q + (1 − q) log(1 − q), moved along straight lines in logit q: logistic."""

    sign: Array
    lower: float = 0.0
    upper: float = 1.0
    is_boxed: bool = False

    def each(self, q: Array) -> Array:
        """q log q + (1 − q) log(1 − q)."""
        return np.asarray(xlogy(q, q) + xlog1py(1.0 - q, -q))

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """logit q + pull."""
        return np.asarray(logit(q) + pull, dtype=np.float64)

    def inverse_curvature(self, q: Array) -> Array:
        """q(1 − q)."""
        return q * (1.0 - q)

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """The point with logit q moved by t·dq/(q(1 − q))."""
        z = logit(q) + t * dq / (q * (1.0 - q))
        return np.asarray(expit(np.clip(z, -_LOGIT_MAX, _LOGIT_MAX)), dtype=np.float64)

    def start(self, f: Array) -> Array:
        """σ(−yf), strictly inside."""
        return self.inside(expit(-self.sign * f))

    def inside(self, q: Array) -> Array:
        """Strictly inside (0, 1)."""
        return np.clip(q, expit(-_LOGIT_MAX), 1.0 - np.finfo(float).eps)


@dataclass(frozen=True)
class Exponential(_Box):
    """c = p log p − p − (y log y − y), p = y − q, moved along straight lines in log p: Poisson."""

    sign: Array
    target: Array
    lower: float = -np.inf
    is_boxed: bool = False

    @property
    def upper(self) -> Array:  # type: ignore[override]
        """q ≤ y."""
        return self.target

    def _rate(self, q: Array) -> Array:
        """p, never so small that y − p would round to y."""
        return np.maximum(self.target - q, np.maximum(np.exp(-_LOGIT_MAX), _LEAST_SHARE * self.target))

    def each(self, q: Array) -> Array:
        """p log p − p − (y log y − y)."""
        p, y = self._rate(q), self.target
        return np.asarray(xlogy(p, p) - p - xlogy(y, y) + y)

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """−log p + pull."""
        return pull - np.log(self._rate(q))

    def inverse_curvature(self, q: Array) -> Array:
        """p."""
        return self._rate(q)

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """The point with log p moved by −t·dq/p."""
        p = self._rate(q)
        return self.inside(self.target - p * np.exp(np.clip(-t * dq / p, -_LOGIT_MAX, _LOGIT_MAX)))

    def start(self, f: Array) -> Array:
        """y − exp(f)."""
        return self.inside(self.target - np.exp(np.clip(f, -_LOGIT_MAX, _LOGIT_MAX)))

    def inside(self, q: Array) -> Array:
        """Strictly below y."""
        return self.target - self._rate(q)


@dataclass(frozen=True)
class WeightedConjugate:
    """ω c(q/ω), for another conjugate c and positive weights ω (n,)."""

    base: Conjugate
    weights: Array

    @property
    def sign(self) -> Array:
        """That of c."""
        return self.base.sign

    @property
    def lower(self) -> Array:
        """ω times that of c."""
        return self.weights * self.base.lower

    @property
    def upper(self) -> Array:
        """ω times that of c."""
        return self.weights * self.base.upper

    @property
    def is_boxed(self) -> bool:
        """As for c."""
        return self.base.is_boxed

    def _ratio(self, q: Array) -> Array:
        """q/ω, where rounding may not have left the domain."""
        return self.base.inside(q / self.weights)

    def each(self, q: Array) -> Array:
        """ω_i c_i(q_i/ω_i)."""
        return self.weights * self.base.each(self._ratio(q))

    def value(self, q: Array) -> float:
        """Σ ω_i c_i(q_i/ω_i)."""
        return float(np.sum(self.each(q)))

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """c′(q/ω) + pull."""
        return self.base.gradient(self._ratio(q), pull)

    def inverse_curvature(self, q: Array) -> Array:
        """ω/c″(q/ω)."""
        return self.weights * self.base.inverse_curvature(self._ratio(q))

    def bounds(self, q: Array, gradient: Array) -> tuple[Array | float, Array | float]:
        """ω times those of c."""
        lower, upper = self.base.bounds(self._ratio(q), gradient)
        with np.errstate(invalid="ignore"):
            return self.weights * lower, self.weights * upper

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """ω times the move of q/ω."""
        return self.weights * self.base.move(self._ratio(q), dq / self.weights, t)

    def start(self, f: Array) -> Array:
        """ω times that of c."""
        return self.weights * self.base.start(f)

    def inside(self, q: Array) -> Array:
        """ω times that of c."""
        return self.weights * self._ratio(q)
