r"""Softmax cross-entropy over c outputs, its dual vector and its dual value.

    L(f) = Σ_i ω_i (log Σ_k exp f_ik − Σ_k Y_ik f_ik),      ν = −∇L(f) = ω (Y − softmax(f)),
    D(ν) = −L*(−ν) = Σ_i ω_i S(Y_i − ν_i/ω_i),  S(p) = −Σ_k p_k log p_k  for p in the simplex, else −∞

Rows of Y are probabilities; a class label is a row with a single one. Weights ω_i are 1 unless given. Rows of
ν sum to zero.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax, xlogy

from convexnn._types import Array

#: How far Y − ν/ω may leave the simplex before the dual value counts as −∞ (rounding only).
_SLACK = 1e-12
#: How far a row of Y may be from summing to one.
_SUM = 1e-9


@dataclass(frozen=True, eq=False)
class Softmax:
    """Σ_i ω_i (log Σ_k exp f_ik − Σ_k Y_ik f_ik), rows of Y probabilities; f and Y are (n, c).

    Parameters
    ----------
    weights : (n,), optional
        Positive ω; None for ones.
    """

    weights: Array | None = None

    name = "softmax"
    is_classification = True
    is_smooth = True

    def __post_init__(self) -> None:
        if self.weights is not None:
            weights = np.array(self.weights, dtype=np.float64)
            if weights.ndim != 1 or not (np.isfinite(weights) & (weights > 0)).all():
                raise ValueError("weights must be a vector of positive finite numbers.")
            object.__setattr__(self, "weights", weights)

    def row_weights(self, n: int) -> Array:
        """ω as a column, (n, 1)."""
        return np.ones((n, 1)) if self.weights is None else self.weights[:, None]

    def check_targets(self, y: Array) -> None:
        """Raise ValueError unless y are labels or rows of probabilities, one for each weight."""
        softmax_targets(y)
        if self.weights is not None and len(y) != len(self.weights):
            raise ValueError(f"There must be one weight for each of the {len(y)} rows of y.")

    def value(self, f: Array, y: Array) -> float:
        """Σ_i ω_i (log Σ_k exp f_ik − Σ_k Y_ik f_ik), without overflow."""
        rows = logsumexp(f, axis=1) - np.sum(y * f, axis=1)
        return float(np.sum(self.row_weights(len(f))[:, 0] * rows))

    def gradient(self, f: Array, y: Array) -> Array:
        """The matrix ω (softmax(f) − Y); its rows sum to zero."""
        return np.asarray(self.row_weights(len(f)) * (softmax(f, axis=1) - y))

    def dual_value(self, nu: Array, y: Array) -> float:
        """Σ_i ω_i S(Y_i − ν_i/ω_i), −∞ where a row of Y − ν/ω is no probability vector."""
        weights = self.row_weights(len(y))
        p = y - nu / weights
        if p.size and (p.min() < -_SLACK or np.abs(p.sum(axis=1) - y.sum(axis=1)).max() > _SUM):
            return -np.inf
        p = np.clip(p, 0.0, 1.0)
        return float(-np.sum(weights * xlogy(p, p)))

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """Root of D′(t) = Σ ν log(Y − tν/ω) in [0, min(t_max, the last t with Y − tν/ω ≥ 0)]."""
        rates = nu / self.row_weights(len(y))
        if not rates.any() or (np.abs(rates.sum(axis=1)) > _SUM * np.abs(rates).max()).any():
            return 0.0
        down = rates > 0
        upper = min(t_max, float(np.min(y[down] / rates[down])))
        if not upper > 0.0:
            return 0.0
        used = nu != 0
        slopes, rates, begin = nu[used], rates[used], y[used]

        def slope(t: float) -> float:
            with np.errstate(divide="ignore"):
                return float(np.sum(slopes * np.log(np.maximum(begin - t * rates, 0.0))))

        if slope(upper) >= 0:
            return upper
        low = upper * 1e-300
        return float(brentq(slope, low, upper, xtol=1e-300, rtol=1e-14)) if slope(low) > 0 else 0.0


def is_softmax(loss: object) -> bool:
    """Whether a loss, given by its name or as an object, is the softmax cross-entropy."""
    return loss == Softmax.name or isinstance(loss, Softmax)


def softmax_targets(y: Array, n_outputs: int | None = None) -> Array:
    """Y (n, c) of class labels 0 … c − 1, or the given Y (n, c) of probabilities, checked.

    Parameters
    ----------
    y : (n,) of whole numbers, or (n, c)
        With labels, c is `n_outputs`, or one more than the largest label.

    Raises
    ------
    ValueError
        If labels are not whole numbers from 0 to c − 1, c < 2, or a row is not a probability vector.
    """
    y = np.asarray(y, dtype=np.float64)
    if y.ndim == 1:
        wrong = ~((y >= 0) & (y == np.floor(y)) & (y < 2.0**31))
        if n_outputs is not None:
            wrong |= y >= n_outputs
        if wrong.any():
            row = int(np.argmax(wrong))
            limit = "" if n_outputs is None else f" below {n_outputs}"
            raise ValueError(f"Class labels must be whole numbers from 0{limit}; y[{row}] is {y[row]}.")
        labels = y.astype(np.int64)
        classes = int(labels.max(initial=0)) + 1 if n_outputs is None else n_outputs
        y = np.zeros((len(labels), classes))
        y[np.arange(len(labels)), labels] = 1.0
    if y.ndim != 2 or y.shape[1] < 2:
        raise ValueError(
            "The softmax loss takes class labels 0, 1, … (n,) of at least two classes, or probabilities "
            f"(n, c) with c ≥ 2; the shape is {y.shape}."
        )
    if n_outputs is not None and y.shape[1] != n_outputs:
        raise ValueError(f"y has {y.shape[1]} classes, the network has {n_outputs} outputs.")
    bad = ~((y >= 0).all(axis=1) & (np.abs(y.sum(axis=1) - 1.0) <= _SUM))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"Each row of y must be probabilities that sum to 1 (one-hot for a class); row {row} is "
            f"{y[row].tolist()}."
        )
    return y
