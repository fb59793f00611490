"""Branch and bound on ρ(ν): never below the truth, close to it, and the same every time."""

from fractions import Fraction

import numpy as np
import pytest

from convexnn.cones import adjoint_blocks, prepare_rows, project_blocks
from convexnn.patterns import Patterns
from convexnn.pricing import rho_estimate
from convexnn.pricing.branch_and_bound import rho_bound, rho_bounds
from convexnn.pricing.reduction import proven_value, reduce_problem
from convexnn.pricing.sweep import rho_sweep
from convexnn.program import ConvexProgram


def mass(X, nu):
    """Σ|ν_i|‖x_i‖, the scale of rounding."""
    return float(np.abs(nu) @ np.linalg.norm(X, axis=1))


def enumerated(X, nu):
    """ρ(ν) = max_i ‖Π_{K_i}(XᵀD_iν)‖ over every cell."""
    rows = prepare_rows(X)
    masks = np.ascontiguousarray(Patterns.enumerate(X).masks.T)
    G = adjoint_blocks(rows, masks, np.ones(len(masks)), nu, np.zeros((len(masks), X.shape[1])))
    count = np.zeros(len(masks), dtype=np.int64)
    W = project_blocks(rows, masks, G, tight=np.zeros(G.shape, dtype=np.int64), count=count)
    return float(np.linalg.norm(W, axis=1).max())


def circles(X, nu):
    """ρ(ν) for rank 3: on each great circle x_iᵀu = 0 every arc, its two cells and its kinks are visited."""
    best = 0.0
    for x in X:
        plane = np.linalg.svd(x[None])[2][1:]
        z = X @ plane.T
        moving = np.linalg.norm(z, axis=1) > 1e-9
        angle = np.arctan2(z[moving, 1], z[moving, 0]) + np.pi / 2
        kinks = np.sort(np.mod(np.concatenate([angle, angle + np.pi]), 2 * np.pi))
        middle = (kinks + np.diff(kinks, append=kinks[0] + 2 * np.pi) / 2)[None]
        U = plane.T @ np.vstack([np.cos(middle), np.sin(middle)])
        for side in (1e-9, -1e-9):
            G = X.T @ ((X @ (U + side * x[:, None]) > 0) * nu[:, None])
            on_circle = plane.T @ (plane @ G)
            corners = plane.T @ np.vstack([np.cos(kinks), np.sin(kinks)])
            for V in (G, on_circle, corners):
                V = V[:, np.linalg.norm(V, axis=0) > 1e-12]
                h = nu @ np.maximum(X @ V, 0.0) / np.linalg.norm(V, axis=0)
                best = max(best, float(h.max(initial=0.0)))
    return best


def random_problem(rng):
    """Small data with ties, duplicate, opposite, parallel and zero rows, of full and lower rank."""
    n, d = int(rng.integers(3, 12)), int(rng.integers(3, 6))
    kind = rng.integers(5)
    X = rng.standard_normal((n, d))
    if kind == 1:
        X = rng.integers(-2, 3, (n, d)).astype(float)
    elif kind == 2:
        X = X[rng.integers(n, size=n)] * rng.choice([1.0, -1.0, 2.0, 0.5, 0.0], size=(n, 1))
    elif kind == 3:
        X = rng.integers(-1, 2, (n, d)).astype(float)
    elif kind == 4:
        X = X @ np.diag(10.0 ** rng.uniform(-2, 2, d))
    nu = rng.standard_normal(n) if rng.random() < 0.6 else rng.integers(-2, 3, n).astype(float)
    if rng.random() < 0.1:
        nu = np.abs(nu)
    return X, nu


def check_small(X, nu, scale=1.0):
    """lower ≤ ρ ≤ upper against complete enumeration, and the tolerance reached."""
    truth = scale * enumerated(X, nu)
    size = scale * mass(X, nu)
    result = rho_bound(scale * X, nu)
    assert result.finished
    assert result.lower - 1e-12 * size <= truth <= result.upper + 1e-12 * size
    assert result.lower <= result.upper <= max(result.lower * (1 + 1.001e-3), 1e-5 * size)
    return result


def test_small_problems_against_enumeration():
    rng = np.random.default_rng(0)
    nodes = 0
    for _ in range(150):
        X, nu = random_problem(rng)
        nodes += check_small(X, nu, 10.0 ** float(rng.choice([-6, 0, 6]))).nodes
    assert nodes > 0


@pytest.mark.slow
def test_attack():
    rng = np.random.default_rng(1)
    for _ in range(2000):
        X, nu = random_problem(rng)
        check_small(X, nu, 10.0 ** float(rng.integers(-6, 7)))


