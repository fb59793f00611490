r"""ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+ for X of rank at most 2, by a sweep over the kinks on the circle.

Between two neighbouring kinks h(u) = νᵀ(Xu)_+ is linear, h(u) = gᵀu. Its maximum over the arc is ‖g‖ if ĝ
lies in the arc, else the larger of the two ends. n log n operations.

Rounding: angles are off by less than η = 64·2⁻⁵³; a row that is taken for active or not on the wrong side
of its kink within that angle changes h by at most |ν_i|‖x_i‖η, a running sum g of 2n terms by 4n·2⁻⁵³·S with
S = Σ|ν_i|‖x_i‖, and ‖g‖ is used wherever ĝ is within 4η of the arc. Adding
(8n + 512)·2⁻⁵³·S covers all of these.
"""

import numpy as np

from convexnn._types import Array
from convexnn.activation import checked_slope
from convexnn.pricing.reduction import Reduced, check_vector, proven_value, reduce_problem

_UNIT = 2.0**-53
_ANGLE = 64 * _UNIT
#: Candidates whose values are recomputed from X.
_CANDIDATES = 8


def rho_sweep(X: Array, nu: Array, *, negative_slope: float = 0.0) -> tuple[float, float]:
    """(lower, upper) with lower ≤ max(0, max_{‖u‖≤1} νᵀσ_s(Xu)) ≤ upper, equal up to rounding.

    Parameters
    ----------
    X : (n, d)
        Of rank at most 2, in `convexnn.pricing.reduction`'s sense (singular values above
        max(n, d)·2⁻⁵²·σ_max); what lies outside the row space so found is added to `upper`.
    nu : (n,)
        One sign only: ρ(−ν) is another call.
    negative_slope : float
        s of the activation; 0 is the ReLU.

    Raises
    ------
    ValueError
        If the rank is above 2, shapes disagree or a value is not finite.
    """
    X, nu = check_vector(X, nu)
    slope = checked_slope(negative_slope)
    problem = reduce_problem(X, nu, slope)
    if problem.rank > 2:
        raise ValueError(f"The sweep is for rank at most 2; X has rank {problem.rank}: use rho_bound.")
    bound, directions = sweep_reduced(problem)
    lower = max((proven_value(X, nu, problem.basis @ v, slope) for v in directions), default=0.0)
    return lower, max(lower, problem.upper(bound))


def sweep_reduced(problem: Reduced) -> tuple[float, Array]:
    """A proven bound of the reduced problem of rank ≤ 2, and directions that nearly attain it."""
    rows, linear = np.concatenate([problem.A, -problem.B]), problem.linear
    if not len(problem.A) and not linear.any():
        return 0.0, np.zeros((0, problem.rank))
    mass = float(np.linalg.norm(rows, axis=1).sum()) + float(np.linalg.norm(linear))
    slack = (8 * len(rows) + 512) * _UNIT * mass
    if not len(rows):
        return mass + slack, linear[None]
    if problem.rank == 1:
        sides = [float(np.maximum(problem.A[:, 0] * s, 0).sum()) for s in (1.0, -1.0)]
        sides = [
            v - float(np.maximum(problem.B[:, 0] * s, 0).sum()) + s * float(linear[0])
            for v, s in zip(sides, (1, -1), strict=True)
        ]
        return max(*sides, 0.0) + slack, np.array([[1.0], [-1.0]])
    signs = np.repeat([1.0, -1.0], [len(problem.A), len(problem.B)])
    values, angles = _arc_maxima(rows, signs, linear)
    best = np.argsort(-values, kind="stable")[:_CANDIDATES]
    return max(0.0, float(values[best[0]])) + slack, np.stack(
        [np.cos(angles[best]), np.sin(angles[best])], axis=1
    )


def _arc_maxima(rows: Array, signs: Array, linear: Array) -> tuple[Array, Array]:
    """Maximum of h over each arc and its angle; `rows` are signed, sign·row is the one in (·)_+.

    h has the term linearᵀu besides.
    """
    turn = 2 * np.pi
    normal = np.arctan2(signs * rows[:, 1], signs * rows[:, 0])
    on, off = np.mod(normal - 0.5 * np.pi, turn), np.mod(normal + 0.5 * np.pi, turn)
    angles = np.concatenate([on, off])
    order = np.argsort(angles, kind="stable")
    changes = np.concatenate([rows, -rows])[order]
    start = rows[off < on].sum(axis=0) + linear
    g = start + np.cumsum(changes, axis=0)  # g[i] holds from kink i to kink i + 1
    begin = angles[order]
    length = np.diff(begin, append=begin[0] + turn)
    norms = np.hypot(g[:, 0], g[:, 1])
    peak = np.arctan2(g[:, 1], g[:, 0])
    ahead = np.mod(peak - begin, turn)
    inside = (ahead <= length + 4 * _ANGLE) | (ahead >= turn - 4 * _ANGLE)
    # gᵀu at both ends, where the peak lies outside
    left, right = norms * np.cos(ahead), norms * np.cos(ahead - length)
    values = np.where(inside, norms, np.maximum(left, right))
    where = np.where(inside, peak, np.where(left > right, begin, begin + length))
    return values, where
