"""An unpenalised intercept: optima against CVXPY, bounds under attack, the dual condition, both ways out."""

import math

import cvxpy
import numpy as np
import pytest

from convexnn import Network, Patterns, beta_max, certify, path, train
from convexnn.descent import descend
from convexnn.intercepts import balanced, best_intercept, centre_of, dual_at
from convexnn.losses import Quantile, SquaredEpsilonInsensitive, Weighted, get_separable
from convexnn.training import TrainResult

LOSSES = ("squared", "logistic", "hinge", "squared_hinge", "huber", Quantile(0.3), "poisson",
          SquaredEpsilonInsensitive(0.2))  # fmt: skip


def cvxpy_loss(loss: object, f: cvxpy.Expression, y: np.ndarray, weights: np.ndarray) -> cvxpy.Expression:
    """Σ ω ℓ(f, y), written anew."""
    found = get_separable(loss)
    match found.name:
        case "squared":
            each = 0.5 * cvxpy.square(f - y)
        case "logistic":
            each = cvxpy.logistic(-cvxpy.multiply(y, f))
        case "hinge":
            each = cvxpy.pos(1 - cvxpy.multiply(y, f))
        case "squared_hinge":
            each = 0.5 * cvxpy.square(cvxpy.pos(1 - cvxpy.multiply(y, f)))
        case "huber":
            each = 0.5 * cvxpy.huber(f - y, found.delta)
        case "quantile":
            each = cvxpy.maximum(found.level * (y - f), (found.level - 1) * (y - f))
        case "squared_epsilon_insensitive":
            each = 0.5 * cvxpy.square(cvxpy.pos(cvxpy.abs(f - y) - found.epsilon))
        case _:
            constant = np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0)) - y, 0.0)
            each = cvxpy.exp(f) - cvxpy.multiply(y, f) + constant
    return weights @ each


def optimum(
    X: np.ndarray, y: np.ndarray, beta: float, loss: object, weights: np.ndarray | None = None
) -> float:
    """The global optimum with a free b₀: the convex program over all patterns."""
    masks = Patterns.enumerate(X).masks.T.astype(float)
    d, P = X.shape[1], len(masks)
    v, w, b = cvxpy.Variable((d, P)), cvxpy.Variable((d, P)), cvxpy.Variable()
    fit = b * np.ones(len(X))
    cones = []
    for i, mask in enumerate(masks):
        fit = fit + (mask[:, None] * X) @ (v[:, i] - w[:, i])
        cone = (2 * mask - 1)[:, None] * X
        cones += [cone @ v[:, i] >= 0, cone @ w[:, i] >= 0]
    size = cvxpy.sum(cvxpy.norm(v, axis=0)) + cvxpy.sum(cvxpy.norm(w, axis=0))
    total = cvxpy_loss(loss, fit, y, np.ones(len(y)) if weights is None else weights)
    problem = cvxpy.Problem(cvxpy.Minimize(total + beta * size), cones)
    return float(problem.solve(solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10))


