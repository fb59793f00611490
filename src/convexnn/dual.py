r"""The dual problem as an object of its own, and the width that an optimum needs.

    d* = max_ν −L*(−ν)   subject to   ρ(ν) ≤ β,  ρ(−ν) ≤ β,     ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+

Strong duality, d* = p*, holds for the training problem (1) once the network may have m* neurons, m* ≤ n
(Pilanci & Ergen 2020, Theorem 1). Over all patterns of X the constraint is finite, ‖Π_{K_i}(±XᵀD_iν)‖ ≤ β for
every i, and cutting planes over that list solve the dual with proof. Where the list is too long the dual is
solved by cells found through local ascent, and the answer says that its feasibility is an estimate.
"""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import numpy as np

from convexnn._types import Array, IntArray
from convexnn.cones import Rows, adjoint_blocks, prepare_rows, project_blocks
from convexnn.landscape.neurons import prune
from convexnn.losses import Loss, check_problem, get_loss
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve
from convexnn.status import Status
from convexnn.training import train

__all__ = ["DualSolution", "MinimalWidth", "is_complete", "minimal_width", "solve_dual"]

#: Patterns from which on the program starts with some of them and the others join by price.
_DIRECT = 1000
_FIRST, _MOST_NEW = 300, 200
_CHUNK = 2048
_ROUNDS = 200
#: What ρ is multiplied by, so that rounding cannot make an infeasible ν look feasible.
_OUTWARD = 1.0 + 1e-12


@dataclass(frozen=True)
class DualSolution:
    """A feasible point of the dual, with the network that closes the gap from above.

    Attributes
    ----------
    nu : (n,)
        ρ(±nu) ≤ β, as far as `kind` says.
    value : float
        −L*(−nu): a lower bound on p*, as far as `kind` says.
    rho : float
        The bound on max ρ(±nu): over all patterns (exact), over the given ones (patterns), or the largest
        local maximum found (estimated).
    kind : {"exact", "patterns", "estimated"}
        Proven over the complete list of patterns; over the given patterns only, where `value` bounds the
        program of these patterns and not p*; from local ascents, strong evidence and not a proof.
    primal : float
        Objective (1) of `network`: an upper bound on p* whatever the kind.
    network : Network
    iterations : int
        Rounds of cutting planes.
    status : Status
    """

    nu: Array
    value: float
    rho: float
    kind: Literal["exact", "patterns", "estimated"]
    primal: float
    network: Network
    iterations: int
    status: Status

    @property
    def relative_gap(self) -> float:
        """(primal − value)/primal, 0 where primal is 0."""
        return (self.primal - self.value) / self.primal if self.primal > 0 else 0.0

    def __str__(self) -> str:
        words = {
            "exact": "proven over all patterns, up to rounding",
            "patterns": "over the given patterns only: NO bound on the global optimum",
            "estimated": "feasibility estimated by local ascents, NOT a proof",
        }
        return (
            f"dual value {self.value:.10g}, network {self.primal:.10g}, relative gap {self.relative_gap:.1e} "
            f"({self.kind}: {words[self.kind]})"
        )


@dataclass(frozen=True)
class MinimalWidth:
    """m* of a solution: the neurons that are left when its active columns are independent.

    Attributes
    ----------
    width : int
        Neurons of `network`.
    bound : int
        n: no network with independent columns is wider.
    network : Network
        The reduced network: the same fit on X, an objective that is not higher.
    """

    width: int
    bound: int
    network: Network


