r"""No regularisation: the limit β → 0 of the training problem, minimum-norm interpolation.

    R* = min Σ_i (‖v_i‖ + ‖w_i‖)   s.t.  v_i, w_i ∈ K_i  and  F(v, w) = y       (squared loss)
                                                      or  y∘F(v, w) ≥ 1    (hinge, squared hinge)

with F(v, w) = Σ_i D_i X(v_i − w_i), that is the smallest ½ Σ_j (‖u_j‖² + α_j²) of a network that fits. Dual:

    R* = max yᵀν   s.t.  ρ(ν) ≤ 1, ρ(−ν) ≤ 1        (for labels also y∘ν ≥ 0)

The limit is p*(β)/β → R*, and for the dual ν* at every β: R* − (β/2)‖ν*‖² ≤ p*(β)/β ≤ R* (squared, squared
hinge); p*(β) = βR* as soon as β max|ν*| ≤ 1 (hinge). The logistic loss is never zero, so p*(β)/β may diverge.
"""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
from scipy.linalg import null_space
from scipy.optimize import linprog

from convexnn._types import Array, BoolArray
from convexnn.cones import project_blocks
from convexnn.dual import is_complete, minimal_width
from convexnn.losses import check_problem, get_loss
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve
from convexnn.status import Status

__all__ = ["Interpolation", "interpolate"]

