"""Certificates: bounds that hold, that anyone can recheck, and that are tight at optima."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.certificate import Certificate, certify, default_starts
from convexnn.data import five_points
from convexnn.losses import LOSSES, get_loss
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.pricing import beta_max, rho_estimate
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve

properties = settings(deadline=None, derandomize=True, max_examples=15)
seeds = st.integers(0, 10**6)
each_loss = pytest.mark.parametrize("loss", LOSSES)


def small_problem(loss: str, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """X (≤ 6 × 2), y and a β below β_max."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    X, y = rng.standard_normal((n, 2)), rng.standard_normal(n)
    if LOSSES[loss].is_classification:
        y = np.where(y > 0, 1.0, -1.0)
    return X, y, float(rng.uniform(0.05, 0.8)) * beta_max(X, y, loss, starts=200)


def random_network(seed: int, d: int = 2) -> Network:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(0, 5))
    return Network(rng.standard_normal((d, m)), rng.standard_normal(m))


def optimum(X: np.ndarray, y: np.ndarray, beta: float, loss: str) -> Solution:
    """The program over all patterns (many samples in dimension two)."""
    return solve(ConvexProgram(X, y, Patterns.sample(X, 3000), beta, loss), tol=1e-8)


def five_point_optimum(loss: str = "squared", beta: float = 0.1) -> tuple[np.ndarray, np.ndarray, Solution]:
    data = five_points()
    return data.X, data.y, optimum(data.X, data.y, beta, loss)


# ---- known optima -------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.01, 0.3, 0.9])
def test_one_sample_has_the_bound_of_the_closed_form(beta: float) -> None:
    weight = np.sqrt(1 - beta)
    certificate = certify(Network([[weight]], [weight]), [[1.0]], [1.0], beta)
    assert certificate.primal == pytest.approx(beta - beta**2 / 2, rel=1e-12)
    assert certificate.lower_bound == pytest.approx(beta - beta**2 / 2, rel=1e-12)


def test_the_optimum_of_the_five_points_has_no_gap() -> None:
    X, y, solution = five_point_optimum()
    certificate = certify(Network.from_solution(solution), X, y, 0.1, certificate="estimated")
    assert certificate.kind == "estimated"
    assert 0.0 <= certificate.relative_gap <= 1e-5
    assert certificate.lower_bound <= 0.8914472 * (1 + 1e-8)
    assert certificate.primal == pytest.approx(0.8914472, abs=1e-7)


def test_the_optimum_of_the_three_rows_has_no_gap() -> None:
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0, 0.0])
    certificate = certify(Network.from_solution(optimum(X, y, 0.1, "squared")), X, y, 0.1)
    assert certificate.relative_gap <= 1e-5
    assert certificate.primal == pytest.approx(0.1290241, abs=1e-7)


@pytest.mark.parametrize("loss", ["squared", "logistic", "squared_hinge"])
@properties
@given(seed=seeds)
def test_smooth_optima_have_no_gap(loss: str, seed: int) -> None:
    X, y, beta = small_problem(loss, seed)
    certificate = certify(Network.from_solution(optimum(X, y, beta, loss)), X, y, beta, loss)
    assert -1e-9 <= certificate.relative_gap <= 1e-4


def test_a_hinge_optimum_with_rows_on_the_margin_has_no_gap_given_the_dual_point_of_the_solver() -> None:
    X, y, solution = five_point_optimum("hinge")
    network = Network.from_solution(solution)
    assert (np.abs(1 - y * network.predict(X)) < 1e-6).all()
    certificate = certify(network, X, y, 0.1, "hinge", nu=solution.nu)
    assert certificate.relative_gap <= 1e-7


def test_a_hinge_optimum_with_rows_on_the_margin_has_no_gap_by_itself() -> None:
    X, y, solution = five_point_optimum("hinge")
    assert certify(Network.from_solution(solution), X, y, 0.1, "hinge").relative_gap <= 1e-4


