"""Five points, five neurons: does SGD find the optimum? Where does it end when it does not?"""

import importlib.util
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn._types import Array
from convexnn.data import five_points
from convexnn.experiments import drawing
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import (
    END,
    HISTORY,
    column,
    curves,
    descended,
    many_starts,
    pick,
    reached,
    trained,
    values,
)
from convexnn.experiments.words import count, number, over, share
from convexnn.landscape import refine, stationarity
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.plots import BLUE, CYCLE, INK
from convexnn.program import ConvexProgram
from convexnn.solvers import solve

SECTION = "§ 7"
QUESTION = "With few data and five neurons, does SGD always reach the convex optimum?"
FULL: dict[str, Any] = {
    "betas": [0.1, 0.01, 1.0], "starts": 40, "steps": 8000, "records": 100, "neurons": 5, "batch": 2,
    "rates": [3e-4, 1e-3, 3e-3, 1e-2], "tuning": 40,
}  # fmt: skip
QUICK = FULL | {"betas": [0.1, 1.0], "starts": 20, "steps": 3000, "rates": [1e-3, 3e-3], "tuning": 6}
COLUMNS = {
    "optimum": ("beta", "route", "patterns", "objective", "lower_bound", "kind", "neurons", "seconds"),
    "histories": ("beta", *HISTORY),
    "ends": ("beta", *END, "minimum"),
    "minima": ("beta", "minimum", "objective", "starts", "neurons", "stationarity"),
    "functions": ("beta", "minimum", "x", "f"),
    "points": ("x", "y"),
}
OPTIMUM = "optimum"
#: Two points of rest are one if objective (relative) and function (absolute, on the grid) agree so far.
_SAME_VALUE, _SAME_FUNCTION = 1e-4, 2e-2
_REST_STEPS = 10_000
_GRID = np.linspace(-2.5, 2.5, 101)
_SHOWN = 6


def parts(settings: Settings) -> dict[str, Part]:
    """The three routes and the starts, for each β."""
    found: dict[str, Part] = {}
    for beta in settings["betas"]:
        found[f"optimum at {beta:g}"] = partial(_optimum, beta, settings)
        found[f"starts at {beta:g}"] = partial(_starts, beta, settings)
    return found


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _optimum(beta: float, settings: Settings) -> Tables:
    data = five_points()
    X, y = data.X, data.y
    program = ConvexProgram(X, y, Patterns.enumerate(X), beta)
    rows: list[Row] = []
    for route, solver, tol in (
        ("CVXPY, all patterns", "cvxpy", 1e-9),
        ("own solver, all patterns", "auto", 1e-11),
    ):
        if solver == "cvxpy" and importlib.util.find_spec("cvxpy") is None:
            continue
        begin = perf_counter()
        solution = solve(program, solver=solver, tol=tol)
        rows.append(
            {
                "route": route, "patterns": len(program.patterns), "objective": solution.primal,
                "lower_bound": solution.dual, "kind": "exact",
                "neurons": Network.from_solution(solution).merged(X).n_neurons,
                "seconds": perf_counter() - begin,
            }
        )  # fmt: skip
    result, row = trained(X, y, beta, tol=2e-7, certificate="exact", seed=settings["seed"])
    rows.append({"route": "global training", **{k: v for k, v in row.items() if k != "gap"}})
    grid = np.column_stack([_GRID, np.ones_like(_GRID)])
    return {
        "optimum": [{"beta": beta, **row} for row in rows],
        "functions": _function_rows(beta, OPTIMUM, result.network.predict(grid)),
        "points": [{"x": a, "y": b} for a, b in zip(X[:, 0], y, strict=True)],
    }


def _starts(beta: float, settings: Settings) -> Tables:
    """SGD from many starts; then each end is polished to its local minimum, and equal minima are counted."""
    data = five_points()
    X, y = data.X, data.y
    seeds = list(range(settings["seed"], settings["seed"] + settings["starts"]))
    tables, networks = many_starts(
        X, y, beta, keys={"beta": beta}, seeds=seeds, rates=settings["rates"], tuning=settings["tuning"],
        steps=settings["steps"], records=settings["records"], method="sgd", batch_size=settings["batch"],
        neurons=settings["neurons"], init_scale=0.5, dtype="float64",
    )  # fmt: skip
    minima = [_local_minimum(network, X, y, beta) for network in networks]
    groups = _cluster(
        [network.objective(X, y, beta) for network in minima], [_on_grid(net) for net in minima]
    )
    rows, functions = [], []
    for k, members in enumerate(groups, 1):
        net = minima[members[0]]
        rows.append(
            {
                "beta": beta, "minimum": f"minimum {k}", "objective": net.objective(X, y, beta),
                "starts": len(members), "neurons": net.n_neurons,
                "stationarity": stationarity(net, X, y, beta) if net.n_neurons else 0.0,
            }
        )  # fmt: skip
        functions += _function_rows(beta, f"minimum {k}", _on_grid(net))
        for member in members:
            tables["ends"][member]["minimum"] = f"minimum {k}"
    return tables | {"minima": rows, "functions": functions}


def _local_minimum(network: Network, X: Array, y: Array, beta: float) -> Network:
    """Where the end of a descent comes to rest: gentle steps on all rows, then Newton on its kinks."""
    rest = descended(
        X, y, beta, method="sgd", steps=_REST_STEPS, learning_rate=3e-3, schedule="linear", dtype="float64",
        start=network,
    ).network  # fmt: skip
    exact = refine(rest, X, y, beta)
    near = exact.objective(X, y, beta) <= rest.objective(X, y, beta) * (1.0 + 1e-6)
    return (exact if near else rest).merged(X)


