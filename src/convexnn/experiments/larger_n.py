"""More samples: the spread of SGD over its starts, and the approximate program beside global training."""

from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn._types import Array
from convexnn.data import make_gaussian, make_planted
from convexnn.enumeration import pattern_bound
from convexnn.experiments import drawing
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import HISTORY, TRAINED, column, curves, many_starts, pick, trained, values
from convexnn.experiments.words import KINDS, count, listed, number, over
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.plots import BLUE, CYCLE
from convexnn.pricing import beta_max
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve

SECTION = "§ 8"
QUESTION = "With larger n, does the spread of SGD fall, and is the approximate program close?"
FULL: dict[str, Any] = {
    "sizes": [50, 200, 1000], "inputs": [2, 5, 20], "widths": [10, 100], "starts": 10, "steps": 3000,
    "records": 60, "rates": [1e-4, 3e-4, 1e-3, 3e-3], "tuning": 4, "share": 0.05, "tol": 1e-3,
    "max_time": 20.0, "programs": [[50, 3], [200, 10], [1000, 20]],
    "patterns": [10, 100, 1000, 5000], "program_time": 60.0,
}  # fmt: skip
QUICK = FULL | {
    "inputs": [2, 10], "widths": [10, 50], "starts": 5, "steps": 500, "records": 25,
    "rates": [1e-4, 3e-4, 1e-3], "tuning": 3, "max_time": 1.5, "programs": [[50, 3], [300, 10]],
    "patterns": [10, 100, 1000], "program_time": 3.0,
}  # fmt: skip
COLUMNS = {
    "histories": ("labels", "n", "d", "m", *HISTORY),
    "ends": ("labels", "n", "d", "m", "start", "primal", "seconds", "learning_rate"),
    "optimum": ("labels", "n", "d", "beta", *TRAINED),
    "programs": (
        "n",
        "d",
        "beta",
        "form",
        "drawn",
        "patterns",
        "objective",
        "gap",
        "seconds",
        "test_error",
        "state",
    ),
    "reference": ("n", "d", "beta", "test_error", *TRAINED),
}
PLANTED, RANDOM = "planted", "random"
ALL, RELU, GATED = "all patterns", "sampled, ReLU", "sampled, gated"
_NEURONS, _NOISE, _TEST_ROWS, _CLOSE = 5, 0.3, 2000, 0.01
#: Most patterns of a complete program.
_MOST = 4000


def parts(settings: Settings) -> dict[str, Part]:
    """One part a data set for the spread, one a size for the programs."""
    found: dict[str, Part] = {}
    for labels in (PLANTED, RANDOM):
        for n in settings["sizes"]:
            for d in settings["inputs"]:
                found[f"spread, {labels}, n = {n}, d = {d}"] = partial(_spread, labels, n, d, settings)
    for n, d in settings["programs"]:
        found[f"programs, n = {n}, d = {d}"] = partial(_programs, n, d, settings)
    return found


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _data(labels: str, n: int, d: int, seed: int) -> tuple[Array, Array]:
    if labels == RANDOM:
        return make_gaussian(n, d, seed=seed)
    X, y, _ = make_planted(n, d, _NEURONS, noise=_NOISE, seed=seed)
    return X, y


def _spread(labels: str, n: int, d: int, settings: Settings) -> Tables:
    """SGD from several starts for each width, and global training."""
    X, y = _data(labels, n, d, settings["seed"])
    beta = settings["share"] * float(beta_max(X, y, seed=settings["seed"]))
    keys: Row = {"labels": labels, "n": n, "d": d}
    limits = {"tol": settings["tol"], "max_time": settings["max_time"], "seed": settings["seed"]}
    _, row = trained(X, y, beta, certificate="estimated", **limits)
    tables: Tables = {"optimum": [{**keys, "beta": beta, **row}], "histories": [], "ends": []}
    seeds = list(range(settings["seed"], settings["seed"] + settings["starts"]))
    for m in settings["widths"]:
        found, _ = many_starts(
            X, y, beta, keys={**keys, "m": m}, seeds=seeds, rates=settings["rates"],
            tuning=settings["tuning"], steps=settings["steps"], records=settings["records"], method="sgd",
            batch_size=min(n, 50), neurons=m, init_scale=m**-0.25 / np.sqrt(d),
            keep_history=labels == PLANTED and m == settings["widths"][-1],
        )  # fmt: skip
        for name, rows in found.items():
            tables[name] += rows
    return tables