def test_a_hinge_optimum_with_one_row_on_the_margin_has_no_gap_by_itself() -> None:
    X, y = np.array([[1.0]]), np.array([1.0])  # max(0, 1 − a) + β a: a = 1
    certificate = certify(Network([[1.0]], [1.0]), X, y, 0.4, "hinge")
    assert certificate.lower_bound == pytest.approx(certificate.primal, rel=1e-12)


@each_loss
@pytest.mark.parametrize("factor", [1 + 1e-9, 3.0])
def test_the_zero_network_has_no_gap_from_beta_max_on(loss: str, factor: float) -> None:
    data = five_points()
    beta = factor * beta_max(data.X, data.y, loss)
    certificate = certify(Network.zero(2), data.X, data.y, beta, loss)
    assert certificate.gap == pytest.approx(0.0, abs=1e-12 * certificate.primal)


@each_loss
def test_the_zero_network_has_a_gap_below_beta_max(loss: str) -> None:
    data = five_points()
    beta = 0.9 * beta_max(data.X, data.y, loss)
    assert certify(Network.zero(2), data.X, data.y, beta, loss).relative_gap > 1e-3


def test_a_neuron_on_the_wrong_side_has_a_gap() -> None:
    assert certify(Network([[1.0]], [-1.0]), [[1.0]], [1.0], 0.1).relative_gap > 0.5


# ---- weak duality -------------------------------------------------------------------------------------


@each_loss
@properties
@given(seed=seeds)
def test_the_bound_is_below_every_network_and_the_global_optimum(loss: str, seed: int) -> None:
    X, y, beta = small_problem(loss, seed)
    best = optimum(X, y, beta, loss).primal
    certificate = certify(random_network(seed), X, y, beta, loss)
    assert 0.0 <= certificate.lower_bound <= certificate.primal
    assert certificate.lower_bound <= best * (1 + 1e-7)


@each_loss
@properties
@given(seed=seeds)
def test_a_stranger_can_check_a_certificate(loss: str, seed: int) -> None:
    X, y, beta = small_problem(loss, seed)
    network = random_network(seed)
    certificate = certify(network, X, y, beta, loss)
    assert get_loss(loss).dual_value(certificate.nu, y) == pytest.approx(
        certificate.lower_bound, rel=1e-12, abs=1e-14
    )
    assert rho_estimate(X, certificate.nu, starts=500, seed=99) <= beta * (1 + 1e-9)
    assert certificate.rho <= beta * (1 + 1e-12)
    assert certificate.primal == network.objective(X, y, beta, loss)
    assert certificate.gap == certificate.primal - certificate.lower_bound
    assert certificate.relative_gap == certificate.gap / certificate.primal


@each_loss
@properties
@given(seed=seeds)
def test_any_dual_point_that_is_offered_gives_a_true_bound(loss: str, seed: int) -> None:
    X, y, beta = small_problem(loss, seed)
    rng = np.random.default_rng(seed + 1)
    offered = rng.choice([1e-3, 1.0, 1e3]) * rng.standard_normal(len(y))
    certificate = certify(random_network(seed), X, y, beta, loss, nu=offered)
    assert certificate.lower_bound <= optimum(X, y, beta, loss).primal * (1 + 1e-7)
    assert get_loss(loss).dual_value(certificate.nu, y) == pytest.approx(
        certificate.lower_bound, rel=1e-12, abs=1e-14
    )


@pytest.mark.parametrize("offered", [0.0, -1.0, 1e6])
def test_a_useless_dual_point_does_not_lower_the_bound(offered: float) -> None:
    X, y, solution = five_point_optimum("logistic")
    network = Network.from_solution(solution)
    alone = certify(network, X, y, 0.1, "logistic")
    both = certify(network, X, y, 0.1, "logistic", nu=offered * y)
    assert both.lower_bound >= alone.lower_bound * (1 - 1e-9)


def test_the_dual_point_of_the_solver_is_used_where_it_is_better() -> None:
    X, y, solution = five_point_optimum()
    certificate = certify(Network.zero(2), X, y, 0.1, nu=solution.nu)
    assert certificate.lower_bound == pytest.approx(solution.dual, rel=1e-9)


# ---- a pattern set only -------------------------------------------------------------------------------


