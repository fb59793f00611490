"""What a loss and its conjugate must offer."""

from typing import Protocol

from convexnn._types import Array

#: How far a dual point may leave the domain before the dual value counts as −∞ (rounding only).
DOMAIN_SLACK = 1e-12


class Conjugate(Protocol):
    """c(q) = Σ c_i(q_i) = L*(−ν), q = σ∘ν: a loss as the inner problem of the dual sees it.

    The targets are fixed. Each c_i is convex and, on every piece between its kinks, smooth with c″ > 0. A
    loss whose own conjugate has no curvature (the hinge, the quantile loss) carries a proximal term
    (q − q_k)²/(2τ) around a point q_k.
    """

    @property
    def sign(self) -> Array:
        """σ, (n,) of ±1."""
        ...

    @property
    def lower(self) -> Array | float:
        """The least q of the domain."""
        ...

    @property
    def upper(self) -> Array | float:
        """The largest q of the domain."""
        ...

    @property
    def is_boxed(self) -> bool:
        """Whether Newton steps must respect `bounds` (else the coordinate of `move` cannot leave them)."""
        ...

    def each(self, q: Array) -> Array:
        """c_i(q_i), (n,)."""
        ...

    def value(self, q: Array) -> float:
        """Σ c_i(q_i)."""
        ...

    def gradient(self, q: Array, pull: Array | float = 0.0) -> Array:
        """c′(q) + pull; on a kink the one-sided value along which c + pull·q falls, 0 if there is none."""
        ...

    def inverse_curvature(self, q: Array) -> Array:
        """1/c″(q)."""
        ...

    def bounds(self, q: Array, gradient: Array) -> tuple[Array | float, Array | float]:
        """The ends of the smooth piece that holds q, on a kink the piece downhill of `gradient`."""
        ...

    def move(self, q: Array, dq: Array, t: float) -> Array:
        """The point a fraction t along dq, inside the domain and inside q's piece."""
        ...

    def start(self, f: Array) -> Array:
        """q of a prediction f, where c is finite and differentiable."""
        ...

    def inside(self, q: Array) -> Array:
        """q moved to where c is finite and differentiable."""
        ...


class Loss(Protocol):
    """L(f, y) ≥ 0, a sum over samples with infimum 0 at every y, so that D(0) = 0."""

    @property
    def name(self) -> str:
        """The name by which `get_loss` knows losses of this kind."""
        ...

    @property
    def is_classification(self) -> bool:
        """Whether targets are labels."""
        ...

    def value(self, f: Array, y: Array) -> float:
        """L(f, y), a sum over samples."""
        ...

    def gradient(self, f: Array, y: Array) -> Array:
        """∇L(f), of the shape of f (a subgradient where there is no gradient)."""
        ...

    def dual_value(self, nu: Array, y: Array) -> float:
        """D(ν) = −L*(−ν); −∞ outside the domain."""
        ...

    def best_scale(self, nu: Array, y: Array, t_max: float) -> float:
        """The t in [0, t_max] that maximises D(tν)."""
        ...


class SeparableLoss(Loss, Protocol):
    """L(f, y) = Σ ℓ(f_i, y_i) over all entries.

    ``hessian(f, y)``, the second derivatives, is extra, present where `is_smooth`.
    """

    @property
    def is_smooth(self) -> bool:
        """Whether L is differentiable in f."""
        ...

    def check_targets(self, y: Array) -> None:
        """Raise ValueError if an entry of y is no target of this loss."""
        ...

    def each(self, f: Array, y: Array) -> Array:
        """ℓ(f_i, y_i), of the shape of f."""
        ...

    def dual_each(self, nu: Array, y: Array) -> Array:
        """D_i(ν_i) = min over f of ℓ(f, y_i) + ν_i f, −∞ outside the domain; of the shape of ν."""
        ...

    def dual_slope(self, nu: Array, y: Array) -> Array:
        """D_i′(ν_i), 0 outside the domain."""
        ...

    def dual_limit(self, nu: Array, y: Array) -> float:
        """The largest t with tν in the domain of D, 0 if no t > 0 is."""
        ...

    def subgradients(self, f: Array, y: Array) -> tuple[Array, Array]:
        """Ends of an interval of ν_i for each row: −∂ℓ on a kink or close to one, elsewhere −ℓ′ twice."""
        ...

    def conjugate(self, y: Array, centre: Array | None = None, tau: float = 1.0) -> Conjugate:
        """c for targets y (n,), with the proximal centre q_k and τ (in units of f) where it needs them."""
        ...

    def rescaled(self, size: float) -> "tuple[SeparableLoss, float] | None":
        """(ℓ′, a) with ℓ(size·f, size·y) = a ℓ′(f, y); None for a loss whose targets have no scale."""
        ...
