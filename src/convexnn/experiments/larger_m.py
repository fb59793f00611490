"""More neurons: how often does SGD come within 1e-3 of the optimum, against the width m?"""

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn._types import Array
from convexnn.data import five_points, make_planted
from convexnn.dual import minimal_width
from convexnn.experiments import drawing
from convexnn.experiments.records import Part, Settings, Tables, run_parts
from convexnn.experiments.runs import (
    END,
    HISTORY,
    NEAR,
    TRAINED,
    column,
    curves,
    many_starts,
    pick,
    reached,
    trained,
    values,
)
from convexnn.experiments.words import listed, number, over, share
from convexnn.plots import CYCLE, INK, VERMILION

SECTION = "§ 7"
QUESTION = "The same with larger m: does more width help, and does it agree with theory?"
FULL: dict[str, Any] = {
    "betas": {"five points": 0.1, "50 points in the plane": 0.1}, "widths": [5, 8, 15, 50, 200], "starts": 40,
    "steps": 40_000, "records": 100, "rates": [1e-4, 3e-4, 1e-3, 3e-3], "tuning": 6,
}  # fmt: skip
QUICK = FULL | {"starts": 12, "steps": 5000, "rates": [3e-4, 1e-3, 3e-3], "tuning": 2, "records": 40}
COLUMNS = {
    "optimum": ("data", "beta", "n", "minimal_width", *TRAINED),
    "histories": ("data", "m", *HISTORY),
    "ends": ("data", "m", *END),
}
_BATCH = {"five points": 2, "50 points in the plane": 10}


def parts(settings: Settings) -> dict[str, Part]:
    """One part for the optimum of each data set, one for each width."""
    found: dict[str, Part] = {}
    for data, beta in settings["betas"].items():
        found[f"optimum of {data}"] = partial(_optimum, data, beta, settings)
        for m in settings["widths"]:
            found[f"{data}, m = {m}"] = partial(_starts, data, beta, m, settings)
    return found


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _data(name: str, seed: int) -> tuple[Array, Array]:
    if name == "five points":
        points = five_points()
        return points.X, points.y
    X, y, _ = make_planted(50, 2, 5, noise=0.2, seed=seed)
    return X, y


def _optimum(name: str, beta: float, settings: Settings) -> Tables:
    X, y = _data(name, settings["seed"])
    result, row = trained(X, y, beta, tol=2e-7, certificate="exact", seed=settings["seed"], max_time=60.0)
    width = minimal_width(result.network, X).width
    return {"optimum": [{"data": name, "beta": beta, "n": len(y), "minimal_width": width, **row}]}


def _starts(name: str, beta: float, m: int, settings: Settings) -> Tables:
    X, y = _data(name, settings["seed"])
    seeds = list(range(settings["seed"], settings["seed"] + settings["starts"]))
    return many_starts(
        X, y, beta, keys={"data": name, "m": m}, seeds=seeds, rates=settings["rates"],
        tuning=settings["tuning"], steps=settings["steps"], records=settings["records"], method="sgd",
        batch_size=_BATCH[name], neurons=m, init_scale=m**-0.25, dtype="float64",
    )[0]  # fmt: skip


def pictures(tables: Tables) -> dict[str, Figure]:
    """Share of starts at the optimum against m; every end above the bound; two widths against iterations."""
    shown = {"share": _share_figure(tables)}
    for k, best in enumerate(tables["optimum"], 1):
        ends = pick(tables["ends"], data=best["data"])
        shown[f"ends_{k}"] = _ends_figure(ends, best)
        widths = values(ends, "m")
        runs = {
            f"SGD, m = {m}": curves(pick(tables["histories"], data=best["data"], m=m))
            for m in dict.fromkeys((widths[0], widths[-1]))
        }
        shown[f"objective_{k}"] = drawing.starts_figure(
            runs, optimum=best["objective"], bound=best["lower_bound"], kind=best["kind"]
        )
    return shown


