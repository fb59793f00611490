"""Descent on the non-convex problem: its gradient, its optimisers, and how runs end."""

import math

import numpy as np
import pytest

from convexnn import _relu_gradient
from convexnn.descent import (
    METHODS,
    SCHEDULES,
    DescentResult,
    descend,
    gradient,
    schedule_factor,
    tune_learning_rate,
)
from convexnn.losses import LOSSES
from convexnn.network import Network
from convexnn.status import Status

Problem = tuple[np.ndarray, np.ndarray]


def make_problem(loss: str = "squared", n: int = 40, d: int = 4, seed: int = 3) -> Problem:
    rng = np.random.default_rng(seed)
    X = np.c_[rng.standard_normal((n, d - 1)), np.ones(n)] / math.sqrt(d)
    y = np.sin(3 * X[:, 0]) - X[:, 1] + 0.1 * rng.standard_normal(n)
    return X, np.where(y > 0, 1.0, -1.0) if LOSSES[loss].is_classification else y


def make_network(d: int, m: int, seed: int = 5) -> Network:
    rng = np.random.default_rng(seed)
    return Network(0.5 * rng.standard_normal((d, m)), 0.5 * rng.standard_normal(m))


def same_bits(a: DescentResult, b: DescentResult) -> bool:
    return np.array_equal(a.network.U, b.network.U) and np.array_equal(a.network.alpha, b.network.alpha)


# ---- the gradient -------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("d", "m"), [(3, 7), (7, 3)])
def test_gradient_matches_finite_differences(loss: str, d: int, m: int) -> None:
    X, y = make_problem(loss, n=25, d=d)
    net = make_network(d, m)
    h = 1e-6
    distance_to_kink = np.abs(X @ net.U).min()
    if loss == "hinge":
        distance_to_kink = min(distance_to_kink, np.abs(1 - y * net.predict(X)).min())
    assert distance_to_kink > 20 * h  # the difference quotients below see one smooth piece
    value, gU, galpha = gradient(X, y, net.U, net.alpha, 0.3, loss)
    assert value == pytest.approx(net.objective(X, y, 0.3, loss), rel=1e-13)
    theta = np.concatenate([net.U.ravel(), net.alpha])

    def objective(point: np.ndarray) -> float:
        return Network(point[: d * m].reshape(d, m), point[d * m :]).objective(X, y, 0.3, loss)

    numeric = np.array(
        [(objective(theta + e) - objective(theta - e)) / (2 * h) for e in h * np.eye(len(theta))]
    )
    np.testing.assert_allclose(np.concatenate([gU.ravel(), galpha]), numeric, atol=2e-7)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("d", [3, 9])
