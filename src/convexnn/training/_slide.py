r"""Sliding neurons over many rows: preconditioned L-BFGS on smoothed ReLUs of falling width.

    P_b(U) = ½‖Σ_j s_j φ_{b_j}(Xv_j) − y‖² + β Σ_j ‖u_j‖²,  v_j = ‖u_j‖u_j,  b_j = b √(v_jᵀ(XᵀX/n)v_j)

The variables are those in which a Kronecker model of the Hessian is the identity: with XᵀX = QΛQᵀ and C the
M×M moment matrix of the gated masses, column l of UQ is L_l⁻ᵀY_l, λ_l C + βI = L_l L_lᵀ.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from convexnn._threads import run_in_threads
from convexnn._types import Array
from convexnn.pricing._smooth_kernels import slide_range
from convexnn.pricing.smooth import Columns
from convexnn.training._bank import Bank

Schedule = tuple[tuple[float, int], ...]

_PARTS = 8  # sums of fixed row ranges, so that results do not depend on the number of threads
_PAIRS = 20
_MODEL_ROWS = 8000


class _Problem(NamedTuple):
    columns: Columns
    y: NDArray[np.float32]
    beta: float
    signs: Array
    width: float


def slide(
    columns: Columns,
    y: Array,
    beta: float,
    bank: Bank,
    *,
    schedule: Schedule,
    rng: np.random.Generator,
    deadline: float = np.inf,
) -> Bank:
    """The bank after L-BFGS with each (relative width, steps) of the schedule; neurons that vanish go."""
    U = bank.directions * np.sqrt(np.maximum(bank.masses, 0.0))[:, None]
    signs = bank.signs
    coarse = y.astype(np.float32)
    for width, steps in schedule:
        size = np.linalg.norm(U, axis=1)
        keep = size > 1e-5 * size.max(initial=0.0)
        U, signs = U[keep], signs[keep]
        if not len(U) or perf_counter() > deadline:
            break
        U = _minimise(_Problem(columns, coarse, beta, signs, width), U, steps, rng, deadline)
    size = np.linalg.norm(U, axis=1)
    keep = size > 1e-5 * size.max(initial=0.0)
    return Bank(U[keep] / size[keep, None], signs[keep], size[keep] ** 2)


def _minimise(problem: _Problem, U: Array, steps: int, rng: np.random.Generator, deadline: float) -> Array:
    eigenvalues, Q = np.linalg.eigh(problem.columns.moment * problem.columns.rows)
    C = _mass_moments(problem, U, rng)
    ridge = problem.beta * np.eye(len(U))
    factors = [
        cholesky(max(0.0, value) * C + ridge, lower=True, check_finite=False).astype(np.float32)
        for value in eigenvalues
    ]

    def weights(flat: Array) -> Array:
        Y = flat.reshape(len(eigenvalues), -1)
        rotated = [
            solve_triangular(L, v, lower=True, trans=1, check_finite=False)
            for L, v in zip(factors, Y.astype(np.float32), strict=True)
        ]
        return np.asarray(np.stack(rotated, axis=1).astype(np.float64) @ Q.T)

    def value_and_gradient(flat: Array) -> tuple[float, Array]:
        value, gradient = objective(problem, weights(flat))
        rotated = (gradient @ Q).T.astype(np.float32)
        parts = [
            solve_triangular(L, g, lower=True, check_finite=False)
            for L, g in zip(factors, rotated, strict=True)
        ]
        return value, np.concatenate(parts).astype(np.float64)

    def stop_in_time(_: Array) -> None:
        if perf_counter() > deadline:
            raise StopIteration

    start = np.concatenate([L.T.astype(np.float64) @ v for L, v in zip(factors, (U @ Q).T, strict=True)])
    found = minimize(
        value_and_gradient, start, jac=True, method="L-BFGS-B", callback=stop_in_time,
        options={"maxiter": steps, "maxfun": 2 * steps, "maxcor": _PAIRS, "ftol": 1e-9, "gtol": 0.0},
    )  # fmt: skip
    return weights(found.x)


def objective(problem: _Problem, U: Array) -> tuple[float, Array]:
    """P_b(U) and its gradient (M×d)."""
    columns, M = problem.columns, len(U)
    size = np.maximum(np.linalg.norm(U, axis=1), 1e-20)
    V = size[:, None] * U
    SV = V @ columns.moment
    scale = np.sqrt(np.maximum(np.einsum("ij,ij->i", SV, V), 1e-60))
    b = np.maximum(problem.width * scale, 1e-25)
    bounds = np.linspace(0, columns.rows, _PARTS + 1).astype(np.int64)
    G, W, value = np.zeros((_PARTS, M, U.shape[1])), np.zeros((_PARTS, M)), np.zeros(_PARTS)
    run_in_threads(
        slide_range, _PARTS, columns.coarse, problem.y, V.astype(np.float32),
        problem.signs.astype(np.float32), b.astype(np.float32), bounds, G, W, value,
    )  # fmt: skip
    turn = (problem.width * W.sum(axis=0) / scale)[:, None] * SV
    GV = problem.signs[:, None] * (G.sum(axis=0) + turn)
    radial = np.einsum("ij,ij->i", GV, U) / size
    gradient = size[:, None] * GV + (radial[:, None] + 2.0 * problem.beta) * U
    return float(value.sum()) + problem.beta * float(np.sum(size**2)), gradient


def _mass_moments(problem: _Problem, U: Array, rng: np.random.Generator) -> Array:
    """C_kl = mean_i (√c_k s_k φ'_ik)(√c_l s_l φ'_il) + δ_kl κ_k over a sample of the rows.

    κ_k = mean_i (s_k r_i)₊ 1[|z_ik| < b_k]/(2b_k), r the residual f − y, is the curvature of the kinks.
    """
    columns, M = problem.columns, len(U)
    n = columns.rows
    wanted = min(n, max(_MODEL_ROWS, 3 * M))
    rows = np.sort(rng.choice(n, wanted, replace=False)) if wanted < n else np.arange(n)
    size = np.maximum(np.linalg.norm(U, axis=1), 1e-20)
    unit = U / size[:, None]
    b = (problem.width * np.sqrt(np.einsum("ij,jk,ik->i", unit, columns.moment, unit))).astype(np.float32)
    weights = (problem.signs * size**2).astype(np.float32)
    root = (problem.signs * size).astype(np.float32)
    C, kinks = np.zeros((M, M)), np.zeros(M)
    for lo in range(0, wanted, 1024):
        part = rows[lo : lo + 1024]
        Z = columns.coarse[:, part].T @ unit.T.astype(np.float32)
        inside = np.abs(Z) < b
        residual = np.maximum(Z, 0.0) @ weights - problem.y[part]
        for sign in (1.0, -1.0):
            kinks += (problem.signs == sign) * (np.maximum(sign * residual, 0.0) @ inside)
        P = np.clip(Z / (2.0 * b) + np.float32(0.5), 0.0, 1.0) * root
        C += P.T @ P
    C /= wanted
    C[np.diag_indices(M)] += kinks / (2.0 * b * wanted)
    return C
