"""Losses: derivatives, conjugates, the best multiple of a dual point, and what `check_problem` refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.losses import (
    LOSSES,
    MORE_LOSSES,
    Huber,
    Poisson,
    Quantile,
    SquaredEpsilonInsensitive,
    check_problem,
    get_loss,
)

CLASSIFICATION = [name for name, loss in LOSSES.items() if loss.is_classification]
KNOWN = LOSSES | MORE_LOSSES
SMOOTH = [name for name, loss in KNOWN.items() if loss.is_smooth]
each_loss = pytest.mark.parametrize("name", KNOWN)

properties = settings(deadline=None, derandomize=True, max_examples=60)


def make_point(name: str, n: int = 12, seed: int = 0, outputs: tuple[int, ...] = ()) -> tuple:
    """A fit f and targets y, with f at least 0.01 away from every kink of ℓ and ℓ′."""
    rng = np.random.default_rng(seed)
    f = 2.0 * rng.standard_normal((n, *outputs))
    y = rng.standard_normal(f.shape)
    if KNOWN[name].is_classification:
        y = np.where(y > 0, 1.0, -1.0)
        return np.where(np.abs(y * f - 1) < 0.01, f + 0.1, f), y
    if name == "poisson":
        return f, rng.poisson(1.5, f.shape).astype(float)
    kink = {"huber": 1.0, "squared_epsilon_insensitive": 0.1}.get(name, 0.0)
    return np.where(np.abs(np.abs(f - y) - kink) < 0.01, f + 0.03, f), y


def make_dual_point(name: str, n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A ν strictly inside the domain of the dual, and targets."""
    rng = np.random.default_rng(seed)
    if name in ("squared", "squared_epsilon_insensitive"):
        return rng.standard_normal(n), rng.standard_normal(n)
    if name in ("huber", "quantile"):  # the domains are ±1 and ±½
        y = rng.standard_normal(n)
        return np.where(y > 0, 1.0, -1.0) * rng.uniform(0.01, 0.49, n), y
    if name == "poisson":
        y = 1.0 + rng.poisson(1.5, n)
        return y - rng.uniform(0.1, 3.0, n) * y, y
    y = np.where(rng.standard_normal(n) > 0, 1.0, -1.0)
    return y * rng.uniform(0.05, 0.95, n), y


# ---- derivatives --------------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_gradient_matches_finite_differences(name: str, outputs: tuple[int, ...]) -> None:
    f, y = make_point(name, outputs=outputs)
    loss, h = get_loss(name), 1e-6
    steps = h * np.eye(f.size).reshape(f.size, *f.shape)
    numerical = [(loss.value(f + step, y) - loss.value(f - step, y)) / (2 * h) for step in steps]
    np.testing.assert_allclose(loss.gradient(f, y).ravel(), numerical, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", SMOOTH)
def test_hessian_matches_differences_of_the_gradient(name: str) -> None:
    f, y = make_point(name)
    loss, h = get_loss(name), 1e-6
    numerical = (loss.gradient(f + h, y) - loss.gradient(f - h, y)) / (2 * h)
    np.testing.assert_allclose(loss.hessian(f, y), numerical, rtol=1e-7, atol=1e-8)


@each_loss
def test_value_is_a_sum_over_samples(name: str) -> None:
    f, y = make_point(name)
    one_by_one = [get_loss(name).value(f[i : i + 1], y[i : i + 1]) for i in range(len(f))]
    assert get_loss(name).value(f, y) == pytest.approx(sum(one_by_one), rel=1e-14)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("squared", 0.5),
        ("logistic", np.log(2)),
        ("hinge", 1.0),
        ("squared_hinge", 0.5),
        ("huber", 0.5),
        ("quantile", 0.5),
        ("squared_epsilon_insensitive", 0.405),
        ("poisson", 0.0),
    ],
)
def test_value_at_zero_is_the_stated_normalisation(name: str, value: float) -> None:
    assert get_loss(name).value(np.zeros(4), np.ones(4)) == pytest.approx(4 * value, rel=1e-15)


