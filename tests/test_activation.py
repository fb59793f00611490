"""Leaky ReLU and absolute value, σ_s(z) = (z)_+ − s(−z)_+: training, certificates, files and exports."""

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns, Status, beta_max, certify, path, solve, train
from convexnn.activation import activate, checked_slope
from convexnn.descent import descend
from convexnn.estimators import (
    ConvexReLUClassifier,
    ConvexReLUClassifierCV,
    ConvexReLURegressor,
    ReLUFeatures,
)
from convexnn.interop import certify_model, certify_module, from_arrays, from_onnx, to_sklearn, to_torch
from convexnn.landscape import optimal_set, path_to_optimum, stationarity
from convexnn.landscape.neurons import is_minimal, permute, prune, split
from convexnn.pricing import rho_estimate
from convexnn.pricing.branch_and_bound import rho_bounds
from convexnn.pricing.spectral import spectral_bound, spectral_dual
from convexnn.pricing.sweep import rho_sweep

SLOPES = (0.1, -0.5, -1.0)
RNG = np.random.default_rng(5)
X = np.hstack([RNG.standard_normal((9, 2)), np.ones((9, 1))])
Y = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.2 * RNG.standard_normal(9)


def sigma(Z: np.ndarray, s: float) -> np.ndarray:
    """The definition, once more."""
    return np.maximum(Z, 0.0) - s * np.maximum(-Z, 0.0)


def losses_of(cp, loss: str, fit, y: np.ndarray):
    margin = cp.multiply(y, fit)
    return {
        "squared": lambda: 0.5 * cp.sum_squares(fit - y),
        "logistic": lambda: cp.sum(cp.logistic(-margin)),
        "hinge": lambda: cp.sum(cp.pos(1 - margin)),
    }[loss]()


def explicit_optimum(X: np.ndarray, y: np.ndarray, beta: float, s: float, loss: str = "squared") -> float:
    """min L(Σ A_i(v_i − w_i)) + βΣ(‖v_i‖ + ‖w_i‖) over all cells, A_i = (D_i + s(I − D_i))X, by Clarabel."""
    cp = pytest.importorskip("cvxpy")
    fit, size, cones = 0, 0, []
    for mask in Patterns.enumerate(X).masks.T:
        A = np.where(mask, 1.0, s)[:, None] * X
        for sign in (1.0, -1.0):
            v = cp.Variable(X.shape[1])
            fit, size = fit + sign * (A @ v), size + cp.norm(v)
            cones.append(cp.multiply(2.0 * mask - 1.0, X @ v) >= 0)
    problem = cp.Problem(cp.Minimize(losses_of(cp, loss, fit, y) + beta * size), cones)
    problem.solve(solver="CLARABEL")
    return float(problem.value)


@cache
def known(s: float, loss: str) -> tuple[np.ndarray, float, float]:
    """Targets, β and the optimum of the reference problem."""
    y = Y if loss == "squared" else np.where(Y > 0, 1.0, -1.0)
    beta = 0.1 * beta_max(X, y, loss, negative_slope=s)
    return y, beta, explicit_optimum(X, y, beta, s, loss)


# ---- the activation and the bounds of ρ ----------------------------------------------------------------


@pytest.mark.parametrize("s", [0.0, *SLOPES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_activation_is_its_definition(s: float, dtype: type) -> None:
    Z = np.array([[-2.0, -0.5], [0.0, 3.0]], dtype)
    out = activate(Z.copy(), s)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, sigma(Z, s), rtol=1e-6)


@pytest.mark.parametrize("s", [1.0, 2.0, -1.5, np.nan, "leaky", None])
def test_slopes_outside_the_range_are_refused(s: object) -> None:
    with pytest.raises(ValueError, match=r"negative_slope must lie in \[-1, 1\)"):
        checked_slope(s)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative_slope"):
        train(X, Y, 0.1, negative_slope=s)  # type: ignore[arg-type]


@pytest.mark.parametrize("s", SLOPES)
def test_in_the_plane_every_bound_agrees_with_a_fine_grid(s: float) -> None:
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 100_001)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for k in range(6):
        Z = rng.standard_normal((7, 2)) if k % 2 else rng.integers(-2, 3, (7, 2)).astype(float)
        nu = -np.abs(rng.standard_normal(7)) if k == 2 else rng.standard_normal(7)
        grid = max(0.0, float(np.abs(sigma(circle @ Z.T, s) @ nu).max()))
        enumerated = ConvexProgram(Z, nu, Patterns.enumerate(Z), 1.0, negative_slope=s).rho(nu)
        assert grid * (1 - 1e-12) <= enumerated <= grid * (1 + 1e-4)
        swept = [rho_sweep(Z, sign * nu, negative_slope=s) for sign in (1.0, -1.0)]
        assert max(low for low, _ in swept) == pytest.approx(enumerated, rel=1e-9)
        assert max(high for _, high in swept) == pytest.approx(enumerated, rel=1e-9)
        assert rho_estimate(Z, nu, 200, negative_slope=s) == pytest.approx(enumerated, rel=1e-9)
        proven = max(spectral_bound(Z, sign * nu, steps=100, negative_slope=s) for sign in (1.0, -1.0))
        assert enumerated * (1 - 1e-12) <= proven <= 1.1 * enumerated


