"""Pictures of records: every function takes plain rows and returns a matplotlib `Axes`.

A *run* is a list of mappings, one a record, with the keys of a training history (``seconds``,
``iteration``, ``primal``, ``bound``, ``neurons``) or some of them. Nothing here computes an optimum: lines
and bounds are drawn from the numbers handed in, always with the kind of the bound in words. Figures are made
with `matplotlib.figure.Figure`, so no display and no global state is touched.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from convexnn._types import Array

Run = Sequence[Mapping[str, Any]]
Place = Literal["best", "upper right", "upper left", "lower right"]

#: Okabe and Ito's palette, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
CYCLE = (ORANGE, GREEN, PURPLE, SKY, VERMILION, BLUE)
#: Colour of text and frame; the report's inline pictures replace it by the colour of the page's text.
INK = "#24292f"
SIZE = (5.6, 3.9)
DOTTED: dict[str, Any] = {"color": BLUE, "linewidth": 1.7, "marker": "o", "markersize": 3.5}
AXIS_NAMES = {"seconds": "time (seconds)", "iteration": "iteration (number)"}

BOUND_WORDS = {
    "exact": "proved lower bound",
    "bounded": "proved lower bound",
    "estimated": "estimated lower bound",
    "patterns": "no lower bound (given patterns only)",
}
GAP_WORDS = {
    "exact": "proved gap",
    "bounded": "proved gap",
    "estimated": "estimated gap",
    "patterns": "gap among the given patterns only",
}


def new_axes(xlabel: str, ylabel: str, *, size: tuple[float, float] = SIZE) -> Axes:
    """A fresh figure with one styled pair of axes."""
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0.0)
    ax: Axes = figure.add_subplot()
    return apply_style(ax, xlabel, ylabel)


def apply_style(ax: Axes, xlabel: str, ylabel: str) -> Axes:
    """The one style of all pictures: labels with units, a light grid, no box."""
    ax.set_xlabel(xlabel, color=INK, fontsize=11.5)
    ax.set_ylabel(ylabel, color=INK, fontsize=11.5)
    ax.tick_params(which="both", colors=INK, labelsize=10.5)
    ax.patch.set_alpha(0.0)
    ax.grid(True, color=INK, alpha=0.12, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(INK)
    return ax


def add_legend(ax: Axes, place: Place = "best") -> None:
    """A legend without a frame, in the colour of the text; none if nothing has a label."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(handles, labels, loc=place, frameon=False, fontsize=10, labelcolor=INK)


