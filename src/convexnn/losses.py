r"""Losses, their dual vectors and their dual values.

The scale of everything in this package is fixed here, once:

* a loss is a **sum** over the n samples, L(f, y) = Σ_i ℓ(f_i, y_i): no mean, nothing divided by n;
* the squared loss carries one half, ½(f − y)²;
* the training problem of a network with m neurons is ``L(f, y) + (β/2) Σ_j (‖u_j‖² + α_j²)``, so β
  multiplies exactly what is written there.

With ν = −∇L(f) the dual function of a multiple t ν, t ≥ 0, is D(tν) = −L*(−tν):

================  =========================  ==========================================
loss              ℓ(f, y)                    D(tν) with q = yν (squared: ν itself)
================  =========================  ==========================================
``squared``       ½(f − y)²                  t yᵀν − ½ t²‖ν‖²
``logistic``      log(1 + exp(−yf))          Σ H(t q), H the binary entropy, t ≤ 1/max q
``hinge``         (1 − yf)₊                  t Σ q, t ≤ 1/max q
``squared_hinge`` ½ (1 − yf)₊²               t Σ q − ½ t² Σ q²
================  =========================  ==========================================

Any ν with ρ(±ν) ≤ β (see `convexnn.pricing`) makes D(ν) a lower bound on the global optimum. The last
three losses take labels y ∈ {−1, +1}. All methods accept arrays of any one shape, (n,) or (n, c).
"""

from numbers import Real
from typing import Protocol

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, xlog1py, xlogy

from convexnn._types import Array

#: How far q may leave the domain of a conjugate before the dual value counts as −∞ (rounding only).
DOMAIN_SLACK = 1e-12
#: The largest entries of X and y must lie between the inverse of this and this.
MAGNITUDE = 1e60


class Loss(Protocol):
    """What a loss must offer; ``hessian`` is extra, present where the loss is differentiable."""

    name: str
    is_classification: bool

    def value(self, f: Array, y: Array) -> float:
        """L(f, y), a sum over samples."""
        ...

    def gradient(self, f: Array, y: Array) -> Array:
        """∇L(f), of the shape of f (a subgradient for the hinge)."""
        ...

    def dual_value(self, nu: Array, y: Array) -> float:
        """D(ν) = −L*(−ν); −∞ outside the domain."""
        ...

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """The t in [0, t_max] that maximises D(tν)."""
        ...


class Squared:
    """½ Σ (f_i − y_i)², for any real targets."""

    name = "squared"
    is_classification = False

    def value(self, f: Array, y: Array) -> float:
        """½ Σ (f_i − y_i)²."""
        return 0.5 * float(np.sum((f - y) ** 2))

    def gradient(self, f: Array, y: Array) -> Array:
        """The residual f − y."""
        return f - y

    def hessian(self, f: Array, y: Array) -> Array:
        """One for each sample."""
        return np.ones_like(f)

    def dual_value(self, nu: Array, y: Array) -> float:
        """The value yᵀν − ½‖ν‖²."""
        return float(np.sum(nu * (y - 0.5 * nu)))

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """Clip of yᵀν/‖ν‖² to [0, t_max]."""
        square = float(np.sum(nu * nu))
        return min(t_max, max(0.0, float(np.sum(nu * y)) / square)) if square > 0 else 0.0


class Logistic:
    """Σ log(1 + exp(−y_i f_i)), labels ±1."""

    name = "logistic"
    is_classification = True

    def value(self, f: Array, y: Array) -> float:
        """Σ log(1 + exp(−y_i f_i)), without overflow."""
        return float(np.sum(np.logaddexp(0.0, -y * f)))

    def gradient(self, f: Array, y: Array) -> Array:
        """−y σ(−yf)."""
        return np.asarray(-y * expit(-y * f))

    def hessian(self, f: Array, y: Array) -> Array:
        """σ(f) σ(−f)."""
        return np.asarray(expit(f) * expit(-f))

    def dual_value(self, nu: Array, y: Array) -> float:
        """Σ H(q), q = yν, with H(q) = −q log q − (1 − q) log(1 − q)."""
        q = y * nu
        if q.size and (q.min() < -DOMAIN_SLACK or q.max() > 1 + DOMAIN_SLACK):
            return -np.inf
        q = np.clip(q, 0.0, 1.0)
        return float(-np.sum(xlogy(q, q) + xlog1py(1.0 - q, -q)))

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


