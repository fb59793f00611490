"""Several outputs: softmax cross-entropy and separable losses, their training and certificates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn import Network, Patterns, Status, beta_max, certify, path, train
from convexnn.certificate_outputs import worst_kind
from convexnn.cones import prepare_rows
from convexnn.losses import get_loss
from convexnn.losses.softmax import Softmax, softmax_targets
from convexnn.pricing import rho_estimate
from convexnn.pricing.spectral_softmax import spectral_softmax
from convexnn.solvers.inner import make_blocks
from convexnn.solvers.softmax_inner import SoftmaxProblem, curvature, evaluate_softmax, normalised

RNG = np.random.default_rng(11)
X_PLANE = RNG.standard_normal((8, 2))
PLANE_LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 0])
X = np.hstack([RNG.standard_normal((40, 3)), np.ones((40, 1))]) / 2.0
LABELS = np.argmax(
    np.c_[X[:, 0], np.abs(X[:, 1]) - 0.3, X[:, 2]] + 0.1 * RNG.standard_normal((40, 3)), axis=1
)
Y = softmax_targets(LABELS)
Y_REAL = np.maximum(X @ RNG.standard_normal((4, 3)), 0.0) - 0.5


def objective(network: Network, Y: np.ndarray, beta: float, X: np.ndarray = X) -> float:
    """Softmax training objective, written out once more."""
    f = np.maximum(X @ network.U, 0.0) @ network.alpha
    f = f - f.max(axis=1, keepdims=True)
    loss = np.sum(np.log(np.exp(f).sum(axis=1)) - (Y * f).sum(axis=1))
    return loss + 0.5 * beta * (np.sum(network.U**2) + np.sum(np.abs(network.alpha).sum(axis=1) ** 2))


def cvxpy_optimum(X: np.ndarray, Y: np.ndarray, beta: float, weights: np.ndarray | None = None) -> float:
    """Program (2) with a set of blocks for each output, over all patterns, by Clarabel."""
    cp = pytest.importorskip("cvxpy")
    masks, fits, size, cones = Patterns.enumerate(X).masks, [], 0, []
    weights = np.ones(len(X)) if weights is None else weights
    for _ in range(Y.shape[1]):
        fit = 0
        for mask in masks.T:
            for sign in (1.0, -1.0):
                v = cp.Variable(X.shape[1])
                fit += cp.multiply(sign * mask, X @ v)
                size += cp.norm(v)
                cones.append(cp.multiply(2.0 * mask - 1.0, X @ v) >= 0)
        fits.append(fit)
    F = cp.vstack(fits).T
    loss = cp.sum(cp.multiply(weights, cp.log_sum_exp(F, axis=1) - cp.sum(cp.multiply(Y, F), axis=1)))
    problem = cp.Problem(cp.Minimize(loss + beta * size), cones)
    problem.solve(solver="CLARABEL")
    return float(problem.value)


# ---- the loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, np.linspace(0.3, 2.0, 40)])
def test_gradient_and_conjugate_of_softmax(weights):
    loss = Softmax(weights)
    f = RNG.standard_normal((40, 3))
    nu = -loss.gradient(f, Y)
    step = 1e-6 * RNG.standard_normal(f.shape)
    rise = loss.value(f + step, Y) - loss.value(f - step, Y)
    assert rise == pytest.approx(-2 * np.sum(nu * step), rel=1e-6)
    assert loss.value(f, Y) + np.sum(nu * f) == pytest.approx(loss.dual_value(nu, Y), rel=1e-12)
    np.testing.assert_allclose(nu.sum(axis=1), 0.0, atol=1e-14)


@pytest.mark.parametrize("t_max", [0.3, 1.0, 50.0])
def test_best_scale_maximises_the_dual_value(t_max):
    loss = Softmax(np.linspace(0.3, 2.0, 40))
    nu = -loss.gradient(3.0 * RNG.standard_normal((40, 3)), Y)
    t = loss.best_scale(nu, Y, t_max)
    grid = np.linspace(0, min(t_max, 2.0), 4001)
    values = [loss.dual_value(s * nu, Y) for s in grid]
    assert 0 < t <= t_max
    assert loss.dual_value(t * nu, Y) >= max(values) - 1e-10


def test_points_outside_the_domain_have_no_dual_value():
    loss = get_loss("softmax")
    assert loss.dual_value(np.ones((40, 3)), Y) == -np.inf
    assert loss.dual_value(2.0 * (Y - 1 / 3), Y) == -np.inf
    assert loss.best_scale(np.ones((40, 3)), Y, 1.0) == 0.0
    assert loss.best_scale(1.0 / 3.0 - Y, Y, 1.0) == 0.0
    assert loss.dual_value(np.zeros((40, 3)), Y) == 0.0


def test_labels_become_rows_of_a_table():
    np.testing.assert_array_equal(softmax_targets(np.array([2, 0, 1])), np.eye(3)[[2, 0, 1]])
    assert softmax_targets(np.array([0, 1]), 5).shape == (2, 5)


def test_gradient_of_the_inner_problem():
    weights = np.linspace(0.5, 1.5, 40)[:, None]
    V = 0.1 * RNG.standard_normal((6, 4))
    parts = [
        make_blocks(V[i : i + 2] @ X.T >= 0, np.array([1.0, -1.0]), V[i : i + 2]) for i in range(0, 6, 2)
    ]
    problem = SoftmaxProblem(X, prepare_rows(X), Y, weights, 0.3, 2.0)
    z = normalised(RNG.standard_normal((40, 3)))
    point = evaluate_softmax(problem, parts, z)
    assert sum(len(part.active) for part in point.parts) >= 3
    dz = RNG.standard_normal(z.shape)
    ahead, behind = (evaluate_softmax(problem, parts, normalised(z + e * dz)).value for e in (1e-6, -1e-6))
    slope = -np.sum(point.gradient * curvature(weights, point.p, dz))
    assert (ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-5)


# ---- training by softmax ------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.5, 0.05])
def test_softmax_training_reaches_the_convex_program(fraction):
    targets = softmax_targets(PLANE_LABELS)
    beta = fraction * beta_max(X_PLANE, targets, "softmax")
    result = train(X_PLANE, PLANE_LABELS, beta, loss="softmax", tol=1e-6)
    value = cvxpy_optimum(X_PLANE, targets, beta)
    assert result.status is Status.CONVERGED
    assert result.certificate.kind == "exact"
    assert result.certificate.primal == pytest.approx(value, rel=2e-6)
    assert result.certificate.lower_bound <= value * (1 + 1e-6)
    assert result.certificate.primal == pytest.approx(objective(result.network, targets, beta, X_PLANE))


def test_probabilities_are_targets_too():
    rng = np.random.default_rng(2)
    targets, weights = rng.dirichlet(np.ones(3), size=8), rng.uniform(0.2, 3.0, size=8)
    beta = 0.2 * beta_max(X_PLANE, targets, "softmax", sample_weight=weights)
    result = train(X_PLANE, targets, beta, loss="softmax", sample_weight=weights, tol=1e-6)
    value = cvxpy_optimum(X_PLANE, targets, beta, weights)
    assert result.certificate.primal == pytest.approx(value, rel=2e-6)
    assert result.certificate.lower_bound <= value * (1 + 1e-6)


def test_two_classes_are_the_logistic_problem():
    signs = np.where(LABELS == 2, 1.0, -1.0)
    labels = (LABELS == 2).astype(int)
    top = beta_max(X, labels, "softmax")
    assert top == pytest.approx(beta_max(X, signs, "logistic"), rel=1e-9)
    pair = train(X, labels, 0.1 * top, loss="softmax", tol=1e-6)
    single = train(X, signs, 0.1 * top, loss="logistic", tol=1e-6)
    assert pair.certificate.primal == pytest.approx(single.certificate.primal, rel=2e-6)
    assert pair.certificate.lower_bound <= single.certificate.primal * (1 + 1e-12)
    f = pair.network.predict(X)
    np.testing.assert_allclose(f[:, 1] - f[:, 0], single.network.predict(X), atol=2e-2)
    lifted = Network.join([Network.zero(4), single.network])
    assert objective(lifted, softmax_targets(labels), 0.1 * top) == pytest.approx(single.certificate.primal)


@pytest.mark.parametrize("fraction", [0.3, 0.03])
def test_softmax_closes_its_gap_and_a_stranger_can_check_it(fraction):
    beta = fraction * beta_max(X, Y, "softmax")
    result = train(X, Y, beta, loss="softmax", tol=1e-4)
    certificate = result.certificate
    assert result.status is Status.CONVERGED
    assert 0 <= certificate.relative_gap <= 1e-4
    assert certificate.primal == pytest.approx(objective(result.network, Y, beta), rel=1e-10)
    P = Y - certificate.nu
    assert -np.sum(P * np.log(np.maximum(P, 1e-300))) == pytest.approx(certificate.lower_bound, rel=1e-9)
    for column in np.ascontiguousarray(certificate.nu.T):
        assert rho_estimate(X, column, starts=1000, seed=9) <= beta * (1 + 1e-9)
    assert (np.count_nonzero(result.network.alpha, axis=1) == 1).all()


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A table of scikit-learn: standardised columns, ones, rows of length near one; labels."""
    from sklearn import datasets

    raw, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    scale = raw.std(axis=0)
    raw = (raw - raw.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    return np.c_[raw, np.ones(len(raw))] / np.sqrt(raw.shape[1] + 1), labels


def test_wine_is_solved_to_a_thousandth_with_a_proof_of_five_hundredths():
    X, labels = table("wine")
    beta = beta_max(X, labels, "softmax") / 30
    result = train(X, labels, beta, loss="softmax", tol=1e-3)
    assert result.status is Status.CONVERGED
    assert result.certificate.starts >= 3000
    assert np.mean(result.network.predict(X).argmax(axis=1) == labels) > 0.98
    proof = certify(result.network, X, labels, beta, "softmax", 2.0, certificate="bounded")
    assert 0 < proof.relative_gap <= 5e-2


@pytest.mark.slow
def test_digits_are_solved_to_a_hundredth():
    X, labels = table("digits")
    result = train(X, labels, beta_max(X, labels, "softmax") / 10, loss="softmax", tol=1e-2)
    assert result.status is Status.CONVERGED
    assert result.certificate.primal <= 1443.0
    assert result.certificate.starts >= 10_000


def test_the_path_takes_softmax_and_several_outputs():
    for targets, loss in ((LABELS, "softmax"), (Y_REAL, "squared")):
        found = path(X, targets, loss=loss, n_betas=4, ratio=0.05, tol=1e-2)
        assert all(one.relative_gap <= 1e-2 for one in found.certificates)
        assert found.networks[-1].alpha.shape[1] == 3


def test_order_of_classes_does_not_matter():
    beta = 0.1 * beta_max(X, Y, "softmax")
    first = train(X, Y, beta, loss="softmax", tol=1e-5).certificate
    second = train(X, Y[:, [2, 0, 1]], beta, loss="softmax", tol=1e-5).certificate
    assert max(first.lower_bound, second.lower_bound) <= min(first.primal, second.primal) * (1 + 1e-12)


def test_softmax_gives_zero_at_beta_max_and_not_below():
    top = beta_max(X, Y, "softmax")
    at = train(X, Y, top, loss="softmax")
    assert at.status is Status.ZERO
    assert at.network.alpha.shape == (0, 3)
    assert at.certificate.primal == pytest.approx(40 * np.log(3))
    below = train(X, Y, 0.95 * top, loss="softmax", tol=1e-6)
    assert below.certificate.primal < at.certificate.primal
    assert below.certificate.relative_gap <= 1e-6


def test_warm_start_seed_and_interruption_of_softmax():
    beta = 0.05 * beta_max(X, Y, "softmax")
    good = train(X, Y, beta, loss="softmax", tol=1e-6)
    same = train(X, Y, beta, loss="softmax", tol=1e-6)
    np.testing.assert_array_equal(good.network.U, same.network.U)
    again = train(X, Y, beta, loss="softmax", tol=1e-6, warm_start=good.network)
    assert again.certificate.primal <= good.certificate.primal * (1 + 1e-9)
    assert len(again.history) <= len(good.history)

    def stop(row):
        raise KeyboardInterrupt

    cut = train(X, Y, beta, loss="softmax", tol=1e-12, progress=stop)
    assert cut.status is Status.INTERRUPTED
    assert len(cut.history) == 1
    assert 0 < cut.certificate.lower_bound <= good.certificate.primal * (1 + 1e-9)


def test_width_limit_over_all_outputs():
    beta = 0.02 * beta_max(X, Y, "softmax")
    free = train(X, Y, beta, loss="softmax", tol=1e-4)
    narrow = train(X, Y, beta, loss="softmax", tol=1e-4, max_neurons=2)
    assert narrow.network.n_neurons <= 2 < free.network.n_neurons
    assert narrow.status is Status.WIDTH_LIMIT
    assert narrow.certificate.lower_bound <= free.certificate.primal < narrow.certificate.primal


# ---- separable losses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "logistic", "hinge"])
def test_separable_losses_decouple(loss):
    targets = Y_REAL if loss == "squared" else 2.0 * Y - 1.0
    beta = 0.1 * beta_max(X, targets, loss)
    joint = train(X, targets, beta, loss=loss, tol=1e-4)
    alone = [train(X, np.ascontiguousarray(y), beta, loss=loss, tol=1e-4) for y in targets.T]
    certificate = joint.certificate
    assert joint.status is Status.CONVERGED
    assert certificate.primal == pytest.approx(sum(one.certificate.primal for one in alone), rel=1e-12)
    assert certificate.lower_bound == pytest.approx(sum(one.certificate.lower_bound for one in alone))
    assert certificate.relative_gap <= 1e-4
    assert joint.network.alpha.shape[1] == 3
    assert certificate.nu.shape == targets.shape
    assert get_loss(loss).dual_value(certificate.nu, targets) == pytest.approx(certificate.lower_bound)
    primal = [row["primal"] for row in joint.history]
    assert primal == sorted(primal, reverse=True)


def test_outputs_stop_together_on_interruption():
    def stop(row):
        raise KeyboardInterrupt

    result = train(X, Y_REAL, 0.05, tol=1e-9, progress=stop)
    assert result.status is Status.INTERRUPTED
    assert result.network.alpha.shape[1] == 3
    assert len(result.history) == 1
    assert 0 <= result.certificate.lower_bound <= result.certificate.primal


# ---- certificates -------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["softmax", "squared", "logistic"]), st.floats(0.01, 3.0))
def test_exact_bounds_are_below_every_network(seed, loss, beta):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((8, 2))
    labels = rng.integers(3, size=8)
    targets = np.eye(3)[labels] if loss == "softmax" else 2.0 * np.eye(3)[labels] - 1.0
    nets = [Network(s * rng.standard_normal((2, 5)), s * rng.standard_normal((5, 3))) for s in (0.1, 0.5, 1)]
    nets.append(train(X, targets, beta, loss=loss, tol=1e-3).network)
    found = [certify(net, X, targets, beta, loss, certificate="exact") for net in nets]
    values = [net.objective(X, targets, beta, loss) for net in nets]
    assert {one.kind for one in found} == {"exact"}
    assert max(one.lower_bound for one in found) <= min(values) * (1 + 1e-12)
    assert [one.primal for one in found] == pytest.approx(values)


def test_kinds_of_softmax_certificates():
    rng = np.random.default_rng(1)
    wide = np.hstack([rng.standard_normal((30, 13)), np.ones((30, 1))]) / 4.0
    labels = rng.integers(3, size=30)
    beta = 0.3 * beta_max(wide, labels, "softmax")
    result = train(wide, labels, beta, loss="softmax", tol=1e-3)
    assert result.certificate.kind == "estimated"
    proven = certify(result.network, wide, labels, beta, "softmax", 1.5, certificate="bounded")
    assert proven.kind == "bounded"
    assert 0.9 * result.certificate.lower_bound < proven.lower_bound <= result.certificate.primal
    for column in np.ascontiguousarray(proven.nu.T):
        assert rho_estimate(wide, column, starts=500) <= proven.rho <= beta * (1 + 1e-12)
    few = Patterns.sample(wide, 5)
    among = certify(result.network, wide, labels, beta, "softmax", patterns=few)
    assert among.kind == "patterns"
    assert among.starts == len(few)
    assert among.lower_bound >= result.certificate.lower_bound * (1 - 1e-6)
    with pytest.raises(ValueError, match="exclude each other"):
        certify(result.network, wide, labels, beta, "softmax", patterns=few, certificate="bounded")
    with pytest.raises(ValueError, match="rank at most 12"):
        certify(result.network, wide, labels, beta, "softmax", certificate="exact")


@pytest.mark.parametrize("weights", [None, np.linspace(0.2, 3.0, 40)])
def test_sector_bounds_of_softmax_hold_and_move_the_dual_point(weights):
    loss = Softmax(weights)
    beta = 0.2 * beta_max(X, Y, "softmax", sample_weight=weights)
    best = train(X, Y, beta, loss=loss, tol=1e-5).certificate
    for start in (best.nu, -loss.gradient(np.zeros((40, 3)), Y)):
        nu, rho = spectral_softmax(X, Y, beta, loss, start, primal=best.primal, tol=1e-9, max_time=0.7)
        exact = max(rho_estimate(X, column, starts=500) for column in np.ascontiguousarray(nu.T))
        assert exact <= rho <= beta * (1 + 1e-12)
        assert 0.8 * best.primal < loss.dual_value(nu, Y) <= best.primal


def test_given_dual_points_are_tried():
    beta = 0.1 * beta_max(X, Y, "softmax")
    good = train(X, Y, beta, loss="softmax", tol=1e-5)
    bad = Network(0.1 * np.eye(4, 5), np.full((5, 3), 0.1))
    plain = certify(bad, X, LABELS, beta, "softmax")
    helped = certify(bad, X, LABELS, beta, "softmax", nu=good.certificate.nu)
    assert plain.lower_bound < helped.lower_bound <= good.certificate.primal
    assert helped.lower_bound == pytest.approx(good.certificate.lower_bound, rel=1e-3)


def test_a_class_without_rows_can_be_certified():
    network = Network(np.eye(4), np.ones((4, 4)))
    for weights in (None, np.ones(40), np.arange(40.0)):
        certificate = certify(network, X, LABELS, 1.0, "softmax", sample_weight=weights, starts=10)
        assert certificate.nu.shape == (40, 4)


def test_a_sum_is_as_strong_as_its_weakest_part():
    assert worst_kind({"exact", "estimated", "bounded"}) == "estimated"
    assert worst_kind({"exact", "bounded"}) == "bounded"


# ---- weights ------------------------------------------------------------------------------------------


def test_weights_are_repeated_rows():
    weights = np.array([2.0, 0.0, 1.0, 1.0])[np.arange(40) % 4]
    rows = np.repeat(np.arange(40), weights.astype(int))
    beta = 0.1 * beta_max(X[rows], Y[rows], "softmax")
    repeated = train(X[rows], Y[rows], beta, loss="softmax", tol=1e-5)
    weighted = train(X, Y, beta, loss="softmax", sample_weight=weights, tol=1e-5)
    assert weighted.status is Status.CONVERGED
    assert weighted.certificate.primal == pytest.approx(repeated.certificate.primal, rel=2e-5)
    assert beta_max(X, Y, "softmax", sample_weight=weights) == pytest.approx(10 * beta, rel=1e-6)
    assert certify(weighted.network, X[rows], Y[rows], beta, "softmax").relative_gap <= 1e-3
    nu, used = weighted.certificate.nu, weights > 0
    assert not nu[~used].any()
    object_form = Softmax(weights[used])
    assert object_form.dual_value(nu[used], Y[used]) == pytest.approx(weighted.certificate.lower_bound)
    proof = certify(weighted.network, X, LABELS, beta, "softmax", sample_weight=weights, nu=nu)
    assert proof.relative_gap <= 1e-3
    several = train(X, Y_REAL, 0.1, sample_weight=weights, tol=1e-4).certificate
    assert several.primal == pytest.approx(
        train(X[rows], Y_REAL[rows], 0.1, tol=1e-4).certificate.primal, rel=2e-4
    )


# ---- networks -----------------------------------------------------------------------------------------


def test_outputs_join_back(tmp_path):
    rng = np.random.default_rng(4)
    net = Network(rng.standard_normal((4, 6)), rng.standard_normal((6, 3)))
    joined = Network.join(net.outputs())
    np.testing.assert_allclose(joined.predict(X), net.predict(X), rtol=1e-12, atol=1e-12)
    assert joined.penalty() <= net.penalty() * (1 + 1e-12)
    assert joined.penalty() == pytest.approx(net.balanced().penalty())
    merged = joined.merged(X)
    np.testing.assert_allclose(merged.predict(X), net.predict(X), rtol=1e-11, atol=1e-11)
    assert merged.penalty() <= joined.penalty() * (1 + 1e-12)
    loaded = Network.load(merged.save(tmp_path))
    np.testing.assert_array_equal(loaded.alpha, merged.alpha)
    assert Network.join([Network.zero(4)] * 3).alpha.shape == (0, 3)


# ---- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(40, 0.5)}, r"whole numbers from 0; y\[0\] is 0.5"),
        ({"y": np.zeros(40)}, "at least two classes"),
        ({"y": -np.ones((40, 3))}, "probabilities that sum to 1"),
        ({"y": 2.0 * Y}, "probabilities that sum to 1"),
        ({"y": Y[:5]}, "one row for each of the 40 rows"),
        ({"warm_start": Network.zero(4)}, "4 features and 3 outputs"),
        ({"warm_start": Network.zero(3, 3)}, "4 features and 3 outputs"),
        ({"max_neurons": 0}, "max_neurons must be"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"y": Y_REAL, "loss": "logistic"}, "labels -1 and \\+1"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"y": Y, "loss": "softmax"} | change
    with pytest.raises(ValueError, match=message):
        train(X, arguments.pop("y"), 0.1, **arguments)


def test_certificates_refuse_what_does_not_fit():
    net = Network(np.eye(4), np.ones((4, 2)))
    with pytest.raises(ValueError, match="3 classes, the network has 2"):
        certify(net, X, Y, 1.0, "softmax")
    with pytest.raises(ValueError, match="from 0 below 2"):
        certify(net, X, LABELS, 1.0, "softmax")
    with pytest.raises(ValueError, match="nu must have the shape"):
        certify(Network.join([net.outputs()[0]] * 3), X, Y, 1.0, "softmax", nu=np.zeros((40, 2)))