@each_loss
def test_the_bound_over_patterns_is_the_dual_of_their_program(loss: str) -> None:
    data, network = five_points(), random_network(3)
    patterns = Patterns.sample(data.X, 4)
    program = ConvexProgram(data.X, data.y, patterns, 0.2, loss)
    nu = -get_loss(loss).gradient(network.predict(data.X), data.y)
    certificate = certify(network, data.X, data.y, 0.2, loss, patterns=patterns)
    assert certificate.kind == "patterns"
    assert certificate.starts == len(patterns)
    assert certificate.lower_bound == pytest.approx(program.dual(nu)[0], rel=1e-12)


def test_an_optimum_over_few_patterns_has_a_gap_only_globally() -> None:
    data = five_points()
    patterns = Patterns.sample(data.X, 3)
    network = Network.from_solution(solve(ConvexProgram(data.X, data.y, patterns, 0.1), tol=1e-8))
    assert certify(network, data.X, data.y, 0.1, patterns=patterns).relative_gap <= 1e-5
    assert certify(network, data.X, data.y, 0.1).relative_gap > 0.05


# ---- several outputs and scales -----------------------------------------------------------------------


def test_a_network_of_two_outputs_is_certified() -> None:
    X, y, one = five_point_optimum()
    other = optimum(X, y[::-1], 0.1, "squared")
    a, b = Network.from_solution(one), Network.from_solution(other)
    alpha = np.zeros((a.U.shape[1] + b.U.shape[1], 2))
    alpha[: a.U.shape[1], 0], alpha[a.U.shape[1] :, 1] = a.alpha, b.alpha
    certificate = certify(Network(np.hstack([a.U, b.U]), alpha), X, np.c_[y, y[::-1]], 0.1)
    assert certificate.primal == pytest.approx(one.primal + other.primal, rel=1e-9)
    assert certificate.nu.shape == (5, 2)
    assert 0 <= certificate.relative_gap <= 1e-5


@each_loss
def test_the_bound_of_two_outputs_is_below_both_networks(loss: str) -> None:
    data, rng = five_points(), np.random.default_rng(0)
    Y = np.c_[data.y, -data.y]
    network = Network(rng.standard_normal((2, 4)), rng.standard_normal((4, 2)))
    certificate = certify(network, data.X, Y, 0.2, loss)
    sum_of_optima = sum(optimum(data.X, y, 0.2, loss).primal for y in Y.T)
    assert certificate.lower_bound <= sum_of_optima * (1 + 1e-7)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_the_data_leaves_the_certificate(scale: float) -> None:
    X, y, solution = five_point_optimum()
    network = Network.from_solution(solution)
    root = np.sqrt(scale)
    plain = certify(network, X, y, 0.1)
    scaled = certify(Network(network.U / root, network.alpha / root), scale * X, y, scale * 0.1)
    assert scaled.lower_bound == pytest.approx(plain.lower_bound, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_the_targets_scales_the_certificate(scale: float) -> None:
    X, y, solution = five_point_optimum()
    network = Network.from_solution(solution)
    root = np.sqrt(scale)
    plain = certify(network, X, y, 0.1)
    scaled = certify(Network(network.U * root, network.alpha * root), X, scale * y, scale * 0.1)
    assert scaled.lower_bound == pytest.approx(scale**2 * plain.lower_bound, rel=1e-9)


def test_targets_of_zero_have_a_relative_gap_of_zero() -> None:
    certificate = certify(Network.zero(2), np.eye(2), np.zeros(2), 1.0)
    assert (certificate.primal, certificate.lower_bound, certificate.relative_gap) == (0.0, 0.0, 0.0)


# ---- effort -------------------------------------------------------------------------------------------


def test_no_time_means_fewer_starts_and_they_are_reported() -> None:
    X, y, _ = five_point_optimum()
    hurried = certify(random_network(1), X, y, 0.1, max_time=0.0, starts=20_000, certificate="estimated")
    patient = certify(random_network(1), X, y, 0.1, starts=20_000, certificate="estimated")
    assert 0 < hurried.starts < 20_000 <= patient.starts


@pytest.mark.parametrize(("neurons", "starts"), [(0, 2500), (83, 2500), (100, 3000), (5000, 10_000)])
def test_the_verification_grows_with_the_network(neurons: int, starts: int) -> None:
    assert default_starts(neurons) == starts


@each_loss
def test_a_certificate_is_reproducible(loss: str) -> None:
    X, y, beta = small_problem(loss, 4)
    a, b = (certify(random_network(5), X, y, beta, loss, seed=3) for _ in range(2))
    assert (a.lower_bound, a.rho, a.starts) == (b.lower_bound, b.rho, b.starts)
    assert np.array_equal(a.nu, b.nu)


# ---- words and errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("exact", "the bound is proven, up to rounding"),
        ("bounded", "the bound is proven; the true gap may be smaller"),
        ("estimated", "NOT a proof"),
        ("patterns", "NO bound on the optimum"),
    ],
)
def test_three_lines_name_the_kind_in_words(kind: str, words: str) -> None:
    certificate = Certificate(2.0, 1.5, 0.5, 0.25, kind, np.zeros(1), 0.1, 0.1, 1234, 0.5)
    first, second, third = str(certificate).split("\n")
    assert "objective 2" in first
    assert "1.5" in first
    assert "2.50e-01" in first
    assert second.startswith(f"{kind}: ")
    assert words in second
    assert "β = 0.1" in third