def problem(seed: int, loss: object) -> tuple[np.ndarray, np.ndarray, float]:
    """A random small problem with targets far from zero where the loss allows it."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(4, 9)), int(rng.integers(1, 4))
    X = rng.standard_normal((n, d))
    name = get_separable(loss).name
    if get_separable(loss).is_classification:
        y = np.where(rng.standard_normal(n) + 0.5 > 0, 1.0, -1.0)
        y[:2] = 1.0, -1.0
    elif name == "poisson":
        y = rng.poisson(4.0, n).astype(float) + (np.arange(n) == 0)
    else:
        y = rng.standard_normal(n) + 5.0
    return X, y, float(10.0 ** rng.uniform(-2, 0.5))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: get_separable(loss).name)
def test_training_reaches_the_optimum_of_cvxpy(loss: object) -> None:
    for seed in range(2):
        X, y, beta = problem(seed, loss)
        best = optimum(X, y, beta, loss)
        result = train(X, y, beta, loss=loss, tol=1e-5, intercept=True)
        c = result.certificate
        assert c.kind == "exact"
        assert c.primal == pytest.approx(best, rel=2e-5, abs=1e-7)
        assert c.lower_bound <= best * (1 + 1e-7) + 1e-8
        assert result.network.objective(X, y, beta, loss) == pytest.approx(c.primal, rel=1e-12)
        assert math.fsum(c.nu) == 0.0
        assert best <= train(X, y, beta, loss=loss, tol=1e-5).certificate.primal * (1 + 1e-7)


def adversaries(X: np.ndarray, y: np.ndarray, rng: np.random.Generator, best: TrainResult) -> list[Network]:
    """Networks whose intercepts are silly."""
    noise = Network(rng.standard_normal((X.shape[1], 3)), rng.standard_normal(3), intercept=100.0)
    return [
        noise,
        Network(best.network.U, best.network.alpha, intercept=best.network.intercept + 3.0),
        Network.zero(X.shape[1]),
    ]


@pytest.mark.parametrize("first", range(0, 48, 16))
def test_no_bound_exceeds_the_true_optimum(first: int) -> None:
    attack(first, 16)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(48, 240, 48))
def test_no_bound_exceeds_the_true_optimum_at_length(first: int) -> None:
    attack(first, 48)


def attack(first: int, count: int) -> None:
    """Certificates of silly networks, with silly dual points, against objectives that training reaches."""
    for seed in range(first, first + count):
        loss = LOSSES[seed % len(LOSSES)]
        X, y, beta = problem(100 + seed, loss)
        rng = np.random.default_rng(seed)
        best = train(X, y, beta, loss=loss, tol=1e-2, intercept=True, certificate="estimated")
        limit = best.certificate.primal * (1 + 1e-9) + 1e-12  # reached, so never below the optimum
        kind = ("exact", "bounded")[seed // len(LOSSES) % 2]
        for network in adversaries(X, y, rng, best):
            nu = rng.standard_normal(len(y)) if seed % 3 == 0 else None
            c = certify(network, X, y, beta, loss, 0.2, intercept=True, certificate=kind, nu=nu, starts=20)
            assert c.kind in ("exact", "bounded")
            assert c.lower_bound <= limit, (seed, kind)
            assert math.fsum(c.nu) == 0.0
            assert get_separable(loss).dual_value(c.nu, y) <= limit


def test_balanced_points_sum_to_zero_exactly_and_stay_in_the_domain() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 400))
        nu = rng.standard_normal(n) * 10.0 ** rng.uniform(-9, 0, n) * 10.0 ** rng.uniform(-100, 100)
        even = balanced(nu)
        assert math.fsum(even) == 0.0
        assert (np.abs(even) <= np.abs(nu)).all()
        assert (even * nu >= 0).all()
    nu = rng.standard_normal(500)
    nu -= nu.mean()
    assert np.abs(balanced(nu) - nu).max() < 1e-12
    assert not balanced(np.ones(3)).any()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: get_separable(loss).name)
def test_the_best_intercept_is_a_minimum_and_its_dual_point_attains_it(loss: object) -> None:
    y = problem(3, loss)[1]
    f = np.random.default_rng(1).standard_normal(len(y))
    function = Weighted(get_separable(loss), np.linspace(0.5, 2.0, len(y)))
    b, nu = best_intercept(function, f, y), dual_at(function, f, y)
    least = function.value(f + b, y)
    assert least <= min(function.value(f + b + step, y) for step in (-1e-3, 1e-3)) + 1e-12
    assert math.fsum(nu) == 0.0
    assert best_intercept(Quantile(0.5), np.zeros(3), np.array([-1.0, 0.0, 1.0])) == pytest.approx(
        0, abs=1e-12
    )
    assert least + float(nu @ f) == pytest.approx(function.dual_value(nu, y), abs=1e-6)  # Fenchel equality


def test_a_shift_of_the_target_changes_nothing_but_the_intercept() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((60, 3)), np.ones(60)])
    y = np.round(np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(60), 6)
    near = train(X, y, 0.5, tol=1e-6, intercept=True)
    far = train(X, y + 1e6, 0.5, tol=1e-6, intercept=True)
    assert far.certificate.primal == pytest.approx(near.certificate.primal, rel=1e-5)
    assert far.network.n_neurons == near.network.n_neurons
    assert far.network.intercept == pytest.approx(1e6 + near.network.intercept, abs=0.05)
    assert far.network.predict(X) - 1e6 == pytest.approx(near.network.predict(X), abs=5e-3)
    bound = train(X, y + 1e6, 0.5, tol=1e-2, max_time=1).certificate.lower_bound
    assert bound > 1e3 * near.certificate.primal  # what a penalised constant costs


def test_sample_weights_count_as_repeated_rows() -> None:
    for loss in ("squared", "logistic"):
        X, y, beta = problem(5, loss)
        weights = np.arange(len(y)) % 3 + (np.arange(len(y)) < 2)
        repeated = np.repeat(np.arange(len(y)), weights)
        best = optimum(X[repeated], y[repeated], beta, loss)
        result = train(X, y, beta, loss=loss, tol=1e-5, sample_weight=weights, intercept=True)
        assert result.certificate.primal == pytest.approx(best, rel=2e-5)
        assert math.fsum(result.certificate.nu) == 0.0
        proof = certify(result.network, X, y, beta, loss, sample_weight=weights, intercept=True)
        assert proof.lower_bound <= best * (1 + 1e-7)


def test_several_outputs_each_have_their_own() -> None:
    X, y, beta = problem(7, "squared")
    Y = np.column_stack([y, 3.0 - 2.0 * y])
    result = train(X, Y, beta, tol=1e-4, intercept=True)
    assert result.network.intercept.shape == (2,)
    best = sum(optimum(X, column, beta, "squared") for column in Y.T)
    assert result.certificate.primal == pytest.approx(best, rel=2e-4)
    assert [math.fsum(column) for column in result.certificate.nu.T] == [0.0, 0.0]
    proof = certify(result.network, X, Y, beta, intercept=True, certificate="exact")
    assert proof.lower_bound <= best * (1 + 1e-7)


@pytest.mark.parametrize("loss", ["squared", "hinge", "poisson"])
def test_from_beta_max_on_the_constant_is_optimal(loss: str) -> None:
    X, y, _ = problem(2, loss)
    top = beta_max(X, y, loss, intercept=True)
    result = train(X, y, 1.001 * top, loss=loss, intercept=True)
    assert result.network.n_neurons == 0
    assert result.network.intercept == pytest.approx(best_intercept(loss, np.zeros_like(y), y), abs=1e-6)
    assert result.certificate.relative_gap < 1e-3
    if loss != "hinge":
        assert train(X, y, 0.95 * top, loss=loss, tol=1e-6, intercept=True).network.n_neurons > 0


def test_nothing_is_left_of_a_constant_target() -> None:
    for n in range(2, 40):
        y = np.full(n, np.pi)
        assert centre_of("huber", y) == np.pi
        np.testing.assert_array_equal(
            centre_of("squared", np.stack([y, 0.1 * y], axis=1)), [y[0], 0.1 * y[0]]
        )


@pytest.mark.parametrize("slope", [0.0, 0.1, -1.0])
def test_beta_max_is_zero_where_all_columns_are_constant(slope: float) -> None:
    """νᵀσ(Xu) is a multiple of 1ᵀν = 0: what is left is rounding, and no scale for β."""
    y = np.random.default_rng(0).standard_normal(20)
    assert beta_max(np.full((20, 2), 0.3), y, intercept=True, negative_slope=slope) == 0.0


def test_more_columns_than_rows_and_a_path() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 30)), rng.standard_normal(8) + 10.0
    result = path(X, y, [3.0, 0.3], tol=1e-3, intercept=True)
    assert [c.relative_gap <= 1e-3 for c in result.certificates] == [True, True]
    for network, c in zip(result.networks, result.certificates, strict=True):
        assert network.objective(X, y, c.beta) == pytest.approx(c.primal)
        assert abs(network.intercept - 10.0) < 5.0


def test_descent_with_an_intercept() -> None:
    X, y, beta = problem(9, "squared")
    for method in ("adam", "sgd", "lbfgs"):
        run = descend(X, y, beta, intercept=True, method=method, steps=300, learning_rate=0.01, neurons=8)
        assert run.network.objective(X, y, beta) == pytest.approx(run.history[-1]["primal"], rel=1e-6)
        residual = float((y - run.network.predict(X)).sum())
        assert abs(residual) < 0.1 * abs(y).sum(), method
    best = train(X, y, beta, intercept=True, tol=1e-6).certificate.primal
    assert best <= run.history[-1]["primal"] * (1 + 1e-6)


def test_max_neurons_keeps_the_intercept() -> None:
    X, y, _ = problem(11, "squared")
    for Y in (y, np.column_stack([y, -y])):
        result = train(X, Y, 0.01, intercept=True, max_neurons=1)
        assert result.network.n_neurons <= 1
        assert np.abs(result.network.predict(X) - Y).mean() < np.abs(Y).mean() / 2


def test_maps_and_files_keep_the_intercept(tmp_path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 3))
    net = Network(rng.standard_normal((3, 5)), rng.standard_normal((5, 2)), intercept=np.array([1.0, -2.0]))
    for other in (
        net.balanced(),
        Network.join(net.outputs()),
        net.merged(X),
        Network.load(net.save(tmp_path)),
    ):
        assert other.predict(X) == pytest.approx(net.predict(X))
        assert np.array_equal(other.intercept, net.intercept)
    plain = Network(net.U, net.alpha[:, 0])
    assert "intercept" not in plain.save(tmp_path / "plain.safetensors").read_bytes().decode("latin1")
    data = bytearray(net.save(tmp_path / "other.safetensors").read_bytes())
    at = bytes(data).rindex(np.array([1.0, -2.0]).tobytes())
    data[at + 7] ^= 1
    (tmp_path / "other.safetensors").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="checksum"):
        Network.load(tmp_path / "other.safetensors")


def test_refusals() -> None:
    X, y, beta = problem(1, "squared")
    net = Network(np.ones((X.shape[1], 1)), np.ones(1), intercept=1.0)
    with pytest.raises(ValueError, match="intercept=True"):
        certify(net, X, y, beta)
    with pytest.raises(ValueError, match="intercept=True"):
        train(X, y, beta, warm_start=net)
    with pytest.raises(ValueError, match="softmax"):
        train(X, np.arange(len(y)) % 2, beta, loss="softmax", intercept=True)
    with pytest.raises(ValueError, match="finite"):
        Network(net.U, net.alpha, intercept=np.nan)
    with pytest.raises(ValueError, match="number for one output"):
        Network(net.U, net.alpha, intercept=np.zeros(2))
