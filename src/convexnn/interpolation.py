r"""No regularisation: the limit β → 0 of the training problem, minimum-norm interpolation.

    R* = min Σ_i (‖v_i‖ + ‖w_i‖)   s.t.  v_i, w_i ∈ K_i  and  F(v, w) = y       (squared loss)
                                                      or  y∘F(v, w) ≥ 1    (hinge, squared hinge)

with F(v, w) = Σ_i D_i X(v_i − w_i), that is the smallest ½ Σ_j (‖u_j‖² + α_j²) of a network that fits. Dual:

    R* = max yᵀν   s.t.  ρ(ν) ≤ 1, ρ(−ν) ≤ 1        (for labels also y∘ν ≥ 0)

The limit is p*(β)/β → R*, and for the dual ν* at every β: R* − (β/2)‖ν*‖² ≤ p*(β)/β ≤ R* (squared, squared
hinge); p*(β) = βR* as soon as β max|ν*| ≤ 1 (hinge). The logistic loss is never zero, so p*(β)/β may diverge.
"""

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, linprog

from convexnn._types import Array, BoolArray
from convexnn.cones import project_blocks
from convexnn.dual import is_complete, minimal_width
from convexnn.losses import check_problem
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from convexnn.status import Status

__all__ = ["Interpolation", "interpolate"]

#: A fit whose largest error is below this part of the largest target is exact.
EXACT = 1e-9
#: Eigenvalues of the map from masses to fits below this part of the largest are zero.
_RANK = 1e-13
_OUTWARD = 1.0 + 1e-12
_ROUNDS, _PATIENCE = 500, 60
#: Directions of the first linear program, those added a round, and the most that are kept.
_FIRST, _NEW, _MOST = 2000, 300, 4000
_LP = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
#: ρ(±ν) − 1 below this is no violation.
_VIOLATED = 1e-11


@dataclass(frozen=True)
class Interpolation:
    """A network that fits the data, and how close its cost is to the least.

    Attributes
    ----------
    network : Network
        Balanced, so that `cost` is ½ Σ (‖u_j‖² + α_j²).
    cost : float
        Σ ‖u_j‖|α_j|: an upper bound on R* whatever the kind.
    bound : float
        yᵀnu: a lower bound on R* (exact), or on the least cost over the given patterns (patterns).
    relative_gap : float
        (cost − bound)/cost, 0 where the cost is 0.
    kind : {"exact", "patterns"}
        Whether the patterns are complete.
    nu : (n,)
        Feasible: ρ(±nu) ≤ 1 over the patterns, and y∘nu ≥ 0 for labels.
    residual : float
        max |f − y| (squared), or max (1 − yf)₊: rounding.
    status : Status
    """

    network: Network
    cost: float
    bound: float
    relative_gap: float
    kind: Literal["exact", "patterns"]
    nu: Array
    residual: float
    status: Status

    def __str__(self) -> str:
        words = {"exact": "over all patterns", "patterns": "over the given patterns only: NO global bound"}
        return (
            f"cost {self.cost:.10g}, bound {self.bound:.10g}, relative gap {self.relative_gap:.1e} "
            f"({self.kind}: {words[self.kind]}); largest error of the fit {self.residual:.1e}"
        )


