"""Sums and the best multiple of a dual point, from the terms of a separable loss."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from convexnn._types import Array, BoolArray

#: Steps of a root finder that may have to halve its way down to a root of 1e-300.
_BISECTIONS = 2000


class Separable:
    """What follows from ``each``, ``gradient``, ``dual_each``, ``dual_slope`` and ``dual_limit``."""

    is_classification = False
    is_smooth = True

    def each(self, f: Array, y: Array) -> Array:
        """ℓ(f_i, y_i)."""
        raise NotImplementedError

    def gradient(self, f: Array, y: Array) -> Array:
        """∇L(f)."""
        raise NotImplementedError

    def dual_each(self, nu: Array, y: Array) -> Array:
        """D_i(ν_i)."""
        raise NotImplementedError

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """D_i′(ν_i)."""
        raise NotImplementedError

    def dual_limit(self, nu: Array, y: Array) -> float:
        """The largest t with tν in the domain: here no limit."""
        return np.inf

    def check_targets(self, y: Array) -> None:
        """Any finite target will do."""

    def value(self, f: Array, y: Array) -> float:
        """Σ ℓ(f_i, y_i)."""
        return float(np.sum(self.each(f, y)))

    def dual_value(self, nu: Array, y: Array) -> float:
        """Σ D_i(ν_i)."""
        return float(np.sum(self.dual_each(nu, y)))

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """The root of Σ ν_i D_i′(tν_i), or the end of [0, t_max] or of the domain if it has none there."""
        return best_multiple(nu, lambda t, unit: self.dual_slope(t * unit, y), self.dual_limit(nu, y), t_max)

    def subgradients(self, f: Array, y: Array) -> tuple[Array, Array]:
        """−ℓ′ twice: there are no kinks."""
        nu = -self.gradient(f, y)
        return nu, nu


def best_multiple(nu: Array, slope: Callable[[float, Array], Array], limit: float, t_max: float) -> float:
    """The t in [0, min(limit, t_max)] that maximises a concave Σ D_i(tν_i).

    Parameters
    ----------
    slope : callable(t, unit)
        D_i′ at t·unit, where unit is a multiple of ν with largest entry 1.
    """
    size = float(np.max(np.abs(nu), initial=0.0))
    upper = min(limit, t_max) * size if size > 0 else 0.0
    if not upper > 0:
        return 0.0
    unit = nu / size

    def total(t: float) -> float:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            terms = unit * slope(t, unit)
        return float(np.sum(terms[unit != 0]))

    if np.isinf(upper):
        upper = 1.0
        while total(upper) > 0 and upper < 1e300:
            upper *= 16.0
    if total(upper) >= 0:
        return min(upper / size, t_max)
    if total(upper * 1e-300) <= 0:
        return 0.0
    root = brentq(total, upper * 1e-300, upper, xtol=1e-300, rtol=1e-14, maxiter=_BISECTIONS)
    return min(float(root) / size, t_max)


def within(values: Array, inside: BoolArray) -> Array:
    """`values` where `inside` holds, −∞ elsewhere."""
    return np.where(inside, values, -np.inf)
