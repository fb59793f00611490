"""The convex program and its dual: one value, along training, over the circle and in certificates."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn import theory_plots
from convexnn._types import Array
from convexnn.certificate import certify
from convexnn.data import Scaler, five_points, load_diabetes
from convexnn.dual import minimal_width, solve_dual
from convexnn.experiments import drawing
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import (
    TRAINED,
    best_of,
    column,
    descended,
    pick,
    trained,
    values,
)
from convexnn.experiments.words import KINDS, listed, number, over
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.plots import BLUE, BOUND_WORDS, CYCLE, INK, VERMILION

SECTION = "§ 1–4"
QUESTION = "Is the training problem convex in disguise: do the program and its dual have one value?"
FULL: dict[str, Any] = {
    "beta": 0.1, "widths": [1, 2, 3, 4, 5, 6, 8], "starts": 200, "steps": 4000, "columns": 6, "share": 0.02,
    "tol": 1e-4, "max_time": 60.0, "budgets": [0.2, 1.0, 5.0, 20.0],
}  # fmt: skip
QUICK = FULL | {
    "starts": 16,
    "steps": 1500,
    "columns": 4,
    "share": 0.01,
    "max_time": 6.0,
    "budgets": [0.05, 0.3, 1.5],
}
COLUMNS = {
    "optimum": ("beta", "primal", "dual", "kind", "rho", "minimal_width", "narrowest", "patterns", "n"),
    "widths": ("m", "start", "primal"),
    "points": ("x1", "x2", "y", "nu"),
    "neurons": ("u1", "u2", "alpha"),
    "training": ("seconds", "iteration", "primal", "bound", "neurons"),
    "trained": ("beta", "n", "d", *TRAINED),
    "certificates": ("kind", "asked", "budget", "seconds", "lower_bound", "gap"),
}


def parts(settings: Settings) -> dict[str, Part]:
    """The five points by primal and dual; descents of each width; a training; its certificates."""
    return {
        "primal and dual": lambda: _optimum(settings),
        "widths": lambda: _widths(settings),
        "training": lambda: _training(settings),
        "certificates": lambda: _certificates(settings),
    }


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _optimum(settings: Settings) -> Tables:
    data, beta = five_points(), settings["beta"]
    X, y = data.X, data.y
    patterns = Patterns.enumerate(X)
    dual = solve_dual(X, y, beta, patterns=patterns, tol=1e-10)
    width = minimal_width(dual.network, X)
    net = width.network
    return {
        "optimum": [
            {
                "beta": beta, "primal": dual.primal, "dual": dual.value, "kind": dual.kind, "rho": dual.rho,
                "minimal_width": width.width, "narrowest": net.objective(X, y, beta),
                "patterns": len(patterns), "n": len(y),
            }
        ],
        "points": [
            {"x1": a, "x2": b, "y": c, "nu": e} for (a, b), c, e in zip(X, y, dual.nu, strict=True)
        ],
        "neurons": [{"u1": a, "u2": b, "alpha": c} for (a, b), c in zip(net.U.T, net.alpha, strict=True)],
    }  # fmt: skip


def _widths(settings: Settings) -> Tables:
    """The best that descent finds with m neurons: above p* while m < m*."""
    data, beta = five_points(), settings["beta"]
    rows: list[Row] = []
    for m in settings["widths"]:
        for start in range(settings["seed"], settings["seed"] + settings["starts"]):
            result = descended(
                data.X, data.y, beta, neurons=m, steps=settings["steps"], learning_rate=0.03, seed=start,
                init_scale=0.7, dtype="float64",
            )  # fmt: skip
            polished = descended(data.X, data.y, beta, method="lbfgs", steps=500, start=result.network)
            rows.append({"m": m, "start": start, "primal": min(best_of(result), best_of(polished))})
    return {"widths": rows}


def _problem(settings: Settings) -> tuple[Array, Array, float]:
    """The first columns of the diabetes data, standardised, with a bias; β as a share of β_max."""
    from convexnn.pricing import beta_max

    raw = load_diabetes()
    X = raw.X[:, np.argsort(-np.abs(np.corrcoef(raw.X.T, raw.y)[-1, :-1]))[: settings["columns"]]]
    Z, y = Scaler.fit(X).transform(X), (raw.y - raw.y.mean()) / raw.y.std()
    return Z, y, settings["share"] * float(beta_max(Z, y, seed=settings["seed"]))


def _training(settings: Settings) -> Tables:
    X, y, beta = _problem(settings)
    result, row = trained(
        X, y, beta, tol=settings["tol"], max_time=settings["max_time"], seed=settings["seed"]
    )
    history = [dict(r) for r in result.history]
    return {"training": history, "trained": [{"beta": beta, "n": len(y), "d": X.shape[1], **row}]}


def _certificates(settings: Settings) -> Tables:
    """The network of one training, certified in each way, with several limits of time."""
    X, y, beta = _problem(settings)
    result, _ = trained(
        X, y, beta, tol=settings["tol"], max_time=settings["max_time"], seed=settings["seed"],
        certificate="estimated",
    )  # fmt: skip
    network, nu = result.network, result.certificate.nu
    rows: list[Row] = []
    for asked in ("estimated", "exact", "bounded"):
        for budget in settings["budgets"]:
            found = certify(network, X, y, beta, max_time=budget, nu=nu, certificate=asked)
            rows.append(_certificate_row(asked, budget, found))
    program = certify(network, X, y, beta, nu=nu, patterns=Patterns.from_network(X, network))
    return {"certificates": [*rows, _certificate_row("patterns", None, program)]}


def _certificate_row(asked: str, budget: float | None, found: Any) -> Row:
    return {
        "kind": found.kind, "asked": asked, "budget": budget, "seconds": found.seconds,
        "lower_bound": found.lower_bound, "gap": found.relative_gap,
    }  # fmt: skip


def pictures(tables: Tables) -> dict[str, Figure]:
    """Width against value, the dual function, a gap closing, certificates against time."""
    best = tables["optimum"][0]
    points, neurons = tables["points"], tables["neurons"]
    X = np.column_stack([column(points, "x1"), column(points, "x2")])
    net = Network(np.array([column(neurons, "u1"), column(neurons, "u2")]), column(neurons, "alpha"))
    circle = theory_plots.plot_dual(X, column(points, "nu"), best["beta"], network=net)
    closing = theory_plots.plot_closing(tables["training"], kind="estimated")
    return {
        "widths": _widths_figure(tables),
        "dual_function": drawing.figure_of(circle),
        "gap_closing": drawing.figure_of(closing),
        "certificates": _certificates_figure(tables),
    }


def _widths_figure(tables: Tables) -> Figure:
    best = tables["optimum"][0]
    figure, ax = drawing.single("neurons m (number)", "objective (loss + penalty)")
    widths = values(tables["widths"], "m")
    for place, m in enumerate(widths):
        drawing.draw_strip(ax, place, sorted(column(pick(tables["widths"], m=m), "primal")), CYCLE[0])
    lowest = [min(column(pick(tables["widths"], m=m), "primal")) for m in widths]
    ax.plot(range(len(widths)), lowest, color=CYCLE[1], marker="s", label="best start of Adam, polished")
    ax.axhline(best["primal"], color=BLUE, linewidth=1.6, label=f"program p*: {best['primal']:.7f}")
    ax.axhline(
        best["dual"], color=VERMILION, linewidth=1.6, linestyle="--", label=f"dual d*: {best['dual']:.7f}"
    )
    if best["minimal_width"] in widths:
        at = widths.index(best["minimal_width"])
        ax.axvline(at, color=CYCLE[2], linestyle=":", linewidth=1.6, label=f"m* = {best['minimal_width']}")
        label = "the program's network"
        ax.plot([at], [best["narrowest"]], color=INK, marker="*", markersize=13, linestyle="", label=label)
    drawing.name_places(ax, [str(m) for m in widths])
    drawing.legend_above(ax, 2)
    return figure


def _certificates_figure(tables: Tables) -> Figure:
    figure, ax = drawing.single("time of the certificate (seconds)", "relative gap (no unit)")
    rows = [row for row in tables["certificates"] if row["kind"] != "patterns"]
    series = {}
    for asked in values(rows, "asked"):
        chosen = sorted(pick(rows, asked=asked), key=lambda row: row["seconds"])
        kinds = "\nand ".join(f"{kind}: {BOUND_WORDS[kind]}" for kind in values(chosen, "kind"))
        label = f"asked for {asked}; got {kinds}"
        series[label] = ([r["seconds"] for r in chosen], [max(r["gap"], 1e-12) for r in chosen])
    drawing.draw_series(ax, series)
    drawing.plain_log_x(ax, [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30])
    seconds = column(rows, "seconds")
    ax.set_xlim(0.6 * seconds.min(), 1.6 * seconds.max())
    ax.set_yscale("log")
    drawing.legend_above(ax, 1)
    return figure


def _best_by_width(tables: Tables) -> dict[int, float]:
    return {
        m: float(min(column(pick(tables["widths"], m=m), "primal"))) for m in values(tables["widths"], "m")
    }


def _certificate_sentences(tables: Tables) -> list[str]:
    row = tables["trained"][0]
    rows = [r for r in tables["certificates"] if r["kind"] != "patterns"]
    kinds = [min(pick(rows, asked=a), key=lambda r: r["gap"]) for a in values(rows, "asked")]
    return [
        "Smallest relative gap for the same network: "
        + listed(
            [
                f"asked for {r['asked']}, {KINDS[r['kind']]}, {r['gap']:.1e} after {r['seconds']:.2g} s"
                for r in kinds
            ]
        )
        + ".",
        f"All of these bound the objective {number(row['objective'])} of the training from below; a "
        "certificate on given patterns alone would bound nothing.",
    ]


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    best, row = tables["optimum"][0], tables["trained"][0]
    star, lowest = best["minimal_width"], _best_by_width(tables)
    narrow, wide = min(lowest), max(lowest)
    first = tables["training"][0]
    reach = [m for m, value in lowest.items() if value <= best["primal"] * (1.0 + 1e-6)]
    closed = (
        f"the narrowest descent within 1e-6 of p* has {min(reach)}" if reach else "none is within 1e-6 of p*"
    )
    closed += f", and the program's own network of {star} neurons has {number(best['narrowest'], 9)}"
    return {
        "widths": [
            f"Program and dual over all {best['patterns']} patterns agree: p* = "
            f"{number(best['primal'], 9)} and "
            f"d* = {number(best['dual'], 9)}, a difference of {abs(best['primal'] - best['dual']):.1g}.",
            f"With {narrow} neuron{'s' if narrow > 1 else ''} (m* = {star}) the best start ends "
            f"{over(lowest[narrow], best['primal'])} p*, with {wide} neurons "
            f"{over(lowest[wide], best['primal'])} "
            f"it; {closed}.",
        ],
        "dual_function": [
            f"Over the circle of all neurons, νᵀ(Xu)₊ stays between ±β = ±{number(best['beta'])}: its "
            "largest "
            f"size is {number(best['rho'], 9)}.",
            f"The {len(tables['neurons'])} neurons of the optimum are where it touches one of the two lines, "
            "each on the line of its sign.",
        ],
        "gap_closing": [
            f"On {row['n']} rows of the diabetes data with {row['d']} inputs, training brings the "
            "objective from "
            f"{number(first['primal'])} to {number(row['objective'])} in {len(tables['training'])} rounds.",
            f"The certificate at the end is of the kind '{row['kind']}' ({KINDS[row['kind']]}) with a "
            "relative "
            f"gap of {row['gap']:.1e}; bounds on the way are estimates.",
        ],
        "certificates": _certificate_sentences(tables),
    }


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    best = tables["optimum"][0]
    equal = abs(best["primal"] - best["dual"]) <= 1e-6 * best["primal"]
    word = "Yes, as soon as there are m* neurons." if equal else "Not to six digits here."
    return word, f"p* = {best['primal']:.7f}, d* = {best['dual']:.7f}, m* = {best['minimal_width']}"


def lines(tables: Tables) -> list[str]:
    """Primal and dual."""
    best = tables["optimum"][0]
    return [
        f"p* = {best['primal']:.7f} and d* = {best['dual']:.7f} ({best['kind']}), "
        f"m* = {best['minimal_width']} of at most n = {best['n']}."
    ]