def interpolate(
    X: Array,
    y: Array,
    loss: str = "squared",
    *,
    patterns: Patterns | None = None,
    tol: float = 1e-8,
    max_time: float | None = None,
    max_patterns: int = 20_000,
) -> Interpolation:
    r"""min Σ_i (‖v_i‖ + ‖w_i‖) over v_i, w_i ∈ K_i with an exact fit (squared) or margins y f ≥ 1.

    Parameters
    ----------
    X : (n, d), y : (n,)
        Targets for the squared loss, labels ±1 for the hinge and the squared hinge, which have one limit.
    loss : {"squared", "hinge", "squared_hinge"}
    patterns : Patterns, optional
        By default every pattern of X.
    tol : float
        Relative gap (cost − bound)/cost at which to stop.
    max_time : float, optional
        Seconds, without the enumeration; then the best network that fits, if there is one.
    max_patterns : int
        Most patterns to enumerate.

    Raises
    ------
    ValueError
        If the data or an option are not valid, the loss is the logistic one, there are too many patterns,
        or no network of these patterns fits: the sentence names the rows at fault where two rows are.
    TimeoutError
        If no network that fits was found in `max_time`.
    ArithmeticError
        If the fit cannot be made exact in floating point.

    Source: Pilanci & Ergen (2020), the limit β → 0 of Theorem 1; Kelley (1960) for cutting planes.
    """
    X, y, _ = check_problem(X, y, 1.0, loss)
    _check_options(y, loss, tol, max_time)
    if patterns is None:
        patterns = Patterns.enumerate(X, max_patterns=max_patterns)
        kind: Literal["exact", "patterns"] = "exact"
    else:
        kind = "exact" if is_complete(X, patterns) else "patterns"
    program = ConvexProgram(X, y, patterns, 1.0, "squared" if loss == "squared" else "hinge")
    _refuse_misfit(program, kind)
    if not y.any():
        zero = np.zeros_like(y)
        return Interpolation(Network.zero(X.shape[1]), 0.0, 0.0, 0.0, kind, zero, 0.0, Status.ZERO)
    deadline = np.inf if max_time is None else perf_counter() + max_time
    return _by_cutting_planes(program, kind, tol, deadline)


