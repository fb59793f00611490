"""Feasibility, certificates and KKT conditions of a solution, recomputed with nothing of the solvers."""

import numpy as np
import pytest
from scipy.optimize import nnls

from convexnn.program import ConvexProgram
from convexnn.solvers import Solution


def explicit_blocks(program: ConvexProgram) -> list[tuple[np.ndarray, np.ndarray]]:
    """D_iX and the cone matrix (2D_i − I)X of each pattern."""
    masks = program.patterns.masks
    return [(m[:, None] * program.X, (2.0 * m - 1.0)[:, None] * program.X) for m in masks.T]


def projection_norm(cone: np.ndarray, g: np.ndarray, gated: bool) -> float:
    """‖Π_K(g)‖ = min over λ ≥ 0 of ‖g + Aᵀλ‖, by non-negative least squares."""
    return float(np.linalg.norm(g)) if gated else float(nnls(cone.T, -g)[1])


def loss_value(loss: str, f: np.ndarray, y: np.ndarray) -> float:
    if loss == "squared":
        return 0.5 * float(np.sum((f - y) ** 2))
    if loss == "logistic":
        return float(np.sum(np.logaddexp(0.0, -y * f)))
    return float(np.sum(np.maximum(1 - y * f, 0.0) ** (2 if loss == "squared_hinge" else 1))) / (
        2 if loss == "squared_hinge" else 1
    )


def loss_slope(loss: str, f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """−∇L of a smooth loss."""
    if loss == "squared":
        return y - f
    return y / (1 + np.exp(y * f)) if loss == "logistic" else y * np.maximum(1 - y * f, 0.0)


def dual_value(loss: str, nu: np.ndarray, y: np.ndarray) -> float:
    q = y * nu
    if loss == "squared":
        return float(np.sum(y * nu - 0.5 * nu**2))
    assert q.min() >= 0.0
    if loss == "squared_hinge":
        return float(np.sum(q - 0.5 * q**2))
    assert q.max() <= 1.0 + 1e-15
    if loss == "hinge":
        return float(np.sum(q))
    inside = q[(q > 0) & (q < 1)]
    return float(-np.sum(inside * np.log(inside) + (1 - inside) * np.log1p(-inside)))


def primal_value(program: ConvexProgram, solution: Solution) -> tuple[float, np.ndarray]:
    fit = np.zeros(len(program.y))
    size = 0.0
    for (FX, _), v, w in zip(explicit_blocks(program), solution.v.T, solution.w.T, strict=True):
        fit += FX @ (v - w)
        size += float(np.linalg.norm(v) + np.linalg.norm(w))
    return loss_value(program.loss, fit, program.y) + program.beta * size, fit


def assert_feasible(program: ConvexProgram, solution: Solution) -> None:
    """Rows inside the cones to 1e-9 of the block's size."""
    if program.gated:
        return
    lengths = np.maximum(np.linalg.norm(program.X, axis=1), 1e-300)
    for (_, cone), v, w in zip(explicit_blocks(program), solution.v.T, solution.w.T, strict=True):
        for block in (v, w):
            assert np.min(cone @ block / lengths) >= -1e-9 * max(1.0, float(np.linalg.norm(block)))


def assert_certified(program: ConvexProgram, solution: Solution, tol: float) -> None:
    """The stated values are those of (v, w) and ν, ν is feasible, and the gap between them is small."""
    primal, _ = primal_value(program, solution)
    assert primal == pytest.approx(solution.primal, rel=1e-11)
    assert dual_value(program.loss, solution.nu, program.y) == pytest.approx(solution.dual, rel=1e-9)
    for FX, cone in explicit_blocks(program):
        for sign in (1.0, -1.0):
            norm = projection_norm(cone, sign * (FX.T @ solution.nu), program.gated)
            assert norm <= program.beta * (1 + 1e-9)
    assert primal - solution.dual <= (tol + 1e-12) * primal
    assert solution.relative_gap == pytest.approx(
        (solution.primal - solution.dual) / solution.primal, abs=1e-15
    )


def assert_stationary(program: ConvexProgram, solution: Solution, tol: float) -> None:
    """‖Π(±XᵀD_iν)‖ ≤ β and νᵀF_bv_b = β‖v_b‖ at ν = −∇L(fit), within √(2·gap) of the optimal ν."""
    primal, fit = primal_value(program, solution)
    nu = loss_slope(program.loss, fit, program.y)
    error = np.sqrt(2 * tol * primal)
    scale = float(np.linalg.norm(program.X, 2))
    for (FX, cone), v, w in zip(explicit_blocks(program), solution.v.T, solution.w.T, strict=True):
        for sign, block in ((1.0, v), (-1.0, w)):
            norm = projection_norm(cone, sign * (FX.T @ nu), program.gated)
            assert norm <= program.beta * (1 + 1e-9) + scale * error
            slack = program.beta * np.linalg.norm(block) - sign * float(nu @ (FX @ block))
            assert abs(slack) <= np.linalg.norm(FX @ block) * error + tol * primal
