"""What must be refused, or noticed, rather than answered wrongly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns, Status, beta_max, certify, solve, train

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((30, 3)), RNG.standard_normal(30)


@pytest.mark.parametrize("scale", [1e160, 1e-165])
def test_numbers_whose_squares_leave_floating_point_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="Rescale X"):
        train(X * scale, Y, 1.0)
    with pytest.raises(ValueError, match="Rescale y"):
        certify(Network.zero(3), X, Y * scale, 1.0)


@pytest.mark.parametrize("options", [{"starts": 0}, {"starts": -3}, {"rtol": -1.0}, {"max_time": -1.0}])
def test_a_certificate_without_effort_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        certify(Network.zero(3), X, Y, 0.1, certificate="estimated", **options)


def test_an_overflowing_network_is_refused() -> None:
    with pytest.raises(ValueError, match="overflows"), np.errstate(over="ignore", invalid="ignore"):
        certify(Network(np.full((3, 1), 1e200), np.array([1e200])), X, Y, 0.1)


def test_a_proof_over_patterns_only_is_refused() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        certify(Network.zero(3), X, Y, 0.1, patterns=Patterns.sample(X, 5), certificate="exact")


@pytest.mark.parametrize("solver", ["ssnal", "cvxpy"])
def test_a_warm_start_outside_the_cones_does_not_count_as_it_is(solver: str) -> None:
    pytest.importorskip("cvxpy")
    patterns = Patterns.sample(X, 8, rng=0)
    gated = solve(ConvexProgram(X, Y, patterns, 0.3, gated=True), tol=1e-6)
    program = ConvexProgram(X, Y, patterns, 0.3)
    cold, warm = solve(program, solver, 1e-6), solve(program, solver, 1e-6, warm_start=gated)
    assert warm.primal == pytest.approx(cold.primal, rel=1e-5)
    assert warm.violation <= 1e-9
    assert warm.relative_gap >= -1e-12


def test_warm_starts_that_are_none_are_refused() -> None:
    program = ConvexProgram(X, Y, Patterns.sample(X, 8, rng=0), 0.3)
    good = solve(program)
    with pytest.raises(ValueError, match="must be finite"):
        solve(program, warm_start=replace(good, v=good.v * np.nan))
    with pytest.raises(ValueError, match="must be a Solution"):
        solve(program, warm_start=Network.zero(3))  # type: ignore[arg-type]


def test_zero_over_sampled_patterns_is_not_called_a_global_optimum() -> None:
    few = ConvexProgram(X, Y, Patterns.sample(X, 2, rng=0), 0.99 * beta_max(X, Y))
    assert solve(few).status is Status.ZERO_HERE
    assert "of these patterns" in str(Status.ZERO_HERE)


def test_zero_comes_with_the_kind_of_certificate_that_was_asked_for() -> None:
    rows: list[dict] = []
    result = train(X, Y, 1.01 * beta_max(X, Y), certificate="estimated", progress=rows.append)
    assert (result.status, result.certificate.kind) == (Status.ZERO, "estimated")
    assert train(X, Y, 1.01 * beta_max(X, Y), certificate="exact").certificate.kind == "exact"
    assert rows == result.history


def test_interruption_before_the_first_round_returns_a_certified_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import convexnn.training._start as start

    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "descend", stop)
    result = train(X, Y, 0.1)
    assert result.status is Status.INTERRUPTED
    assert result.certificate.primal == pytest.approx(0.5 * np.sum(Y**2))
    assert 0 <= result.certificate.lower_bound <= result.certificate.primal


def test_interrupting_the_proof_leaves_the_verified_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    import convexnn.training as training

    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "prove", stop)
    result = train(X, Y, 0.3, certificate="bounded")
    assert result.certificate.kind == "estimated"
    assert result.certificate.relative_gap <= 1e-3


def test_the_callback_cannot_change_the_history() -> None:
    result = train(X, Y, 0.3, progress=lambda row: row.clear())
    assert set(result.history[0]) == {"seconds", "iteration", "primal", "bound", "neurons"}


def test_every_flipped_bit_of_a_model_is_noticed(tmp_path: Path) -> None:
    network = Network(RNG.standard_normal((3, 4)), RNG.standard_normal(4))
    file = network.save(tmp_path / "model.safetensors", {"beta": 1.5})
    good = bytearray(file.read_bytes())
    for position in RNG.integers(8 * len(good), size=150):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << (position % 8)
        file.write_bytes(bytes(bad))
        try:
            loaded = Network.load(file)
        except (ValueError, FileNotFoundError):
            continue
        np.testing.assert_array_equal(loaded.U, network.U)
        np.testing.assert_array_equal(loaded.alpha, network.alpha)


def test_patterns_of_other_data_are_refused() -> None:
    with pytest.raises(ValueError, match="not of this X"):
        ConvexProgram(X, Y, Patterns.sample(RNG.standard_normal((30, 3)), 4), 0.1)


@pytest.mark.parametrize("bad", [np.full((3, 2), np.nan), np.zeros(3), np.zeros((0, 2))])
def test_patterns_refuse_bad_data(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="non-empty, finite"):
        Patterns.sample(bad, 3)


def test_networks_compare_by_identity_and_can_be_keys() -> None:
    network = Network(np.eye(2), np.ones(2))
    assert {network: 1}[network] == 1
    assert network != Network(network.U, network.alpha)


@pytest.mark.parametrize("change", [{"seed": -1}, {"max_neurons": 1.5}, {"tol": np.inf}])
def test_options_of_the_wrong_kind_are_named(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        train(X, Y, 0.1, **change)


@pytest.mark.parametrize(
    ("bad_X", "bad_y", "beta"),
    [(X * 1j, Y, 0.1), (X, Y, None), (X, Y, "1"), (X, np.zeros((30, 0)), 0.1)],
)
def test_values_of_the_wrong_type_are_named(bad_X: object, bad_y: object, beta: object) -> None:
    with pytest.raises(ValueError, match=r"real|beta|one row"):
        train(bad_X, bad_y, beta)  # type: ignore[arg-type]


def test_a_trained_hinge_network_certifies_by_itself() -> None:
    y = np.sign(Y)
    result = train(X, y, 0.2 * beta_max(X, y, "hinge"), loss="hinge", tol=1e-4)
    alone = certify(result.network, X, y, result.certificate.beta, "hinge", certificate="estimated")
    assert alone.relative_gap <= 1e-2