#: β of the first program, as a part of its β_max.
import os
_FIRST_SHARE = float(os.environ.get('SH','1e-3'))
_FLOOR=float(os.environ.get('FL','1e-11'))
_ROUNDS = 60
#: A fit whose largest error is below this part of the largest target is exact.
EXACT = 1e-9
#: Eigenvalues of the map from masses to fits below this part of the largest are zero.
_RANK = 1e-12
_OUTWARD = 1.0 + 1e-12


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
    solver: Literal["auto", "cvxpy"] = "auto",
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
        Seconds, without the enumeration and not for CVXPY; then the best network that fits, if there is one.
    max_patterns : int
        Most patterns to enumerate.
    solver : {"auto", "cvxpy"}
        The method of multipliers over `solve`; or the cone program handed to Clarabel.

    Raises
    ------
    ValueError
        If the data or an option are not valid, the loss is the logistic one, there are too many patterns,
        or no network of these patterns fits: the sentence names the rows at fault where two rows are.
    TimeoutError
        If no network that fits was found in `max_time`.
    ArithmeticError
        If the fit cannot be made exact in floating point.

    Source: Pilanci & Ergen (2020), the limit β → 0 of Theorem 1; Rockafellar (1976), the method of
    multipliers.
    """
    X, y, _ = check_problem(X, y, 1.0, loss)
    _check_options(y, loss, tol, solver)
    if patterns is None:
        patterns = Patterns.enumerate(X, max_patterns=max_patterns)
        kind: Literal["exact", "patterns"] = "exact"
    else:
        kind = "exact" if is_complete(X, patterns) else "patterns"
    program = ConvexProgram(X, y, patterns, 1.0, "squared" if loss == "squared" else "hinge")
    if not (y.any() and X.any()) and loss == "squared":
        _refuse_misfit(program, kind)
        zero = np.zeros(len(y))
        return Interpolation(Network.zero(X.shape[1]), 0.0, 0.0, 0.0, kind, zero, 0.0, Status.ZERO)
    _refuse_misfit(program, kind)
    if solver == "cvxpy":
        return _with_cvxpy(program, kind, tol)
    deadline = np.inf if max_time is None else perf_counter() + max_time
    return _by_multipliers(program, kind, tol, deadline)


def _check_options(y: Array, loss: str, tol: float, solver: str) -> None:
    if loss == "logistic":
        raise ValueError(
            "The logistic loss is never zero, so p*/β may diverge as β → 0 and there is no interpolation "
            "problem: use loss='hinge', which asks for margins y f ≥ 1."
        )
    if y.ndim != 1:
        raise ValueError(f"interpolate takes one output; y has shape {y.shape}.")
    if not (np.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be a positive finite number; it is {tol!r}.")
    if solver not in ("auto", "cvxpy"):
        raise ValueError(f"solver must be 'auto' or 'cvxpy'; it is {solver!r}.")


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
    for i in np.flatnonzero((norms == 0) & ((y != 0) | (not is_squared))):
        raise ValueError(
            f"There is no exact fit: row {i} of X is zero, where every network gives 0, and y[{i}] is {y[i]:g}; "
            "a column of ones would help."
        )
    used = np.flatnonzero(norms > 0)
    unit, height = X[used] / norms[used, None], y[used] / norms[used]
    order = np.lexsort(np.round(unit, 9).T)
    for a, b in zip(order[:-1], order[1:], strict=True):
        if np.abs(unit[a] - unit[b]).max() > 1e-12:
            continue
        scale = max(1.0, abs(height[a]), abs(height[b]))
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


# ---- the method of multipliers ------------------------------------------------------------------------


@dataclass
class _Best:
    cost: float
    network: Network | None
    bound: float
    nu: Array

    @property
    def gap(self) -> float:
        return (self.cost - self.bound) / self.cost if np.isfinite(self.cost) else np.inf


def _by_multipliers(
    program: ConvexProgram, kind: Literal["exact", "patterns"], tol: float, deadline: float
) -> Interpolation:
    r"""Solve L(F, y_k) + βΣ(‖v‖ + ‖w‖) and set y_{k+1} = y + (y_k − F_k) (squared): proximal steps on the dual.

    The hinge is an exact penalty: β only has to fall until every margin is 1.
    """
    is_squared = program.loss == "squared"
    beta = _FIRST_SHARE * program.beta_max
    best = _Best(np.inf, None, 0.0, np.zeros_like(program.y))
    target, warm, accuracy = program.y, None, 1e-6
    status, idle = Status.ITERATION_LIMIT, 0
    for _ in range(_ROUNDS):
        left = None if np.isinf(deadline) else max(1e-3, deadline - perf_counter())
        current = replace(program, beta=beta, y=target if is_squared else program.y)
        try:
            warm = solve(current, tol=accuracy, max_time=left, warm_start=warm)
        except np.linalg.LinAlgError:  # β is too small for the Newton systems
            status = Status.STALLED
            break
        nu = target - current.predict(warm.v, warm.w) if is_squared else warm.nu
        before = best.gap
        _update(program, best, warm, nu)
        if best.gap <= tol:
            status = Status.CONVERGED
            break
        if perf_counter() > deadline:
            status = Status.TIME_LIMIT
            break
        idle = idle + 1 if best.gap > 0.5 * before else 0
        if idle >= 8:
            status = Status.STALLED
            break
        accuracy = max(_FLOOR if is_squared else 1e-10, 0.1 * accuracy)
        if os.environ.get('V'): print('   ', beta, accuracy, best.gap, warm.status.name)
        shrink = (0.3 if idle else 1.0) if is_squared else (0.1 if idle or best.gap > 1e-3 else 1.0)
        beta *= shrink
        target = program.y + shrink * nu
    return _finish(program, best, kind, status)


def _update(program: ConvexProgram, best: _Best, solution: Solution, nu: Array) -> None:
    """Make the fit exact, scale ν to ρ(±ν) = 1, and keep what is better."""
    if program.loss != "squared":
        nu = program.y * np.maximum(program.y * nu, 0.0)
    rho = program.rho(nu) * _OUTWARD
    if rho > 0 and float(nu @ program.y) / rho > best.bound:
        best.bound, best.nu = float(nu @ program.y) / rho, nu / rho
    candidates = _fitting(program, solution.v, solution.w)
    candidates += _by_masses(program, solution.v, solution.w, best.nu)
    for network in candidates:
        cost = network.penalty()
        if cost < best.cost and _residual(program, network) <= _allowed(program):
            best.cost, best.network = cost, network


def _allowed(program: ConvexProgram) -> float:
    return EXACT * float(np.abs(program.y).max())


def _residual(program: ConvexProgram, network: Network) -> float:
    f = network.predict(program.X)
    error = np.abs(f - program.y) if program.loss == "squared" else np.maximum(1.0 - program.y * f, 0.0)
    return float(error.max())


def _fitting(program: ConvexProgram, v: Array, w: Array) -> list[Network]:
    """Networks near (v, w) that fit: corrected within the faces of their cones, or scaled to margin 1."""
    blocks, signs, columns = _active(v, w)
    if not len(signs):
        return []
    if program.loss != "squared":
        return _scaled(program, _network(blocks, signs))
    masks = program.patterns.masks[:, columns]
    return [_corrected(program, blocks, signs, masks, width) for width in (1e-7, 1e-5, 0.0)]


def _active(v: Array, w: Array) -> tuple[Array, Array, Array]:
    """Blocks (d, m) with mass, their signs and their patterns."""
    stacked = np.concatenate([v, w], axis=1)
    norm = np.linalg.norm(stacked, axis=0)
    keep = np.flatnonzero(norm > 1e-9 * norm.sum())
    return stacked[:, keep], np.where(keep < v.shape[1], 1.0, -1.0), keep % v.shape[1]


def _network(blocks: Array, signs: Array) -> Network:
    root = np.sqrt(np.linalg.norm(blocks, axis=0))
    return Network(blocks / root, signs * root)


def _corrected(
    program: ConvexProgram, blocks: Array, signs: Array, masks: BoolArray, width: float
) -> Network:
    """The least relative change of the blocks, within their faces, that makes the fit exact.

    A row with |x_iᵀv| ≤ width‖x_i‖‖v‖ is on the face of the block and stays there.
    """
    X, y = program.X, program.y
    unit = program._rows.unit
    blocks = blocks.copy()
    norm = np.linalg.norm(blocks, axis=0)
    parts, spans = [], []
    for k in range(blocks.shape[1]):
        tight = X.any(axis=1) & (np.abs(unit @ blocks[:, k]) <= width * norm[k])
        span = null_space(unit[tight]) if tight.any() else np.eye(len(blocks))
        blocks[:, k] = span @ (span.T @ blocks[:, k])
        spans.append(norm[k] * span)
        parts.append(signs[k] * (np.where(tight, 0.0, masks[:, k])[:, None] * X) @ spans[-1])
    F = np.concatenate(parts, axis=1)
    ends = np.cumsum([span.shape[1] for span in spans])[:-1]
    for _ in range(3):
        kept = np.linalg.norm(blocks, axis=0) > 0
        fit = _network(blocks[:, kept], signs[kept]).predict(X)
        change = np.linalg.lstsq(F, y - fit, rcond=1e-10)[0]
        for k, piece in enumerate(np.split(change, ends)):
            blocks[:, k] += spans[k] @ piece
    kept = np.linalg.norm(blocks, axis=0) > 0
    return _network(blocks[:, kept], signs[kept])


def _by_masses(program: ConvexProgram, v: Array, w: Array, nu: Array) -> list[Network]:
    r"""min Σ a_k over a ≥ 0 with an exact fit, of fixed unit directions: a vertex, so at most n neurons.

    The directions are those of the blocks and the projections Π_{K_i}(±XᵀD_iν) of length near 1.
    """
    blocks, signs, _ = _active(v, w)
    near, near_signs = _nearly_tight(program, nu)
    U, s = np.concatenate([blocks, near], axis=1), np.concatenate([signs, near_signs])
    if not len(s):
        return []
    U = U / np.linalg.norm(U, axis=0)
    C = np.maximum(program.X @ U, 0.0) * s
    size = np.linalg.norm(C, axis=0)
    U, s, C = U[:, size > 0], s[size > 0], C[:, size > 0]
    if program.loss == "squared":
        found = linprog(np.ones(len(s)), A_eq=C, b_eq=program.y, bounds=(0, None))
    else:
        A = -program.y[:, None] * C
        found = linprog(np.ones(len(s)), A_ub=A, b_ub=-np.ones(len(program.y)), bounds=(0, None))
    if found.x is None:
        return []
    support = np.flatnonzero(found.x > 0)
    if program.loss == "squared":
        mass = np.linalg.lstsq(C[:, support], program.y, rcond=1e-13)[0]
        support, mass = support[mass > 0], mass[mass > 0]
    else:
        mass = found.x[support]
    if not len(support):
        return []
    network = Network(U[:, support] * np.sqrt(mass), s[support] * np.sqrt(mass))
    return [network] if program.loss == "squared" else _scaled(program, network)


def _scaled(program: ConvexProgram, network: Network) -> list[Network]:
    """The network times what makes its least margin 1; none if a margin is not positive."""
    least = float(np.min(program.y * network.predict(program.X)))
    if not least > 0:
        return []
    root = np.sqrt((1.0 + 1e-15) / least)
    return [Network(network.U * root, network.alpha * root)]


def _nearly_tight(program: ConvexProgram, nu: Array) -> tuple[Array, Array]:
    """Π_{K_i}(±XᵀD_iν) (d, k) of length within 1e-3 of the largest, 400 at most, and their signs."""
    G = program.adjoint(nu).T
    masks = np.ascontiguousarray(program.patterns.masks.T)
    parts, signs = [], []
    for sign in (1.0, -1.0):
        parts.append(
            project_blocks(
                program._rows, masks, np.ascontiguousarray(sign * G), count=np.zeros(len(G), dtype=np.int64),
                tight=np.zeros(G.shape, dtype=np.int64),
            )
        )  # fmt: skip
        signs.append(np.full(len(G), sign))
    W, s = np.concatenate(parts), np.concatenate(signs)
    norm = np.linalg.norm(W, axis=1)
    order = np.argsort(-norm, kind="stable")[:400]
    order = order[norm[order] > max(0.999 * norm.max(), 1e-300)]
    return W[order].T, s[order]


def _finish(
    program: ConvexProgram, best: _Best, kind: Literal["exact", "patterns"], status: Status
) -> Interpolation:
    if best.network is None:
        if status is Status.TIME_LIMIT:
            raise TimeoutError("No network that fits was found in max_time: give more time or fewer patterns.")
        raise ArithmeticError(
            "A fit exists, but floating point did not reach it to nine digits: rescale the columns of X, or "
            "train with a small β."
        )
    network = minimal_width(best.network, program.X).network
    if network.penalty() > best.cost or _residual(program, network) > _allowed(program):
        network = best.network
    cost = network.penalty()
    gap = (cost - best.bound) / cost
    return Interpolation(network, cost, best.bound, gap, kind, best.nu, _residual(program, network), status)


# ---- the same problem for CVXPY -----------------------------------------------------------------------


def _with_cvxpy(program: ConvexProgram, kind: Literal["exact", "patterns"], tol: float) -> Interpolation:
    """The cone program through CVXPY and Clarabel, then the same exact fit and the same bound."""
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError("solver='cvxpy' needs the package cvxpy: pip install 'convexnn[cvxpy]'.") from error
    X, y, masks = program.X, program.y, program.patterns.masks
    v, w = (cvxpy.Variable(program.patterns.generators.shape) for _ in range(2))
    A = np.concatenate([masks[:, [i]] * X for i in range(masks.shape[1])], axis=1)
    fit = cvxpy.Variable(len(y))
    link: Any = fit == A @ cvxpy.vec(v - w, order="F")
    used = X.any(axis=1)
    signs = 2.0 * masks[used] - 1.0
    cones = [cvxpy.multiply(signs, X[used] @ block) >= 0 for block in (v, w)]
    exact = fit == y if program.loss == "squared" else cvxpy.multiply(y, fit) >= 1
    size = cvxpy.sum(cvxpy.norm(v, 2, axis=0)) + cvxpy.sum(cvxpy.norm(w, 2, axis=0))
    problem = cvxpy.Problem(cvxpy.Minimize(size), [link, exact, *cones])
    inner = max(1e-11, 1e-2 * tol)
    problem.solve(solver="CLARABEL", tol_gap_rel=inner, tol_gap_abs=inner, tol_feas=inner)
    best = _Best(np.inf, None, 0.0, np.zeros_like(y))
    if v.value is not None and w.value is not None:
        zero = np.zeros_like(y)
        point = Solution(v.value, w.value, Status.CONVERGED, 0.0, 0.0, 0.0, 0.0, zero)
        for nu in (link.dual_value, -link.dual_value):
            _update(program, best, point, np.ravel(nu))
    return _finish(program, best, kind, Status.CONVERGED if best.gap <= tol else Status.STALLED)