@pytest.mark.parametrize("s", SLOPES)
def test_branch_and_bound_pins_what_enumeration_finds(s: float) -> None:
    rng = np.random.default_rng(1)
    for rank in (3, 4):
        Z, nu = rng.standard_normal((10, rank)), rng.standard_normal(10)
        exact = ConvexProgram(Z, nu, Patterns.enumerate(Z), 1.0, negative_slope=s).rho(nu)
        found = rho_bounds(Z, nu, rtol=1e-6, negative_slope=s)
        assert found.lower <= exact * (1 + 1e-9)
        assert exact * (1 - 1e-9) <= found.upper <= exact * (1 + 2e-6)


@pytest.mark.parametrize("s", SLOPES)
def test_the_free_dual_point_is_feasible(s: float) -> None:
    beta = 0.2 * beta_max(X, Y, negative_slope=s)
    nu, rho = spectral_dual(X, Y, beta, "squared", Y, steps=200, negative_slope=s)
    exact = ConvexProgram(X, nu, Patterns.enumerate(X), beta, negative_slope=s).rho(nu)
    assert exact <= rho * (1 + 1e-12)
    assert rho <= beta * (1 + 1e-12)


# ---- the convex program ---------------------------------------------------------------------------------


@pytest.mark.parametrize("s", SLOPES)
@pytest.mark.parametrize("solver", ["ssnal", "admm", "cvxpy"])
def test_every_solver_of_the_program_finds_its_optimum(s: float, solver: str) -> None:
    y, beta, optimum = known(s, "squared")
    program = ConvexProgram(X, y, Patterns.enumerate(X), beta, negative_slope=s)
    solution = solve(program, solver=solver, tol=1e-5)
    assert solution.primal == pytest.approx(optimum, rel=3e-5)
    assert solution.dual <= optimum * (1 + 1e-6)
    network = Network.from_solution(solution, negative_slope=s)
    assert network.objective(X, y, beta) == pytest.approx(solution.primal, rel=1e-6)


@pytest.mark.parametrize("solver", ["ssnal", "fista"])
def test_gated_programs_take_a_slope(solver: str) -> None:
    program = ConvexProgram(X, Y, Patterns.sample(X, 6), 0.3, gated=True, negative_slope=-0.5)
    reference = solve(program, solver="cvxpy", tol=1e-7)
    assert solve(program, solver=solver, tol=1e-6).primal == pytest.approx(reference.primal, rel=1e-5)


# ---- training and certificates --------------------------------------------------------------------------


@pytest.mark.parametrize("s", SLOPES)
@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("squared", "exact"),
        ("squared", "bounded"),
        ("squared", "estimated"),
        ("logistic", "auto"),
        ("hinge", "auto"),
    ],
)
def test_training_reaches_the_optimum_of_the_explicit_program(s: float, loss: str, kind: str) -> None:
    y, beta, optimum = known(s, loss)
    result = train(X, y, beta, loss=loss, tol=1e-4, negative_slope=s, certificate=kind)  # type: ignore[arg-type]
    assert result.status is Status.CONVERGED
    assert result.network.negative_slope == s
    assert optimum * (1 - 1e-6) <= result.certificate.primal <= optimum * (1 + 1.1e-4)
    assert result.certificate.lower_bound <= optimum * (1 + 1e-6)
    assert result.certificate.kind in {"auto": ("exact",), "bounded": ("exact", "bounded")}.get(kind, (kind,))


