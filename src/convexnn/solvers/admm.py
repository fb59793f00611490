r"""Plain ADMM with a closed-form step, for programs with the squared loss: a cross-check, and easy to read.

    min  ½‖F u − y‖² + β Σ_b ‖v_b‖   s.t.  u = v,  G u = s,  s ≥ 0  (gated: u = v only)

F u = Σ_b ± D_b X u_b, G_b = κ(2D_b − I)X with κ = 1/‖X‖₂, which gives both constraints one unit. Step, with
scaled multipliers λ, η and penalty ρ:

    u ← (FᵀF + ρ(I + GᵀG))⁻¹ (Fᵀy + ρ(v − λ) + ρGᵀ(s − η))
    v ← (1 − (β/ρ)/‖u_b + λ_b‖)₊ (u_b + λ_b),  s ← (G u + η)₊,  λ ← λ + u − v,  η ← η + G u − s

G_bᵀG_b = κ²XᵀX for every b, so with B = I + κ²XᵀX the first line needs one d×d and one n×n Cholesky, by
Woodbury through H = I + (2/ρ)(X B⁻¹ Xᵀ)∘(M Mᵀ) (gated: B = I and 1 in place of 2). The v meet the cones only
in the limit: each check projects them, so every point that counts is feasible.
Sources: Boyd et al. (2011), with their residual balancing; Mishkin, Sahiner & Pilanci (2022); Feng et al.
(2024).
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from convexnn._types import Array, IntArray, Progress
from convexnn.activation import gains
from convexnn.cones import project_blocks
from convexnn.program import ConvexProgram
from convexnn.solvers.solution import Solution, make_solution, record
from convexnn.status import Status

_STEPS = 20_000
_CHECK = 25  # steps between two duality gaps
_RELAXATION = 1.6
_BALANCE = 3.0  # ratio of the residuals beyond which ρ changes
_BALANCED_STEPS = 3000  # after which ρ stays: convergence is proven for a fixed ρ


@dataclass(frozen=True)
class _Operator:
    """F and G for the B columns of u: one a pattern and sign, or one a pattern if gated."""

    X: Array
    cover: Array  # (n, B): ±1[row i in pattern b], so F u = rowsum(cover ∘ (X u))
    cone: Array  # (n, B): κ(2d − 1), or (n, 0) if gated
    kernel: Array  # (X B⁻¹ Xᵀ)∘(M Mᵀ), doubled with two signs
    base: Any  # Cholesky factor of B

    def fit(self, u: Array) -> Array:
        """F u."""
        return np.asarray(np.einsum("ij,ij->i", self.X @ u, self.cover))

    def slack(self, u: Array) -> Array:
        """G u, n×B; without columns if gated."""
        return np.asarray(self.cone * (self.X @ u)) if self.cone.size else self.cone

    def adjoint(self, r: Array, s: Array) -> Array:
        """Fᵀr + Gᵀs, d×B."""
        rows = self.cover * r[:, None]
        return np.asarray(self.X.T @ (rows + self.cone * s if self.cone.size else rows))


@dataclass
class _State:
    """Everything that changes; u, v, λ are d×B, s and η are n×B."""

    v: Array
    s: Array
    lam: Array
    eta: Array
    rho: float
    factor: Any  # Cholesky factor of H
    fit: Array  # F u
    tight: IntArray
    count: IntArray
    residuals: tuple[float, float] = (0.0, 0.0)  # of the constraints, and of the multipliers
    best: Array = field(default_factory=lambda: np.zeros(0))
    primal: float = np.inf
    dual: float = 0.0  # D(0) = 0
    nu: Array = field(default_factory=lambda: np.zeros(0))
    history: list[dict[str, Any]] = field(default_factory=list)


def solve_admm(
    program: ConvexProgram,
    *,
    tol: float = 1e-4,
    max_time: float | None = None,
    warm_start: Solution | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Solve program (2) with the squared loss (ReLU or gated) to (primal − dual)/primal ≤ tol.

    It needs hundreds to thousands of steps for a gap of 1e-3, and holds n×2P arrays: use ``ssnal`` to get
    an answer, and this to check one.

    Parameters
    ----------
    program : ConvexProgram
        With the squared loss.
    tol : float
        Relative duality gap over the program's pattern set.
    max_time : float, optional
        Seconds; the best point so far is returned.
    warm_start : Solution, optional
        A point of a program with the same patterns.
    progress : callable, optional
        Receives each row of the history, one for every twenty-five steps.

    Raises
    ------
    ValueError
        If the loss is not the squared loss, or the warm start has another shape.
    """
    if program.loss != "squared":
        raise ValueError(f"admm is for the squared loss, not {program.loss!r}: use solver='ssnal'.")
    begin = perf_counter()
    operator = _operator(program)
    state = _start(program, operator, warm_start)
    status = Status.ITERATION_LIMIT
    try:
        for iteration in range(_STEPS):
            if state.primal - state.dual <= tol * state.primal:
                status = Status.CONVERGED
                break
            if max_time is not None and perf_counter() - begin > max_time:
                status = Status.TIME_LIMIT
                break
            _step(program, operator, state)
            if (iteration + 1) % _CHECK:
                continue
            _check(program, state)
            if iteration < _BALANCED_STEPS:
                _balance(operator, state)
            record(
                state.history,
                progress,
                begin=begin,
                iteration=iteration,
                primal=state.primal,
                bound=state.dual,
            )
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    v, w = _split(program, state.best)
    return make_solution(program, v, w, state.nu, state.dual, status, state.history)


