"""The losses as the inner problem of the dual sees them: c(q) = L*(−ν), q = σ∘ν.

The formulas are with the losses: `convexnn.losses.conjugates`.
"""

from convexnn._types import Array
from convexnn.losses import Conjugate, LossLike, get_separable

__all__ = ["Conjugate", "make_conjugate", "starting_point"]


def make_conjugate(loss: LossLike, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
    """The conjugate of a loss for targets y (n,)."""
    return get_separable(loss).conjugate(y, centre, tau)


def starting_point(loss: LossLike, y: Array, f: Array) -> Array:
    """q of a prediction f, where c is finite and differentiable."""
    return get_separable(loss).conjugate(y).start(f)
