"""The eigenvalue bound: never below ρ, never above what networks reach, and its gradients."""

import numpy as np
import pytest

from convexnn import train
from convexnn.cones import adjoint_blocks, prepare_rows, project_blocks
from convexnn.losses import LOSSES, get_loss
from convexnn.patterns import Patterns
from convexnn.pricing._bound_steps import Dual
from convexnn.pricing._sectors import (
    Multipliers,
    Sectors,
    certified_maximum,
    gradients,
    make_multipliers,
    maximise,
    quadratic_forms,
)
from convexnn.pricing.local import climb, fresh_starts
from convexnn.pricing.spectral import reduce_rows, simple_bound, spectral_bound, spectral_dual
from convexnn.program import ConvexProgram

KINDS = ("gaussian", "ties", "opposite", "zero_rows", "rank_deficient", "wide", "uneven", "positive", "tiny")


def make_problem(kind, seed, largest=14):
    """X and ν of one kind of difficulty."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    n, d = int(rng.integers(1, largest)), int(rng.integers(1, 6))
    X, nu = rng.standard_normal((n, d)), rng.standard_normal(n)
    if kind == "ties":
        X, nu = rng.integers(-1, 2, size=(n, d)).astype(float), rng.integers(-2, 3, size=n).astype(float)
    elif kind == "opposite":
        X, nu = np.concatenate([X, X, -X]), rng.standard_normal(3 * n)
    elif kind == "zero_rows":
        X[rng.random(n) < 0.4] = 0.0
    elif kind == "rank_deficient":
        X = X[:, :1] @ rng.standard_normal((1, d)) + (rng.random() < 0.5) * np.outer(nu, np.ones(d))
    elif kind == "wide":
        X = rng.standard_normal((n, n + 5))
    elif kind == "uneven":
        X *= 10.0 ** rng.integers(-8, 3, size=(n, 1))
        nu *= 10.0 ** rng.integers(-5, 3, size=n)
    elif kind == "positive":
        nu = np.abs(nu)
    elif kind == "tiny":
        X, nu = X * 10.0 ** rng.choice([-6, 6]), nu * 10.0 ** rng.choice([-6, 6])
    return X, nu


def best_found(X, nu, starts=40):
    """The largest of many exact local maxima of νᵀ(Xu)_+, evaluated by NumPy."""
    rng = np.random.default_rng(0)
    found = climb(prepare_rows(X), nu, fresh_starts(X, np.zeros((0, X.shape[1])), starts, rng))
    u = found.directions / np.maximum(np.linalg.norm(found.directions, axis=1), 1.0)[:, None]
    return max(0.0, float((np.maximum(u @ X.T, 0.0) @ nu).max()))


def rounding(X, nu):
    """What the value of νᵀ(Xu)_+ itself may be wrong by."""
    return 1e-15 * len(nu) * float(np.abs(nu) @ np.linalg.norm(X, axis=1))


def exact(X, nu):
    """ρ(ν) = max_i ‖Π_{K_i}(XᵀD_iν)‖ over every cell."""
    masks = np.ascontiguousarray(Patterns.enumerate(X).masks.T)
    G = adjoint_blocks(prepare_rows(X), masks, np.ones(len(masks)), nu, np.zeros((len(masks), X.shape[1])))
    count = np.zeros(len(masks), dtype=np.int64)
    W = project_blocks(prepare_rows(X), masks, G, tight=np.zeros(G.shape, dtype=np.int64), count=count)
    return float(np.linalg.norm(W, axis=1).max())


def random_form(seed=0, K=2):
    """Sectors of a Gaussian problem, multipliers away from their start, and ν."""
    rng = np.random.default_rng(seed)
    X, nu = rng.standard_normal((12, 5)), rng.standard_normal(12)
    A = np.linalg.qr(rng.standard_normal((5, 5)))[0][:K]
    corners = np.array(np.meshgrid(*[[1.0, -1.0]] * K)).reshape(K, -1).T if K else np.zeros((1, 0))
    cuts = np.concatenate([corners[:, :, None] * A] * 2)
    sectors = Sectors(X, np.repeat([1.0, -1.0], len(corners)), cuts)
    m = Multipliers(*(p + 0.3 * rng.standard_normal(p.shape) for p in make_multipliers(sectors)))
    return sectors, m._replace(pair=np.abs(m.pair)), nu, rng


# ---- bounds of ρ --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_never_below_a_local_maximum(kind):
    for seed in range(35):
        X, nu = make_problem(kind, seed)
        found = best_found(X, nu) - rounding(X, nu)
        assert simple_bound(X, nu) >= found
        for steps, sectors in ((0, 1), (12, 1), (25, 6)):
            assert spectral_bound(X, nu, steps=steps, sectors=sectors) >= found


@pytest.mark.parametrize("kind", ["gaussian", "ties", "opposite", "rank_deficient"])
def test_never_below_rho_over_every_cell(kind):
    for seed in range(25):
        X, nu = make_problem(kind, seed, largest=8)
        X = X[:, :3]
        if not X.any():
            continue
        bounds = [spectral_bound(X, sign * nu, steps=40, sectors=6) for sign in (1.0, -1.0)]
        for sign, bound in zip((1.0, -1.0), bounds, strict=True):
            assert bound >= exact(X, sign * nu) - rounding(X, nu)
        sampled = ConvexProgram(X, np.ones(len(X)), Patterns.sample(X, 500), 1.0).rho(nu)
        assert max(bounds) >= sampled - rounding(X, nu)
        assert simple_bound(X, nu) >= sampled - rounding(X, nu)


def test_a_cut_line_is_exact():
    """Rank one: the two halves of the line hold one maximum each."""
    rng = np.random.default_rng(5)
    X, nu = np.outer(rng.standard_normal(30), [3.0, 4.0]), rng.standard_normal(30)
    h = [float(nu @ np.maximum(s * (X @ [0.6, 0.8]), 0.0)) for s in (1.0, -1.0)]
    assert spectral_bound(X, nu, steps=1500, sectors=2) == pytest.approx(max(*h, 0.0), rel=2e-3)


def test_more_sectors_are_tighter_and_all_beat_the_simple_bound():
    rng = np.random.default_rng(1)
    X, nu = rng.standard_normal((120, 6)), rng.standard_normal(120)
    found = best_found(X, nu, 400)
    simple, one, four, many = (
        simple_bound(X, nu),
        *(spectral_bound(X, nu, steps=500, sectors=s) for s in (1, 4, 16)),
    )
    assert found < many < four < one < simple
    assert many - found < 0.5 * (one - found)


def test_the_plain_bound_is_the_inequality_with_its_best_y0():
    """Against (Σy) λ_max(Σ a_ia_iᵀ/y_i), minimised over y_0 on a grid, at the same ℓ and δ."""
    sectors, m, nu, _rng = random_form(K=0)
    value = 0.5 * maximise(quadratic_forms(sectors, nu, m, 1.0), 0.0).values[0]
    up, down = nu > 0, nu < 0
    delta = 1.0 / (1.0 + np.exp(-m.theta[0]))
    a0 = sectors.X.T @ np.where(up, 0.5 * nu, delta * nu)
    a, y = 0.5 * nu[up, None] * sectors.X[up], nu[up] / (2.0 * np.exp(m.log_ell[0, up]))
    assert down.any()
    # 2ρ ≤ Σy/s + s·(…) for every s; compare after the best scaling of y, which both sides allow
    best = np.inf
    for scaling in np.geomspace(0.05, 20, 400):
        shifted = m._replace(log_ell=m.log_ell - np.log(scaling))
        best = min(best, 0.5 * maximise(quadratic_forms(sectors, nu, shifted, 1.0), 0.0).values[0])
    M = (a / y[:, None]).T @ a
    grid = [
        np.sqrt((y0 + y.sum()) * np.linalg.eigvalsh(np.outer(a0, a0) / y0 + M)[-1])
        for y0 in np.geomspace(1e-3, 1e3, 20000)
    ]
    assert best == pytest.approx(min(grid), rel=1e-4)
    assert value >= best


def test_degenerate_vectors():
    X = np.random.default_rng(2).standard_normal((6, 3))
    assert spectral_bound(X, np.zeros(6)) == 0.0
    assert spectral_bound(X, -np.ones(6)) == 0.0
    assert spectral_bound(np.zeros((6, 3)), np.ones(6)) == 0.0
    assert simple_bound(X, np.zeros(6)) == simple_bound(np.zeros((6, 3)), np.ones(6)) == 0.0
    one = spectral_bound(X[:1], np.ones(1), steps=600)
    assert np.linalg.norm(X[0]) <= one <= np.linalg.norm(X[0]) * 1.001


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaling(factor):
    X, nu = np.random.default_rng(3).standard_normal((2, 40, 4))
    nu = nu[:, 0]
    plain = spectral_bound(X, nu, steps=100)
    assert spectral_bound(factor * X, nu, steps=100) == pytest.approx(factor * plain, rel=1e-6)
    assert spectral_bound(X, factor * nu, steps=100) == pytest.approx(factor * plain, rel=1e-6)
    assert simple_bound(factor * X, nu) == pytest.approx(factor * simple_bound(X, nu), rel=1e-12)


def test_same_input_same_bound():
    X, nu = make_problem("gaussian", 11)
    assert spectral_bound(X, nu, steps=60) == spectral_bound(X.copy(), nu.copy(), steps=60)


def test_out_of_time_is_still_a_bound():
    X, nu = make_problem("gaussian", 3)
    assert spectral_bound(X, nu, max_time=0.0) >= best_found(X, nu) - rounding(X, nu)
    assert spectral_bound(X, nu, max_time=0.0) == spectral_bound(X, nu, steps=0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((3, 2)), np.ones(2)), {}, "their shapes are"),
        ((np.ones(3), np.ones(3)), {}, "their shapes are"),
        ((np.full((3, 2), np.nan), np.ones(3)), {}, "finite"),
        ((np.ones((3, 2)), np.array([1.0, np.inf, 0.0])), {}, "finite"),
        ((np.ones((3, 2)), np.ones(3)), {"steps": -1}, "steps"),
        ((np.ones((3, 2)), np.ones(3)), {"sectors": 0}, "sectors"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        spectral_bound(*arguments, **options)


# ---- the quadratic forms ------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [0, 1, 2])
def test_forms_lie_above_the_function_everywhere_on_their_sector(K):
    sectors, m, nu, rng = random_form(4, K)
    u = rng.standard_normal((20_000, 5))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    forms = quadratic_forms(sectors, nu, m, 1.3)
    tops = certified_maximum(sectors, nu, m, 1.3)
    h = np.maximum(u @ sectors.X.T, 0.0) @ nu, np.maximum(u @ sectors.X.T, 0.0) @ -nu
    for s, sign in enumerate(sectors.nu_signs):
        inside = (u @ sectors.cuts[s].T >= 0).all(axis=1)
        form = forms.constant[s] + 2 * u @ forms.linear[s] + np.einsum("ij,jk,ik->i", u, forms.matrix[s], u)
        assert inside.sum() > 1000
        assert (form >= 2 * h[0 if sign > 0 else 1] - 1e-12)[inside].all()
        assert form.max() <= tops[s]


def test_moments_of_the_smoothed_maximum():
    sectors, m, nu, _rng = random_form(1)
    moments = maximise(quadratic_forms(sectors, nu, m, 1.0), 0.05)
    np.testing.assert_allclose(np.trace(moments.second, axis1=1, axis2=2), 1.0, rtol=1e-8)
    for mean, second in zip(moments.mean, moments.second, strict=True):
        assert np.linalg.eigvalsh(second - np.outer(mean, mean))[0] > 0


@pytest.mark.parametrize("K", [0, 2])
@pytest.mark.parametrize("name", [*Multipliers._fields, "nu"])
def test_gradients_against_differences(name, K):
    sectors, m, nu, rng = random_form(2, K)
    weights = rng.random(len(sectors.cuts))

    def value(t):
        moved = nu + t * direction if name == "nu" else nu
        other = m if name == "nu" else m._replace(**{name: getattr(m, name) + t * direction})
        return float(weights @ maximise(quadratic_forms(sectors, moved, other, 1.3), 0.05).values)

    moments = maximise(quadratic_forms(sectors, nu, m, 1.3), 0.05)
    d_m, d_nu = gradients(sectors, nu, m, 1.3, moments, weights)
    gradient = d_nu if name == "nu" else getattr(d_m, name)
    direction = rng.standard_normal(gradient.shape)
    direction = np.triu(direction, 1) if name == "pair" else direction
    assert gradient.any() or not gradient.size or (K == 0 and name != "nu")
    slope = (value(1e-6) - value(-1e-6)) / 2e-6
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("beta", [0.7, 50.0])
def test_dual_gradient_against_differences(loss, beta):
    """−D(tν), t = min(1, β/ρ), as a function of x at fixed ρ, and of ρ at fixed x."""
    rng = np.random.default_rng(6)
    y = np.where(rng.standard_normal(9) > 0, 1.0, -1.0)
    dual = Dual(loss, get_loss(loss), y, beta)
    x = dual.start(y * rng.uniform(0.1, 0.9, 9))
    rho, direction = 2.0, rng.standard_normal(9)

    def value(x, rho):
        return -get_loss(loss).dual_value(min(1.0, beta / rho) * dual.nu(x), y)

    d_rho, direct = dual.slopes(dual.nu(x), rho)
    along = (value(x + 1e-6 * direction, rho) - value(x - 1e-6 * direction, rho)) / 2e-6
    assert float(dual.chain(x, direct) @ direction) == pytest.approx(along, rel=1e-6)
    assert d_rho == pytest.approx((value(x, rho + 1e-6) - value(x, rho - 1e-6)) / 2e-6, rel=1e-6, abs=1e-9)


def test_reduced_rows_keep_the_data():
    X = make_problem("zero_rows", 4)[0]
    X = np.c_[X, X[:, :1]] * 1e6
    data = reduce_rows(X)
    assert np.array_equal(data.rows, np.flatnonzero(X.any(axis=1)))
    gram = data.scale**2 * data.X @ data.X.T
    np.testing.assert_allclose(gram, (X @ X.T)[np.ix_(data.rows, data.rows)], atol=1e-12 * np.sum(X * X))
    assert 1.0 <= data.stretch < 1 + 1e-12
    assert data.rest < 1e-12


# ---- dual points --------------------------------------------------------------------------------------


def small_problem(loss, seed=0, n=40, d=4):
    rng = np.random.default_rng(seed)
    X = np.c_[rng.standard_normal((n, d)), np.ones(n)]
    y = np.sin(2 * X[:, 0]) + 0.5 * np.abs(X[:, 1]) - 0.3 + 0.2 * rng.standard_normal(n)
    return X, np.where(y > 0, 1.0, -1.0) if LOSSES[loss].is_classification else y


@pytest.mark.parametrize("loss", LOSSES)
def test_dual_value_lies_below_what_networks_reach(loss):
    X, y = small_problem(loss)
    for beta in (0.3, 3.0):
        result = train(X, y, beta, loss=loss, tol=1e-4)
        start = result.certificate.nu
        nu, rho = spectral_dual(X, y, beta, loss, start, steps=300, sectors=12)
        value = get_loss(loss).dual_value(nu, y)
        assert 0 < value <= result.certificate.primal * (1 + 1e-9)
        assert max(best_found(X, nu, 200), best_found(X, -nu, 200)) <= rho <= beta
        plain = [spectral_bound(X, sign * start, steps=200, sectors=1) for sign in (1.0, -1.0)]
        assert value > get_loss(loss).dual_value(start * min(1.0, beta / max(plain)), y)


def test_moving_the_dual_point_closes_most_of_the_gap():
    X, y = small_problem("squared", 1)
    result = train(X, y, 3.0, tol=1e-4)
    primal = result.certificate.primal
    nu, _rho = spectral_dual(X, y, 3.0, "squared", result.certificate.nu)
    assert (primal - get_loss("squared").dual_value(nu, y)) / primal < 0.02
    early, _rho = spectral_dual(X, y, 3.0, "squared", result.certificate.nu, primal=primal, tol=0.2)
    assert 0.02 < (primal - get_loss("squared").dual_value(early, y)) / primal <= 0.2


@pytest.mark.parametrize("loss", LOSSES)
def test_large_beta_gives_the_value_of_the_zero_network(loss):
    X, y = small_problem(loss)
    nu0 = -get_loss(loss).gradient(np.zeros_like(y), y)
    beta = 1.01 * max(spectral_bound(X, sign * nu0, steps=300) for sign in (1.0, -1.0))
    nu, _rho = spectral_dual(X, y, beta, loss, nu0, steps=300)
    assert get_loss(loss).dual_value(nu, y) == pytest.approx(
        get_loss(loss).value(np.zeros_like(y), y), rel=1e-3
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_dual_scales_and_repeats(loss):
    X, y = small_problem(loss)
    X[3] = 0.0
    nu0 = -0.3 * get_loss(loss).gradient(np.zeros_like(y), y)
    nu, rho = spectral_dual(X, y, 1.0, loss, nu0, steps=40)
    again, same = spectral_dual(X, y, 1.0, loss, nu0, steps=40)
    assert np.array_equal(nu, again)
    assert rho == same
    for factor in (1e-6, 1e6):
        scaled, _rho = spectral_dual(factor * X, y, factor, loss, nu0, steps=40)
        np.testing.assert_allclose(scaled, nu, rtol=1e-5, atol=1e-9)
    if loss == "squared":
        scaled, _rho = spectral_dual(X, 1e6 * y, 1e6, loss, 1e6 * nu0, steps=40)
        np.testing.assert_allclose(scaled, 1e6 * nu, rtol=1e-5, atol=1e-3)


def test_dual_of_nothing():
    y = np.array([1.0, -1.0, 1.0])
    for loss in LOSSES:
        nu, rho = spectral_dual(np.zeros((3, 2)), y, 1.0, loss, np.zeros(3))
        assert rho == 0.0
        zero = get_loss(loss).value(np.zeros(3), y)
        assert get_loss(loss).dual_value(nu, y) == pytest.approx(zero, rel=1e-12)
    nu, rho = spectral_dual(np.eye(3), np.zeros(3), 1.0, "squared", np.zeros(3), steps=20)
    assert not nu.any()
    assert rho == 0.0


def test_dual_bad_input():
    X, y = small_problem("hinge")
    with pytest.raises(ValueError, match="One output at a time"):
        spectral_dual(X, np.c_[y, y], 1.0, "hinge", np.c_[y, y])
    with pytest.raises(ValueError, match="their shapes are"):
        spectral_dual(X, y, 1.0, "hinge", y[1:])
    with pytest.raises(ValueError, match="sectors"):
        spectral_dual(X, y, 1.0, "hinge", y, sectors=1)
    with pytest.raises(ValueError, match="beta"):
        spectral_dual(X, y, -1.0, "hinge", y)


def test_breast_cancer_bound_is_below_the_known_optimum(breast_cancer):
    X, y = breast_cancer
    start = train(X, y, 10.0, tol=1e-3).certificate.nu
    nu, rho = spectral_dual(X, y, 10.0, "squared", start, steps=250, sectors=6)
    assert rho <= 10.0
    assert 0.9 * 83.94406 < get_loss("squared").dual_value(nu, y) <= 83.94407


@pytest.mark.slow
def test_attack():
    """2,000 problems: no bound below a value found, no dual value above an objective reached."""
    for seed in range(2000):
        kind = KINDS[seed % len(KINDS)]
        X, nu = make_problem(kind, 1000 + seed, largest=30)
        found = best_found(X, nu, 200) - rounding(X, nu)
        assert spectral_bound(X, nu, steps=60, sectors=1 + seed % 12) >= found
        loss = list(LOSSES)[seed % 4]
        rng = np.random.default_rng(seed)
        size = float(np.abs(X).max(initial=1e-300)) if X.any() else 1.0
        y = rng.standard_normal(len(X))
        y = np.where(y > 0, 1.0, -1.0) if LOSSES[loss].is_classification else y
        beta = size * 10.0 ** rng.uniform(-2, 1)
        result = train(X, y, beta, loss=loss, tol=1e-3, max_time=0.2)
        point, rho = spectral_dual(X, y, beta, loss, result.certificate.nu, steps=60, sectors=2 + seed % 12)
        assert get_loss(loss).dual_value(point, y) <= result.certificate.primal * (1 + 1e-9)
        for sign in (1.0, -1.0):
            assert best_found(X, sign * point) - rounding(X, point) <= rho <= beta