def _operator(program: ConvexProgram) -> _Operator:
    X, masks = program.X, gains(program.patterns.masks, program.negative_slope).astype(np.float64)
    d = X.shape[1]
    if program.gated:
        kernel = (X @ X.T) * (masks @ masks.T)
        return _Operator(X, masks, np.zeros((len(X), 0)), kernel, cho_factor(np.eye(d)))
    kappa = 1.0 / max(float(np.linalg.norm(X, 2)), 1e-300)
    base = cho_factor(np.eye(d) + kappa**2 * (X.T @ X))
    kernel = 2.0 * (X @ cho_solve(base, X.T)) * (masks @ masks.T)
    cone = kappa * (2.0 * program.patterns.masks - 1.0)
    return _Operator(X, np.hstack([masks, -masks]), np.hstack([cone, cone]), kernel, base)


def _start(program: ConvexProgram, operator: _Operator, warm_start: Solution | None) -> _State:
    shape = program.patterns.generators.shape
    v = np.zeros((shape[0], operator.cover.shape[1]))
    if warm_start is not None:
        pair = warm_start.v, warm_start.w
        v = pair[0] - pair[1] if program.gated else np.hstack(pair)
    s = np.maximum(operator.slack(v), 0.0)
    rho = max(float(np.linalg.norm(program.X, 2)) ** 2, 1e-300)
    columns = v.shape[1]
    state = _State(
        v, s, np.zeros_like(v), np.zeros_like(s), rho, _factor(operator, rho), operator.fit(v),
        np.zeros((columns, shape[0]), dtype=np.int64), np.zeros(columns, dtype=np.int64),
    )  # fmt: skip
    state.best, state.nu = np.zeros_like(v), np.zeros(len(program.y))
    state.primal = program.primal(*_split(program, state.best))
    _check(program, state)
    return state


def _factor(operator: _Operator, rho: float) -> Any:
    return cho_factor(np.eye(len(operator.X)) + operator.kernel / rho)


def _split(program: ConvexProgram, u: Array) -> tuple[Array, Array]:
    """The blocks v and w of the program, each d×P."""
    if program.gated:
        return u, np.zeros_like(u)
    P = len(program.patterns)
    return u[:, :P], u[:, P:]


def _step(program: ConvexProgram, operator: _Operator, state: _State) -> None:
    """One step of ADMM, over-relaxed."""
    rho = state.rho
    right = operator.adjoint(program.y, rho * (state.s - state.eta)) + rho * (state.v - state.lam)
    inner = cho_solve(operator.base, right)
    part = cho_solve(state.factor, operator.fit(inner) / rho)
    u = (inner - cho_solve(operator.base, operator.adjoint(part, np.zeros_like(state.s)))) / rho
    state.fit, slack = operator.fit(u), operator.slack(u)
    near = _RELAXATION * u + (1.0 - _RELAXATION) * state.v + state.lam
    near_slack = _RELAXATION * slack + (1.0 - _RELAXATION) * state.s + state.eta
    norm = np.linalg.norm(near, axis=0)
    v = near * np.maximum(1.0 - (program.beta / rho) / np.where(norm > 0, norm, 1.0), 0.0)
    s = np.maximum(near_slack, 0.0)
    state.lam, state.eta = near - v, near_slack - s
    constraint = np.hypot(np.linalg.norm(u - v), np.linalg.norm(slack - s))
    multiplier = rho * np.hypot(np.linalg.norm(v - state.v), np.linalg.norm(s - state.s))
    size = max(float(np.linalg.norm(u)), float(np.linalg.norm(v)), 1e-300)
    force = rho * max(float(np.hypot(np.linalg.norm(state.lam), np.linalg.norm(state.eta))), 1e-300)
    state.residuals = float(constraint) / size, float(multiplier) / force
    state.v, state.s = v, s


def _balance(operator: _Operator, state: _State) -> None:
    """Change ρ when one relative residual is far above the other."""
    constraint, multiplier = state.residuals
    if constraint > _BALANCE * multiplier:
        factor = 2.0
    elif multiplier > _BALANCE * constraint:
        factor = 0.5
    else:
        return
    state.rho *= factor
    state.lam /= factor
    state.eta /= factor
    state.factor = _factor(operator, state.rho)


def _check(program: ConvexProgram, state: _State) -> None:
    """Project v onto the cones and keep the best feasible point; the same for the dual point y − F u."""
    masks = np.ascontiguousarray(program.patterns.masks.T)
    if not program.gated:
        masks = np.concatenate([masks, masks])
    feasible = project_blocks(
        program._rows, masks, np.ascontiguousarray(state.v.T), tight=state.tight, count=state.count,
        gated=program.gated,
    ).T  # fmt: skip
    primal = program.primal(*_split(program, feasible))
    if primal < state.primal:
        state.primal, state.best = primal, feasible
    dual, nu = program.dual(program.y - state.fit)
    if dual > state.dual:
        state.dual, state.nu = dual, nu
