"""Displays hold the estimators' own numbers, and name the kind of every bound."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from convexnn import ConvexReLUClassifier, ConvexReLURegressor, ConvexReLURegressorCV, Network, certify, path
from convexnn._html import certificate_line
from convexnn.displays import CertificateDisplay, NeuronDisplay, PathDisplay


def data() -> tuple[Any, np.ndarray]:
    import pandas as pd

    X = np.random.default_rng(0).standard_normal((50, 3))
    return pd.DataFrame(X, columns=["age", "mass", "noise"]), np.sin(2 * X[:, 0]) + X[:, 1]


@pytest.fixture(scope="module")
def model() -> ConvexReLURegressor:
    return ConvexReLURegressor(tol=1e-2).fit(*data())


def words(figure: Any) -> str:
    """All text of a figure."""
    figure.draw_without_rendering()
    return " | ".join(text.get_text() for text in figure.findobj(Text))


# ---- path ----------------------------------------------------------------------------------------------


def test_the_path_of_a_cv_estimator_shows_its_betas_scores_and_choice() -> None:
    X, y = data()
    model = ConvexReLURegressorCV(n_betas=3, ratio=0.1, cv=2, tol=1e-2).fit(X, y)
    display = PathDisplay.from_estimator(model, X, y)
    assert display.result.betas.tolist() == model.betas_.tolist()
    assert len(display.axes_) == 4
    assert display.ax_ is display.axes_[0]
    assert display.figure_ is display.ax_.figure
    neurons, objective, gap, scores = display.axes_
    assert neurons.lines[0].get_ydata().tolist() == display.result.neurons.tolist()
    assert objective.lines[0].get_ydata().tolist() == display.result.objectives.tolist()
    assert objective.lines[1].get_ydata().tolist() == display.result.lower_bounds.tolist()
    positive = display.result.relative_gaps[display.result.relative_gaps > 0]
    assert gap.lines[0].get_ydata().tolist() == positive.tolist()
    assert scores.lines[2].get_ydata().tolist() == model.scores_.mean(axis=1).tolist()
    assert "estimated" in gap.get_ylabel() or "proved" in gap.get_ylabel()
    assert f"chosen: β = {model.beta_:.4g}" in words(display.figure_)


def test_the_path_of_an_estimator_is_that_of_its_own_problem() -> None:
    X, y = data()
    penalty = np.geomspace(0.5, 2.0, X.shape[1])
    model = ConvexReLURegressorCV(
        [20.0, 10.0], cv=2, tol=1e-3, penalize_intercept=False, feature_penalty=penalty, negative_slope=0.3
    ).fit(X, y)
    result = PathDisplay.from_estimator(model, X, y).result
    chosen = result.betas.tolist().index(model.beta_)
    assert result.objectives[chosen] == pytest.approx(model.certificate_.primal, rel=2e-3)
    assert result.networks[chosen].negative_slope == 0.3


def test_a_path_result_is_drawn_as_it_is_also_in_axes_of_the_user() -> None:
    X, y = data()
    result = path(X.to_numpy(), y, n_betas=3, ratio=0.1, tol=1e-2)
    display = PathDisplay.from_result(result)
    assert len(display.axes_) == 3
    ax = Figure().add_subplot()
    assert display.plot(ax).ax_ is ax
    assert ax.lines[0].get_ydata().tolist() == result.neurons.tolist()


def test_the_path_of_a_classifier_takes_its_labels() -> None:
    X, y = data()
    labels = np.where(y > 0, "up", "down")
    model = ConvexReLUClassifier(tol=1e-2, beta=3.0).fit(X, labels)
    model.betas_ = np.array([6.0, 3.0])  # what a CV classifier holds
    display = PathDisplay.from_estimator(model, X, labels)
    assert display.result.objectives[1] == pytest.approx(model.certificate_.primal, rel=1e-2)
    with pytest.raises(ValueError, match=r"labels other than the estimator's, \['down', 'up'\]"):
        PathDisplay.from_estimator(model, X, y)


# ---- certificate ---------------------------------------------------------------------------------------


def test_the_certificate_display_holds_and_names_the_bound(model: ConvexReLURegressor) -> None:
    display = CertificateDisplay.from_estimator(model)
    certificate = model.certificate_
    assert (display.primal, display.lower_bound) == (certificate.primal, certificate.lower_bound)
    assert display.kind == certificate.kind
    history = [row["primal"] for row in model.history_]
    assert display.ax_.lines[0].get_ydata().tolist() == pytest.approx(history)
    shown = words(display.figure_)
    assert f"lower bound: {certificate.lower_bound:.6g}" in shown
    assert {"estimated": "estimated gap", "exact": "proved gap", "bounded": "proved gap"}[
        display.kind
    ] in shown


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("exact", "proved lower bound"),
        ("bounded", "proved lower bound"),
        ("estimated", "estimated lower bound"),
    ],
)
def test_bars_without_a_history(kind: str, expected: str) -> None:
    X, y = data()
    certificate = replace(certify(Network.zero(3), X.to_numpy(), y, 5.0, starts=50), kind=kind)
    display = CertificateDisplay.from_certificate(certificate)
    heights = [bar.get_height() for bar in display.ax_.patches]
    assert heights == [certificate.primal, certificate.lower_bound]
    assert expected in words(display.figure_)


def test_patterns_show_no_bound() -> None:
    X, y = data()
    certificate = replace(certify(Network.zero(3), X.to_numpy(), y, 5.0, starts=50), kind="patterns")
    display = CertificateDisplay.from_certificate(certificate)
    assert len(display.ax_.patches) == 1
    assert "gap among the given patterns only" in words(display.figure_)


# ---- neurons -------------------------------------------------------------------------------------------


def test_neurons_come_largest_first_under_the_names_of_the_columns(model: ConvexReLURegressor) -> None:
    display = NeuronDisplay.from_estimator(model, max_neurons=4)
    net = model.network_.balanced()
    sizes = np.linalg.norm(net.U, axis=0) * np.abs(net.alpha)
    assert display.sizes == pytest.approx(np.sort(sizes)[::-1][:4])
    largest = int(np.argmax(sizes))
    assert display.weights[0] == pytest.approx(np.abs(net.alpha[largest]) * net.U[:, largest])
    assert display.alpha[0] == net.alpha[largest]
    assert display.feature_names == ["age", "mass", "noise", "bias"]
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == display.feature_names
    assert display.ax_.images[0].get_array().tolist() == display.weights.tolist()
    assert f"4 of {net.n_neurons} neurons" in words(display.figure_)


def test_columns_are_chosen_by_their_weights() -> None:
    U = np.array([[0.1, 0.0], [3.0, 1.0], [0.2, 2.0]])
    display = NeuronDisplay.from_network(Network(U, np.ones(2)), ["a", "b", "c"], max_features=2)
    assert display.feature_names == ["b", "c"]
    assert "all 2 neurons, 2 of 3 columns" in words(display.figure_)
    several = NeuronDisplay.from_network(Network(U, np.array([[1.0, 0.0], [0.0, -1.0]])))
    assert "α[0] = +" in words(several.figure_)
    assert "α[1] = -" in words(several.figure_)
    assert NeuronDisplay.from_network(Network.zero(3)).weights.shape == (0, 3)
    with pytest.raises(ValueError, match="3 columns, but 2 names"):
        NeuronDisplay.from_network(Network(U, np.ones(2)), ["a", "b"])
    with pytest.raises(ValueError, match="must be ≥ 1"):
        NeuronDisplay.from_network(Network(U, np.ones(2)), max_neurons=0)


def test_estimators_that_cannot_be_shown_are_refused_in_a_sentence() -> None:
    X, y = data()
    for draw in (CertificateDisplay.from_estimator, NeuronDisplay.from_estimator):
        with pytest.raises(ValueError, match="ConvexReLURegressor is not fitted yet: call fit first"):
            draw(ConvexReLURegressor())
        with pytest.raises(ValueError, match="takes a fitted estimator of this package, not a dict"):
            draw({})
    with pytest.raises(ValueError, match="not fitted yet"):
        PathDisplay.from_estimator(ConvexReLURegressorCV(), X, y)


def test_importing_the_displays_imports_no_matplotlib() -> None:
    code = "import sys, convexnn.displays, convexnn._html; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


# ---- HTML ----------------------------------------------------------------------------------------------


def test_the_html_of_a_fitted_estimator_ends_with_its_certificate() -> None:
    before = ConvexReLURegressor()._repr_html_()
    assert "ConvexReLURegressor" in before
    assert "convexnn-certificate" not in before
    model = ConvexReLURegressor(tol=1e-2).fit(*data())
    line = certificate_line(model.certificate_, model.network_.n_neurons)
    for html in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        assert "sk-container" in html
        assert html.count(line) == 1
    assert f"{model.certificate_.lower_bound:.6g}" in line


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("exact", "lower bound 1.5, relative gap 0.25 (exact: proven"),
        ("estimated", "(estimated: evidence, not a proof)"),
        ("patterns", "bound over the patterns 1.5, relative gap 0.25 (patterns: compared"),
    ],
)
def test_the_line_names_the_kind(kind: str, expected: str) -> None:
    certificate = certify(Network.zero(1), np.ones((2, 1)), np.array([1.0, 2.0]), 1.0)
    certificate = replace(certificate, primal=2.0, lower_bound=1.5, gap=0.5, relative_gap=0.25, kind=kind)
    line = certificate_line(certificate, 1)
    assert expected in line
    assert line.startswith("Objective 2,")
    assert line.endswith("1 neuron.")
