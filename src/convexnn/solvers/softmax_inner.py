r"""The inner problem of the augmented Lagrangian on the dual for softmax cross-entropy, by Newton steps.

With weights ω, P = Y − ν/ω, blocks b of output k(b), centres v_b and a penalty σ:

    min_ν φ(ν) = Σ ω P log P + (σ/2) Σ_b (‖w_b(ν)‖ − β)₊²,   w_b(ν) = Π_{K_b}(v_b/σ + s_b XᵀD_b ν_{k(b)})

The state is z = log P, rows up to a constant, so that P cannot leave the simplex: dν = −H dz with
H = ω (diag(p) − ppᵀ) for every row. ∇φ = FU − z, U as in `convexnn.solvers.inner`; the Newton step is
dz = g − B (σ⁻¹I + BᵀHB)⁻¹ BᵀH g, a system of the size of all active columns B together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dsyrk
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import log_softmax, xlogy

from convexnn._types import Array
from convexnn.cones import Rows
from convexnn.solvers.conjugates import make_conjugate
from convexnn.solvers.inner import Blocks, InnerPoint, InnerProblem, evaluate, newton_factor
from convexnn.solvers.newton import solve_definite

_ARMIJO = 1e-4
_HALVINGS = 30
_NOISE = 1e-14
#: log P never falls below minus this.
_LOG_MIN = 40.0
#: Systems larger than this are solved by conjugate gradients.
_DIRECT = 3000
_CG_STEPS = 300
_CG_TOL = 1e-4


@dataclass(frozen=True)
class SoftmaxProblem:
    """What stays fixed during the inner iteration."""

    X: Array
    rows: Rows
    Y: Array  # (n, c)
    weights: Array  # (n, 1) ω
    beta: float
    sigma: float
    deadline: float = np.inf  # on the clock of perf_counter: later evaluations raise `OutOfTime`


@dataclass(frozen=True)
class SoftmaxPoint:
    """φ and everything known at one z."""

    z: Array  # (n, c) log P
    p: Array  # (n, c)
    value: float
    gradient: Array  # (n, c) FU − z, with respect to ν
    parts: tuple[InnerPoint, ...]  # one for each output: projections, new centres, fit

    @property
    def fit(self) -> Array:
        """FU, (n, c)."""
        return np.stack([part.fit for part in self.parts], axis=1)


def curvature(weights: Array, p: Array, a: Array) -> Array:
    """H a = ω (p∘a − p (pᵀa)) for every row."""
    pa = p * a
    return np.asarray(weights * (pa - p * pa.sum(axis=1, keepdims=True)))


def normalised(z: Array) -> Array:
    """log P of logits z, no entry below −40."""
    return np.asarray(log_softmax(np.maximum(log_softmax(z, axis=1), -_LOG_MIN), axis=1))


def evaluate_softmax(problem: SoftmaxProblem, blocks: Sequence[Blocks], z: Array) -> SoftmaxPoint:
    """φ at z = log P, its gradient, the projections and the new centres; updates the blocks' tight rows."""
    p = np.exp(z)
    nu = problem.weights * (problem.Y - p)
    single = _single_output(problem)
    parts = tuple(
        evaluate(single, part, np.ascontiguousarray(column))
        for part, column in zip(blocks, nu.T, strict=True)
    )
    excess = sum(float(np.sum((part.norm[part.active] - problem.beta) ** 2)) for part in parts)
    value = float(np.sum(problem.weights * xlogy(p, p))) + 0.5 * problem.sigma * excess
    gradient = np.stack([part.fit for part in parts], axis=1) - z
    return SoftmaxPoint(z, p, value, gradient, parts)