def _log_axis(ax: Axes, values: Sequence[float], *, plain: bool) -> None:
    """Logarithmic y with readable ticks: plain numbers, or powers of ten. A narrow plain range is linear."""
    finite = [v for v in values if np.isfinite(v) and v > 0]
    ratio = max(finite) / min(finite) if finite else 1.0
    if plain and ratio < 2:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return
    ax.set_yscale("log")
    if plain and ratio < 300:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
        ax.yaxis.set_minor_locator(LogLocator(subs=()))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _time_axis(ax: Axes, x: str) -> None:
    """Logarithmic time, since the methods differ by powers of ten; plain numbers at the ticks."""
    if x != "seconds":
        return
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def columns(run: Run, x: str, y: str) -> tuple[Array, Array]:
    """The columns `x` and `y` of a run as arrays, without rows where either is missing or not finite."""
    pairs = [(row.get(x), row.get(y)) for row in run]
    kept = [(float(a), float(b)) for a, b in pairs if a is not None and b is not None]
    table = np.array([p for p in kept if np.isfinite(p).all()], dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def median_curve(curves: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Pointwise median of curves, interpolated where all of them are defined."""
    curves = [c for c in curves if c[0].size]
    if not curves:
        return np.empty(0), np.empty(0)
    start = max(float(x[0]) for x, _ in curves)
    end = min(float(x[-1]) for x, _ in curves)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= start) & (grid <= end)]
    return grid, np.median([np.interp(grid, x, y) for x, y in curves], axis=0)


def _draw_starts(ax: Axes, label: str, curves: Sequence[tuple[Array, Array]], colour: str) -> None:
    """Thin lines for the starts and a thick one for their median."""
    for x, y in curves:
        ax.plot(x, y, color=colour, linewidth=0.7, alpha=0.45)
    if not curves:
        return
    x, y = median_curve(curves) if len(curves) > 1 else curves[0]
    name = f"{label}: median of {len(curves)} starts" if len(curves) > 1 else label
    ax.plot(x, y, color=colour, linewidth=2.0, label=name)


def _draw_levels(ax: Axes, lines: Sequence[tuple[str, float, str, str]]) -> list[float]:
    """Horizontal lines (label, value, colour, dashes); returns their values."""
    for label, value, colour, dashes in lines:
        ax.axhline(value, color=colour, linewidth=1.5, linestyle=dashes, label=f"{label}: {value:.6g}")
    return [value for _, value, _, _ in lines]


def plot_objective(
    runs: Mapping[str, Sequence[Run]],
    *,
    x: str = "iteration",
    optimum: float | None = None,
    bound: float | None = None,
    kind: str = "estimated",
    training: Run | None = None,
    marks: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Objective of descents from several starts, with the convex optimum and its certified bound as lines.

    Parameters
    ----------
    runs : mapping
        Name of a method → its runs, one a start, with the columns `x` and ``primal``.
    optimum, bound : float, optional
        Objective of the globally trained network, and its lower bound of kind `kind`.
    training : run, optional
        History of the global training, drawn as one line with dots.
    marks : mapping, optional
        Name → another value of the objective, each a dotted line.
    """
    ax = ax or new_axes(AXIS_NAMES[x], "objective (loss + penalty)")
    seen: list[float] = []
    for (label, group), colour in zip(runs.items(), CYCLE, strict=False):
        curves = [columns(run, x, "primal") for run in group]
        _draw_starts(ax, label, curves, colour)
        seen += [float(v) for _, values in curves for v in values]
    if training is not None:
        steps, values = columns(training, x, "primal")
        ax.plot(steps, values, label="convex training, each round", **DOTTED)
        seen += list(values)
    lines = [] if optimum is None else [("convex training", optimum, BLUE, "-")]
    marked = zip((marks or {}).items(), (PURPLE, SKY), strict=False)
    lines += [(label, value, colour, ":") for (label, value), colour in marked]
    if bound is not None and kind != "patterns":
        lines.append((BOUND_WORDS[kind], bound, VERMILION, "--"))
    seen += _draw_levels(ax, lines)
    _log_axis(ax, seen, plain=True)
    _time_axis(ax, x)
    add_legend(ax, "upper right")
    return ax


def plot_training(
    history: Run, *, primal: float, bound: float | None, kind: str, x: str = "seconds", ax: Axes | None = None
) -> Axes:
    """Objective of the global training and the band down to its final lower bound."""
    ax = ax or new_axes(AXIS_NAMES[x], "objective (loss + penalty)")
    steps, values = columns(history, x, "primal")
    ax.plot(steps, values, label="objective", **DOTTED)
    ax.axhline(primal, color=BLUE, linewidth=0.9, label=f"final objective: {primal:.6g}")
    if bound is not None and kind != "patterns":
        label = f"{BOUND_WORDS[kind]}: {bound:.6g}"
        ax.axhline(bound, color=VERMILION, linewidth=1.4, linestyle="--", label=label)
        ax.axhspan(bound, primal, color=VERMILION, alpha=0.15, linewidth=0)
    _log_axis(ax, [*values, primal, *([bound] if bound else [])], plain=True)
    add_legend(ax)
    return ax


def relative_gaps(history: Run, x: str = "seconds") -> tuple[Array, Array]:
    """(best objective − best bound)/best objective after each row of a training history."""
    steps, primal = columns(history, x, "primal")
    rows = [row for row in history if row.get("bound") is not None and np.isfinite(row["bound"])]
    if not rows or not steps.size:
        return np.empty(0), np.empty(0)
    at, bound = columns(rows, x, "bound")
    best_bound = np.maximum.accumulate(bound)
    best = np.interp(at, steps, np.minimum.accumulate(primal))
    gap = (best - best_bound) / np.where(best > 0, best, 1.0)
    return at, gap


def plot_gap(
    trainings: Mapping[str, Run],
    *,
    kind: str,
    descents: Mapping[str, Sequence[Run]] | None = None,
    bound: float | None = None,
    final: tuple[float, float] | None = None,
    x: str = "seconds",
    ax: Axes | None = None,
) -> Axes:
    """Relative gap on a logarithmic axis.

    Parameters
    ----------
    trainings : mapping
        Name → history of a global training; its gap is against its own best bound so far.
    kind : str
        Kind of the bounds, named on the axis.
    descents, bound : optional
        Runs of other methods, whose gap is against the final lower bound `bound`.
    final : (x, gap), optional
        The gap of the certificate at the end, which is verified where the bounds on the way are not.
    """
    ax = ax or new_axes(AXIS_NAMES[x], f"relative gap to the\n{BOUND_WORDS[kind]} (no unit)")
    seen: list[float] = []
    for (label, group), colour in zip((descents or {}).items(), CYCLE, strict=False):
        curves = []
        for run in group:
            steps, primal = columns(run, x, "primal")
            gap = 1.0 - (bound or 0.0) / np.where(primal > 0, primal, 1.0)
            curves.append((steps[gap > 0], gap[gap > 0]))
            seen += list(gap[gap > 0])
        _draw_starts(ax, label, curves, colour)
    for (label, history), colour in zip(trainings.items(), (BLUE, PURPLE, SKY), strict=False):
        steps, gap = relative_gaps(history, x)
        keep = gap > 0
        ax.plot(steps[keep], gap[keep], color=colour, linewidth=1.8, marker="o", markersize=4, label=label)
        seen += list(gap[keep])
    if final is not None and final[1] > 0:
        label = f"certificate: {GAP_WORDS[kind]} {final[1]:.2g}"
        ax.plot(*final, color=VERMILION, marker="D", markersize=7, linestyle="", label=label)
        seen.append(final[1])
    _log_axis(ax, seen, plain=False)
    if descents:
        _time_axis(ax, x)
    add_legend(ax)
    return ax


def plot_accuracy(
    runs: Mapping[str, Sequence[Run]],
    *,
    finals: Mapping[str, tuple[float, float]] | None = None,
    x: str = "seconds",
    ax: Axes | None = None,
) -> Axes:
    """Test accuracy of descents from several starts, with finished trainings as dots and dashed lines.

    The axis shows all values but those of the first tenth of each run.

    Parameters
    ----------
    runs : mapping
        Name → runs with the columns `x` and ``test_accuracy``.
    finals : mapping, optional
        Name → (seconds, test accuracy) of a training that ended then.
    """
    ax = ax or new_axes(AXIS_NAMES[x], "test accuracy (% of test rows)")
    settled: list[float] = []
    for (label, group), colour in zip(runs.items(), CYCLE, strict=False):
        curves = [(a, 100 * b) for a, b in (columns(run, x, "test_accuracy") for run in group)]
        _draw_starts(ax, label, curves, colour)
        settled += [float(v) for _, values in curves for v in values[len(values) // 10 :]]
    for (label, (at, value)), colour in zip((finals or {}).items(), (BLUE, VERMILION), strict=False):
        ax.axhline(100 * value, color=colour, linewidth=1.0, linestyle="--")
        ax.plot([at], [100 * value], color=colour, marker="D", markersize=7, linestyle="", label=label)
        settled.append(100 * value)
    if settled:
        ax.set_ylim(bottom=max(0.0, min(settled) - 0.3 * (100.5 - min(settled))), top=100.5)
    _time_axis(ax, x)
    add_legend(ax, "lower right")
    return ax


def plot_predictions(
    y: Array, f: Array, *, held_out: str, name: str = "target", ax: Axes | None = None
) -> Axes:
    """Predicted against true values of a regression, with the diagonal."""
    ax = ax or new_axes(f"true {name}", f"predicted {name}")
    ends = [min(y.min(), f.min()), max(y.max(), f.max())]
    ax.plot(ends, ends, color=INK, linewidth=0.9, label="perfect prediction")
    ax.plot(y, f, color=BLUE, marker="o", markersize=4, alpha=0.55, linestyle="", label=held_out)
    add_legend(ax, "upper left")
    return ax


def plot_outputs(
    labels: Array, f: Array, *, classes: Sequence[str], held_out: str, ax: Axes | None = None
) -> Axes:
    """Histogram of the network's output for each class (labels −1 and +1), the decision line at 0."""
    ax = ax or new_axes("output of the network (no unit)", f"{held_out} (number)")
    edges = np.histogram_bin_edges(f, bins=24)
    for sign, name, colour in zip((-1.0, 1.0), classes, (ORANGE, BLUE), strict=True):
        ax.hist(f[labels == sign], bins=edges.tolist(), color=colour, alpha=0.6, label=name)
    ax.axvline(0.0, color=INK, linewidth=1.0, linestyle=":", label="decision")
    add_legend(ax)
    return ax
