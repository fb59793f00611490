"""Checks of a problem's data."""

from numbers import Real

import numpy as np

from convexnn._types import Array
from convexnn.losses.names import LOSSES, get_separable
from convexnn.losses.protocols import Loss
from convexnn.losses.softmax import Softmax, softmax_targets

#: The largest entries of X and y must lie between the inverse of this and this.
MAGNITUDE = 1e60


def check_problem(
    X: Array, y: Array, beta: float, loss: "str | Loss", *, any_loss: bool = False
) -> tuple[Array, Array, float]:
    """Validate (X, y, β) for a loss and return them as contiguous float64.

    Parameters
    ----------
    any_loss : bool
        Accept loss objects, weights and the names of `MORE_LOSSES` too. By default only a name of `LOSSES`
        (or the softmax) passes: few parts of the package take more.

    Raises
    ------
    ValueError
        If X is not two-dimensional, shapes disagree, a value is not finite, β is not a positive finite
        number, a target is not one of the loss's (labels ±1, counts ≥ 0), the largest entry is beyond 1e±60,
        or the loss is not accepted. The message names the place.
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
        _check_entries(label, values)
    if not (isinstance(beta, Real) and np.isfinite(beta) and beta > 0):
        raise ValueError(f"beta must be a positive finite number; it is {beta!r}.")
    if isinstance(loss, Softmax) or loss == Softmax.name:
        return X, softmax_targets(y), float(beta)
    found = get_separable(loss)
    if not any_loss:
        basic_loss(loss)
    found.check_targets(y)
    return X, y, float(beta)


def _check_entries(label: str, values: Array) -> None:
    if not np.isfinite(values).all():
        where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"{label} must be finite; {label}{list(where)} is {values[where]}.")
    largest = float(np.abs(values).max())
    if largest and not 1 / MAGNITUDE <= largest <= MAGNITUDE:
        raise ValueError(
            f"The largest entry of {label} is {largest:.3g}: squares of such numbers leave the range of "
            f"floating point. Rescale {label}, for example to entries of about 1."
        )


def basic_loss(loss: object) -> str:
    """`loss` itself, a name of `LOSSES`, which every part of the package takes; ValueError for any other."""
    if isinstance(loss, str) and loss in LOSSES:
        return loss
    raise ValueError(
        f"This function takes the losses {', '.join(map(repr, LOSSES))} by name, without weights; "
        f"it was given {repr(loss) if isinstance(loss, str) else type(loss).__name__}."
    )