# ---- conjugates ---------------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("seed", range(3))
def test_dual_value_is_the_conjugate_on_a_grid(name: str, seed: int) -> None:
    nu, y = make_dual_point(name, seed=seed)
    loss = get_loss(name)
    even = np.linspace(-8.0, 8.0, 160_001)
    total = 0.0
    for nu_i, y_i in zip(nu, y, strict=True):  # D(ν) = Σ min_f ℓ(f, y) + ν f
        grid = np.append(even, y_i)  # with the kink of the quantile loss
        values = {
            "squared": 0.5 * (grid - y_i) ** 2,
            "logistic": np.log1p(np.exp(-y_i * grid)),
            "hinge": np.maximum(1 - y_i * grid, 0),
            "squared_hinge": 0.5 * np.maximum(1 - y_i * grid, 0) ** 2,
            "huber": np.where(np.abs(grid - y_i) <= 1, 0.5 * (grid - y_i) ** 2, np.abs(grid - y_i) - 0.5),
            "quantile": 0.5 * np.abs(grid - y_i),
            "squared_epsilon_insensitive": 0.5 * np.maximum(np.abs(grid - y_i) - 0.1, 0) ** 2,
            "poisson": np.exp(grid) - y_i * grid - y_i + y_i * np.log(np.abs(y_i)),
        }[name]
        total += float(np.min(values + nu_i * grid))
    assert loss.dual_value(nu, y) == pytest.approx(total, abs=1e-7)


@each_loss
@properties
@given(seed=st.integers(0, 10**6), data=st.data())
def test_fenchel_young_inequality(name: str, seed: int, data: st.DataObject) -> None:
    nu, y = make_dual_point(name, n=3, seed=seed)
    f = np.array(data.draw(st.lists(st.floats(-50, 20), min_size=3, max_size=3)))
    loss = get_loss(name)
    slack = loss.value(f, y) + float(nu @ f) - loss.dual_value(nu, y)
    assert slack >= -1e-12 * (1 + loss.value(f, y))


@each_loss
@properties
@given(seed=st.integers(0, 10**6))
def test_fenchel_young_is_an_equality_at_minus_the_gradient(name: str, seed: int) -> None:
    f, y = make_point(name, n=5, seed=seed)
    loss = get_loss(name)
    nu = -loss.gradient(f, y)
    assert loss.dual_value(nu, y) == pytest.approx(loss.value(f, y) + float(nu @ f), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_dual_value_is_minus_infinity_for_a_ν_of_the_wrong_sign(name: str) -> None:
    assert get_loss(name).dual_value(np.array([0.5, 0.1]), np.array([1.0, -1.0])) == -np.inf


@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_dual_value_is_minus_infinity_above_one(name: str) -> None:
    assert get_loss(name).dual_value(np.array([1.001]), np.array([1.0])) == -np.inf


@pytest.mark.parametrize("name", CLASSIFICATION)
@pytest.mark.parametrize("q", [-1e-14, 0.0, 1.0, 1 + 1e-14])
def test_rounding_at_the_border_of_the_domain_is_forgiven(name: str, q: float) -> None:
    clipped = min(1.0, max(0.0, q))
    expected = {"logistic": 0.0, "hinge": clipped, "squared_hinge": clipped - 0.5 * clipped**2}[name]
    assert get_loss(name).dual_value(np.array([-q]), np.array([-1.0])) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "parameter"),
    [
        (Huber(0.3), "huber"), (Quantile(0.9), "quantile"), (SquaredEpsilonInsensitive(0.0), "squared"),
        (Huber(1e6), "squared"),
    ],
)  # fmt: skip
def test_parameters_change_the_loss_as_they_should(loss, parameter: str) -> None:
    f, y = make_point(parameter, n=30)
    r = y - f
    by_hand = {
        "huber": lambda: np.where(np.abs(r) <= 0.3, 0.5 * r**2, 0.3 * np.abs(r) - 0.045),
        "quantile": lambda: np.where(r > 0, 0.9 * r, -0.1 * r),
        "squared": lambda: 0.5 * r**2,
    }[parameter]()
    np.testing.assert_allclose(loss.each(f, y), by_hand, rtol=1e-13)
    nu = -loss.gradient(f, y)
    assert loss.dual_value(nu, y) == pytest.approx(loss.value(f, y) + float(nu @ f), rel=1e-12)