def test_gradient_does_not_depend_on_the_row_blocks(
    loss: str, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = make_problem(loss, n=700, d=d)
    net = make_network(d, 5)
    whole = gradient(X, y, net.U, net.alpha, 0.3, loss)
    monkeypatch.setattr(_relu_gradient, "BLOCK_ENTRIES", 1)  # blocks of 256 rows
    blocks = gradient(X, y, net.U, net.alpha, 0.3, loss)
    for a, b in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_gradient_vanishes_at_the_known_optimum_and_leaves_its_arguments_alone() -> None:
    X, y = np.ones((1, 1)), np.ones(1)  # p* = β − β²/2 with u = α = √(1 − β)
    U, alpha = np.array([[math.sqrt(0.6)]]), np.array([math.sqrt(0.6)])
    value, gU, galpha = gradient(X, y, U, alpha, 0.4)
    assert value == pytest.approx(0.4 - 0.08)
    assert abs(gU[0, 0]) < 1e-15
    assert abs(galpha[0]) < 1e-15
    assert U[0, 0] == alpha[0] == math.sqrt(0.6)


def test_a_neuron_on_a_kink_counts_as_off() -> None:
    X, y = np.array([[1.0, 0.0]]), np.array([1.0])
    _, gU, galpha = gradient(X, y, np.array([[0.0], [2.0]]), np.array([1.0]), 0.5)
    np.testing.assert_array_equal(gU, [[0.0], [1.0]])
    np.testing.assert_array_equal(galpha, [0.5])


# ---- Adam and SGD against torch -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["adam", "sgd"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_steps_follow_torch(method: str, loss: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is the reference here and is not installed")
    X, y = make_problem(loss)
    net, beta, rate = make_network(4, 6), 0.2, 0.02 if method == "adam" else 0.002
    path: list[Network] = []
    descend(
        X,
        y,
        beta,
        loss=loss,
        method=method,
        start=net,
        steps=50,
        learning_rate=rate,
        schedule="constant",
        dtype="float64",
        record_every=1,
        evaluate=lambda network: path.append(network) or {},
    )
    U, alpha = (torch.tensor(w, requires_grad=True) for w in (net.U, net.alpha))
    Xt, yt = torch.tensor(X), torch.tensor(y)
    if method == "adam":
        optimiser = torch.optim.Adam([U, alpha], lr=rate)
    else:
        optimiser = torch.optim.SGD([U, alpha], lr=rate, momentum=0.9)
    assert len(path) == 51
    for network in path[1:]:
        optimiser.zero_grad()
        f = torch.relu(Xt @ U) @ alpha
        fit = 0.5 * ((f - yt) ** 2).sum() if loss == "squared" else torch.log1p(torch.exp(-yt * f)).sum()
        (fit + 0.5 * beta * ((U**2).sum() + (alpha**2).sum())).backward()
        optimiser.step()
        np.testing.assert_allclose(network.U, U.detach().numpy(), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(network.alpha, alpha.detach().numpy(), rtol=1e-6, atol=1e-9)


# ---- runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("method", "batch_size"), [("adam", None), ("adam", 16), ("sgd", None), ("sgd", 16), ("lbfgs", None)]
)
def test_same_seed_same_bits_and_the_best_record_comes_back(
    loss: str, method: str, batch_size: int | None
) -> None:
    X, y = make_problem(loss)
    rate = 0.02 if method == "adam" else 0.003

    def run(seed: int) -> DescentResult:
        return descend(
            X,
            y,
            0.1,
            loss=loss,
            method=method,
            neurons=8,
            steps=60,
            learning_rate=rate,
            batch_size=batch_size,
            seed=seed,
            record_every=7,
        )

    first, again, other = run(1), run(1), run(2)
    assert same_bits(first, again)
    assert not same_bits(first, other)
    primal = [record["primal"] for record in first.history]
    assert primal == [record["primal"] for record in again.history]
    assert first.network.objective(X, y, 0.1, loss) == min(primal) < primal[0]


def test_history_holds_the_objective_of_the_network_at_that_step() -> None:
    X, y = make_problem()
    seen: list[float] = []

    def evaluate(network: Network) -> dict[str, float]:
        seen.append(network.objective(X, y, 0.1))
        return {"neurons": float(network.n_neurons)}

    result = descend(X, y, 0.1, neurons=5, steps=10, record_every=4, batch_size=15, evaluate=evaluate)
    assert [record["iteration"] for record in result.history] == [0, 4, 8, 10]
    assert [record["primal"] for record in result.history] == seen
    np.testing.assert_allclose([record["epoch"] for record in result.history], [0, 4 / 3, 8 / 3, 10 / 3])
    seconds = [record["seconds"] for record in result.history]
    assert seconds == sorted(seconds)
    assert all(record["neurons"] == 5 for record in result.history)
    assert result.status is Status.ITERATION_LIMIT


def test_without_record_every_only_the_ends_are_recorded() -> None:
    X, y = make_problem()
    result = descend(X, y, 0.1, neurons=5, steps=30)
    assert [record["iteration"] for record in result.history] == [0, 30]
    assert descend(X, y, 0.1, neurons=5, steps=0).history[0]["primal"] == result.history[0]["primal"]


def test_one_batch_of_all_rows_is_the_full_gradient() -> None:
    X, y = make_problem()
    options = {"neurons": 5, "steps": 20, "dtype": "float64", "start": make_network(4, 5)}
    full, batch = descend(X, y, 0.1, **options), descend(X, y, 0.1, batch_size=40, **options)
    np.testing.assert_allclose(full.network.U, batch.network.U, rtol=1e-9)


def test_batch_gradients_are_unbiased() -> None:
    # Two batches of 20 rows, weighted by n/20, make the move of two full steps, up to O(rate²).
    X, y = make_problem()
    start = make_network(4, 5)
    options = {"method": "sgd", "momentum": 0.0, "schedule": "constant", "learning_rate": 1e-6, "steps": 2}
    moves = [
        descend(X, y, 0.1, start=start, dtype="float64", batch_size=size, **options).network.U - start.U
        for size in (None, 20)
    ]
    np.testing.assert_allclose(moves[0], moves[1], rtol=1e-3, atol=1e-9)


def test_float32_and_float64_agree_and_both_reach_a_low_objective() -> None:
    X, y = make_problem()
    primal = [
        descend(X, y, 0.05, neurons=30, steps=800, dtype=dtype).history[-1]["primal"]
        for dtype in ("float32", "float64")
    ]
    assert primal[0] == pytest.approx(primal[1], rel=0.02)
    assert max(primal) < 0.5 * Network.zero(4).objective(X, y, 0.05)


def test_adam_reaches_the_known_global_optimum_of_a_small_problem() -> None:
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0, 0.0])
    result = descend(X, y, 0.1, neurons=20, steps=2000)
    assert 0.1290241 - 1e-6 < result.history[-1]["primal"] < 0.1290241 + 1e-5


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_lbfgs_reaches_a_stationary_point(loss: str) -> None:
    # Positive rows and weights keep every neuron on, away from the kinks where L-BFGS can get stuck.
    rng = np.random.default_rng(2)
    X = rng.uniform(0.5, 1.0, (30, 3))
    y = X @ [2.0, 1.0, 0.5] if loss == "squared" else np.ones(30)
    start = Network(rng.uniform(0.5, 1.0, (3, 4)), rng.uniform(0.5, 1.0, 4))
    result = descend(X, y, 0.5, loss=loss, method="lbfgs", start=start, steps=2000)
    assert result.status is Status.STALLED
    U, alpha = result.network.U, result.network.alpha
    value, gU, galpha = gradient(X, y, U, alpha, 0.5, loss)
    assert (X @ U > 0).all()
    assert value < 0.9 * result.history[0]["primal"]
    assert max(np.abs(gU).max(), np.abs(galpha).max()) < 1e-6
    np.testing.assert_allclose(np.linalg.norm(U, axis=0), np.abs(alpha), atol=1e-6)  # balanced