@pytest.mark.parametrize("s", SLOPES)
@pytest.mark.parametrize("loss", ["squared", "logistic", "hinge"])
def test_no_certificate_of_a_random_network_exceeds_the_optimum(s: float, loss: str) -> None:
    y, beta, optimum = known(s, loss)
    rng = np.random.default_rng(3)
    for k in range(6):
        size = 10.0 ** rng.uniform(-1, 0.5)
        network = Network(size * rng.standard_normal((3, 2)), rng.standard_normal(2), negative_slope=s)
        for kind in ("exact", "estimated", "bounded") if k == 0 else ("exact", "estimated"):
            found = certify(network, X, y, beta, loss, 0.5, certificate=kind, starts=500)  # type: ignore[arg-type]
            assert found.lower_bound <= optimum * (1 + 1e-6)
            assert found.primal >= optimum * (1 - 1e-6)


def test_one_neuron_of_absolute_value_in_closed_form() -> None:
    """f = c on both rows for one neuron: (c − 1)² + βc has its least value β − β²/4 at c = 1 − β/2."""
    result = train(np.array([[1.0], [-1.0]]), np.ones(2), 0.4, negative_slope=-1.0, tol=1e-9)
    assert result.certificate.primal == pytest.approx(0.4 - 0.04, rel=1e-8)
    assert result.network.n_neurons == 1


def test_a_larger_slope_than_zero_is_another_optimum_and_zero_is_the_relu() -> None:
    values = [train(X, Y, 0.3, negative_slope=s).certificate.primal for s in (0.0, 0.3)]
    assert values[0] == train(X, Y, 0.3).certificate.primal
    assert abs(values[0] - values[1]) > 1e-3 * values[0]


@pytest.mark.parametrize("s", SLOPES)
def test_at_beta_max_the_zero_network_is_optimal_and_below_it_is_not(s: float) -> None:
    top = beta_max(X, Y, negative_slope=s)
    assert train(X, Y, 1.001 * top, negative_slope=s).status is Status.ZERO
    assert train(X, Y, 0.98 * top, negative_slope=s).network.n_neurons > 0


@pytest.mark.parametrize("s", SLOPES)
def test_wide_data_several_outputs_and_few_neurons(s: float) -> None:
    wide = RNG.standard_normal((6, 15))
    result = train(wide, Y[:6], 0.3, negative_slope=s, tol=1e-4)
    assert result.certificate.relative_gap <= 1e-4
    assert result.network.negative_slope == s
    two = train(X, np.stack([Y, Y[::-1]], axis=1), 0.3, negative_slope=s)
    each = [train(X, column, 0.3, negative_slope=s).certificate.primal for column in (Y, Y[::-1])]
    assert two.certificate.primal == pytest.approx(sum(each), rel=1e-3)
    narrow = train(X, Y, 0.02, negative_slope=s, max_neurons=2)
    assert narrow.network.n_neurons <= 2
    assert narrow.network.negative_slope == s
    assert narrow.certificate.lower_bound <= train(X, Y, 0.02, negative_slope=s).certificate.primal


@pytest.mark.parametrize("s", [0.1, -1.0])
def test_softmax_reaches_the_optimum_of_the_explicit_program(s: float) -> None:
    cp = pytest.importorskip("cvxpy")
    Z, labels, beta = X[:, [0, 2]], np.array([0, 1, 2, 0, 1, 2, 2, 0, 1]), 0.2
    fits, size, cones = [], 0, []
    for _ in range(3):
        fit = 0
        for mask in Patterns.enumerate(Z).masks.T:
            for sign in (1.0, -1.0):
                v = cp.Variable(2)
                fit, size = fit + sign * ((np.where(mask, 1.0, s)[:, None] * Z) @ v), size + cp.norm(v)
                cones.append(cp.multiply(2.0 * mask - 1.0, Z @ v) >= 0)
        fits.append(fit)
    F = cp.vstack(fits).T
    loss = cp.sum(cp.log_sum_exp(F, axis=1)) - cp.sum(cp.multiply(np.eye(3)[labels], F))
    problem = cp.Problem(cp.Minimize(loss + beta * size), cones)
    problem.solve(solver="CLARABEL")
    result = train(Z, labels, beta, loss="softmax", negative_slope=s, tol=1e-4)
    assert result.certificate.primal == pytest.approx(problem.value, rel=2e-4)
    assert result.certificate.lower_bound <= problem.value * (1 + 1e-6)


