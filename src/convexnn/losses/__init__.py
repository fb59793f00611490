r"""Losses, their dual vectors and their dual values.

The scale of everything in this package is fixed here, once:

* a loss is a **sum** over the n samples, L(f, y) = Σ_i ω_i ℓ(f_i, y_i): no mean, nothing divided by n, and
  weights ω_i of 1 unless given;
* the squared loss carries one half, ½(f − y)²;
* the training problem of a network with m neurons is ``L(f, y) + (β/2) Σ_j (‖u_j‖² + α_j²)``, so β
  multiplies exactly what is written there.

With ν = −∇L(f) the dual function of a multiple t ν, t ≥ 0, is D(tν) = −L*(−tν):

=============================== =========================== ==========================================
loss                            ℓ(f, y)                     D(tν) with q = yν for labels
=============================== =========================== ==========================================
``squared``                     ½(f − y)²                   t yᵀν − ½ t²‖ν‖²
``logistic``                    log(1 + exp(−yf))           Σ H(t q), H the binary entropy, t ≤ 1/max q
``hinge``                       (1 − yf)₊                   t Σ q, t ≤ 1/max q
``squared_hinge``               ½ (1 − yf)₊²                t Σ q − ½ t² Σ q²
``huber``                       ½r² or δ\|r\| − ½δ²,         t yᵀν − ½ t²‖ν‖², t ≤ δ/max \|ν\|
                                r = f − y
``quantile``                    level·(y − f)₊ +            t yᵀν, tν ∈ [level − 1, level]
                                (1 − level)·(f − y)₊
``squared_epsilon_insensitive`` ½ (\|f − y\| − ε)₊²         t yᵀν − ½ t²‖ν‖² − t ε‖ν‖₁
``poisson``                     exp(f) − yf − y + y log y   Σ p − p log p − y + y log y, p = y − tν ≥ 0
=============================== =========================== ==========================================

Any ν with ρ(±ν) ≤ β (see `convexnn.pricing`) makes D(ν) a lower bound on the global optimum. The logistic and
the two hinge losses take labels y ∈ {−1, +1}. All methods accept arrays of any one shape, (n,) or (n, c). The
softmax cross-entropy, which couples outputs, is in `convexnn.losses.softmax`.

A loss is given by its name or as an object, ``Huber(0.5)``. Sample weights: `convexnn.losses.weighted`.
"""

from convexnn.losses.checks import MAGNITUDE, basic_loss, check_problem
from convexnn.losses.classification import Hinge, Logistic, SquaredHinge
from convexnn.losses.names import COUPLED, LOSSES, MORE_LOSSES, get_loss, get_separable, plain
from convexnn.losses.protocols import DOMAIN_SLACK, Conjugate, Loss, SeparableLoss
from convexnn.losses.regression import Huber, Poisson, Quantile, Squared, SquaredEpsilonInsensitive
from convexnn.losses.softmax import Softmax
from convexnn.losses.weighted import (
    Weighted,
    WeightedProblem,
    checked_weights,
    rows_of,
    split_weights,
    weigh,
)

#: What functions that take any loss accept: a name or an object.
LossLike = str | SeparableLoss

__all__ = [
    "COUPLED",
    "DOMAIN_SLACK",
    "LOSSES",
    "MAGNITUDE",
    "MORE_LOSSES",
    "Conjugate",
    "Hinge",
    "Huber",
    "Logistic",
    "Loss",
    "LossLike",
    "Poisson",
    "Quantile",
    "SeparableLoss",
    "Softmax",
    "Squared",
    "SquaredEpsilonInsensitive",
    "SquaredHinge",
    "Weighted",
    "WeightedProblem",
    "basic_loss",
    "check_problem",
    "checked_weights",
    "get_loss",
    "get_separable",
    "plain",
    "rows_of",
    "split_weights",
    "weigh",
]
