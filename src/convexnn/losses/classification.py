"""Losses of a margin y f, labels y = ±1; their duals are functions of q = yν."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, xlog1py, xlogy

from convexnn._types import Array
from convexnn.losses._separable import Separable, within
from convexnn.losses.conjugates import Entropy, Linear, Quadratic
from convexnn.losses.protocols import DOMAIN_SLACK, Conjugate, SeparableLoss

#: Rows with |1 − yf| below this may take any q ∈ [0, 1] in the hinge's dual point: each gives a bound.
_ON_MARGIN = 1e-2


class _Margin(Separable):
    """What the three losses share."""

    name: str
    is_classification = True

    def check_targets(self, y: Array) -> None:
        """Raise ValueError unless every label is −1 or +1."""
        wrong = ~np.isin(y, (-1.0, 1.0))
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise ValueError(f"The {self.name} loss takes labels -1 and +1; y[{row}] is {y[row]}.")

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """None: labels have no scale."""
        return None


@dataclass(frozen=True)
class Logistic(_Margin):
    """Σ log(1 + exp(−y_i f_i)), labels ±1."""

    name = "logistic"

    def each(self, f: Array, y: Array) -> Array:
        """log(1 + exp(−y_i f_i)), without overflow."""
        return np.asarray(np.logaddexp(0.0, -y * f))

    def gradient(self, f: Array, y: Array) -> Array:
        """−y σ(−yf)."""
        return np.asarray(-y * expit(-y * f))

    def hessian(self, f: Array, y: Array) -> Array:
        """σ(f) σ(−f)."""
        return np.asarray(expit(f) * expit(-f))

    def dual_each(self, nu: Array, y: Array) -> Array:
        """H(q), q = yν, with H(q) = −q log q − (1 − q) log(1 − q)."""
        q = y * nu
        p = np.clip(q, 0.0, 1.0)
        return within(-xlogy(p, p) - xlog1py(1.0 - p, -p), np.abs(q - p) <= DOMAIN_SLACK)

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """−y logit q."""
        q = y * nu
        return np.where(q > 0, -y * logit(np.clip(q, 0.0, 1.0)), 0.0)

    def dual_limit(self, nu: Array, y: Array) -> float:
        """1/max q."""
        return _one_over_largest(y * nu)

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """Root of Σ q log((1 − tq)/(tq)) in [0, min(t_max, 1/max q)]."""
        q = (y * nu).ravel()
        if _leaves_domain(q) or not (q > 0).any():
            return 0.0
        q = q[q > 0]
        upper = min(t_max, 1.0 / float(q.max()))

        def slope(t: float) -> float:
            p = t * q
            with np.errstate(divide="ignore"):
                return float(np.sum(q * (np.log1p(-p) - np.log(p))))

        if slope(upper) >= 0:
            return upper
        return float(brentq(slope, upper * 1e-300, upper, xtol=1e-300, rtol=1e-14))

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """q log q + (1 − q) log(1 − q)."""
        return Entropy(y)


@dataclass(frozen=True)
class Hinge(_Margin):
    """Σ (1 − y_i f_i)₊, labels ±1. ν is not determined where y f = 1: see `convexnn.certify`."""

    name = "hinge"
    is_smooth = False

    def each(self, f: Array, y: Array) -> Array:
        """(1 − y_i f_i)₊."""
        return np.maximum(1.0 - y * f, 0.0)

    def gradient(self, f: Array, y: Array) -> Array:
        """−y 1[yf < 1]: one subgradient, zero on the kink."""
        return -y * (y * f < 1.0)

    def subgradients(self, f: Array, y: Array) -> tuple[Array, Array]:
        """Every q ∈ [0, 1] where |1 − yf| ≤ 0.01."""
        nu = -self.gradient(f, y)
        free = np.abs(1.0 - y * f) <= _ON_MARGIN
        return np.where(free, np.minimum(y, 0.0), nu), np.where(free, np.maximum(y, 0.0), nu)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """q = yν ∈ [0, 1]."""
        q = y * nu
        p = np.clip(q, 0.0, 1.0)
        return within(p, np.abs(q - p) <= DOMAIN_SLACK)

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """The label."""
        return y

    def dual_limit(self, nu: Array, y: Array) -> float:
        """1/max q."""
        return _one_over_largest(y * nu)

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """min(t_max, 1/max q): D is increasing."""
        limit = _one_over_largest(y * nu)
        return min(t_max, limit) if np.isfinite(limit) else 0.0

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """−q + (q − q_k)²/(2τ) on [0, 1]."""
        return Linear(y, 1.0, 0.0, 1.0, np.zeros_like(y) if centre is None else centre, tau)


@dataclass(frozen=True)
class SquaredHinge(_Margin):
    """½ Σ (1 − y_i f_i)₊², labels ±1."""

    name = "squared_hinge"

    def each(self, f: Array, y: Array) -> Array:
        """½ (1 − y_i f_i)₊²."""
        return 0.5 * np.maximum(1.0 - y * f, 0.0) ** 2

    def gradient(self, f: Array, y: Array) -> Array:
        """−y (1 − yf)₊."""
        return -y * np.maximum(1.0 - y * f, 0.0)

    def hessian(self, f: Array, y: Array) -> Array:
        """1[yf < 1], the generalised second derivative."""
        return (y * f < 1.0).astype(np.float64)

    def dual_each(self, nu: Array, y: Array) -> Array:
        """q − ½q², q = yν ≥ 0."""
        q = y * nu
        p = np.maximum(q, 0.0)
        return within(p * (1.0 - 0.5 * p), q >= -DOMAIN_SLACK)

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """y(1 − q)."""
        return y - nu

    def dual_limit(self, nu: Array, y: Array) -> float:
        """No limit, or 0 where a q is negative."""
        return 0.0 if _leaves_domain(y * nu) else np.inf

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """min(t_max, Σq/Σq²)."""
        q = y * nu
        square = float(np.sum(q * q))
        return min(t_max, float(np.sum(q)) / square) if square > 0 and not _leaves_domain(q) else 0.0

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """q²/2 − q on q ≥ 0."""
        return Quadratic(y, 1.0, lower=0.0)


def _leaves_domain(q: Array) -> bool:
    """Whether q has negative entries beyond rounding: then D(tν) = −∞ for every t > 0."""
    return bool(q.size) and float(q.min()) < -DOMAIN_SLACK * max(0.0, float(q.max()))


def _one_over_largest(q: Array) -> float:
    """1/max q; 0 where a q is negative, ∞ where none is positive."""
    if _leaves_domain(q):
        return 0.0
    largest = float(np.max(q, initial=0.0))
    return 1.0 / largest if largest > 0 else np.inf
