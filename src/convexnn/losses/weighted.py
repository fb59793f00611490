r"""Sample weights: Σ_i ω_i ℓ(f_i, y_i), with ν = −∇L and D(ν) = Σ_i ω_i D_i(ν_i/ω_i).

Integer weights are repeated rows: L is the same sum, and ν_i is the sum of the ν of the copies. Rows of
weight zero are left out of a problem, and get ν_i = 0 in its certificate. A weighted squared loss is the
plain one on the rows √ω_i x_i and targets √ω_i y_i, whose patterns are those of X; its ν is √ω_i times
that of those rows.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array, IntArray
from convexnn.losses._separable import best_multiple
from convexnn.losses.checks import MAGNITUDE
from convexnn.losses.conjugates import WeightedConjugate
from convexnn.losses.names import get_separable, plain
from convexnn.losses.protocols import Conjugate, SeparableLoss
from convexnn.losses.softmax import Softmax


@dataclass(frozen=True, eq=False)
class Weighted:
    """Σ_i ω_i ℓ(f_i, y_i), for another loss ℓ; rows of f may have several outputs.

    Parameters
    ----------
    loss : SeparableLoss
    weights : (n,)
        Positive. To leave rows out by weight zero use `sample_weight` of the functions that take it.
    """

    loss: SeparableLoss
    weights: Array

    def __post_init__(self) -> None:
        weights = np.array(self.weights, dtype=np.float64)
        if weights.ndim != 1 or not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError("weights must be a vector of positive finite numbers.")
        object.__setattr__(self, "loss", get_separable(self.loss))
        object.__setattr__(self, "weights", weights)

    @property
    def name(self) -> str:
        """The name of ℓ."""
        return self.loss.name

    @property
    def is_classification(self) -> bool:
        """As for ℓ."""
        return self.loss.is_classification

    @property
    def is_smooth(self) -> bool:
        """As for ℓ."""
        return self.loss.is_smooth

    def check_targets(self, y: Array) -> None:
        """As for ℓ; one weight for each row."""
        self.loss.check_targets(y)
        if len(y) != len(self.weights):
            raise ValueError(f"There must be one weight for each of the {len(y)} rows of y.")

    def _columns(self, values: Array) -> Array:
        """ω with as many axes as `values`."""
        return self.weights.reshape(-1, *[1] * (values.ndim - 1))

    def each(self, f: Array, y: Array) -> Array:
        """ω_i ℓ(f_i, y_i)."""
        return self._columns(f) * self.loss.each(f, y)

    def value(self, f: Array, y: Array) -> float:
        """Σ ω_i ℓ(f_i, y_i)."""
        return float(np.sum(self.each(f, y)))

    def gradient(self, f: Array, y: Array) -> Array:
        """ω ∇ℓ."""
        return self._columns(f) * self.loss.gradient(f, y)

    def hessian(self, f: Array, y: Array) -> Array:
        """ω ℓ″, where ℓ has it."""
        return np.asarray(self._columns(f) * self.loss.hessian(f, y))  # type: ignore[attr-defined]

    def subgradients(self, f: Array, y: Array) -> tuple[Array, Array]:
        """ω times those of ℓ."""
        low, high = self.loss.subgradients(f, y)
        return self._columns(f) * low, self._columns(f) * high

    def dual_each(self, nu: Array, y: Array) -> Array:
        """ω_i D_i(ν_i/ω_i)."""
        weights = self._columns(nu)
        return weights * self.loss.dual_each(nu / weights, y)

    def dual_value(self, nu: Array, y: Array) -> float:
        """Σ ω_i D_i(ν_i/ω_i)."""
        return float(np.sum(self.dual_each(nu, y)))

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """D_i′(ν_i/ω_i)."""
        return self.loss.dual_slope(nu / self._columns(nu), y)

    def dual_limit(self, nu: Array, y: Array) -> float:
        """The largest t with tν/ω in the domain."""
        return self.loss.dual_limit(nu / self._columns(nu), y)

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """The root of Σ ν_i D_i′(tν_i/ω_i), or the end of [0, t_max] or of the domain."""
        return best_multiple(nu, lambda t, unit: self.dual_slope(t * unit, y), self.dual_limit(nu, y), t_max)

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """ω c(q/ω)."""
        centre = None if centre is None else centre / self.weights
        return WeightedConjugate(self.loss.conjugate(y, centre, tau), self.weights)

    def rescaled(self, size: float) -> tuple[SeparableLoss, float] | None:
        """As ℓ, with the same weights."""
        found = self.loss.rescaled(size)
        return None if found is None else (Weighted(found[0], self.weights), found[1])


class WeightedProblem(NamedTuple):
    """A problem without weights of zero: what is left of X and y, the loss, and the way back.

    Attributes
    ----------
    X, y : (n', d) and (n',) or (n', c)
    loss : str or SeparableLoss
        A plain one where all weights are 1, or where the squared loss took them into X and y.
    rows : (n',) or None
        The rows kept; None for all.
    factor : (n',) or None
        ν of the rows over ν of this problem; None for 1.
    n : int
        Rows before.
    """

    X: Array
    y: Array
    loss: "str | SeparableLoss"
    rows: IntArray | None
    factor: Array | None
    n: int

    def restore(self, nu: Array) -> Array:
        """The dual point of the original problem, 0 on rows of weight zero."""
        if self.factor is not None:
            nu = nu * self.factor.reshape(-1, *[1] * (nu.ndim - 1))
        if self.rows is None:
            return nu
        full = np.zeros((self.n, *nu.shape[1:]))
        full[self.rows] = nu
        return full

    def reduce(self, nu: Array) -> Array:
        """The dual point of this problem that belongs to one of the original."""
        kept = nu if self.rows is None else nu[self.rows]
        return kept if self.factor is None else kept / self.factor.reshape(-1, *[1] * (kept.ndim - 1))


def rows_of(loss: SeparableLoss, rows: slice | IntArray) -> SeparableLoss:
    """The loss of some rows: their weights, where it has any."""
    return Weighted(loss.loss, loss.weights[rows]) if isinstance(loss, Weighted) else loss


def split_weights(loss: "str | SeparableLoss") -> "tuple[str | SeparableLoss, Array | None]":
    """(ℓ, ω) of a weighted loss, (ℓ, None) of any other; ℓ by its name if its parameters are the default."""
    if isinstance(loss, Weighted):
        return plain(loss.loss), loss.weights
    if isinstance(loss, Softmax):
        return loss.name, loss.weights
    return plain(loss), None


def weigh(
    X: Array, y: Array, loss: "str | SeparableLoss", sample_weight: ArrayLike | None, *, fold: bool = True
) -> WeightedProblem:
    """min Σ ω_i ℓ(f_i, y_i) + penalty as a problem without weights, or with positive ones.

    Parameters
    ----------
    X : (n, d), y : (n,) or (n, c)
        As `check_problem` returns them.
    loss : str or SeparableLoss
        If it is `Weighted`, its weights are multiplied by `sample_weight`.
    sample_weight : (n,), optional
    fold : bool
        Whether weights of the squared loss go into X and y. With an unpenalised intercept they must not:
        its column of ones would become √ω.

    Raises
    ------
    ValueError
        If there is not one finite weight ≥ 0 for each row, or all are zero.
    """
    base, weights = split_weights(loss)
    if sample_weight is not None:
        own = checked_weights(sample_weight, len(X))
        weights = own if weights is None else weights * own
    if weights is None or (weights == 1.0).all():
        return WeightedProblem(X, y, base, None, None, len(X))
    n, rows = len(X), None
    if not weights.all():
        rows = np.flatnonzero(weights)
        X, y, weights = np.ascontiguousarray(X[rows]), np.ascontiguousarray(y[rows]), weights[rows]
    if base == "squared" and fold:
        root = np.sqrt(weights)
        targets = y * root.reshape(-1, *[1] * (y.ndim - 1))
        return WeightedProblem(X * root[:, None], targets, base, rows, root, n)
    if (weights == 1.0).all():
        return WeightedProblem(X, y, base, rows, None, n)
    if base == Softmax.name:  # its weights are its own: it is no sum over single outputs
        return WeightedProblem(X, y, cast(SeparableLoss, Softmax(weights)), rows, None, n)
    return WeightedProblem(X, y, Weighted(get_separable(base), weights), rows, None, n)


def checked_weights(sample_weight: ArrayLike, n: int) -> Array:
    """Weights (n,) as float64; ValueError unless all are finite and ≥ 0 and the largest is within 1e±60."""
    given = np.asarray(sample_weight)
    if np.iscomplexobj(given):
        raise ValueError("sample_weight must be real; it is complex.")
    weights = given.astype(np.float64)
    if weights.shape != (n,):
        raise ValueError(
            f"sample_weight must have one entry for each of the {n} rows; its shape is {weights.shape}."
        )
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"Sample weights must be finite and not negative; sample_weight[{row}] is {weights[row]}."
        )
    if not weights.any():
        raise ValueError("All sample weights are zero: nothing is left to fit.")
    if not 1 / MAGNITUDE <= weights.max() <= MAGNITUDE:
        raise ValueError(
            f"The largest sample weight is {weights.max():.3g}: sums of such numbers leave the range of "
            "floating point. Divide sample_weight and beta by one number."
        )
    return weights
