"""The angular sweep: exact to rounding for rank ≤ 2, whatever the degeneracy, and a true bound."""

from fractions import Fraction

import numpy as np
import pytest

from convexnn.pricing.sweep import rho_sweep


def value(X, nu, U):
    """νᵀ(Xu)_+ / ‖u‖ for each column u of U."""
    return nu @ np.maximum(X @ U, 0.0) / np.linalg.norm(U, axis=0)


def dense(X, nu, points=2000):
    """max over the unit ball by brute force: many angles, and every kink and cell gradient near them."""
    t = np.linspace(0, 2 * np.pi, points)
    basis = np.linalg.svd(X)[2][:2]
    U = basis.T @ np.vstack([np.cos(t), np.sin(t)])[: len(basis)]
    best = max(0.0, float(value(X, nu, U).max()))
    G = X.T @ (np.unique(X @ U > 0, axis=1) * nu[:, None])
    kinks = (
        np.cross(np.eye(3)[2], np.pad(X @ basis.T, ((0, 0), (0, 3 - len(basis)))))[:, : len(basis)] @ basis
    )
    for more in (G.T, kinks, -kinks):
        more = more[np.linalg.norm(more, axis=1) > 0]
        best = max(best, float(value(X, nu, more.T).max(initial=0.0)))
    return best


def random_problem(rng, *, integer):
    n, d = int(rng.integers(1, 15)), int(rng.integers(2, 5))
    if integer:
        X = rng.integers(-2, 3, (n, 2)) @ rng.integers(-1, 2, (2, d))
        return X.astype(float), rng.integers(-3, 4, n).astype(float)
    X = rng.standard_normal((n, 2)) @ rng.standard_normal((2, d))
    picked = rng.integers(n, size=n)  # duplicate, opposite and parallel rows
    return X[picked] * rng.choice([1.0, -1.0, 2.0, 0.5], size=(n, 1)), rng.standard_normal(n)


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_agrees_with_brute_force(integer, scale):
    rng = np.random.default_rng(0)
    for _ in range(40):
        X, nu = random_problem(rng, integer=integer)
        if not X.any():
            continue
        lower, upper = rho_sweep(scale * X, nu)
        size = scale * float(np.abs(nu) @ np.linalg.norm(X, axis=1))
        truth = scale * dense(X, nu)
        assert truth - 1e-14 * size <= upper <= truth + 1e-12 * size
        assert upper - 1e-12 * size <= lower <= upper


def test_upper_is_a_bound_in_exact_arithmetic():
    """Integer data: h(g)/‖g‖ at every cell gradient g is compared with `upper` in rational numbers."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        X, nu = random_problem(rng, integer=True)
        lower, upper = rho_sweep(X, nu)
        t = np.linspace(0.001, 2 * np.pi, 400)
        if np.linalg.matrix_rank(X) < 1:
            assert upper == 0
            continue
        basis = np.linalg.svd(X)[2][:2]
        masks = np.unique(X @ basis.T @ np.vstack([np.cos(t), np.sin(t)]) > 0, axis=1)
        for g in (X.T @ (masks * nu[:, None])).T.astype(int).tolist():
            square = sum(c * c for c in g)
            if not square:
                continue
            z = [sum(int(a) * c for a, c in zip(row, g, strict=True)) for row in X]
            h = sum(int(q) * max(v, 0) for q, v in zip(nu, z, strict=True))
            assert h <= 0 or Fraction(upper) ** 2 * square >= h * h
        assert 0 <= lower <= upper


def test_rank_zero_and_one():
    assert rho_sweep(np.zeros((3, 2)), np.array([1.0, 2.0, -1.0])) == (0.0, 0.0)
    X = np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    lower, upper = rho_sweep(X, np.array([2.0, 5.0, 1.0]))  # 2t₊ + 5(−t)₊, t ≤ 5
    assert 25 - 1e-11 <= lower <= 25 <= upper <= 25 + 1e-11
    assert rho_sweep(X, np.array([-2.0, -5.0, 1.0])) == (0.0, 0.0)


def test_known_value_of_three_points():
    """x_1 = e_1, x_2 = e_2, x_3 = e_1 + e_2, ν = (1, 1, 1): all active at u ∝ (1, 1), ρ = √8."""
    lower, upper = rho_sweep(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.ones(3))
    assert Fraction(lower) ** 2 <= 8 <= Fraction(upper) ** 2
    assert upper - lower < 1e-12


def test_powers_of_two_change_nothing():
    rng = np.random.default_rng(2)
    X, nu = random_problem(rng, integer=False)
    lower, upper = rho_sweep(X, nu)
    assert rho_sweep(2.0**-300 * X, 2.0**100 * nu) == (2.0**-200 * lower, 2.0**-200 * upper)


def test_refuses_higher_rank_and_bad_input():
    with pytest.raises(ValueError, match="rank 3"):
        rho_sweep(np.eye(3), np.ones(3))
    with pytest.raises(ValueError, match="shapes"):
        rho_sweep(np.eye(2), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        rho_sweep(np.array([[np.nan, 1.0]]), np.ones(1))


@pytest.mark.slow
def test_attack():
    rng = np.random.default_rng(3)
    for trial in range(2000):
        X, nu = random_problem(rng, integer=bool(trial % 2))
        if not X.any():
            continue
        scale = 10.0 ** float(rng.integers(-6, 7))
        lower, upper = rho_sweep(scale * X, nu)
        size = scale * float(np.abs(nu) @ np.linalg.norm(X, axis=1))
        truth = scale * dense(X, nu)
        assert truth - 1e-14 * size <= upper
        assert upper - 1e-12 * size <= lower <= upper