def _share_figure(tables: Tables) -> Figure:
    figure, ax = drawing.single("neurons m (number, log axis)", "starts within 0.1 % of the optimum (%)")
    for k, best in enumerate(tables["optimum"]):
        ends = pick(tables["ends"], data=best["data"])
        widths = values(ends, "m")
        shares = []
        for m in widths:
            near, total = reached(pick(ends, m=m), best["objective"])
            shares.append(100.0 * near / total)
        drawing.draw_series(ax, {best["data"]: (widths, shares)}, start=k)
        ax.axvline(
            best["minimal_width"], color=CYCLE[k], linewidth=1.4, linestyle=":",
            label=f"m* = {best['minimal_width']} ({best['data']})",
        )  # fmt: skip
    drawing.plain_log_x(ax, widths)
    ax.set_ylim(-4, 104)
    drawing.legend_above(ax, 2)
    return figure


def _ends_figure(ends: list[dict[str, Any]], best: dict[str, Any]) -> Figure:
    figure, ax = drawing.single("neurons m (number)", "end minus the proved\nlower bound (log axis)")
    widths = values(ends, "m")
    for place, m in enumerate(widths):
        above = np.maximum(column(pick(ends, m=m), "primal") - best["lower_bound"], 1e-12)
        drawing.draw_strip(ax, place, sorted(above), CYCLE[place], None)
        ax.plot([place - 0.3, place + 0.3], [np.median(above)] * 2, color=INK, linewidth=2.0)
    near = best["objective"] * (1.0 + NEAR) - best["lower_bound"]
    ax.axhline(near, color=VERMILION, linestyle="--", linewidth=1.4, label="0.1 % above the optimum")
    drawing.draw_floor(
        ax, best["objective"] - best["lower_bound"], 1e-6 * best["objective"], "convex optimum"
    )
    drawing.name_places(ax, [str(m) for m in widths])
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    parts_said, stars = [], []
    said: dict[str, list[str]] = {}
    for k, best in enumerate(tables["optimum"], 1):
        ends = pick(tables["ends"], data=best["data"])
        widths = values(ends, "m")
        counts = [reached(pick(ends, m=m), best["objective"]) for m in widths]
        parts_said.append(
            f"{best['data']}: "
            + ", ".join(f"{share(*pair)} at m = {m}" for m, pair in zip(widths, counts, strict=True))
        )
        stars.append(f"m* = {best['minimal_width']} for {best['data']} (never above n = {best['n']})")
        medians = {m: float(np.median(column(pick(ends, m=m), "primal"))) for m in widths}
        said[f"ends_{k}"] = [
            f"On {best['data']} the median end of SGD is {over(medians[widths[0]], best['objective'])} the "
            f"optimum {number(best['objective'], 7)} with {widths[0]} neurons and "
            f"{over(medians[widths[-1]], best['objective'])} it with {widths[-1]}.",
            f"The lowest of all {len(ends)} starts ends "
            f"{over(min(row['primal'] for row in ends), best['objective'])} the optimum; a dot is a "
            "start, a bar "
            "the median.",
        ]
        first, last = counts[0], counts[-1]
        said[f"objective_{k}"] = [
            f"With {widths[0]} neurons {share(*first)} starts end within 0.1 % of the optimum of "
            f"{best['data']}, "
            f"with {widths[-1]} neurons {share(*last)}.",
            f"The proved lower bound {number(best['lower_bound'], 7)} lies {best['gap']:.1g} (relative) "
            "below the "
            "optimum, so no width can do better.",
        ]
    said["share"] = [
        "Starts within 0.1 % of the optimum: " + "; ".join(parts_said) + ".",
        f"Theory has no bad local minimum once the network is wide enough, and the optimum itself needs only "
        f"{listed(stars)}.",
    ]
    return said


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    best = tables["optimum"][0]
    ends = pick(tables["ends"], data=best["data"])
    widths = values(ends, "m")
    first, last = (reached(pick(ends, m=m), best["objective"]) for m in (widths[0], widths[-1]))
    grows = last[0] / last[1] > first[0] / first[1]
    word = "Yes: the share of starts at the optimum grows." if grows else "Not with these starts and steps."
    return word, f"{share(*first)} at m = {widths[0]}, {share(*last)} at m = {widths[-1]}"


def lines(tables: Tables) -> list[str]:
    """The shares, one line a data set."""
    return [sentences(tables)["share"][0]]
