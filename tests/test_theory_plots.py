"""The pictures of the theory, and the page on optimal sets."""

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes

from convexnn import ConvexProgram, Network, Patterns
from convexnn.landscape import (
    OptimalSet,
    optimal_set,
    sample_optima,
    vertices,
)
from convexnn.theory_plots import (
    plot_arrangement,
    plot_closing,
    plot_dual,
    plot_function,
    plot_optimal_set,
    plot_path,
)
from landscape_problems import (
    BETA,
    five_points,
    octagon,
)


@pytest.fixture
def five() -> tuple[ConvexProgram, OptimalSet, Network]:
    return five_points()


def legend(ax: Axes) -> str:
    return " ".join(text.get_text() for text in ax.get_legend().get_texts())


def test_arrangement_writes_each_pattern_in_its_cell(five):
    program, _, network = five
    ax = plot_arrangement(program.X, program.patterns, network=network)
    written = [t for t in ax.texts if re.fullmatch("[01]{5}", t.get_text())]
    assert len(written) == 10
    for text in written:
        mask = program.X @ np.array(text.get_position()) >= 0
        assert text.get_text() == "".join("01"[int(on)] for on in mask)
    assert "α < 0" in legend(ax)
    many = np.random.default_rng(0).normal(size=(40, 2))
    assert "80 patterns" in plot_arrangement(many, Patterns.enumerate(many)).texts[0].get_text()
    with pytest.raises(ValueError, match="two columns"):
        plot_arrangement(np.eye(3), program.patterns)


def test_function_pictures(five):
    program, _, network = five
    ax = plot_function(network, program.X, program.y)
    x, f = ax.lines[0].get_data()
    np.testing.assert_allclose(f, network.predict(np.stack([x, np.ones_like(x)], axis=1)), atol=1e-12)
    assert "kink" in legend(ax)
    plane = np.random.default_rng(0).normal(size=(9, 2))
    ax = plot_function(network, plane, plane[:, 0])
    assert len(ax.figure.axes) == 2  # with a colour bar
    with pytest.raises(ValueError, match="columns vary"):
        plot_function(Network.zero(3), np.random.default_rng(0).normal(size=(9, 3)), np.zeros(9))


def test_dual_picture_touches_but_does_not_cross_the_lines(five):
    program, optima, network = five
    ax = plot_dual(program.X, optima.nu, BETA, network=network)
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    assert np.abs(curves["νᵀ(Xu)₊"]).max() <= BETA * (1 + 1e-9)
    np.testing.assert_allclose(np.abs(curves["neurons"]), BETA, rtol=1e-8)
    with pytest.raises(ValueError, match="is for ReLU networks"):
        plot_dual(program.X, optima.nu, BETA, network=replace(network, negative_slope=0.1))


def test_optimal_set_picture():
    optima = optimal_set(octagon())
    corners = vertices(optima)
    ax = plot_optimal_set(corners, samples=sample_optima(optima, 30))
    outline = ax.patches[0].get_path()
    inside = np.stack(ax.lines[0].get_data(), axis=1)
    assert (
        outline.contains_points(inside, radius=1e-9).all()
        or outline.contains_points(inside, radius=-1e-9).all()
    )
    flat = plot_optimal_set(corners, neurons=(0, 1))
    assert "neuron 1" in flat.get_ylabel()
    point = plot_optimal_set(corners[:, :1])
    assert isinstance(point, Axes)


def test_path_and_certificate_pictures():
    ax = plot_path(np.array([3.0, 2.0, 1.0]), ["align", "reduce", "interpolate"], optimum=1.0)
    assert all(word in legend(ax) for word in ("align", "reduce", "interpolate", "end point: 1"))
    rows = [
        {"seconds": 0.1, "primal": 3.0, "bound": 0.5},
        {"seconds": 0.2, "primal": 2.0, "bound": 1.5},
        {"seconds": 0.3, "primal": 2.5, "bound": None},
    ]
    ax = plot_closing(rows, kind="estimated")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [3.0, 2.0, 2.0])
    assert "estimated lower bound: 1.5" in legend(ax)
    assert "bound" not in legend(plot_closing(rows, kind="patterns"))
    assert not plot_closing([], kind="exact").lines
