"""Newton systems of the inner problem against their own optimality conditions."""

import numpy as np
import pytest

from convexnn.solvers import newton
from convexnn.solvers.newton import solve_boxed_newton, solve_newton


@pytest.mark.parametrize(("M", "n"), [(3, 8), (8, 3), (0, 4), (4, 0), (5, 5)])
@pytest.mark.parametrize("direct", [5000, 1])
def test_solves_the_system(
    M: int, n: int, direct: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both factorisations, conjugate gradients, and empty sides (where BLAS must not be called)."""
    monkeypatch.setattr(newton, "DIRECT", direct)
    rng = np.random.default_rng(M + 10 * n)
    Bt, D, b = rng.standard_normal((M, n)), rng.uniform(0.1, 2.0, n), rng.standard_normal(n)
    x = solve_newton(Bt, D, 1.7, b)
    assert x.shape == (n,)
    np.testing.assert_allclose(x / D + 1.7 * Bt.T @ (Bt @ x), b, atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_box_newton_solves_its_quadratic_program() -> None:
    """KKT of min gᵀx + ½xᵀ(1/D + σBBᵀ)x over a box, with strong coupling, where active sets may cycle."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        n, m = rng.integers(2, 12, size=2)
        Bt, g = rng.standard_normal((m, n)), 5 * rng.standard_normal(n)
        D, sigma = np.full(n, 10.0 ** rng.uniform(-1, 3)), 10.0 ** rng.uniform(-1, 3)
        low, high = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
        free = rng.random(n) < 0.8
        x = solve_boxed_newton(Bt, D, sigma, g, low, high, free)
        slope = g + x / D + sigma * ((Bt @ x) @ Bt)
        rate = 1 / D + sigma * np.sum(Bt**2, axis=0)
        residual = np.where(free, x - np.clip(x - slope / rate, low, high), x)
        assert np.abs(residual).max() <= 1e-6
        assert g @ x + 0.5 * x @ (slope - g) <= 1e-12


def test_a_matrix_that_rounding_made_indefinite_is_solved_with_a_ridge() -> None:
    K = np.array([[1e16, 1e16], [1e16, 1e16 - 10.0]])
    x = newton.solve_definite(K.copy(), np.ones(2))
    assert np.isfinite(x).all()
