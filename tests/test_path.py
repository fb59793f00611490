"""The regularisation path: agreement with single trainings, limits, and its pictures."""

import numpy as np
import pytest

import convexnn
from convexnn import PathResult, Status, beta_max, certify, path, train
from convexnn import regularisation_path as module
from convexnn.losses import LOSSES, get_loss
from convexnn.path_plots import plot_path, plot_scores

GAUSS = np.random.default_rng(3)
X = np.hstack([GAUSS.standard_normal((30, 8)), np.ones((30, 1))]) / 3.0
Y_REAL = np.maximum(X @ GAUSS.standard_normal((9, 3)), 0.0).sum(axis=1) - 1.0
TOL = 1e-3


def targets(loss: str) -> np.ndarray:
    return np.where(Y_REAL > 0, 1.0, -1.0) if get_loss(loss).is_classification else Y_REAL


@pytest.fixture(scope="module")
def default() -> PathResult:
    return path(X, Y_REAL, n_betas=5, tol=TOL)


def test_default_betas_go_from_beta_max_to_a_hundredth(default):
    top = beta_max(X, Y_REAL)
    np.testing.assert_allclose(default.betas, top * np.array([1, 10**-0.5, 0.1, 10**-1.5, 0.01]), rtol=1e-12)
    assert len(default) == 5
    assert default.neurons[0] == 0
    assert default.statuses[0] is Status.ZERO
    assert default.statuses[1:] == (Status.CONVERGED,) * 4
    assert default.status is Status.CONVERGED
    assert np.all(default.seconds > 0)
    assert np.all(default.neurons[1:] > 0)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_point_is_optimal_as_a_training_alone_finds(loss):
    y = targets(loss)
    result = path(X, y, loss=loss, n_betas=3, tol=TOL)
    assert np.all(result.relative_gaps <= TOL)
    for beta, net, certificate in zip(result.betas, result.networks, result.certificates, strict=True):
        alone = train(X, y, beta, loss=loss, tol=TOL).certificate
        assert net.objective(X, y, beta, loss) == pytest.approx(certificate.primal, rel=1e-12)
        assert certificate.beta == beta
        assert certificate.lower_bound <= alone.primal * (1 + 1e-9)
        assert alone.lower_bound <= certificate.primal * (1 + 1e-9)


def test_certificates_hold_under_fresh_starts(default):
    for beta, net, certificate in zip(default.betas, default.networks, default.certificates, strict=True):
        fresh = certify(net, X, Y_REAL, beta, nu=certificate.nu, certificate="estimated", seed=77)
        assert fresh.relative_gap <= 2 * TOL
        assert certificate.starts >= 2500


def test_objective_falls_with_beta_and_loss_too(default):
    """p*(β) rises with β, and the loss at the optimum too: both within the gaps."""
    gaps = default.objectives - default.lower_bounds
    assert np.all(np.diff(default.objectives) <= gaps[:-1])
    losses = [net.objective(X, Y_REAL, 0.0) for net in default.networks]
    assert losses == sorted(losses, reverse=True)


def test_betas_are_sorted_and_used_once():
    result = path(X, Y_REAL, [0.2, 1.0, 0.2, 0.5], tol=1e-2)
    assert result.betas.tolist() == [1.0, 0.5, 0.2]


def test_each_beta_starts_from_the_network_before(monkeypatch):
    starts = []

    def spy(*args, **options):
        starts.append(options["warm_start"])
        return train(*args, **options)

    monkeypatch.setattr(module, "train", spy)
    result = path(X, Y_REAL, [100.0, 0.5, 0.2], tol=1e-2)
    assert starts[:2] == [None, None]  # a zero network is no start
    assert starts[2] is result.networks[1]


def test_the_same_call_gives_the_same_bits():
    one, two = (path(X, Y_REAL, [0.5, 0.2], tol=1e-2, seed=4) for _ in range(2))
    for a, b in zip(one.networks, two.networks, strict=True):
        np.testing.assert_array_equal(a.U, b.U)
    np.testing.assert_array_equal(one.lower_bounds, two.lower_bounds)


def test_zero_targets_need_no_neuron():
    result = path(X, np.zeros(30), n_betas=3)
    assert result.betas.tolist() == pytest.approx([1.0, 0.1, 0.01])
    assert result.neurons.tolist() == [0, 0, 0]


def test_rank_two_gets_exact_certificates(five_points):
    result = path(*five_points, [0.5, 0.1], tol=1e-5)
    assert {c.kind for c in result.certificates} == {"exact"}
    assert result.objectives[1] == pytest.approx(0.8914472, rel=1e-5)
    assert path(*five_points, [0.5], certificate="estimated").certificates[0].kind == "estimated"


# ---- limits ---------------------------------------------------------------------------------------------


def test_time_limit_returns_the_points_so_far():
    result = path(X, Y_REAL, [0.5, 0.1, 0.02], tol=1e-9, max_time=1e-6)
    assert result.status is Status.TIME_LIMIT
    assert result.betas.tolist() == [0.5]
    assert result.statuses == (Status.TIME_LIMIT,)
    assert 1e-9 < result.relative_gaps[0] <= 1.0


