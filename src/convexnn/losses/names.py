"""Losses by name."""

from typing import cast

from convexnn.losses.classification import Hinge, Logistic, SquaredHinge
from convexnn.losses.protocols import Loss, SeparableLoss
from convexnn.losses.regression import Huber, Poisson, Quantile, Squared, SquaredEpsilonInsensitive
from convexnn.losses.softmax import Softmax

_BASIC: tuple[SeparableLoss, ...] = (Squared(), Logistic(), Hinge(), SquaredHinge())
_MORE: tuple[SeparableLoss, ...] = (Huber(), Quantile(), SquaredEpsilonInsensitive(), Poisson())

#: Losses that every part of the package takes.
LOSSES: dict[str, SeparableLoss] = {loss.name: loss for loss in _BASIC}
#: More losses, with default parameters, for `train`, `certify`, `path`, `beta_max`, `solve` and `descend`.
MORE_LOSSES: dict[str, SeparableLoss] = {loss.name: loss for loss in _MORE}
#: Losses that couple the outputs: not separable, so no solver of one output takes them.
COUPLED: dict[str, Loss] = {Softmax.name: Softmax()}


def get_loss(loss: "str | Loss") -> Loss:
    """The loss called `loss`; an object comes back as it is.

    Raises
    ------
    ValueError
        If there is no such loss; the message lists those there are.
    """
    known = LOSSES | MORE_LOSSES | COUPLED
    if not isinstance(loss, str):
        if isinstance(loss, type) or not hasattr(loss, "dual_value"):
            raise ValueError(f"loss must be a name or an object of convexnn.losses; it is {loss!r}.")
        return loss
    if loss not in known:
        raise ValueError(f"Unknown loss {loss!r}: choose one of {', '.join(map(repr, known))}.")
    return known[loss]


def get_separable(loss: "str | Loss") -> SeparableLoss:
    """As `get_loss`, for losses that are sums over single entries; ValueError for the others."""
    found = get_loss(loss)
    if not hasattr(found, "dual_each"):
        raise ValueError(f"The {found.name} loss is no sum over single outputs: it cannot be used here.")
    return cast(SeparableLoss, found)


def plain(loss: "str | SeparableLoss") -> "str | SeparableLoss":
    """The name of a loss that has its default parameters; else the loss itself."""
    if isinstance(loss, str):
        return loss
    return loss.name if (LOSSES | MORE_LOSSES).get(loss.name) == loss else loss
