r"""All global optima of the program over a pattern set.

For an optimal dual point ν let q_b = Π_{K_b}(s XᵀD_iν) for each block b = (i, s). A point of program (2) is
optimal iff w_b = a_b q_b with a_b ≥ 0, a_b = 0 unless ‖q_b‖ = β, and the fit f = Σ a_b F_b q_b satisfies
−∇L(f) ∋ ν: a polytope in a.

========================  ==================================================
loss                      condition on the fit
========================  ==================================================
squared, logistic         f = f*, the one optimal fit
squared hinge             y f = 1 − q where q > 0, y f ≥ 1 where q = 0
hinge                     y f = 1 where 0 < q < 1, ≥ 1 at q = 0, ≤ 1 at q = 1
========================  ==================================================

with q = y∘ν. The hinge's ν need not be unique; any optimal one gives the same set.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convexnn._types import Array, BoolArray, IntArray
from convexnn.cones import adjoint_blocks, project_blocks
from convexnn.landscape.neurons import trichotomies
from convexnn.landscape.newton import newton
from convexnn.landscape.polytope import Polytope, corners, hit_and_run, make_polytope
from convexnn.losses import basic_loss
from convexnn.network import Network
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve

#: The relative gap and violation that a solution may have, after Newton's method.
ERROR = 1e-9
#: Residual of the stationarity conditions, relative to β, at which Newton's method has arrived.
STATIONARY = 1e-10
#: Two neurons this close, relative to β, are one.
SAME = 1e-6
#: q within this of 0 or 1 counts as being there.
BOUND = 1e-7


@dataclass(frozen=True)
class OptimalSet:
    """{a ≥ 0 : Σ a_k c_k = fit} (with rows of inequalities for the hinges), one entry a distinct neuron.

    Attributes
    ----------
    directions : (d, M)
        The equicorrelated q, ‖q_k‖ = β: neurons that an optimum may use, equal ones identified.
    signs : (M,)
        ±1, the sign of the output weight.
    columns : (n, M)
        c_k = s_k (X q_k)_+.
    blocks : tuple of arrays
        For each neuron its columns in the pattern set: several cells share a neuron on a kink.
    nu : (n,)
        The dual point.
    objective : float
        Objective of the program at every point of the set.
    unique : bool
        Whether the optimal network is unique up to splitting, permutation and rescaling.
    program_unique : bool
        Whether the blocks (v, w) of the program are as well: false also where an active neuron lies in
        several cells of the pattern set.
    reason : str
        Why, in one sentence.
    dimension : int
        Of the polytope of a.
    active : (M,) bool
        Neurons with a_k > 0 in some optimum.
    polytope : Polytope
        In the variables (a, slacks of inequality rows).
    """

    directions: Array
    signs: Array
    columns: Array
    blocks: tuple[IntArray, ...]
    nu: Array
    objective: float
    unique: bool
    program_unique: bool
    reason: str
    dimension: int
    active: BoolArray
    polytope: Polytope


def optimal_set(program: ConvexProgram, solution: Solution | None = None, tol: float = 1e-8) -> OptimalSet:
    r"""{(a_b q_b)_b : a ≥ 0, a_b = 0 unless ‖q_b‖ = β, Σ a_b F_b q_b = fit}, q_b = Π_{K_b}(±XᵀD_bν).

    The optima of the program over its pattern set: all global optima of problem (1), up to splitting,
    permutation and rescaling, if that set is complete. Unique if all equicorrelated columns are independent;
    unique iff those with a_k > 0 in some optimum are (found by linear programs).

    Parameters
    ----------
    program : ConvexProgram
        Not gated.
    solution : Solution, optional
        Solved for, to a gap of 1e-12, if not given. It is refined by Newton's method and
        its relative gap and violation, recomputed, must then be at most 1e-9.
    tol : float
        ‖q_b‖ ≥ β(1 − tol) counts as ‖q_b‖ = β, so the objective is that of an optimum to about tol, relative.

    Raises
    ------
    ValueError
        If the program is gated, the solution belongs to other patterns, or is not accurate enough.

    Examples
    --------
    >>> from convexnn import ConvexProgram, Patterns
    >>> from convexnn.data import five_points
    >>> from convexnn.landscape import optimal_set
    >>> data = five_points()
    >>> optima = optimal_set(ConvexProgram(data.X, data.y, Patterns.enumerate(data.X), beta=0.1))
    >>> optima.unique, round(optima.objective, 6)
    (True, 0.891447)

    Source: Mishkin & Pilanci (2023), the optimal set and its uniqueness conditions; Wang, Lacotte & Pilanci
    (2022).
    """
    if program.gated:
        raise ValueError("The set of optima is that of ReLU networks: the program must not be gated.")
    if program.negative_slope != 0.0:
        raise ValueError("The set of optima is that of ReLU networks: the program has a negative slope.")
    basic_loss(program.loss)
    solution = solve(program, tol=1e-12) if solution is None else solution
    if solution.v.shape != program.patterns.generators.shape:
        raise ValueError("The solution belongs to a program with other patterns.")
    network, nu = _accurate(program, solution)
    objective = network.objective(program.X, program.y, program.beta, program.loss)
    directions, signs, blocks = _equicorrelated(program, nu, tol)
    columns = np.maximum(program.X @ directions, 0.0) * signs
    fit = network.predict(program.X)
    polytope = make_polytope(*_equations(program, columns, fit, nu))
    if polytope is None:
        raise ValueError(
            f"The fit is no combination of the neurons with ‖q‖ ≥ β(1 − {tol:g}): solve the program more "
            "tightly, or raise tol."
        )
    M = len(signs)
    active = polytope.positive[:M]
    shared = sum(len(blocks[k]) > 1 for k in np.flatnonzero(active))
    unique = polytope.dimension == 0
    return OptimalSet(
        directions, signs, columns, blocks, nu, objective, unique, unique and not shared,
        _reason(polytope, M, shared), polytope.dimension, active, polytope,
    )  # fmt: skip


def _accurate(program: ConvexProgram, solution: Solution) -> tuple[Network, Array]:
    """The refined network and dual point, after its gap over the pattern set has been recomputed."""
    network = Network.from_solution(solution)
    best = (network, solution.nu)
    error = _error(program, *best)
    for start, nu in _candidates(program, network, solution.nu):
        new_error = _error(program, start, nu)
        if new_error < error:
            best, error = (start, nu), new_error
        if error <= ERROR:
            break
    if error > ERROR:
        raise ValueError(
            f"The solution and its dual point are optimal over the patterns only to {error:.1e}, relative; "
            f"{ERROR:g} is needed: solve the program with a smaller tol."
        )
    return best


def _candidates(program: ConvexProgram, network: Network, nu: Array) -> Iterator[tuple[Network, Array]]:
    """Points at which Newton's method arrives, from several guesses of the neurons and their kinks.

    A neuron on a kink may be spread over cells, which `merged` undoes (and `_error` sees if the sum has left
    the pattern set); neurons that vanish at the optimum are in the way.
    """
    X = program.X
    for start in (network, network.merged(X)):
        mass = start.alpha**2
        for least in (0.0, 1e-9, 1e-6, 1e-4):
            keep = mass > least * mass.max(initial=0.0)
            if not keep.any():
                return
            w, signs = (start.U * np.abs(start.alpha))[:, keep], np.sign(start.alpha[keep])
            for kink in (1e-10, 1e-6, 1e-4):
                cells = trichotomies(X, w, kink)
                point = newton(X, program.y, program.beta, basic_loss(program.loss), signs, w, cells, nu)
                if point.residual <= STATIONARY:
                    root = np.sqrt(np.linalg.norm(point.w, axis=0))
                    yield Network(point.w / root, signs * root), point.nu


def _error(program: ConvexProgram, network: Network, nu: Array) -> float:
    """The larger of |P − D(ν)|/P and ρ(±ν)/β − 1, both recomputed over the patterns."""
    primal = network.objective(program.X, program.y, program.beta, program.loss)
    dual = program.loss_function.dual_value(nu, program.y)
    gap = abs(primal - dual) / primal if primal > 0 else 0.0  # negative outside the pattern set
    return max(gap, program.rho(nu) / program.beta - 1.0)


def _equicorrelated(
    program: ConvexProgram, nu: Array, tol: float
) -> tuple[Array, Array, tuple[IntArray, ...]]:
    """Distinct neurons q with ‖q‖ ≥ β(1 − tol), their signs, and the patterns that hold each."""
    masks = np.ascontiguousarray(program.patterns.masks.T)
    threshold = program.beta * (1.0 - tol)
    found: list[Array] = []
    signs: list[float] = []
    members: list[list[int]] = []
    for sign in (1.0, -1.0):
        G = adjoint_blocks(
            program._rows, masks, np.full(len(masks), sign), nu, np.zeros((len(masks), program.X.shape[1]))
        )
        tight: IntArray = np.zeros(G.shape, dtype=np.int64)
        Q = project_blocks(
            program._rows, masks, G, tight=tight, count=np.zeros(len(G), dtype=np.int64), threshold=threshold
        )
        for i in np.flatnonzero(np.linalg.norm(Q, axis=1) >= threshold):
            q = Q[i]
            near = [
                k for k, other in enumerate(found)
                if signs[k] == sign and np.linalg.norm(q - other) <= SAME * program.beta
            ]  # fmt: skip
            if near:
                members[near[0]].append(int(i))
            else:
                found.append(q)
                signs.append(sign)
                members.append([int(i)])
    directions = np.stack(found, axis=1) if found else np.zeros((program.X.shape[1], 0))
    return directions, np.array(signs), tuple(np.array(m, dtype=np.int64) for m in members)


def _equations(program: ConvexProgram, columns: Array, fit: Array, nu: Array) -> tuple[Array, Array]:
    """A and b of {x ≥ 0 : A x = b}, x = a, or (a, slacks) for the hinges."""
    if program.loss in ("squared", "logistic"):
        return columns, fit
    q = program.y * nu
    margins = columns * program.y[:, None]
    at_zero = q <= BOUND
    at_one = (q >= 1.0 - BOUND) if program.loss == "hinge" else np.zeros(len(q), dtype=bool)
    sign = np.where(at_zero, -1.0, np.where(at_one, 1.0, 0.0))  # y f − s = 1, or y f + s = 1
    slack = np.diag(sign)[:, sign != 0]
    b = np.ones(len(q)) if program.loss == "hinge" else 1.0 - np.where(at_zero, 0.0, q)
    return np.hstack([margins, slack]), b


def _reason(polytope: Polytope, M: int, shared: int) -> str:
    k, used = polytope.dimension, int(polytope.positive[:M].sum())
    if not M:
        return "Unique: no neuron reaches ‖q‖ = β, so zero is the only optimum."
    if polytope.independent:
        words = f"Unique: the columns of all {M} equicorrelated neurons are independent."
    elif k == 0:
        words = (
            f"Unique: the columns of the {M} equicorrelated neurons are dependent, but only {used} of them "
            "are positive in some optimum, and theirs are independent."
        )
    else:
        words = (
            f"Not unique: {used} neurons are positive in some optimum and their columns are dependent, so "
            f"the optima form a polytope of dimension {k}."
        )
    if shared:
        words += f" {shared} active neuron(s) lie on a kink and belong to several cells of the program."
    return words


def optimal_network(optima: OptimalSet, a: Array) -> Network:
    """The balanced network with w_k = a_k q_k: (u, α) = (√a_k q_k/√β, s_k √(a_k β)) with ‖q_k‖ = β.

    Parameters
    ----------
    a : (M,)
        Amplitudes, ≥ 0: a column of `vertices` or `sample_optima`, or a convex combination of them.

    Raises
    ------
    ValueError
        If a has another shape or a negative entry.
    """
    a = np.asarray(a, dtype=np.float64)
    if a.shape != optima.signs.shape or (a < 0).any():
        raise ValueError(f"a must hold {len(optima.signs)} non-negative amplitudes; it is {a.tolist()}.")
    keep = a > 0
    w = optima.directions[:, keep] * a[keep]
    root = np.sqrt(np.linalg.norm(w, axis=0))
    return Network(w / root, optima.signs[keep] * root)


def vertices(optima: OptimalSet) -> Array:
    """The vertices of the polytope, as columns (M, V): optima whose active columns are independent.

    Raises
    ------
    ValueError
        Above 7 dimensions, or 200 variables that can be positive: use `sample_optima`.
    """
    return corners(optima.polytope)[: len(optima.signs)]


def sample_optima(optima: OptimalSet, count: int, seed: int = 0) -> Array:
    """`count` points of the polytope, as columns (M, count), nearly uniform (hit and run).

    Same seed, same points. Raises ValueError if `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; it is {count}.")
    return hit_and_run(optima.polytope, count, np.random.default_rng(seed))[: len(optima.signs)]