def test_a_path_keeps_its_activation() -> None:
    result = path(X, Y, n_betas=4, negative_slope=-1.0)
    assert [network.negative_slope for network in result.networks] == [-1.0] * 4
    assert result.networks[0].n_neurons == 0
    assert (result.relative_gaps <= 1e-3).all()


def test_a_start_of_another_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"warm_start has negative_slope = 0, the problem 0\.1"):
        train(X, Y, 0.3, negative_slope=0.1, warm_start=Network(np.eye(3), np.ones(3)))


# ---- descent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", SLOPES)
def test_descent_follows_the_gradient_of_its_activation(s: float) -> None:
    """One plain step of length η is −η∇P, compared with central differences of P."""
    start = Network(RNG.standard_normal((3, 4)), RNG.standard_normal(4), negative_slope=s)
    rate = 1e-6
    step = descend(
        X, Y, 0.3, start=start, method="sgd", momentum=0.0, steps=1, learning_rate=rate, schedule="constant",
        dtype="float64",
    ).network  # fmt: skip
    direction = RNG.standard_normal((3, 4))
    ends = [
        Network(start.U + h * direction, start.alpha, negative_slope=s).objective(X, Y, 0.3)
        for h in (1e-6, -1e-6)
    ]
    slope = float(np.sum((start.U - step.U) * direction)) / rate
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_descent_from_random_weights_and_by_lbfgs() -> None:
    result = descend(X, Y, 0.3, negative_slope=-0.5, neurons=20, steps=200)
    assert result.network.negative_slope == -0.5
    polished = descend(X, Y, 0.3, start=result.network, method="lbfgs", steps=200).network
    best = train(X, Y, 0.3, negative_slope=-0.5).certificate
    assert best.lower_bound <= polished.objective(X, Y, 0.3) <= 1.2 * best.primal


# ---- networks -------------------------------------------------------------------------------------------


def test_networks_carry_their_activation_through_every_map() -> None:
    network = Network(RNG.standard_normal((3, 4)), RNG.standard_normal((4, 2)), negative_slope=0.2)
    np.testing.assert_allclose(network.predict(X), sigma(X @ network.U, 0.2) @ network.alpha)
    single = network.outputs()[0]
    for other in (network.balanced(), network.merged(X), Network.join(network.outputs())):
        np.testing.assert_allclose(other.predict(X), network.predict(X), atol=1e-12)
    for other in (
        single.merged(X),
        prune(single, X),
        split(single, 0, [0.5, 0.5]),
        permute(single, [3, 2, 1, 0]),
    ):
        assert other.negative_slope == 0.2
        np.testing.assert_allclose(other.predict(X), single.predict(X), atol=1e-9)
    with pytest.raises(ValueError, match="one activation join"):
        Network.join([single, Network.zero(3)])


def test_mirrored_neurons_of_the_absolute_value_merge() -> None:
    u = np.array([0.3, -0.2, 1.0])
    network = Network(np.stack([u, -2.0 * u], axis=1), np.array([1.0, 1.0]), negative_slope=-1.0)
    merged = network.merged(X)
    assert merged.n_neurons == 1
    assert is_minimal(merged, X)
    assert not is_minimal(network.balanced(), X)
    np.testing.assert_allclose(merged.predict(X), network.predict(X), atol=1e-12)


def test_a_file_keeps_the_activation_and_old_files_load(tmp_path: Path) -> None:
    network = Network(np.eye(3), np.ones(3), negative_slope=-0.5)
    loaded = Network.load(network.save(tmp_path / "leaky.safetensors"))
    assert loaded.negative_slope == -0.5
    from safetensors.numpy import load_file

    plain = Network(np.eye(3), np.ones(3)).save(tmp_path / "relu.safetensors")
    assert set(load_file(plain)) == {"U", "alpha"}  # as before there were other activations
    assert Network.load(plain).negative_slope == 0.0