def test_only_small_products_are_kept_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = make_problem()
    options = {"neurons": 5, "steps": 20, "dtype": "float64"}
    one = descend(X, y, 0.1, **options)
    monkeypatch.setattr(_relu_gradient, "SMALL_PRODUCT", 0)
    many = descend(X, y, 0.1, **options)
    np.testing.assert_allclose(one.network.U, many.network.U, rtol=1e-9)


def test_lbfgs_stops_at_its_iteration_limit() -> None:
    X, y = make_problem()
    result = descend(X, y, 0.05, method="lbfgs", neurons=12, steps=5, record_every=2)
    assert result.status is Status.ITERATION_LIMIT
    assert [record["iteration"] for record in result.history] == [0, 2, 4, 5]


# ---- how runs end early -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [0, 20])
def test_an_interrupt_returns_the_best_network(method: str, at: int) -> None:
    X, y = make_problem()

    def progress(record: dict[str, float]) -> None:
        if record["iteration"] >= at:
            raise KeyboardInterrupt

    result = descend(
        X,
        y,
        0.1,
        method=method,
        neurons=6,
        steps=1000,
        learning_rate=0.005,
        record_every=10,
        progress=progress,
    )
    assert result.status is Status.INTERRUPTED
    assert [record["iteration"] for record in result.history] == list(range(0, at + 1, 10))
    assert result.network.objective(X, y, 0.1) == min(record["primal"] for record in result.history)


@pytest.mark.parametrize("method", METHODS)
def test_a_time_limit_ends_the_run(method: str) -> None:
    X, y = make_problem()
    result = descend(X, y, 0.1, method=method, neurons=6, steps=10**9, learning_rate=1e-3, max_time=1e-9)
    assert result.status is Status.TIME_LIMIT
    assert result.history[-1]["iteration"] == 1
    assert result.network.objective(X, y, 0.1) == min(record["primal"] for record in result.history)


@pytest.mark.parametrize(("method", "rate"), [("sgd", 1e6), ("adam", 1e30)])
@pytest.mark.parametrize("loss", ["squared", "squared_hinge"])
def test_divergence_fails_with_a_finite_network(method: str, rate: float, loss: str) -> None:
    X, y = make_problem(loss)
    result = descend(X, y, 0.1, loss=loss, method=method, neurons=6, learning_rate=rate, record_every=1)
    assert result.status is Status.FAILED
    assert np.isfinite(result.network.U).all()
    assert result.network.objective(X, y, 0.1, loss) == min(record["primal"] for record in result.history)
    assert math.isinf(result.history[-1]["primal"]) or result.history[-1]["primal"] > 1e20