def solve_dual(
    X: Array,
    y: Array,
    beta: float,
    loss: str = "squared",
    *,
    tol: float = 1e-8,
    max_time: float | None = None,
    patterns: Patterns | None = None,
    seed: int = 0,
    max_patterns: int = 20_000,
) -> DualSolution:
    r"""max_ν −L*(−ν) subject to ρ(±ν) ≤ β.

    With at most `max_patterns` patterns, by cutting planes over the complete list; else by `train`, whose
    cells come from local ascents. Give ``patterns=Patterns.enumerate(X)`` to be sure of the first: it raises
    where there are too many.

    Parameters
    ----------
    X : (n, d), y : (n,)
        Labels ±1 for the losses of classification.
    beta : float
        Positive. Losses are sums over samples, so β is not divided by n.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
    tol : float
        Relative gap (primal − value)/primal at which to stop.
    max_time : float, optional
        Seconds, without the enumeration; then the best feasible ν so far is returned.
    patterns : Patterns, optional
        Solve over these. The kind is ``exact`` if they are found to be complete, ``patterns`` otherwise.
    seed : int
    max_patterns : int
        Most patterns to enumerate.

    Raises
    ------
    ValueError
        If the data, β, the loss or an option is not valid.

    Examples
    --------
    >>> from convexnn.data import five_points
    >>> from convexnn.dual import solve_dual
    >>> data = five_points()
    >>> dual = solve_dual(data.X, data.y, beta=0.1)
    >>> dual.kind, round(dual.value, 6)
    ('exact', 0.891447)

    Source: Pilanci & Ergen (2020), Theorem 1 and its proof; Bach (2017) for the pricing problem.
    """
    X, y, beta = check_problem(X, y, beta, loss)
    if y.ndim != 1:
        raise ValueError(f"solve_dual takes one output; y has shape {y.shape}.")
    if not (np.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be a positive finite number; it is {tol!r}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be positive or None; it is {max_time!r}.")
    if patterns is None:
        patterns = _all_patterns(X, max_patterns)
        if patterns is None:
            return _by_training(X, y, beta, loss, tol, max_time, seed)
        kind: Literal["exact", "patterns"] = "exact"
    else:
        kind = "exact" if is_complete(X, patterns) else "patterns"
    deadline = np.inf if max_time is None else perf_counter() + max_time
    return _by_cutting_planes(ConvexProgram(X, y, patterns, beta, loss), kind, tol, deadline, seed)


def is_complete(X: Array, patterns: Patterns) -> bool:
    """Whether `patterns` are all patterns of X: distinct cells, as many as `count_patterns` counts.

    Parameters
    ----------
    X : (n, d)
    patterns : Patterns
        Of X; a mask that its generator does not have makes the answer False.
    """
    from convexnn.enumeration import count_patterns

    X = np.asarray(X, dtype=np.float64)
    z = X @ patterns.generators
    used = X.any(axis=1)
    if np.any(z[used] == 0) or not np.array_equal((z > 0)[used], patterns.masks[used]):
        return False
    if len(np.unique(np.packbits(patterns.masks, axis=0), axis=1).T) != len(patterns):
        return False
    try:
        return count_patterns(X, max_patterns=len(patterns)) == len(patterns)
    except (ValueError, ArithmeticError):
        return False


def _all_patterns(X: Array, max_patterns: int) -> Patterns | None:
    try:
        return Patterns.enumerate(X, max_patterns=max_patterns)
    except (ValueError, ArithmeticError):
        return None


def _by_training(
    X: Array, y: Array, beta: float, loss: str, tol: float, max_time: float | None, seed: int
) -> DualSolution:
    """The dual point of a training run: feasible as far as local ascents can tell."""
    result = train(X, y, beta, loss=loss, tol=tol, max_time=max_time, seed=seed)
    c = result.certificate
    return DualSolution(
        c.nu, c.lower_bound, c.rho, "estimated", c.primal, result.network, len(result.history), result.status
    )


@dataclass
class _Best:
    """The best feasible ν and the best network so far."""

    nu: Array
    value: float
    rho: float
    primal: float
    network: Network

    @property
    def gap(self) -> float:
        return (self.primal - self.value) / self.primal if self.primal > 0 else 0.0


def _by_cutting_planes(
    whole: ConvexProgram,
    kind: Literal["exact", "patterns"],
    tol: float,
    deadline: float,
    seed: int,
) -> DualSolution:
    """Solve over some of the patterns, price ν over all of them, add the violated ones, repeat."""
    total, rows = len(whole.patterns), prepare_rows(whole.X)
    order = np.random.default_rng(seed).permutation(total)
    chosen = np.sort(order[: total if total <= _DIRECT else _FIRST])
    zero = Network.zero(whole.X.shape[1])
    start = zero.objective(whole.X, whole.y, whole.beta, whole.loss)
    best = _Best(np.zeros_like(whole.y), 0.0, 0.0, start, zero)
    accuracy = 0.1 * tol if len(chosen) == total else 1e-3
    warm: Solution | None = None
    status, rounds = Status.ITERATION_LIMIT, 0
    while rounds < _ROUNDS:
        rounds += 1
        program = replace(whole, patterns=_take(whole.patterns, chosen))
        left = None if np.isinf(deadline) else max(1e-3, deadline - perf_counter())
        warm = solve(program, tol=accuracy, max_time=left, warm_start=warm)
        rho, violated = _price(rows, whole.patterns, warm.nu, whole.beta, _MOST_NEW)
        _update(whole, best, Network.from_solution(warm).merged(whole.X), warm.nu, rho)
        if best.gap <= tol:
            status = Status.ZERO if best.network.n_neurons == 0 else Status.CONVERGED
            break
        if perf_counter() > deadline:
            status = Status.TIME_LIMIT
            break
        new = np.setdiff1d(violated, chosen)
        if not len(new) and accuracy <= 0.1 * tol:
            if kind == "exact":
                _by_other_master(whole, rows, best, tol, deadline, seed)
            status = Status.CONVERGED if best.gap <= tol else Status.STALLED
            break
        accuracy = max(0.1 * tol, min(0.1 * accuracy if not len(new) else accuracy, 0.1 * best.gap))
        chosen, warm = _grow(warm, chosen, new)
    return DualSolution(best.nu, best.value, best.rho, kind, best.primal, best.network, rounds, status)


def _take(patterns: Patterns, columns: IntArray) -> Patterns:
    return Patterns(
        np.asfortranarray(patterns.masks[:, columns]), np.ascontiguousarray(patterns.generators[:, columns])
    )


def _grow(solution: Solution, chosen: IntArray, new: IntArray) -> tuple[IntArray, Solution]:
    """More columns, and the solution with zero blocks for them."""
    wider = np.zeros((solution.v.shape[0], len(new)))
    v, w = np.hstack([solution.v, wider]), np.hstack([solution.w, wider])
    return np.concatenate([chosen, new]), replace(solution, v=v, w=w)


def _price(rows: Rows, patterns: Patterns, nu: Array, beta: float, most: int) -> tuple[float, IntArray]:
    """max(β, max_i ‖Π_{K_i}(±XᵀD_iν)‖) and the patterns above β, worst first, at most `most`."""
    violated: list[tuple[float, int]] = []
    for start in range(0, len(patterns), _CHUNK):
        masks = np.ascontiguousarray(patterns.masks[:, start : start + _CHUNK].T)
        shift = np.zeros((len(masks), rows.unit.shape[1]))
        G = adjoint_blocks(rows, masks, np.ones(len(masks)), nu, shift)
        for sign in (1.0, -1.0):
            W = project_blocks(
                rows, masks, sign * G, tight=np.zeros(G.shape, dtype=np.int64),
                count=np.zeros(len(G), dtype=np.int64), threshold=beta,
            )  # fmt: skip
            norm = np.linalg.norm(W, axis=1)
            violated += [(float(norm[k]), start + int(k)) for k in np.flatnonzero(norm > beta)]
    violated.sort(reverse=True)
    largest = violated[0][0] if violated else beta
    return largest, np.array(list(dict.fromkeys(k for _, k in violated))[:most], dtype=np.int64)


def _by_other_master(
    whole: ConvexProgram, rows: Rows, best: _Best, tol: float, deadline: float, seed: int
) -> None:
    """Where the solver of programs stands still in floating point: the ν of `train`, priced as any other."""
    left = None if np.isinf(deadline) else max(1e-3, deadline - perf_counter())
    result = train(
        whole.X, whole.y, whole.beta, loss=whole.loss, tol=0.1 * tol, max_time=left, seed=seed,
        warm_start=best.network if best.network.n_neurons else None,
    )  # fmt: skip
    nu = result.certificate.nu
    _update(whole, best, result.network, nu, _price(rows, whole.patterns, nu, whole.beta, 1)[0])


def _update(whole: ConvexProgram, best: _Best, network: Network, nu: Array, rho: float) -> None:
    """Keep the better bound, with ν scaled to be feasible for every pattern, and the better network."""
    function: Loss = get_loss(whole.loss)
    rho *= _OUTWARD
    t = function.best_scale(nu, whole.y, whole.beta / rho)
    value = function.dual_value(t * nu, whole.y)
    if value > best.value:
        best.nu, best.value, best.rho = t * nu, value, t * rho
    primal = network.objective(whole.X, whole.y, whole.beta, whole.loss)
    if primal < best.primal:
        best.primal, best.network = primal, network


def minimal_width(network: Network, X: Array) -> MinimalWidth:
    """m* of a solution: merge neurons of one cell and sign, prune until the columns (Xu_j)_+ are independent.

    The fit on X stays and the objective does not rise; at an optimum it cannot fall either, so the result is
    an optimum of at most n neurons. It is irreducible, but another optimum may be narrower still.

    Parameters
    ----------
    network : Network
        With one output.
    X : (n, d)

    Raises
    ------
    ValueError
        If the network has several outputs, or X has other columns than the network.

    Source: Mishkin & Pilanci (2023), pruning; Carathéodory for the bound n.
    """
    pruned = prune(network.merged(X), X)
    return MinimalWidth(pruned.n_neurons, len(np.asarray(X)), pruned)
