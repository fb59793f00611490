r"""Polytopes {x ≥ 0 : A x = b}: dimension, a point inside, vertices, uniform samples.

All rest on the null space of the columns that can be positive; the variables are scaled so that the columns
of A and b have length one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls
from scipy.spatial import HalfspaceIntersection

from convexnn._types import Array, BoolArray
from convexnn.landscape.neurons import null_space

#: A variable whose largest value is below this (columns and b of length one) is 0 everywhere.
POSITIVE = 1e-8
#: Singular values below this part of the largest count as zero.
DEPENDENT = 1e-8
#: Vertices are listed up to this dimension and this number of variables.
MOST_DIMENSIONS, MOST_VARIABLES = 7, 200


@dataclass(frozen=True)
class Polytope:
    """{x ≥ 0 : A x = b}, bounded and not empty.

    Attributes
    ----------
    A : (n, M), b : (n,)
    positive : (M,) bool
        The variables that are positive somewhere; the others are 0 everywhere.
    centre : (M,)
        A point in which every such variable is positive.
    directions : (M, k)
        An orthonormal basis, in scaled variables, of the directions in which the polytope extends.
    scale : (M,)
        x = scale ∘ (the scaled variables).
    independent : bool
        Whether all columns of A are, so that any right-hand side has at most one solution.
    """

    A: Array
    b: Array
    positive: BoolArray
    centre: Array
    directions: Array
    scale: Array
    independent: bool

    @property
    def dimension(self) -> int:
        """0 for a single point."""
        return int(self.directions.shape[1])


def make_polytope(A: Array, b: Array, tol: float = 1e-8) -> Polytope | None:
    """The polytope of A (n, M) and b (n,), or None if ‖A x − b‖ ≤ tol‖b‖ has no solution x ≥ 0."""
    M = A.shape[1]
    length = np.linalg.norm(A, axis=0)
    size = float(np.linalg.norm(b))
    if not M or size == 0:  # every column has a positive product with the dual vector: only 0
        nothing = np.zeros(M)
        zero = Polytope(A, b, nothing > 0, nothing, np.zeros((M, 0)), np.ones(M), not null_space(
            A / np.where(length > 0, length, 1.0), DEPENDENT).size)  # fmt: skip
        return zero if size == 0 else None
    scale = size / length
    unit, goal = A / length, b / size
    U, s, _ = np.linalg.svd(unit, full_matrices=False)
    U = U[:, s > DEPENDENT * s[0]]
    independent = U.shape[1] == M
    point, residual = nnls(unit, goal, maxiter=50 * M)
    if residual > tol:
        return None
    centre = point if independent else _centre(U.T @ unit, U.T @ (unit @ point), point)
    positive = centre > POSITIVE / M
    centre = np.where(positive, centre, 0.0)
    basis = null_space(unit[:, positive], DEPENDENT)
    directions = np.zeros((M, basis.shape[1]))
    directions[positive] = basis
    return Polytope(A, b, positive, scale * centre, directions, scale, independent)


def _centre(A: Array, b: Array, point: Array) -> Array:
    """The mean of points of {x ≥ 0 : A x = b} that make every variable positive that can be."""
    points = [point]
    known = point > POSITIVE
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    for k in range(len(point)):
        if known[k]:
            continue
        cost = np.zeros(len(point))
        cost[k] = -1.0
        found = linprog(cost, A_eq=A, b_eq=b, bounds=(0.0, None), method="highs", options=options)
        if found.status == 0:
            x = np.maximum(found.x, 0.0)
            known |= x > POSITIVE
            points.append(x)
            known[k] = True
    return np.asarray(np.mean(points, axis=0))


def corners(polytope: Polytope) -> Array:
    """The vertices as columns (M, V).

    Raises
    ------
    ValueError
        Above 7 dimensions or 200 variables.
    """
    k, used = polytope.dimension, int(polytope.positive.sum())
    if k > MOST_DIMENSIONS or used > MOST_VARIABLES:
        raise ValueError(
            f"The polytope has {k} dimensions and {used} variables; vertices are listed up to "
            f"{MOST_DIMENSIONS} and {MOST_VARIABLES}: sample it instead."
        )
    scaled = polytope.centre / polytope.scale
    N = polytope.directions
    if k == 0:
        return polytope.centre[:, None]
    if k == 1:
        ends = [_reach(scaled, sign * N[:, 0]) * sign for sign in (1.0, -1.0)]
        z = np.array([ends])
    else:
        rows = polytope.positive & (np.linalg.norm(N, axis=1) > 1e-9)
        halfspaces = np.hstack([-N[rows], -scaled[rows, None]])
        z = HalfspaceIntersection(halfspaces, np.zeros(k)).intersections.T
    found = np.maximum(scaled[:, None] + N @ z, 0.0)
    exact = np.stack([_exact_vertex(polytope, x) for x in found.T], axis=1)
    kept: list[Array] = []
    for x in exact.T:
        if all(np.abs(x - other).max() > 1e-7 * np.abs(polytope.centre).max() for other in kept):
            kept.append(x)
    return np.stack(kept, axis=1)


def _exact_vertex(polytope: Polytope, scaled: Array) -> Array:
    """Solve for the positive variables of a vertex anew: their columns are independent."""
    support = scaled > 1e-7 * scaled.max()
    x = np.zeros_like(scaled)
    x[support] = np.linalg.lstsq(polytope.A[:, support], polytope.b, rcond=None)[0]
    rough = polytope.scale * scaled
    return x if (x >= 0).all() and np.abs(x - rough).max() <= 1e-5 * rough.max() else rough


def _reach(x: Array, step: Array) -> float:
    """The largest t with x + t·step ≥ 0."""
    falling = step < -1e-14
    return float(np.min(x[falling] / -step[falling], initial=np.inf))


def hit_and_run(polytope: Polytope, count: int, rng: np.random.Generator) -> Array:
    """`count` points as columns (M, count), nearly uniform in the polytope: 10 k moves between two."""
    scaled = polytope.centre / polytope.scale
    k = polytope.dimension
    points = np.empty((len(scaled), count))
    for c in range(count):
        for _ in range(10 * k):
            step = polytope.directions @ rng.standard_normal(k)
            low, high = -_reach(scaled, -step), _reach(scaled, step)
            scaled = np.where(polytope.positive, np.maximum(scaled + rng.uniform(low, high) * step, 0.0), 0.0)
        points[:, c] = polytope.scale * scaled
    return points