# ---- schedules and tuning -----------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 10, 400])
def test_schedules_stay_in_the_unit_interval(steps: int) -> None:
    for schedule in SCHEDULES:
        factors = [schedule_factor(schedule, t, steps) for t in range(steps)]
        assert 0 < min(factors) <= max(factors) == 1.0


def test_schedules_have_their_shape() -> None:
    rise = [schedule_factor("one-cycle", t, 400) for t in range(20)]
    fall = [schedule_factor("one-cycle", t, 400) for t in range(19, 400)]
    np.testing.assert_allclose(rise, np.arange(1, 21) / 20)
    assert fall == sorted(fall, reverse=True)
    assert fall[-1] < 1e-4
    np.testing.assert_allclose([schedule_factor("linear", t, 4) for t in range(4)], [1, 0.75, 0.5, 0.25])
    with pytest.raises(ValueError, match="Unknown schedule"):
        schedule_factor("cosine", 0, 10)


def test_tuning_picks_the_rate_with_the_lowest_objective() -> None:
    X, y = make_problem()
    grid = [1e-5, 1e-2, 1e6]
    best, table = tune_learning_rate(X, y, 0.1, grid, steps=100, method="sgd", neurons=8)
    assert best == 1e-2
    assert [row["learning_rate"] for row in table] == grid
    assert [row["status"] for row in table] == [Status.ITERATION_LIMIT] * 2 + [Status.FAILED]
    assert table[1]["primal"] < table[0]["primal"] < table[2]["primal"] == math.inf
    assert all(row["seconds"] > 0 for row in table)
    again = descend(X, y, 0.1, steps=100, method="sgd", neurons=8, learning_rate=1e-2)
    assert again.history[-1]["primal"] == table[1]["primal"]


@pytest.mark.parametrize("grid", [[], [1e6]])
def test_tuning_without_a_finite_network_is_an_error(grid: list[float]) -> None:
    X, y = make_problem()
    with pytest.raises(ValueError, match="No learning rate"):
        tune_learning_rate(X, y, 0.1, grid, steps=100, method="sgd", neurons=8)


# ---- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "Unknown method 'newton'"),
        ({"schedule": "cosine"}, "Unknown schedule 'cosine'"),
        ({"dtype": "float16"}, "Unknown dtype 'float16'"),
        ({"loss": "absolute"}, "Unknown loss 'absolute'"),
        ({"method": "lbfgs", "batch_size": 8}, "leave batch_size out"),
        ({"batch_size": 0}, "batch_size must lie in 1 … 40; it is 0"),
        ({"batch_size": 41}, "batch_size must lie in 1 … 40; it is 41"),
        ({"neurons": 0}, "neurons must be at least 1"),
        ({"steps": -1}, "steps must not be negative"),
        ({"record_every": -1}, "record_every must not be negative"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"init_scale": 0.0}, "init_scale must be positive"),
        ({"max_time": 0.0}, "max_time must be positive"),
        ({"start": Network(np.ones((3, 2)), np.ones(2))}, "The weights must be 4×m"),
        ({"start": Network.zero(4)}, "with m > 0"),
        ({"start": Network(np.ones((4, 2)), np.ones((2, 3)))}, r"they are \(4, 2\) and \(2, 3\)"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(options: dict, message: str) -> None:
    X, y = make_problem()
    with pytest.raises(ValueError, match=message):
        descend(X, y, 0.1, **options)


def test_bad_data_are_refused() -> None:
    X, y = make_problem()
    with pytest.raises(ValueError, match="one output"):
        descend(X, np.c_[y, y], 0.1)
    with pytest.raises(ValueError, match="one output"):
        gradient(X, np.c_[y, y], np.ones((4, 1)), np.ones(1), 0.1)
    with pytest.raises(ValueError, match="beta must be a positive"):
        descend(X, y, 0.0)
    with pytest.raises(ValueError, match="labels -1 and"):
        descend(X, y, 0.1, loss="hinge")
    with pytest.raises(ValueError, match="The weights must be"):
        gradient(X, y, np.ones((5, 1)), np.ones(1), 0.1)