@pytest.mark.parametrize(("kind", "said"), [("estimated", True), ("patterns", True), ("exact", False)])
def test_the_effort_is_named_where_it_matters(kind: str, said: bool) -> None:
    certificate = Certificate(2.0, 1.5, 0.5, 0.25, kind, np.zeros(1), 0.1, 0.1, 1234, 0.5)
    assert ("1,234" in str(certificate)) is said


def test_a_bound_over_patterns_is_not_called_a_lower_bound() -> None:
    data = five_points()
    patterns = Patterns.sample(data.X, 3)
    text = str(certify(Network.zero(2), data.X, data.y, 0.1, patterns=patterns))
    assert "lower bound" not in text
    assert "bound over the patterns" in text


@pytest.mark.parametrize(
    ("network", "y", "message"),
    [
        (Network.zero(3), np.ones(2), r"X must be n×3 for this network"),
        (Network.zero(2), np.ones(3), "y must have one row"),
        (Network.zero(2), np.ones((2, 2)), r"output has shape \(2,\), y has \(2, 2\)"),
        (Network.zero(2, 2), np.ones(2), r"output has shape \(2, 2\), y has \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(network: Network, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(network, np.eye(2), y, 1.0)


def test_a_dual_point_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nu must have the shape of y, \(2,\); its shape is \(3,\)"):
        certify(Network.zero(2), np.eye(2), np.ones(2), 1.0, nu=np.ones(3))


def test_patterns_of_other_data_are_refused() -> None:
    with pytest.raises(ValueError, match="The patterns are of a matrix 3×3; X is 2×2"):
        certify(Network.zero(2), np.eye(2), np.ones(2), 1.0, patterns=Patterns.sample(np.eye(3), 5))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_dual_point_that_is_not_finite_does_not_become_a_certificate(bad: float) -> None:
    with pytest.raises(ValueError, match="nu"):
        certify(Network.zero(2), np.eye(2), np.ones(2), 0.1, nu=np.array([bad, 1.0]))


def test_exact_certificates_give_the_known_optima() -> None:
    """The five points and the three points of the literature, from both sides."""
    X, y, solution = five_point_optimum()
    five = certify(Network.from_solution(solution), X, y, 0.1, nu=solution.nu, certificate="exact")
    assert five.kind == "exact"
    assert five.lower_bound == pytest.approx(0.8914472, abs=1e-7)
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 0.0, 0.0])
    solution = solve(ConvexProgram(X, y, Patterns.enumerate(X), 0.1), tol=1e-10)
    three = certify(Network.from_solution(solution), X, y, 0.1, nu=solution.nu, certificate="exact")
    assert three.lower_bound == pytest.approx(0.1290241, abs=1e-7)
    assert three.primal == pytest.approx(0.1290241, abs=1e-7)