def _cluster(objectives: list[float], functions: list[Array]) -> list[list[int]]:
    """Groups of starts whose minima have one objective and one function, lowest objective first."""
    groups: list[list[int]] = []
    for k in np.argsort(objectives, kind="stable"):
        for group in groups:
            near = abs(objectives[k] - objectives[group[0]]) <= _SAME_VALUE * objectives[group[0]]
            if near and np.abs(functions[k] - functions[group[0]]).max() <= _SAME_FUNCTION:
                group.append(int(k))
                break
        else:
            groups.append([int(k)])
    return groups


def _on_grid(network: Network) -> Array:
    return network.predict(np.column_stack([_GRID, np.ones_like(_GRID)]))


def _function_rows(beta: float, name: str, f: Array) -> list[Row]:
    return [{"beta": beta, "minimum": name, "x": a, "f": b} for a, b in zip(_GRID, f, strict=True)]


def _reference(tables: Tables, beta: float) -> Row:
    """The row of the global training, whose bound is that of an exact certificate."""
    return pick(tables["optimum"], beta=beta, route="global training")[0]


def pictures(tables: Tables) -> dict[str, Figure]:
    """For each β: objective against iterations, and the local minima as functions."""
    shown = {}
    for beta in values(tables["ends"], "beta"):
        best = _reference(tables, beta)
        runs = {"SGD, 5 neurons": curves(pick(tables["histories"], beta=beta))}
        shown[f"objective_beta_{beta:g}"] = drawing.starts_figure(
            runs, optimum=best["objective"], bound=best["lower_bound"], kind=best["kind"]
        )
        shown[f"minima_beta_{beta:g}"] = _minima_figure(tables, beta)
    return shown


def _minima_figure(tables: Tables, beta: float) -> Figure:
    figure, ax = drawing.single("x (no unit)", "f(x) and targets (no unit)", height=4.6)
    minima = pick(tables["minima"], beta=beta)
    for k, row in enumerate(minima[:_SHOWN]):
        function = pick(tables["functions"], beta=beta, minimum=row["minimum"])
        label = f"{row['objective']:.5g} ({count(row['starts'], 'start')})"
        colour, style = CYCLE[k % len(CYCLE)], ("-", "--", "-.")[k // 2 % 3]
        ax.plot(
            column(function, "x"),
            column(function, "f"),
            color=colour,
            linestyle=style,
            linewidth=1.6,
            label=label,
        )
    best = pick(tables["functions"], beta=beta, minimum=OPTIMUM)
    ax.plot(
        column(best, "x"),
        column(best, "f"),
        color=BLUE,
        linewidth=4.5,
        alpha=0.3,
        label="convex optimum",
        zorder=1.5,
    )
    points = {(row["x"], row["y"]) for row in tables["points"]}
    ax.plot(*zip(*sorted(points), strict=True), color=INK, marker="o", linestyle="", label="data")
    drawing.legend_above(ax, 2)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    said = {}
    for beta in values(tables["ends"], "beta"):
        best, ends = _reference(tables, beta), pick(tables["ends"], beta=beta)
        near, total = reached(ends, best["objective"])
        worst = max(row["primal"] for row in ends)
        said[f"objective_beta_{beta:g}"] = [
            f"At β = {beta:g}, {share(total - near, total)} starts of SGD end more than 0.1 % above the "
            f"optimum {number(best['objective'], 7)}.",
            f"The worst start ends at {number(worst, 5)}, {over(worst, best['objective'])} the optimum, "
            "which "
            f"is certain to within {best['objective'] - best['lower_bound']:.1g}.",
        ]
        minima = pick(tables["minima"], beta=beta)
        first, drawn = minima[0], min(len(minima), _SHOWN)
        still = sum(row["stationarity"] <= 1e-6 for row in minima)
        said[f"minima_beta_{beta:g}"] = [
            f"The {total} starts at β = {beta:g} come to rest at {len(minima)} different points; the "
            f"{drawn} with "
            f"the lowest objective are drawn, and {still} of all {len(minima)} are stationary to 1e-6.",
            f"The lowest, {number(first['objective'], 7)}, has {first['starts']} of the starts; the "
            "highest has "
            f"the objective {number(minima[-1]['objective'], 5)}.",
        ]
    return said


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    beta = values(tables["ends"], "beta")[0]
    near, total = reached(pick(tables["ends"], beta=beta), _reference(tables, beta)["objective"])
    word = "Always, from these starts." if near == total else "No: it often stays in a local minimum."
    return word, f"{share(total - near, total)} starts end above the optimum at β = {beta:g}"


def lines(tables: Tables) -> list[str]:
    """The optimum by every route, and the share of starts above it."""
    said = []
    for beta in values(tables["optimum"], "beta"):
        for row in pick(tables["optimum"], beta=beta):
            said.append(f"beta = {beta:g}: {row['objective']:.7f} by {row['route']}.")
        near, total = reached(pick(tables["ends"], beta=beta), _reference(tables, beta)["objective"])
        said.append(
            f"beta = {beta:g}: {total - near} of {total} starts of SGD with m = 5 end more than 0.1 % "
            "above it."
        )
    return said