def minimise_softmax(
    problem: SoftmaxProblem,
    blocks: Sequence[Blocks],
    z: Array,
    *,
    should_stop: Callable[[float, float, SoftmaxPoint], bool],
    max_steps: int = 50,
) -> tuple[SoftmaxPoint, int]:
    """Newton's method on φ from z, with Armijo halving.

    Parameters
    ----------
    blocks : one `Blocks` for each of the c outputs
    should_stop : callable(e, scale, point)
        Called after each step with e = ⟨g, H g⟩ and scale = √⟨ν, H⁺ν⟩.
    max_steps : int

    Returns
    -------
    (point, steps)
        The last point and the Newton steps taken.
    """
    point = evaluate_softmax(problem, blocks, normalised(z))
    for step in range(max_steps):
        dz = _direction(problem, blocks, point)
        slope = -float(np.sum(point.gradient * curvature(problem.weights, point.p, dz)))
        if not np.isfinite(slope) or slope >= 0.0:
            return point, step
        last = -slope <= _NOISE * abs(point.value)  # φ can no longer tell: one full step, and no more
        t = 1.0
        for _ in range(_HALVINGS):
            trial = evaluate_softmax(problem, blocks, normalised(point.z + t * dz))
            if last or trial.value <= point.value + _ARMIJO * t * slope:
                break
            t *= 0.5
        else:
            return point, step
        point = trial
        measure = float(np.sum(point.gradient * curvature(problem.weights, point.p, point.gradient)))
        scale = float(np.sqrt(np.sum(problem.weights * (problem.Y - point.p) ** 2 / point.p)))
        if last or should_stop(max(measure, 0.0), scale, point):
            return point, step + 1
    return point, max_steps


def _single_output(problem: SoftmaxProblem) -> InnerProblem:
    """The problem that `evaluate` sees for one output; its conjugate (of the value zero) is not used."""
    conjugate = make_conjugate("squared", np.zeros(len(problem.X)))
    return InnerProblem(
        problem.X, problem.rows, conjugate, problem.beta, problem.sigma, deadline=problem.deadline
    )


def _direction(problem: SoftmaxProblem, blocks: Sequence[Blocks], point: SoftmaxPoint) -> Array:
    """dz = g − B (σ⁻¹I + BᵀHB)⁻¹ BᵀH g."""
    single = _single_output(problem)
    factors = [newton_factor(single, b, part) for b, part in zip(blocks, point.parts, strict=True)]
    g, p, weights, sigma = point.gradient, point.p, problem.weights, problem.sigma
    sizes = np.cumsum([0, *(len(Bt) for Bt in factors)])
    if sizes[-1] == 0:
        return g

    def forward(y: Array) -> Array:
        """B y, (n, c)."""
        columns = [y[a:b] @ Bt for Bt, a, b in zip(factors, sizes[:-1], sizes[1:], strict=True)]
        return np.stack(columns, axis=1)

    def adjoint(a: Array) -> Array:
        """Bᵀ a, (M,)."""
        return np.concatenate([Bt @ a[:, k] for k, Bt in enumerate(factors)])

    def product(y: Array) -> Array:
        """Return (I + σBᵀHB) y."""
        return np.asarray(y + sigma * adjoint(curvature(weights, p, forward(y))))

    rhs = sigma * adjoint(curvature(weights, p, g))
    if sizes[-1] <= _DIRECT:
        return g - forward(solve_definite(_matrix(factors, sizes, weights, p, sigma), rhs))
    h = weights * p * (1.0 - p)
    diagonal = 1.0 + sigma * np.concatenate([(Bt * Bt) @ h[:, k] for k, Bt in enumerate(factors)])
    return g - forward(_conjugate_gradients(product, diagonal, rhs))


def _matrix(factors: Sequence[Array], sizes: Array, weights: Array, p: Array, sigma: float) -> Array:
    """Lower triangle of I + σ BᵀHB."""
    root = np.sqrt(weights)
    scaled = np.concatenate([Bt * (root * p)[:, k] for k, Bt in enumerate(factors)])
    K = dsyrk(-sigma, scaled.T, trans=1, lower=1)
    for k, Bt in enumerate(factors):
        part = slice(int(sizes[k]), int(sizes[k + 1]))
        if len(Bt):
            K[part, part] += dsyrk(sigma, (Bt * (root * np.sqrt(p))[:, k]).T, trans=1, lower=1)
    K[np.diag_indices(len(K))] += 1.0
    return np.asarray(K)


def _conjugate_gradients(product: Callable[[Array], Array], diagonal: Array, rhs: Array) -> Array:
    """K⁻¹ rhs from products with K and its diagonal as preconditioner."""
    size = (len(rhs), len(rhs))
    matrix = LinearOperator(size, matvec=product)
    inverse = LinearOperator(size, matvec=lambda y: y / diagonal)
    return np.asarray(cg(matrix, rhs, rtol=_CG_TOL, maxiter=_CG_STEPS, M=inverse)[0])
