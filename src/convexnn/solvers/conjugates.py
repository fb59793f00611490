r"""The losses as the inner problem of the dual sees them: c(q) = L*(−ν), q = σ∘ν.

σ_i = y_i for losses with labels ±1 and 1 for the squared loss. Each c is separable and convex:

================  ===============================  ==================  =============
loss              c_i(q)                           domain              1/c_i″
================  ===============================  ==================  =============
``squared``       q²/2 − y q                       R                   1
``logistic``      q log q + (1−q) log(1−q)         [0, 1]              q(1 − q)
``squared_hinge`` q²/2 − q                         q ≥ 0               1
``hinge``         −q + (q − q_k)²/(2τ)             [0, 1]              τ
================  ===============================  ==================  =============

The hinge's own conjugate −q has no curvature, so it carries a proximal term around the last point q_k;
the term vanishes as the outer iteration converges.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, xlog1py, xlogy

from convexnn._types import Array

#: |logit q| never exceeds this, so that a logistic dual point stays inside its domain.
_LOGIT_MAX = 40.0


@dataclass(frozen=True)
class Conjugate:
    """c, its derivatives and its domain, for one loss and one target vector."""

    loss: str
    sign: Array  # σ
    target: Array  # y for the squared loss, 1 for the others
    lower: float
    upper: float
    centre: Array  # q_k of the hinge, unused by the others
    tau: float = 1.0

    def value(self, q: Array) -> float:
        """Σ c_i(q_i)."""
        if self.loss == "logistic":
            return float(np.sum(xlogy(q, q) + xlog1py(1.0 - q, -q)))
        if self.loss == "hinge":
            return float(np.sum(-q + (q - self.centre) ** 2 / (2.0 * self.tau)))
        return float(np.sum(q * (0.5 * q - self.target)))

    def gradient(self, q: Array) -> Array:
        """c′(q)."""
        if self.loss == "logistic":
            return np.asarray(logit(q), dtype=np.float64)
        if self.loss == "hinge":
            return -1.0 + (q - self.centre) / self.tau
        return q - self.target

    def inverse_curvature(self, q: Array) -> Array:
        """1/c″(q)."""
        if self.loss == "logistic":
            return q * (1.0 - q)
        return np.full_like(q, self.tau if self.loss == "hinge" else 1.0)

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """The point a fraction t along dq: a straight line, or for logistic a line in logit q."""
        if self.loss == "logistic":
            z = logit(q) + t * dq / (q * (1.0 - q))
            return np.asarray(expit(np.clip(z, -_LOGIT_MAX, _LOGIT_MAX)), dtype=np.float64)
        return np.clip(q + t * dq, self.lower, self.upper)

    @property
    def is_boxed(self) -> bool:
        """Whether Newton steps must respect bounds (the logistic's coordinate cannot leave its domain)."""
        return self.loss in ("hinge", "squared_hinge")


def make_conjugate(loss: str, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
    """The conjugate of a loss for targets y (n,)."""
    if loss == "squared":
        return Conjugate(loss, np.ones_like(y), y, -np.inf, np.inf, y)
    upper = np.inf if loss == "squared_hinge" else 1.0
    return Conjugate(loss, y, np.ones_like(y), 0.0, upper, y if centre is None else centre, tau)


def starting_point(loss: str, y: Array, f: Array) -> Array:
    """q of a prediction f, strictly inside the domain for the logistic loss."""
    if loss == "squared":
        return y - f
    margin = y * f
    if loss == "logistic":
        return inside_domain(loss, expit(-margin))
    if loss == "squared_hinge":
        return np.maximum(1.0 - margin, 0.0)
    return np.clip((1.0 - margin) / 0.3, 0.0, 1.0)


def inside_domain(loss: str, q: Array) -> Array:
    """q moved into the domain of a loss's conjugate, strictly inside for the logistic loss."""
    if loss == "squared":
        return q
    if loss == "logistic":
        edge = expit(-_LOGIT_MAX)
        return np.clip(q, edge, 1.0 - np.finfo(float).eps)
    return np.clip(q, 0.0, np.inf if loss == "squared_hinge" else 1.0)