def _check_options(y: Array, loss: str, tol: float, max_time: float | None) -> None:
    if loss == "logistic":
        raise ValueError(
            "The logistic loss is never zero, so p*/β may diverge as β → 0 and there is no interpolation "
            "problem: use loss='hinge', which asks for margins y f ≥ 1."
        )
    if y.ndim != 1:
        raise ValueError(f"interpolate takes one output; y has shape {y.shape}.")
    if not (np.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be a positive finite number; it is {tol!r}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be positive or None; it is {max_time!r}.")


# ---- is there a fit at all? ---------------------------------------------------------------------------


def _refuse_misfit(program: ConvexProgram, kind: str) -> None:
    """ValueError if y is not in the range of F (squared), or no fit has margins of one sign with y."""
    X, y = program.X, program.y
    is_squared = program.loss == "squared"
    _refuse_rows(X, y, is_squared)
    basis = _fit_basis(X, program.patterns.masks)
    if is_squared:
        off = float(np.linalg.norm(y - basis @ (basis.T @ y)))
        misfit = off > 1e-8 * float(np.linalg.norm(y))
        reason = f"y is {off:.2g} away from them"
    else:
        misfit = linprog(
            np.zeros(basis.shape[1]), A_ub=-y[:, None] * basis, b_ub=-np.ones(len(y)), bounds=(None, None)
        ).status == 2  # fmt: skip
        reason = "none of them has the signs of y"
    if misfit:
        which = "all patterns" if kind == "exact" else "these patterns"
        advice = "" if kind == "exact" else "; with more patterns there may be one"
        raise ValueError(
            f"There is no exact fit: the fits over {which} have rank {basis.shape[1]} of {len(y)} and "
            f"{reason}{advice}."
        )


def _refuse_rows(X: Array, y: Array, is_squared: bool) -> None:
    """f(0) = 0 and f(cx) = c f(x) for c > 0: rows that contradict this rule out any fit."""
    norms = np.linalg.norm(X, axis=1)
    zero = np.flatnonzero((norms == 0) & (y != 0))
    if len(zero):
        i = int(zero[0])
        raise ValueError(
            f"There is no exact fit: row {i} of X is zero, where every network gives 0, and y[{i}] is "
            f"{y[i]:g}; a column of ones would help."
        )
    used = np.flatnonzero(norms > 0)
    unit, height = X[used] / norms[used, None], y[used] / norms[used]
    order = np.lexsort(np.round(unit, 9).T)
    for a, b in pairwise(order):
        if np.abs(unit[a] - unit[b]).max() > 1e-12:
            continue
        scale = max(abs(height[a]), abs(height[b]))
        disagree = abs(height[a] - height[b]) > 1e-10 * scale if is_squared else height[a] * height[b] < 0
        if disagree:
            i, j = sorted((int(used[a]), int(used[b])))
            how = "are equal" if np.array_equal(X[i], X[j]) else "point the same way, so f grows with length"
            raise ValueError(
                f"There is no exact fit: rows {i} and {j} of X {how}, and their targets are {y[i]:g} and "
                f"{y[j]:g}."
            )


def _fit_basis(X: Array, masks: BoolArray) -> Array:
    """An orthonormal basis of the range of [D_1X … D_PX] = range(XXᵀ ∘ MMᵀ); cones do not shrink it."""
    M = masks.astype(np.float64)
    norms = np.linalg.norm(X, axis=1)
    unit = X / np.where(norms > 0, norms, 1.0)[:, None]
    both = M @ M.T
    size = np.sqrt(np.maximum(np.diag(both), 1.0))
    values, vectors = np.linalg.eigh((unit @ unit.T) * both / np.outer(size, size))
    spanned = vectors[:, values > _RANK * max(values[-1], 0.0)] * (norms * size)[:, None]
    basis: Array = np.linalg.qr(spanned)[0]
    return basis


# ---- cutting planes over directions -------------------------------------------------------------------


class _Atoms(NamedTuple):
    """Unit directions u (d, k) with the sign s of their output."""

    directions: Array
    signs: Array

    def joined(self, other: "_Atoms") -> "_Atoms":
        U = np.concatenate([self.directions, other.directions], axis=1)
        return _Atoms(U, np.concatenate([self.signs, other.signs]))

    def take(self, index: Any) -> "_Atoms":
        return _Atoms(self.directions[:, index], self.signs[index])

    def columns(self, X: Array) -> Array:
        """s(Xu)_+, n×k."""
        return np.maximum(X @ self.directions, 0.0) * self.signs


@dataclass
class _Best:
    """The cheapest network that fits and the best bound so far."""

    nu: Array
    cost: float = np.inf
    network: Network | None = None
    bound: float = 0.0

    @property
    def gap(self) -> float:
        return (self.cost - self.bound) / self.cost if np.isfinite(self.cost) else np.inf


def _by_cutting_planes(
    program: ConvexProgram, kind: Literal["exact", "patterns"], tol: float, deadline: float
) -> Interpolation:
    """Linear programs over the masses of fixed directions; each dual point is priced over all patterns.

    A basic solution has at most n directions. While they cannot fit, the program is that of least misfit.
    """
    atoms, best = _first_atoms(program), _Best(np.zeros_like(program.y))
    status, idle, last = Status.ITERATION_LIMIT, 0, np.inf
    for _ in range(_ROUNDS):
        point = _masses(program, atoms, fits=True)
        fits = point is not None
        if point is None:
            point = _masses(program, atoms, fits=False)
        if point is None:
            status = Status.FAILED
            break
        nu, mass = point
        violated, rho = _violated(program, nu, 1.0 if fits else 1e-9)
        if fits:
            _keep(program, best, atoms, mass)
            feasible = nu / (rho * _OUTWARD)
            if (value := float(program.y @ feasible)) > best.bound:
                best.bound, best.nu = value, feasible
        if best.gap <= tol:
            status = Status.CONVERGED
            break
        if perf_counter() > deadline:
            status = Status.TIME_LIMIT
            break
        idle, last = (idle + 1, last) if best.gap > 0.9 * last else (0, best.gap)
        if idle >= _PATIENCE or not len(violated.signs):
            status = Status.STALLED
            break
        atoms = _pruned(program, atoms, nu, float(fits)).joined(violated)
    return _finish(program, best, kind, status)


def _first_atoms(program: ConvexProgram) -> _Atoms:
    """Both signs of the generators of some cells."""
    G = program.patterns.generators
    if G.shape[1] > _FIRST // 2:
        G = G[:, np.random.default_rng(0).permutation(G.shape[1])[: _FIRST // 2]]
    G = G / np.linalg.norm(G, axis=0)
    return _Atoms(np.concatenate([G, G], axis=1), np.repeat([1.0, -1.0], G.shape[1]))


def _masses(program: ConvexProgram, atoms: _Atoms, fits: bool) -> tuple[Array, Array] | None:
    """(ν, a): min Σa with the fit exact, None if there is none; or else the least misfit of all rows."""
    y, C = program.y, atoms.columns(program.X)
    n, k = C.shape
    is_squared = program.loss == "squared"
    A, b = (C, y) if is_squared else (y[:, None] * C, np.ones(n))
    rows = np.abs(A).max(axis=1)
    rows = np.where(rows > 0, rows, 1.0)
    A, b = A / rows[:, None], b / rows
    scale = float(b.max() if not is_squared else np.abs(b).max())
    cost = np.ones(k)
    if not fits:
        slack = np.hstack([np.eye(n), -np.eye(n)]) if is_squared else np.eye(n)
        A, cost = np.hstack([A, slack]), np.concatenate([np.zeros(k), np.ones(slack.shape[1])])
    found: OptimizeResult
    if is_squared:
        found = linprog(cost, A_eq=A, b_eq=b / scale, bounds=(0, None), options=_LP)
    else:
        found = linprog(cost, A_ub=-A, b_ub=-b / scale, bounds=(0, None), options=_LP)
    if found.x is None:
        return None
    nu = found.eqlin.marginals if is_squared else -y * np.minimum(found.ineqlin.marginals, 0.0)
    return nu / rows, scale * found.x[:k]


def _keep(program: ConvexProgram, best: _Best, atoms: _Atoms, mass: Array) -> None:
    """Make the fit of the masses exact to rounding, and keep the network if it is cheaper."""
    support = np.flatnonzero(mass > 0)
    mass = mass[support]
    atoms = atoms.take(support)
    if program.loss == "squared":
        C = atoms.columns(program.X)
        size = np.linalg.norm(C, axis=0)
        mass = mass + np.linalg.lstsq(C / size, program.y - C @ mass, rcond=1e-14)[0] / size
        keep = mass > 0
        atoms, mass = atoms.take(keep), mass[keep]
    else:
        least = float(np.min(program.y * (atoms.columns(program.X) @ mass), initial=np.inf))
        if not 0 < least < np.inf:
            return
        mass = mass * ((1.0 + 4e-16) / least)
    network = Network(atoms.directions * np.sqrt(mass), atoms.signs * np.sqrt(mass))
    if network.penalty() < best.cost and _residual(program, network) <= EXACT * np.abs(program.y).max():
        best.cost, best.network = network.penalty(), network


def _violated(program: ConvexProgram, nu: Array, limit: float) -> tuple[_Atoms, float]:
    """The directions Π_{K_i}(±XᵀD_iν) of length above `limit`, the longest first, and the largest length."""
    G = program.adjoint(nu).T
    masks = np.ascontiguousarray(program.patterns.masks.T)
    signs = np.repeat([1.0, -1.0], len(G))
    W = np.concatenate([G, -G])
    W = project_blocks(
        program._rows, np.concatenate([masks, masks]), W, tight=np.zeros(W.shape, dtype=np.int64),
        count=np.zeros(len(W), dtype=np.int64),
    )  # fmt: skip
    norm = np.linalg.norm(W, axis=1)
    order = np.argsort(-norm, kind="stable")[:_NEW]
    order = order[norm[order] > limit + _VIOLATED]
    return _Atoms((W[order] / norm[order, None]).T, signs[order]), float(norm.max())


def _pruned(program: ConvexProgram, atoms: _Atoms, nu: Array, price: float) -> _Atoms:
    """The directions of least reduced cost, if there are too many."""
    if len(atoms.signs) <= _MOST:
        return atoms
    reduced = price - nu @ atoms.columns(program.X)
    return atoms.take(np.argsort(reduced, kind="stable")[: _MOST // 2])


def _residual(program: ConvexProgram, network: Network) -> float:
    """max|f − y|, or max(1 − yf)_+."""
    f = network.predict(program.X)
    error = np.abs(f - program.y) if program.loss == "squared" else np.maximum(1.0 - program.y * f, 0.0)
    return float(error.max())


def _finish(
    program: ConvexProgram, best: _Best, kind: Literal["exact", "patterns"], status: Status
) -> Interpolation:
    if best.network is None:
        if status is Status.TIME_LIMIT:
            raise TimeoutError(
                "No network that fits was found in max_time: give more time or fewer patterns."
            )
        raise ArithmeticError(
            "A fit exists, but floating point did not reach it to nine digits: rescale the columns of X, or "
            "train with a small β."
        )
    network = minimal_width(best.network, program.X).network
    if (
        network.penalty() > best.cost * _OUTWARD
        or _residual(program, network) > EXACT * np.abs(program.y).max()
    ):
        network = best.network.balanced()
    cost = network.penalty()
    gap = (cost - best.bound) / cost
    return Interpolation(network, cost, best.bound, gap, kind, best.nu, _residual(program, network), status)