def test_what_is_for_relu_networks_says_so() -> None:
    leaky = Network(np.eye(3), np.ones(3), negative_slope=0.1)
    with pytest.raises(ValueError, match="is for ReLU networks"):
        stationarity(leaky, X, Y, 0.1)
    with pytest.raises(ValueError, match="is for ReLU networks"):
        path_to_optimum(leaky, leaky, X, Y, 0.1)
    with pytest.raises(ValueError, match="negative slope"):
        optimal_set(ConvexProgram(X, Y, Patterns.enumerate(X), 0.1, negative_slope=0.1))
    with pytest.raises(ValueError, match="no leaky ReLU"):
        to_sklearn(leaky)


# ---- estimators and exports -----------------------------------------------------------------------------


def test_estimators_train_the_activation_they_are_given() -> None:
    from scipy import sparse

    rows = RNG.standard_normal((40, 3))
    target = np.abs(rows[:, 0]) - 0.5 * rows[:, 1]
    model = ConvexReLURegressor(negative_slope=-1.0).fit(rows, target)
    assert model.network_.negative_slope == -1.0
    assert model.certificate_.relative_gap <= 1e-3
    assert model.score(rows, target) > ConvexReLURegressor(beta=model.beta_).fit(rows, target).score(
        rows, target
    )
    Z = model.scaler_.transform(rows)
    np.testing.assert_allclose(model.predict(rows), model.network_.predict(Z))
    np.testing.assert_allclose(model.predict(sparse.csr_array(rows)), model.predict(rows))
    features = ReLUFeatures(ConvexReLURegressor(negative_slope=0.1)).fit(rows, target)
    hidden = features.transform(rows)
    assert hidden.min() < 0
    np.testing.assert_allclose(hidden @ features.estimator_.network_.alpha, features.estimator_.predict(rows))
    labels = (target > 0).astype(int)
    classes = ConvexReLUClassifierCV(negative_slope=0.1, n_betas=2, cv=2).fit(rows, labels)
    assert classes.network_.negative_slope == 0.1
    with pytest.raises(ValueError, match="negative_slope"):
        ConvexReLUClassifier(negative_slope=3.0).fit(rows, labels)


@pytest.mark.parametrize("s", SLOPES)
def test_torch_and_onnx_compute_the_same(s: float, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    ort = pytest.importorskip("onnxruntime")
    rows = RNG.standard_normal((30, 2))
    model = ConvexReLURegressor(negative_slope=s).fit(rows, rows[:, 0] ** 2)
    expected = model.predict(rows)
    module = to_torch(model)
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.from_numpy(rows).float())[:, 0], expected, atol=2e-6)
    graph = model.network_.to_onnx()
    Z = model.scaler_.transform(rows)
    out = ort.InferenceSession(graph.SerializeToString()).run(None, {"X": Z.astype(np.float32)})[0]
    np.testing.assert_allclose(out[:, 0], expected, atol=2e-6)
    back = from_onnx(graph).network
    assert back.negative_slope == s
    np.testing.assert_allclose(back.predict(Z), expected, atol=2e-6)
    assert Network.from_torch(to_torch(model.network_, dtype=torch.float64)).negative_slope == s
    file = tmp_path / "module.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(module, (torch.zeros(1, 2),), str(file), dynamo=False)
    assert from_onnx(file).network.negative_slope == s


def test_a_leaky_torch_module_is_certified() -> None:
    torch = pytest.importorskip("torch")
    y, beta, optimum = known(0.1, "squared")
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4, bias=False), torch.nn.LeakyReLU(0.1), torch.nn.Linear(4, 1, bias=False)
    ).double()
    batch = [(torch.from_numpy(X), torch.from_numpy(y))]
    found = certify_module(module, batch, weight_decay=2.0 * beta / len(X))
    assert found.beta == pytest.approx(beta)
    assert found.network.negative_slope == 0.1
    assert found.certificate.lower_bound == pytest.approx(optimum, rel=2e-3)
    assert found.certificate.lower_bound <= optimum * (1 + 1e-6)
    arrays = from_arrays(np.eye(3), None, np.ones(3), None, 0.1)
    assert certify_model(arrays, X, y, beta=beta).certificate.lower_bound <= optimum * (1 + 1e-6)
