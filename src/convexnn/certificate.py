"""Certificates."""

from dataclasses import dataclass

from convexnn._types import Array


@dataclass(frozen=True)
class Certificate:
    """How far a network is from the global optimum, recomputed from X, y and the weights alone.

    Attributes
    ----------
    primal : float
        Objective of the network.
    lower_bound : float
        D(nu), a lower bound on the global optimum if ρ(±nu) ≤ β holds as `kind` says.
    gap, relative_gap : float
        primal − lower_bound, and that divided by primal (0 where primal is 0).
    kind : {"exact", "bounded", "estimated", "patterns"}
        How ρ was bounded.
    nu : (n,) or (n, c)
        The dual point, scaled so that ρ(±nu) ≤ β.
    rho : float
        The bound used on max ρ(±nu).
    starts : int
        Fresh starts of the verification behind an ``estimated`` kind.
    seconds : float
        Time taken.
    """

    primal: float
    lower_bound: float
    gap: float
    relative_gap: float
    kind: str
    nu: Array
    rho: float
    starts: int
    seconds: float