@pytest.mark.slow
def test_attack_with_a_fine_tolerance():
    rng = np.random.default_rng(2)
    for _ in range(300):
        X, nu = random_problem(rng)
        result = rho_bound(X, nu, rtol=1e-7, max_nodes=20_000)
        assert result.upper >= enumerated(X, nu) - 1e-12 * mass(X, nu)


def test_both_signs_agree_with_the_program():
    rng = np.random.default_rng(3)
    for _ in range(20):
        X, nu = rng.standard_normal((9, 4)), rng.standard_normal(9)
        truth = ConvexProgram(X, nu, Patterns.enumerate(X), 1.0).rho(nu)
        both = rho_bounds(X, nu)
        assert both.lower * (1 - 1e-12) <= truth <= both.upper <= truth * 1.00101
        single = [rho_bound(X, sign * nu) for sign in (1.0, -1.0)]
        assert max(r.lower for r in single) == both.lower
        assert both.upper <= max(r.upper for r in single) * 1.00101


@pytest.mark.parametrize("n", [20, 60])
def test_rank_three_against_great_circles(n):
    rng = np.random.default_rng(4)
    for _ in range(5):
        X = np.c_[rng.standard_normal((n, 2)), np.ones(n)]
        nu = rng.standard_normal(n)
        truth = circles(X, nu)
        result = rho_bound(X, nu)
        assert result.lower <= truth * (1 + 1e-12)
        assert truth <= result.upper <= truth * 1.00101


@pytest.mark.parametrize("blocks", [2, 3])
def test_blocks_of_rank_two(blocks):
    """Orthogonal blocks add up in squares: ρ² = Σρ_b², each ρ_b known from the sweep."""
    rng = np.random.default_rng(5)
    X = np.zeros((12 * blocks, 2 * blocks))
    nu = rng.standard_normal(12 * blocks)
    square = 0.0
    for b in range(blocks):
        rows = slice(12 * b, 12 * b + 12)
        part = rng.standard_normal((12, 2))
        X[rows, 2 * b : 2 * b + 2] = part
        square += rho_sweep(part, nu[rows])[1] ** 2
    rotation = np.linalg.qr(rng.standard_normal((2 * blocks + 1, 2 * blocks)))[0]
    result = rho_bound(X @ rotation.T, nu)
    assert result.finished
    assert result.lower <= square**0.5 * (1 + 1e-12)
    assert square**0.5 * (1 - 1e-12) <= result.upper <= square**0.5 * 1.00101


def test_bounds_hold_in_exact_arithmetic():
    """Integer data, rational numbers: upper ≥ h(g)/‖g‖ at every cell gradient, lower ≤ h at its direction."""
    rng = np.random.default_rng(6)

    def h(X, nu, u):
        z = [sum(int(a) * c for a, c in zip(row, u, strict=True)) for row in X]
        return sum(int(q) * max(v, 0) for q, v in zip(nu, z, strict=True))

    for _ in range(12):
        X, nu = rng.integers(-3, 4, (8, 3)).astype(float), rng.integers(-3, 4, 8).astype(float)
        result = rho_bound(X, nu, rtol=1e-7)
        for g in (X.T @ (Patterns.enumerate(X).masks * nu[:, None])).T.astype(int).tolist():
            value, square = h(X, nu, g), sum(c * c for c in g)
            assert value <= 0 or Fraction(result.upper) ** 2 * square >= value * value
        u = [Fraction(c) for c in result.direction]
        assert result.lower == 0 or Fraction(result.lower) ** 2 * sum(c * c for c in u) <= h(X, nu, u) ** 2


def test_signs_of_nu():
    """ν ≤ 0: ρ = 0. ν ≥ 0: ρ ≥ ‖Xᵀν‖, with equality where all rows make acute angles."""
    rng = np.random.default_rng(7)
    X, nu = rng.standard_normal((30, 4)), np.abs(rng.standard_normal(30))
    assert rho_bound(X, -nu)[:2] == (0.0, 0.0)
    assert rho_bound(X, nu).upper > np.linalg.norm(X.T @ nu)
    acute = rho_bound(np.abs(X), nu)
    truth = float(np.linalg.norm(np.abs(X).T @ nu))
    assert truth * (1 - 1e-12) <= acute.upper <= truth * 1.00101
    assert acute.lower <= truth * (1 + 1e-12)


def test_cancelling_rows():
    """Duplicates whose weights cancel leave nothing; (x + y)₊ − x₊ − y₊ ≤ 0 has ρ = 0 on whole quadrants."""
    rng = np.random.default_rng(8)
    X = rng.standard_normal((6, 4))
    nothing = rho_bound(np.vstack([X, 3 * X]), np.r_[3 * np.ones(6), -np.ones(6)])
    assert nothing.lower == 0
    assert nothing.upper <= 1e-10 * np.abs(X).sum()
    X = np.vstack([[1.0, 1.0, 0.0], np.eye(3)])
    result = rho_bound(X, np.array([1.0, -1.0, -1.0, -1.0]))
    assert result.finished
    assert result.lower == 0
    assert 0 <= result.upper <= 1e-4