def test_time_that_runs_out_between_points_ends_the_path(monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 10.0))
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    result = path(X, Y_REAL, [0.5, 0.1, 0.02], tol=1e-2, max_time=25.0)
    assert result.status is Status.TIME_LIMIT
    assert result.betas.tolist() == [0.5]
    assert result.statuses == (Status.CONVERGED,)


@pytest.mark.parametrize("after", [0, 1])
def test_interruption_keeps_the_points_so_far(after):
    rows = []

    def stop(row):
        rows.append(row)
        if len(rows) > after:
            raise KeyboardInterrupt

    result = path(X, Y_REAL, [0.5, 0.2, 0.1], tol=1e-2, progress=stop)
    assert result.status is Status.INTERRUPTED
    assert result.betas.tolist() == [0.5, 0.2][: after + 1] == [row["beta"] for row in rows]
    assert set(rows[0]) == {
        "seconds", "beta", "primal", "bound", "relative_gap", "kind", "neurons", "status",
    }  # fmt: skip


def test_interruption_inside_a_training_ends_the_path(monkeypatch):
    def interrupted(*args, **options):
        def stop(row):
            raise KeyboardInterrupt

        return train(*args, **options, progress=stop)

    monkeypatch.setattr(module, "train", interrupted)
    result = path(X, Y_REAL, [0.5, 0.2], tol=1e-6)
    assert result.status is Status.INTERRUPTED
    assert result.statuses == (Status.INTERRUPTED,)
    assert result.certificates[0].primal == pytest.approx(result.networks[0].objective(X, Y_REAL, 0.5))


def test_an_unproven_point_shows_in_the_status(monkeypatch):
    def unproven(*args, **options):
        result = train(*args, **options)
        return type(result)(result.network, result.certificate, result.history, Status.UNPROVEN)

    monkeypatch.setattr(module, "train", unproven)
    assert path(X, Y_REAL, [0.5, 0.2], tol=1e-2).status is Status.UNPROVEN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": []}, "not empty"),
        ({"betas": [[1.0]]}, "list of numbers"),
        ({"betas": [1.0, 0.0]}, "positive and finite"),
        ({"betas": [1.0, np.nan]}, "positive and finite"),
        ({"n_betas": 0}, "n_betas must be"),
        ({"ratio": 1.0}, "ratio must be"),
        ({"ratio": 0.0}, "ratio must be"),
        ({"max_time": 0.0}, "max_time must be"),
        ({"tol": -1.0}, "tol must be"),
        ({"loss": "cubed"}, "Unknown loss"),
        ({"loss": "hinge"}, "labels -1 and"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        path(X, Y_REAL, **change)


# ---- words and pictures -----------------------------------------------------------------------------------


def test_the_table_names_beta_gap_and_kind(default):
    lines = str(default).splitlines()
    assert len(lines) == 7
    assert all("estimated" in line for line in lines[1:6])
    assert f"{default.betas[-1]:.6g}" in lines[5]
    assert f"{default.relative_gaps[-1]:.1e}" in lines[5]


def test_the_picture_shows_neurons_objective_and_gap_with_its_kind(default):
    neurons, objective, gap = plot_path(default).figure.axes
    np.testing.assert_array_equal(neurons.lines[0].get_xydata(), np.c_[default.betas, default.neurons])
    np.testing.assert_array_equal(objective.lines[0].get_ydata(), default.objectives)
    np.testing.assert_array_equal(objective.lines[1].get_ydata(), default.lower_bounds)
    keep = default.relative_gaps > 0
    np.testing.assert_array_equal(
        gap.lines[0].get_xydata(), np.c_[default.betas, default.relative_gaps][keep]
    )
    assert [text.get_text() for text in objective.get_legend().get_texts()][1] == "estimated lower bound"
    assert "estimated" in gap.get_ylabel()
    assert gap.xaxis_inverted()
    gap.figure.canvas.draw()


def test_the_picture_names_the_weakest_kind_and_says_proved_only_if_all_are(five_points):
    exact = path(*five_points, [0.5, 0.1])
    assert "proved" in plot_path(exact).figure.axes[2].get_ylabel()
    weak = path(*five_points, [0.5], certificate="estimated")
    mixed = PathResult(
        np.array([0.5, 0.1]), (*weak.networks, exact.networks[1]),
        (*weak.certificates, exact.certificates[1]), exact.statuses, exact.seconds, exact.status,
    )  # fmt: skip
    assert "estimated" in plot_path(mixed).figure.axes[2].get_ylabel()


def test_neurons_alone_in_given_axes(default):
    ax = plot_path(default).figure.axes[0].figure.add_subplot()
    assert plot_path(default, ax=ax) is ax
    assert ax.get_xlabel() == "β"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), default.neurons)


def test_an_empty_path_has_no_picture():
    empty = PathResult(np.zeros(0), (), (), (), np.zeros(0), Status.INTERRUPTED)
    with pytest.raises(ValueError, match="no points"):
        plot_path(empty)


def test_scores_show_folds_mean_and_choice():
    betas, scores = np.array([1.0, 0.1]), np.array([[0.5, 0.7], [0.8, 0.9]])
    ax = plot_scores(betas, scores, 0.1)
    np.testing.assert_allclose(ax.lines[2].get_ydata(), [0.6, 0.85])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["mean of 2 folds", "chosen: β = 0.1"]


def test_public_names():
    assert convexnn.path is path
    assert "path" in convexnn.__all__
