"""An attack on every rigorous bound: none may lie above an objective that some route reaches."""

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns, certify, solve
from convexnn.descent import descend
from convexnn.losses import LOSSES, get_loss
from convexnn.pricing.branch_and_bound import rho_bounds
from convexnn.pricing.spectral import spectral_dual
from convexnn.rigorous import exact_proof

KINDS = ("gaussian", "ties", "duplicates", "opposites", "scaled up", "scaled down", "columns apart")
SLACK = 1e-9


def problem(seed: int) -> tuple[np.ndarray, np.ndarray, float, str]:
    """A random small problem (X, y, β, loss); the seed walks through kinds and losses."""
    rng = np.random.default_rng(seed)
    kind, loss = KINDS[seed % len(KINDS)], list(LOSSES)[(seed // len(KINDS)) % len(LOSSES)]
    n, d = int(rng.integers(2, 9)), int(rng.integers(1, 4))
    X = rng.standard_normal((n, d))
    if kind == "ties":
        X = np.round(1.5 * X)
    elif kind == "duplicates":
        X[n // 2 :] = X[: n - n // 2]
    elif kind == "opposites":
        X[n // 2 :] = -X[: n - n // 2]
    elif kind == "columns apart":
        X = X * np.logspace(0, -4, d)
    y = np.sign(rng.standard_normal(n)) if get_loss(loss).is_classification else rng.standard_normal(n)
    scale = {"scaled up": 1e6, "scaled down": 1e-6}.get(kind, 1.0)
    size = float(np.linalg.norm(X, axis=1).sum())
    beta = float(10.0 ** rng.uniform(-3, 0)) * max(size, 0.1) * scale
    return X * scale, y, beta, loss


def best_objective(X: np.ndarray, y: np.ndarray, beta: float, loss: str, seed: int) -> tuple[float, list]:
    """The lowest objective of several routes, recomputed from networks, and dual points to try."""
    rng = np.random.default_rng(seed)
    solution = solve(ConvexProgram(X, y, Patterns.enumerate(X), beta, loss), tol=1e-10, max_time=5)
    networks = [Network.zero(X.shape[1]), Network.from_solution(solution)]
    if seed % 5 == 0:
        start = Network(rng.standard_normal((X.shape[1], 6)), rng.standard_normal(6))
        networks.append(descend(X, y, beta, loss=loss, method="lbfgs", steps=200, start=start).network)
    values = [network.objective(X, y, beta, loss) for network in networks]
    noise = np.abs(rng.standard_normal(len(y))) * (y if get_loss(loss).is_classification else 1.0)
    return min(values), [solution.nu, -get_loss(loss).gradient(np.zeros_like(y), y), noise]


def bound(nu: np.ndarray, rho: float, y: np.ndarray, beta: float, loss: str) -> float:
    function = get_loss(loss)
    t = function.best_scale(nu, y, beta / rho if rho > 0 else np.inf)
    return function.dual_value(t * nu, y)


def attack(seed: int) -> None:
    X, y, beta, loss = problem(seed)
    if not X.any():
        return
    best, points = best_objective(X, y, beta, loss, seed)
    limit = best * (1 + SLACK) + 1e-300
    for nu in points:
        exact = exact_proof(X, nu, beta, rtol=1e-3, max_time=None)
        assert bound(nu, exact.rho, y, beta, loss) <= limit, (seed, "exact")
        for nodes in (8, None):
            boxes = rho_bounds(X, nu, threshold=beta, rtol=1e-3, max_nodes=nodes)
            assert bound(nu, boxes.upper, y, beta, loss) <= limit, (seed, "branch and bound", nodes)
    moved, rho = spectral_dual(X, y, beta, loss, points[seed % 3], steps=20, sectors=4)
    assert rho <= beta * (1 + 1e-12)
    assert get_loss(loss).dual_value(moved, y) <= limit, (seed, "semidefinite")


@pytest.mark.parametrize("first", range(0, 252, 36))
def test_no_proven_bound_exceeds_a_reached_objective(first: int) -> None:
    for seed in range(first, first + 36):
        attack(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 3100, 100))
def test_no_proven_bound_exceeds_a_reached_objective_at_length(first: int) -> None:
    for seed in range(first, first + 100):
        attack(seed)


@pytest.mark.parametrize("seed", range(0, 28, 4))
def test_certify_agrees_with_the_attack(seed: int) -> None:
    X, y, beta, loss = problem(seed)
    best, points = best_objective(X, y, beta, loss, seed)
    for kind in ("exact", "bounded"):
        certificate = certify(Network.zero(X.shape[1]), X, y, beta, loss, 2.0, nu=points[0], certificate=kind)
        assert certificate.kind in ("exact", "bounded")
        assert certificate.lower_bound <= best * (1 + SLACK)
        assert certificate.lower_bound >= best * (1 - 1e-3)