def test_unfinished_runs_are_bounds():
    rng = np.random.default_rng(9)
    X, nu = np.c_[rng.standard_normal((200, 5)), np.ones(200)], rng.standard_normal(200)
    truth = rho_bound(X, nu)
    last = np.inf
    assert truth.finished
    for max_nodes in (0, 40, 200, 1000):
        result = rho_bound(X, nu, max_nodes=max_nodes)
        assert not result.finished
        assert result.nodes <= max_nodes
        assert truth.lower <= result.upper
        assert result.upper <= last
        last = result.upper
    hurried = rho_bounds(X, nu, max_time=1e-9)
    assert not hurried.finished
    assert hurried.upper >= truth.lower


def test_threshold_saves_work_and_is_kept():
    rng = np.random.default_rng(10)
    X, nu = rng.standard_normal((80, 4)), rng.standard_normal(80)
    exact = rho_bound(X, nu)
    above = rho_bound(X, nu, threshold=1.3 * exact.lower)
    assert above.finished
    assert above.nodes < exact.nodes
    assert exact.lower <= above.upper <= 1.3013 * exact.lower
    below = rho_bound(X, nu, threshold=0.5 * exact.lower)
    assert below[:3] == exact[:3]


def test_the_same_every_time():
    rng = np.random.default_rng(11)
    X, nu = np.c_[rng.standard_normal((150, 4)), np.ones(150)], rng.standard_normal(150)
    runs = [rho_bounds(X, nu) for _ in range(2)]
    assert runs[0][:4] == runs[1][:4]
    np.testing.assert_array_equal(runs[0].direction, runs[1].direction)
    scaled = rho_bounds(2.0**40 * X, 2.0**-90 * nu)
    assert scaled.upper == 2.0**-50 * runs[0].upper
    assert scaled.nodes == runs[0].nodes


def test_lower_is_at_least_the_estimate():
    rng = np.random.default_rng(12)
    X, nu = rng.standard_normal((100, 4)), rng.standard_normal(100)
    both = rho_bounds(X, nu)
    assert rho_estimate(X, nu) * (1 - 1e-3) <= both.lower <= both.upper
    assert rho_estimate(X, nu) <= both.upper
    assert np.linalg.norm(both.direction) == pytest.approx(1.0)


def test_reduction_keeps_the_value():
    """The reduced rows give the same h, within the slack that is declared."""
    rng = np.random.default_rng(13)
    X = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 6))
    X = np.vstack([X, 2 * X[:5], -X[:5], np.zeros((2, 6))])
    nu = rng.standard_normal(len(X))
    problem = reduce_problem(X, nu)
    assert problem.rank == 3
    assert len(problem.A) + len(problem.B) == 25
    for u in rng.standard_normal((50, 6)):
        v = problem.basis.T @ u
        h = np.maximum(problem.A @ v, 0).sum() - np.maximum(problem.B @ v, 0).sum()
        slack = (problem.slack + 1e-14) * problem.scale * np.linalg.norm(u)
        assert abs(problem.scale * h - nu @ np.maximum(X @ u, 0)) <= slack
    assert problem.slack * problem.scale < 1e-10 * mass(X, nu)


def test_proven_value_is_below():
    X, nu = np.array([[0.1, 0.2], [0.3, -0.7]]), np.array([0.3, -0.1])
    u = np.array([0.7, 0.1])
    exact = [[Fraction(a) for a in row] for row in X]
    z = [sum(a * Fraction(c) for a, c in zip(row, u, strict=True)) for row in exact]
    h = sum(Fraction(q) * max(v, Fraction(0)) for q, v in zip(nu, z, strict=True))
    got = Fraction(proven_value(X, nu, u))
    assert 0 < got**2 * sum(Fraction(c) ** 2 for c in u) <= h * h
    assert float(got) == pytest.approx(float(h) / np.linalg.norm(u), rel=1e-12)


def test_refusals():
    X, nu = np.eye(4), np.ones(4)
    with pytest.raises(ValueError, match="rank 13"):
        rho_bound(np.eye(13), np.ones(13))
    with pytest.raises(ValueError, match="shapes"):
        rho_bound(X, np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        rho_bound(X, np.full(4, np.inf))
    for bad in ({"rtol": 0.0}, {"threshold": -1.0}, {"max_time": 0.0}, {"max_nodes": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            rho_bound(X, nu, **bad)