def _programs(n: int, d: int, settings: Settings) -> Tables:
    """Programs over sampled and over all patterns, and global training, on planted data."""
    X, y, truth = make_planted(n, d, _NEURONS, noise=_NOISE, seed=settings["seed"])
    beta = settings["share"] * float(beta_max(X, y, seed=settings["seed"]))
    Z = np.random.default_rng([settings["seed"], 1]).standard_normal((_TEST_ROWS, d))
    target = truth.predict(Z)
    keys: Row = {"n": n, "d": d, "beta": beta}
    limits = {"tol": settings["tol"], "max_time": 2.0 * settings["max_time"], "seed": settings["seed"]}
    result, row = trained(X, y, beta, certificate="estimated", **limits)
    reference = {**keys, "test_error": _error(result.network.predict(Z), target), **row}
    rows = []
    sets = [(RELU, k, Patterns.sample(X, k, rng=settings["seed"])) for k in settings["patterns"]]
    sets += [(GATED, k, patterns) for _, k, patterns in sets]
    if pattern_bound(n, min(n, d))[0] <= _MOST:
        sets.append((ALL, 0, Patterns.enumerate(X)))
    for form, drawn, patterns in sets:
        program = ConvexProgram(X, y, patterns, beta, gated=form == GATED)
        begin = perf_counter()
        solution = solve(program, tol=1e-4, max_time=settings["program_time"])
        seconds = perf_counter() - begin
        f = (
            _gated_output(solution, patterns, Z)
            if form == GATED
            else Network.from_solution(solution).predict(Z)
        )
        rows.append(
            {
                **keys, "form": form, "drawn": drawn or len(patterns), "patterns": len(patterns),
                "objective": solution.primal, "gap": solution.relative_gap, "seconds": seconds,
                "test_error": _error(f, target), "state": solution.status.name,
            }
        )  # fmt: skip
    return {"programs": rows, "reference": [reference]}


def _gated_output(solution: Solution, patterns: Patterns, Z: Array) -> Array:
    """Σ_i 1[Zg_i ≥ 0] Z(v_i − w_i): the gates of a gated network are its generators."""
    gates = patterns.generators.T @ Z.T >= 0
    return np.asarray(np.einsum("dp,nd,pn->n", solution.v - solution.w, Z, gates, optimize=True))


def _error(f: Array, target: Array) -> float:
    """Root mean square error against the planted function."""
    return float(np.sqrt(np.mean((f - target) ** 2)))


def pictures(tables: Tables) -> dict[str, Figure]:
    """Spread against n; objective for the smallest and the largest n; programs for each size."""
    shown = {"spread": _spread_figure(tables)}
    sizes = values(tables["histories"], "n")
    d, m = values(tables["histories"], "d")[-1], values(tables["histories"], "m")[-1]
    for n in dict.fromkeys((sizes[0], sizes[-1])):
        best = pick(tables["optimum"], labels=PLANTED, n=n, d=d)[0]
        runs = {f"SGD, m = {m}": curves(pick(tables["histories"], n=n, d=d, m=m))}
        shown[f"objective_n_{n}"] = drawing.starts_figure(
            runs,
            optimum=best["objective"],
            bound=best["lower_bound"],
            kind=best["kind"],
            name="global training",
        )
    for best in tables["reference"]:
        shown[f"programs_n_{best['n']}"] = _programs_figure(tables, best)
    return shown


def _spreads(tables: Tables, labels: str, d: int, m: int) -> tuple[list[int], list[float]]:
    """(n, standard deviation of the ends over their mean in %)."""
    sizes, found = values(tables["ends"], "n"), []
    for n in sizes:
        ends = column(pick(tables["ends"], labels=labels, n=n, d=d, m=m), "primal")
        found.append(100.0 * float(np.std(ends) / np.mean(ends)))
    return sizes, found


def _spread_figure(tables: Tables) -> Figure:
    labels = values(tables["ends"], "labels")
    figure, axes = drawing.panels(
        len(labels),
        [("samples n (number, log axis)", f"spread of SGD, {name}\n(% of the mean end)") for name in labels],
    )
    for ax, name in zip(axes, labels, strict=True):
        series = {
            f"d = {d}, m = {m}": _spreads(tables, name, d, m)
            for d in values(tables["ends"], "d")
            for m in values(tables["ends"], "m")
        }
        drawing.draw_series(ax, series)
        drawing.plain_log_x(ax, values(tables["ends"], "n"))
        ax.set_yscale("log")
        drawing.legend_above(ax, 2)
    return figure