class Hinge:
    """Σ (1 − y_i f_i)₊, labels ±1. ν is not determined where y f = 1: see `convexnn.certify`."""

    name = "hinge"
    is_classification = True

    def value(self, f: Array, y: Array) -> float:
        """Σ (1 − y_i f_i)₊."""
        return float(np.sum(np.maximum(1.0 - y * f, 0.0)))

    def gradient(self, f: Array, y: Array) -> Array:
        """−y 1[yf < 1]: one subgradient, zero on the kink."""
        return -y * (y * f < 1.0)

    def dual_value(self, nu: Array, y: Array) -> float:
        """Σ q, q = yν ∈ [0, 1]."""
        q = y * nu
        if q.size and (q.min() < -DOMAIN_SLACK or q.max() > 1 + DOMAIN_SLACK):
            return -np.inf
        return float(np.sum(np.clip(q, 0.0, 1.0)))

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """min(t_max, 1/max q): D is increasing."""
        q = y * nu
        largest = float(np.max(q, initial=0.0))
        return min(t_max, 1.0 / largest) if largest > 0 and not _leaves_domain(q) else 0.0


class SquaredHinge:
    """½ Σ (1 − y_i f_i)₊², labels ±1."""

    name = "squared_hinge"
    is_classification = True

    def value(self, f: Array, y: Array) -> float:
        """½ Σ (1 − y_i f_i)₊²."""
        return 0.5 * float(np.sum(np.maximum(1.0 - y * f, 0.0) ** 2))

    def gradient(self, f: Array, y: Array) -> Array:
        """−y (1 − yf)₊."""
        return -y * np.maximum(1.0 - y * f, 0.0)

    def hessian(self, f: Array, y: Array) -> Array:
        """1[yf < 1], the generalised second derivative."""
        return (y * f < 1.0).astype(np.float64)

    def dual_value(self, nu: Array, y: Array) -> float:
        """Σ q − ½ Σ q², q = yν ≥ 0."""
        q = y * nu
        if q.size and q.min() < -DOMAIN_SLACK:
            return -np.inf
        q = np.maximum(q, 0.0)
        return float(np.sum(q * (1.0 - 0.5 * q)))

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """min(t_max, Σq/Σq²)."""
        q = y * nu
        square = float(np.sum(q * q))
        return min(t_max, float(np.sum(q)) / square) if square > 0 and not _leaves_domain(q) else 0.0


def _leaves_domain(q: Array) -> bool:
    """Whether q has negative entries beyond rounding: then D(tν) = −∞ for every t > 0."""
    return bool(q.size) and float(q.min()) < -DOMAIN_SLACK * max(0.0, float(q.max()))


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (Squared(), Logistic(), Hinge(), SquaredHinge())}


def get_loss(name: str) -> Loss:
    """The loss called `name`.

    Raises
    ------
    ValueError
        If there is no such loss; the message lists those there are.
    """
    if name not in LOSSES:
        raise ValueError(f"Unknown loss {name!r}: choose one of {', '.join(map(repr, LOSSES))}.")
    return LOSSES[name]


def check_problem(X: Array, y: Array, beta: float, loss: str) -> tuple[Array, Array, float]:
    """Validate (X, y, β) for a loss and return them as contiguous float64.

    Raises
    ------
    ValueError
        If X is not two-dimensional, shapes disagree, a value is not finite, β is not a positive finite
        number, a label of a classification loss is not ±1, or the largest entry is beyond 1e±60. The
        message names the place.
    """
    for label, values in (("X", X), ("y", y)):
        if np.iscomplexobj(values):
            raise ValueError(f"{label} must be real; it is complex.")
    X = np.ascontiguousarray(X, dtype=np.float64)
    y = np.ascontiguousarray(y, dtype=np.float64)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"X must be a non-empty n×d matrix; its shape is {X.shape}.")
    if y.ndim not in (1, 2) or y.shape[0] != X.shape[0] or not y.size:
        raise ValueError(
            f"y must have one row for each of the {X.shape[0]} rows of X; its shape is {y.shape}."
        )
    for label, values in (("X", X), ("y", y)):
        if not np.isfinite(values).all():
            where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
            raise ValueError(f"{label} must be finite; {label}{list(where)} is {values[where]}.")
        largest = float(np.abs(values).max())
        if largest and not 1 / MAGNITUDE <= largest <= MAGNITUDE:
            raise ValueError(
                f"The largest entry of {label} is {largest:.3g}: squares of such numbers leave the range of "
                f"floating point. Rescale {label}, for example to entries of about 1."
            )
    if not (isinstance(beta, Real) and np.isfinite(beta) and beta > 0):
        raise ValueError(f"beta must be a positive finite number; it is {beta!r}.")
    if get_loss(loss).is_classification and not np.isin(y, (-1.0, 1.0)).all():
        row = int(np.argwhere(~np.isin(y, (-1.0, 1.0)))[0][0])
        raise ValueError(f"The {loss} loss takes labels -1 and +1; y[{row}] is {y[row]}.")
    return X, y, float(beta)
