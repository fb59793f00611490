"""All optima of a small problem, networks of one function, and a way down from a bad local minimum."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn import theory_plots
from convexnn._types import Array
from convexnn.data import five_points
from convexnn.dual import minimal_width
from convexnn.experiments import drawing
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import best_of, column, descended, pick, trained, values
from convexnn.experiments.words import number, over
from convexnn.landscape import (
    optimal_network,
    optimal_set,
    path_to_optimum,
    permute,
    sample_optima,
    split,
    vertices,
)
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.plots import CYCLE
from convexnn.program import ConvexProgram

SECTION = "§ 6"
QUESTION = "What do all optima look like, and is there a way down to them from a bad local minimum?"
FULL: dict[str, Any] = {
    "points": 8,
    "beta": 0.3,
    "samples": 400,
    "starts": 40,
    "copies": 30,
    "path_beta": 0.1,
}
QUICK = FULL | {"samples": 150, "starts": 12, "copies": 10}
COLUMNS = {
    "set": ("points", "beta", "objective", "neurons", "dimension", "unique", "reason"),
    "vertices": ("vertex", "neuron", "amplitude"),
    "samples": ("sample", "neuron", "amplitude"),
    "values": ("kind", "copy", "objective", "neurons"),
    "path": ("point", "stage", "objective"),
    "ends": ("beta", "start", "end", "optimum", "width", "n", "minimal_width"),
}


def parts(settings: Settings) -> dict[str, Part]:
    """The polytope of optima, copies of one network, and the path."""
    return {
        "set": lambda: _set(settings),
        "copies": lambda: _copies(settings),
        "path": lambda: _path(settings),
    }


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _circle(settings: Settings) -> ConvexProgram:
    """Points on the circle with equal targets: many networks do the same there."""
    t = np.arange(settings["points"]) * 2.0 * np.pi / settings["points"]
    X = np.stack([np.cos(t), np.sin(t)], axis=1)
    return ConvexProgram(X, np.ones(len(t)), Patterns.enumerate(X), settings["beta"])


def _set(settings: Settings) -> Tables:
    program = _circle(settings)
    optima = optimal_set(program)
    corners, inside = vertices(optima), sample_optima(optima, settings["samples"], seed=settings["seed"])
    rows = [_value(program, "vertex", k, optimal_network(optima, a)) for k, a in enumerate(corners.T)]
    rows += [_value(program, "sample", k, optimal_network(optima, a)) for k, a in enumerate(inside.T)]
    return {
        "set": [
            {
                "points": len(program.y), "beta": program.beta, "objective": optima.objective,
                "neurons": len(optima.signs), "dimension": optima.dimension, "unique": optima.unique,
                "reason": optima.reason,
            }
        ],
        "vertices": _matrix_rows(corners, "vertex"),
        "samples": _matrix_rows(inside, "sample"),
        "values": rows,
    }  # fmt: skip


def _matrix_rows(points: Array, name: str) -> list[Row]:
    return [
        {name: k, "neuron": j, "amplitude": a}
        for k, column in enumerate(points.T)
        for j, a in enumerate(column)
    ]


def _value(program: ConvexProgram, kind: str, copy: int, network: Network) -> Row:
    objective = network.objective(program.X, program.y, program.beta)
    return {"kind": kind, "copy": copy, "objective": objective, "neurons": network.n_neurons}


def _copies(settings: Settings) -> Tables:
    """One optimum with neurons split at random, and permuted: the objective stays."""
    program, rng = _circle(settings), np.random.default_rng(settings["seed"])
    optima = optimal_set(program)
    net = optimal_network(optima, vertices(optima)[:, 0])
    rows = []
    for k in range(settings["copies"]):
        divided = net
        for _ in range(k + 1):
            shares = rng.dirichlet(np.ones(2))
            divided = split(divided, int(rng.integers(divided.U.shape[1])), shares)
        rows.append(_value(program, "split", k, divided))
        rows.append(_value(program, "permuted", k, permute(divided, rng.permutation(divided.U.shape[1]))))
    return {"values": rows}


def _path(settings: Settings) -> Tables:
    """From the worst end of descents with five neurons, given n + m* places, to the optimum."""
    data, beta = five_points(), settings["path_beta"]
    X, y = data.X, data.y
    result, _ = trained(X, y, beta, tol=2e-7, seed=settings["seed"])
    optimum = minimal_width(result.network, X)
    starts = [
        descended(
            X, y, beta, method="sgd", neurons=5, steps=6000, learning_rate=3e-3, seed=k, init_scale=0.5,
            dtype="float64",
        )
        for k in range(settings["seed"], settings["seed"] + settings["starts"])
    ]  # fmt: skip
    worst = max(starts, key=best_of).network
    width = len(y) + optimum.width
    padded = Network(
        np.hstack([worst.U, np.zeros((X.shape[1], width - worst.U.shape[1]))]),
        np.concatenate([worst.alpha, np.zeros(width - len(worst.alpha))]),
    )
    path = path_to_optimum(padded, optimum.network, X, y, beta)
    pairs = zip(path.stages, path.objective, strict=True)
    rows = [{"point": k, "stage": stage, "objective": value} for k, (stage, value) in enumerate(pairs)]
    end = {
        "beta": beta, "start": path.objective[0], "end": path.objective[-1], "width": width, "n": len(y),
        "optimum": result.certificate.primal, "minimal_width": optimum.width,
    }  # fmt: skip
    return {"path": rows, "ends": [end]}


def _matrix(rows: list[Row], name: str) -> Array:
    """(neurons, points) from rows."""
    points = values(rows, name)
    return np.stack([column(pick(rows, **{name: k}), "amplitude") for k in points], axis=1)


def pictures(tables: Tables) -> dict[str, Figure]:
    """The polytope, the objectives of its points and of copies, the path."""
    corners, inside = _matrix(tables["vertices"], "vertex"), _matrix(tables["samples"], "sample")
    shadow = theory_plots.plot_optimal_set(corners, samples=inside)
    path, end = tables["path"], tables["ends"][0]
    way = theory_plots.plot_path(
        column(path, "objective"), [row["stage"] for row in path], optimum=end["optimum"]
    )
    return {
        "optimal_set": drawing.figure_of(shadow),
        "copies": _copies_figure(tables),
        "path": drawing.figure_of(way),
    }


def _copies_figure(tables: Tables) -> Figure:
    figure, ax = drawing.single("neurons of the network (number)", "objective / optimum − 1\n(parts in 10¹⁵)")
    reference = tables["set"][0]["objective"]
    for k, kind in enumerate(values(tables["values"], "kind")):
        rows = pick(tables["values"], kind=kind)
        excess = 1e15 * (column(rows, "objective") / reference - 1.0)
        ax.plot(
            column(rows, "neurons") + 0.1 * (k - 1.5), excess, color=CYCLE[k], marker=drawing.MARKERS[k],
            linestyle="", alpha=0.7, label=kind,
        )  # fmt: skip
    ax.axhline(0.0, color=CYCLE[-1], linewidth=1.6, label=f"optimum: {reference:.7g}")
    widest = 2.0 + 2e15 * float(np.abs(column(tables["values"], "objective") / reference - 1.0).max())
    ax.set_ylim(-widest, widest)
    drawing.legend_above(ax, 3)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    found, end = tables["set"][0], tables["ends"][0]
    objectives = column(tables["values"], "objective")
    spread = float(np.abs(objectives / found["objective"] - 1.0).max())
    widths = column(tables["values"], "neurons")
    steps = np.diff(column(tables["path"], "objective"))
    corners = len(values(tables["vertices"], "vertex"))
    state = "one point" if found["unique"] else f"a polytope of dimension {found['dimension']}"
    return {
        "optimal_set": [
            f"The optima of {found['points']} points on a circle at β = {number(found['beta'])} are "
            f"{state} with "
            f"{corners} vertices, in the amplitudes of {found['neurons']} neurons.",
            f"Every dot is a network of the same objective, {number(found['objective'], 7)}; the picture "
            "is the "
            "shadow on the two longest directions.",
        ],
        "copies": [
            f"{len(objectives)} networks with {widths.min():.0f} to {widths.max():.0f} neurons, made by "
            "moving in "
            "the set, splitting and permuting, have one objective: the largest relative deviation is "
            f"{spread:.1g}.",
            "Splitting a neuron into parts whose masses add up, and changing the order, is all the "
            "freedom that "
            "is left beside the polytope.",
        ],
        "path": [
            f"From a point of rest at {number(end['start'], 6)}, {over(end['start'], end['optimum'])} the "
            "optimum, "
            f"the path leads to {number(end['end'], 7)}; its largest rise is "
            f"{max(float(steps.max()), 0.0):.1g}.",
            f"It needs n + m* = {end['n']} + {end['minimal_width']} = {end['width']} neurons: with so "
            "many, no bad "
            "local minimum is a trap.",
        ],
    }


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    found, end = tables["set"][0], tables["ends"][0]
    steps = np.diff(column(tables["path"], "objective"))
    rising = float(steps.max()) > 1e-9 * end["start"]
    word = "A polytope, up to splitting and order; " + (
        "the path rose." if rising else "yes, a path never rises."
    )
    return word, f"dimension {found['dimension']}; {number(end['start'], 5)} down to {number(end['end'], 7)}"


def lines(tables: Tables) -> list[str]:
    """The set and the path."""
    return [sentences(tables)["optimal_set"][0], sentences(tables)["path"][0]]
