r"""Losses as the command line and saved models name them: ``huber``, ``huber:25``, ``quantile:0.9``.

The number is δ of `Huber`, ε of `SquaredEpsilonInsensitive` or the level of `Quantile`. δ and ε are in the
unit of the target. Training standardises the target, y ↦ (y − m)/s, and then uses δ/s and ε/s. Without a
number δ = s and ε = s/10.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from convexnn._columns import is_numeric
from convexnn.encoding import check_rates, find_task
from convexnn.losses import LossLike, SeparableLoss, get_loss, get_separable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["choose_loss", "in_words", "losses_for", "parse_loss", "scaled", "with_number"]

#: Losses that fit a regression, two classes and more of them; the first is the default.
_REGRESSION_LOSSES = ("squared", "huber", "quantile", "squared_epsilon_insensitive", "poisson")
_TWO_CLASS_LOSSES = ("logistic", "hinge", "squared_hinge", "squared")
_MANY_CLASS_LOSSES = ("softmax",)
#: The parameter of each loss that has one.
_PARAMETERS = {"huber": "delta", "quantile": "level", "squared_epsilon_insensitive": "epsilon"}


def losses_for(classes: int) -> tuple[str, ...]:
    """Names of the losses that fit a target of this many classes, 0 for a regression; the default first."""
    if classes == 0:
        return _REGRESSION_LOSSES
    return _TWO_CLASS_LOSSES if classes == 2 else _MANY_CLASS_LOSSES


def parse_loss(text: str) -> tuple[str, float | None]:
    """(name, number or None) of ``name`` or ``name:number``.

    Raises
    ------
    ValueError
        If there is no such loss, it has no parameter, or the number is no number or not one that it takes.
    """
    name, colon, number = text.partition(":")
    get_loss(name)
    if not colon:
        return name, None
    if name not in _PARAMETERS:
        raise ValueError(f"The {name} loss has no parameter: write {name!r}, not {text!r}.")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(
            f"The {_PARAMETERS[name]} of the {name} loss must be a number, as in '{name}:0.5'; it is "
            f"{number!r}."
        ) from None
    _made(name, value)
    return name, value


def choose_loss(
    frame: "pd.DataFrame",
    target: str,
    task: Literal["auto", "regression", "classification"],
    loss: str | None,
) -> tuple[Literal["regression", "classification"], str]:
    """(task, loss as given, else the default), for a target of `frame`.

    With ``task="auto"`` a loss that only a regression has makes one of a numeric target of two values.

    Raises
    ------
    ValueError
        If the loss does not fit the target, or as `TableEncoder.fit` for the target.
    """
    name = None if loss is None else parse_loss(loss)[0]
    of_classes = (*_TWO_CLASS_LOSSES, *_MANY_CLASS_LOSSES)
    found, classes = find_task(frame, target, task)
    if (
        task == "auto"
        and classes
        and name is not None
        and name not in of_classes
        and is_numeric(frame[target])
    ):
        found, classes = "regression", ()
    losses = losses_for(len(classes))
    if name is not None and name not in losses:
        what = f"has {len(classes)} classes" if classes else "is a regression"
        hint = (
            "; to take its values as classes: --task classification" if task == "auto" and not classes else ""
        )
        raise ValueError(
            f"The {name} loss does not fit: {target!r} {what}, so use {' or '.join(losses)}{hint}."
        )
    if name == "poisson":
        check_rates(frame, target)
    return found, loss or losses[0]


def with_number(text: str, scale: float) -> str:
    """The loss with its number, for a target of standard deviation `scale`: what a saved model holds."""
    name, number = parse_loss(text)
    if name not in _PARAMETERS:
        return name
    if number is None:
        default: float = getattr(get_loss(name), _PARAMETERS[name])
        number = default if name == "quantile" else default * scale
    return f"{name}:{number!r}"


def scaled(text: str, scale: float) -> LossLike:
    """The loss of (y − m)/`scale`, where `text` is that of y; the name alone where there is no parameter."""
    name, number = parse_loss(with_number(text, scale))
    if number is None:
        return name
    return _made(name, number if name == "quantile" else number / scale)


def in_words(text: str) -> str:
    """``huber loss with delta = 25``."""
    name, number = parse_loss(text)
    return f"{name} loss" + ("" if number is None else f" with {_PARAMETERS[name]} = {number:g}")


def _made(name: str, number: float) -> SeparableLoss:
    parameter = {_PARAMETERS[name]: number}
    return replace(get_separable(name), **parameter)  # type: ignore[type-var]