def _programs_figure(tables: Tables, best: Row) -> Figure:
    rows = pick(tables["programs"], n=best["n"])
    x = "patterns drawn (number, log axis)"
    names = ("objective", "test error\n(root mean square)", "time (seconds, log axis)")
    figure, axes = drawing.panels(3, [(x, name) for name in names], height=2.9)
    ticks = sorted({row["drawn"] for row in rows if row["form"] != ALL})
    for ax, key in zip(axes, ("objective", "test_error", "seconds"), strict=True):
        for k, form in enumerate(values(rows, "form")):
            chosen = pick(rows, form=form)
            label = f"{form}: {chosen[0]['patterns']}" if form == ALL else form
            ax.plot(
                [row["drawn"] for row in chosen], [row[key] for row in chosen], color=CYCLE[k],
                marker=drawing.MARKERS[k], label=label,
            )  # fmt: skip
        ax.axhline(best[key], color=BLUE, linewidth=1.6, label=f"global training: {best[key]:.4g}")
        drawing.plain_log_x(ax, ticks)
    drawing.plain_log_y(axes[2])
    drawing.legend_above(axes[0], 2)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    said = {"spread": _spread_sentences(tables)}
    d, m = values(tables["histories"], "d")[-1], values(tables["histories"], "m")[-1]
    sizes = values(tables["histories"], "n")
    for n in dict.fromkeys((sizes[0], sizes[-1])):
        best = pick(tables["optimum"], labels=PLANTED, n=n, d=d)[0]
        ends = column(pick(tables["ends"], labels=PLANTED, n=n, d=d, m=m), "primal")
        said[f"objective_n_{n}"] = [
            f"n = {n}, d = {d}, m = {m}, planted: SGD from {len(ends)} starts ends "
            f"{over(float(ends.min()), best['objective'])} the global training at best and "
            f"{over(float(ends.max()), best['objective'])} it at worst.",
            f"The global training's objective is {number(best['objective'])} with "
            f"{count(best['neurons'], 'neuron')}; "
            f"its gap of {best['gap']:.1e} is {KINDS[best['kind']]}.",
        ]
    for best in tables["reference"]:
        said[f"programs_n_{best['n']}"] = _program_sentences(tables, best)
    return said


def _spread_sentences(tables: Tables) -> list[str]:
    ds, ms = values(tables["ends"], "d"), values(tables["ends"], "m")
    changes = [
        _spreads(tables, name, d, m)[1] for name in values(tables["ends"], "labels") for d in ds for m in ms
    ]
    falls = sum(change[-1] < change[0] for change in changes)
    sizes = values(tables["ends"], "n")
    first, last = (float(np.median([change[k] for change in changes])) for k in (0, -1))
    return [
        f"From n = {sizes[0]} to n = {sizes[-1]} the spread of SGD's ends falls in {falls} of "
        f"{len(changes)} cases; "
        f"the median case goes from {number(first, 2)} % to {number(last, 2)} % of the mean end.",
        f"Spread is the standard deviation over {len(values(tables['ends'], 'start'))} starts; labels are "
        "planted "
        "by a small network, or random.",
    ]


def _program_sentences(tables: Tables, best: Row) -> list[str]:
    rows = pick(tables["programs"], n=best["n"])
    sampled = [row for row in rows if row["form"] == RELU]
    ratios = [f"{over(row['objective'], best['objective'])} with {row['drawn']} draws" for row in sampled]
    last = sampled[-1]
    close = last["objective"] <= best["objective"] * (1.0 + _CLOSE)
    state = "close to" if close else "NOT close to"
    whole = [row for row in rows if row["form"] == ALL]
    extra = (
        f"; over all {whole[0]['patterns']} patterns it is {over(whole[0]['objective'], best['objective'])}"
        if whole
        else ""
    )
    gated = pick(rows, form=GATED, drawn=last["drawn"])[0]
    return [
        f"n = {best['n']}, d = {best['d']}: against the global training's {number(best['objective'])} the "
        f"approximate program is {listed(ratios)}: with most draws it is {state} it (1 % is the "
        f"limit){extra}.",
        f"Test error: {number(last['test_error'], 3)} for {last['drawn']} ReLU patterns "
        f"({last['seconds']:.2g} s), "
        f"{number(gated['test_error'], 3)} gated, {number(best['test_error'], 3)} for global training "
        f"({best['seconds']:.2g} s); a gated value is of another model and may lie below.",
    ]


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    far = []
    for best in tables["reference"]:
        last = [row for row in pick(tables["programs"], n=best["n"]) if row["form"] == RELU][-1]
        if last["objective"] > best["objective"] * (1.0 + _CLOSE):
            far.append(f"n = {best['n']}, d = {best['d']}")
    first = _spread_sentences(tables)[0].split(";")[0]
    word = "The approximate program is " + (
        f"NOT close at {listed(far)}." if far else "close at every size tried."
    )
    return word, first


def lines(tables: Tables) -> list[str]:
    """The spread and the programs."""
    programs = [pair[0] for name, pair in sentences(tables).items() if name.startswith("programs")]
    return [_spread_sentences(tables)[0], *programs]