def test_the_poisson_loss_is_half_of_the_deviance() -> None:
    from sklearn.metrics import mean_poisson_deviance

    f, y = make_point("poisson", n=40)
    expected = 0.5 * 40 * mean_poisson_deviance(y, np.exp(f))
    assert Poisson().value(f, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", [*SMOOTH, "quantile"])
def test_rescaled_targets_give_a_multiple_of_another_loss(name: str) -> None:
    f, y = make_point(name)
    scaled = KNOWN[name].rescaled(3.0)
    if scaled is None:
        assert KNOWN[name].is_classification or name == "poisson"
    else:
        other, factor = scaled
        assert KNOWN[name].value(3.0 * f, 3.0 * y) == pytest.approx(factor * other.value(f, y), rel=1e-13)


@each_loss
def test_the_conjugate_of_the_solvers_is_minus_the_dual_value(name: str) -> None:
    """c(q) = −D(ν) up to the proximal term, whose centre is q here; c′ by differences; 1/c″ likewise."""
    nu, y = make_dual_point(name)
    loss, h = get_loss(name), 1e-6
    sign = y if loss.is_classification else np.ones_like(y)
    q = sign * nu
    c = loss.conjugate(y, q, 0.7)
    assert c.value(q) == pytest.approx(-loss.dual_value(nu, y), rel=1e-12)
    shift = h * sign  # of ν, for a shift h of q
    slope = -(loss.dual_each(nu + shift, y) - loss.dual_each(nu - shift, y)) / (2 * h)
    np.testing.assert_allclose(c.gradient(q), slope, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(sign * loss.dual_slope(nu, y), -slope, rtol=1e-6, atol=1e-8)
    second = (c.gradient(q + h) - c.gradient(q - h)) / (2 * h)
    np.testing.assert_allclose(c.inverse_curvature(q), 1.0 / second, rtol=1e-6)
    np.testing.assert_allclose(c.inside(q), q, rtol=1e-14)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_conjugate_starts_at_minus_the_gradient(name: str) -> None:
    f, y = make_point(name)
    c = get_loss(name).conjugate(y)
    np.testing.assert_allclose(c.sign * c.start(f), -get_loss(name).gradient(f, y), rtol=1e-9, atol=1e-12)


def test_the_kink_of_the_insensitive_conjugate() -> None:
    """At q = 0 the slope is that of least size; a piece ends there."""
    c = SquaredEpsilonInsensitive(0.5).conjugate(np.array([0.0, 2.0, -2.0, 1.0, -1.0]))
    q = np.array([0.0, 0.0, 0.0, 0.3, -0.3])
    g = c.gradient(q)
    np.testing.assert_allclose(g, [0.0, -1.5, 1.5, -0.2, 0.2], atol=1e-15)
    lower, upper = c.bounds(q, g)
    np.testing.assert_array_equal(lower, [0, 0, -np.inf, 0, -np.inf])
    np.testing.assert_array_equal(upper, [0, np.inf, 0, np.inf, 0])
    np.testing.assert_array_equal(c.move(q, np.array([0, 1.0, -1, -1, 1]), 1.0), [0, 1, -1, 0, 0])


# ---- the best multiple --------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("t_max", [0.3, 1.0, 50.0])
def test_best_scale_beats_a_fine_grid(name: str, seed: int, t_max: float) -> None:
    nu, y = make_dual_point(name, seed=seed)
    loss = get_loss(name)
    t = loss.best_scale(nu, y, t_max)
    assert 0.0 <= t <= t_max
    grid = [loss.dual_value(s * nu, y) for s in np.linspace(0.0, min(t_max, 30.0), 4001)]
    assert loss.dual_value(t * nu, y) >= max(grid) - 1e-13


@each_loss
def test_best_scale_without_a_limit_is_finite(name: str) -> None:
    nu, y = make_dual_point(name)
    assert np.isfinite(get_loss(name).best_scale(nu, y, np.inf))


@pytest.mark.parametrize(("nu", "y"), [([-1.0, -30.0], [0.0, 30.0]), ([-0.01, -5.0], [0.0, 2.0])])
def test_best_scale_finds_a_tiny_multiple(nu: list[float], y: list[float]) -> None:
    """Counts of zero have the slope −log(t|ν|) there: the best multiple may be e⁻¹⁰⁰ or less."""
    direction, counts = np.array(nu), np.array(y)
    t = Poisson().best_scale(direction, counts, 50.0)
    assert 0.0 < t < 1e-20
    value = Poisson().dual_value(t * direction, counts)
    assert value >= max(Poisson().dual_value(s * direction, counts) for s in (0.5 * t, 2.0 * t, 1.0))


@each_loss
def test_best_scale_of_zero_is_zero(name: str) -> None:
    assert get_loss(name).best_scale(np.zeros(3), np.ones(3), np.inf) == 0.0


def test_best_scale_is_clipped_to_zero_where_ν_points_away_from_y() -> None:
    assert get_loss("squared").best_scale(np.array([-1.0]), np.array([2.0]), 1.0) == 0.0


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_best_scale_is_zero_where_every_multiple_leaves_the_domain(name: str) -> None:
    nu, y = np.array([0.9, 0.1, 0.9]), np.array([1.0, -1.0, 1.0])
    assert get_loss(name).best_scale(nu, y, 1.0) == 0.0


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_best_scale_ignores_a_wrong_sign_of_rounding_size(name: str) -> None:
    nu, y = np.array([0.9, 1e-17]), np.array([1.0, -1.0])
    t = get_loss(name).best_scale(nu, y, 1.0)
    assert get_loss(name).dual_value(t * nu, y) > 0.4


# ---- extremes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [-1e300, -1e4, 1e4, 1e300])
@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_linear_losses_stay_finite_at_huge_fits(name: str, f: float) -> None:
    loss, point, y = get_loss(name), np.array([f]), np.array([1.0])
    assert loss.value(point, y) == pytest.approx(max(0.0, -f), rel=1e-3)
    assert loss.gradient(point, y)[0] == (-1.0 if f < 0 else 0.0)


@pytest.mark.parametrize("f", [-1e150, 1e150])
@pytest.mark.parametrize("name", ["squared", "squared_hinge", "huber", "squared_epsilon_insensitive"])
def test_quadratic_losses_stay_finite_at_huge_fits(name: str, f: float) -> None:
    loss, point, y = get_loss(name), np.array([f]), np.array([1.0])
    assert np.isfinite(loss.value(point, y))
    assert np.isfinite(loss.gradient(point, y)[0])


@pytest.mark.parametrize("f", [-800.0, 800.0])
def test_logistic_curvature_vanishes_without_overflow(f: float) -> None:
    assert get_loss("logistic").hessian(np.array([f]), np.ones(1))[0] == pytest.approx(0.0, abs=1e-300)


@each_loss
@pytest.mark.parametrize("size", [1e-150, 1e-12, 1e12])
def test_best_scale_copes_with_any_length_of_ν(name: str, size: float) -> None:
    nu, y = make_dual_point(name)
    nu = size * (nu if name == "poisson" else np.abs(nu) * np.sign(y))
    loss = get_loss(name)
    at_unit = loss.dual_value(loss.best_scale(nu / size, y, np.inf) * (nu / size), y)
    assert loss.dual_value(loss.best_scale(nu, y, np.inf) * nu, y) == pytest.approx(at_unit, rel=1e-9)


# ---- names and checks ---------------------------------------------------------------------------------


def test_an_unknown_loss_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'squared', 'logistic', 'hinge', 'squared_hinge', 'huber'"):
        get_loss("cubed")


@pytest.mark.parametrize(
    ("X", "y", "beta", "loss", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], 1.0, "squared", r"X must be a non-empty n×d matrix; its shape is \(2,\)"),
        (np.zeros((0, 2)), [], 1.0, "squared", "non-empty"),
        (np.ones((3, 2)), [1.0, 2.0], 1.0, "squared", r"each of the 3 rows of X; its shape is \(2,\)"),
        (np.ones((2, 2)), np.ones((2, 1, 1)), 1.0, "squared", "y must have one row"),
        ([[1.0, 2.0], [3.0, np.nan]], [1.0, 2.0], 1.0, "squared", r"X\[1, 1\] is nan"),
        ([[1.0], [2.0]], [1.0, -np.inf], 1.0, "squared", r"y\[1\] is -inf"),
        ([[1.0]], [1.0], 0.0, "squared", "beta must be a positive finite number; it is 0.0"),
        ([[1.0]], [1.0], -1.0, "squared", "it is -1.0"),
        ([[1.0]], [1.0], np.inf, "squared", "it is inf"),
        ([[1.0]], [1.0], np.nan, "squared", "it is nan"),
        ([[1.0], [1.0], [1.0]], [1.0, -1.0, 0.0], 1.0, "hinge", r"labels -1 and \+1; y\[2\] is 0.0"),
        ([[1.0]], [1.0], 1.0, "cubed", "Unknown loss 'cubed'"),
        ([[1.0], [2.0]], [1.0, -2.0], 1.0, "poisson", "takes the losses 'squared'"),
        ([[1.0]], [1.0], 1.0, Huber(0.5), "without weights; it was given Huber"),
    ],
)
def test_check_problem_names_the_place(X, y, beta, loss, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_problem(X, y, beta, loss)


def test_check_problem_returns_contiguous_float64() -> None:
    X, y, beta = check_problem(np.ones((4, 6), dtype=np.float32)[:, ::2], np.arange(4), 2, "squared")
    assert X.dtype == y.dtype == np.float64
    assert X.flags.c_contiguous
    assert type(beta) is float


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Huber(0.0), "delta of Huber must be positive and finite; it is 0.0"),
        (lambda: Quantile(1.0), "level of Quantile must be between 0 and 1 and finite; it is 1.0"),
        (
            lambda: SquaredEpsilonInsensitive(np.nan),
            "epsilon of SquaredEpsilonInsensitive must be at least 0",
        ),
        (lambda: get_loss(3), "name or an object of convexnn.losses; it is 3"),  # type: ignore[arg-type]
        (
            lambda: check_problem([[1.0]], [-2.0], 1.0, "poisson", any_loss=True),
            r"targets y >= 0.*y\[0\] is -2",
        ),
    ],
)
def test_bad_parameters_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_poisson_loss_overflows_to_infinity_without_a_warning() -> None:
    assert Poisson().value(np.array([1e4, 0.0]), np.array([0.0, 1.0])) == np.inf
