"""Figures that several studies draw, in the one style of `convexnn.plots`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from convexnn import plots
from convexnn._types import Array
from convexnn.plots import BLUE, BOUND_WORDS, CYCLE, INK, VERMILION

Runs = Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
ENDS = {"iteration": "iteration (number)", "epoch": "epoch (number)", "seconds": "time (seconds)"}


def panels(
    count: int, labels: Sequence[tuple[str, str]], *, height: float = 3.3
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels one above the other, each with its (x, y) labels."""
    figure = Figure(figsize=(plots.SIZE[0], height * count), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = [figure.add_subplot(count, 1, k + 1) for k in range(count)]
    for ax, (x, y) in zip(axes, labels, strict=True):
        plots.apply_style(ax, x, y)
    return figure, axes


def single(x: str, y: str, *, height: float = 3.9) -> tuple[Figure, Axes]:
    """A figure of one panel."""
    figure, axes = panels(1, [(x, y)], height=height)
    return figure, axes[0]


def figure_of(ax: Axes) -> Figure:
    """The figure that holds an axes."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return figure


def draw_curves(ax: Axes, label: str, lines: Sequence[tuple[Array, Array]], colour: str) -> None:
    """The starts as thin lines, their median as a thick one."""
    for x, y in lines:
        ax.plot(x, y, color=colour, linewidth=0.7, alpha=0.45)
    if len(lines) == 1:
        ax.plot(*lines[0], color=colour, linewidth=2.0, label=label)
    elif lines:
        x, y = _median(lines)
        ax.plot(x, y, color=colour, linewidth=2.0, label=label and f"{label}, median of {len(lines)}")


def _median(lines: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Medians of x and of y record by record; by interpolation where the numbers of records differ."""
    if len({len(x) for x, _ in lines}) > 1:
        return plots.median_curve(lines)
    return np.median([x for x, _ in lines], axis=0), np.median([y for _, y in lines], axis=0)


def draw_bound(ax: Axes, optimum: float | None, bound: float | None, kind: str, name: str) -> None:
    """The optimum as a solid line, the lower bound as a dashed one with the band between them."""
    if optimum is not None:
        ax.axhline(optimum, color=BLUE, linewidth=1.6, label=f"{name}: {optimum:.7g}")
    if bound is not None and kind != "patterns":
        label = f"{BOUND_WORDS[kind]}: {bound:.7g}"
        ax.axhline(bound, color=VERMILION, linewidth=1.4, linestyle="--", label=label)
        if optimum is not None:
            ax.axhspan(bound, optimum, color=VERMILION, alpha=0.15, linewidth=0)


def draw_starts(
    axes: Sequence[Axes],
    runs: Runs,
    *,
    x: str,
    optimum: float,
    bound: float,
    kind: str,
    name: str = "convex optimum",
    log_time: bool = False,
) -> None:
    """Objective (first panel) and objective − lower bound on a log axis (second) of descents."""
    raw, log = axes
    ceiling = []
    for (label, group), colour in zip(runs.items(), CYCLE, strict=False):
        lines = [plots.columns(run, x, "primal") for run in group]
        lines = [line for line in lines if line[0].size]
        draw_curves(raw, label, lines, colour)
        draw_curves(log, "", [(a, np.maximum(b - bound, 1e-300)) for a, b in lines], colour)
        ceiling += [float(b[min(len(b) - 1, max(1, len(b) // 20))]) for _, b in lines]
    draw_bound(raw, optimum, bound, kind, name)
    top = max([optimum, *[c for c in ceiling if np.isfinite(c)]])
    margin = 0.06 * (top - bound) or 0.1
    raw.set_ylim(bound - margin, top + margin)
    draw_floor(log, optimum - bound, 1e-6 * abs(optimum), name)
    for ax in axes:
        if log_time:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend_above(raw, 1)


def draw_floor(ax: Axes, gap: float, lowest: float, name: str) -> None:
    """A log axis of distances to the lower bound, and the optimum on it; below `lowest` only its name."""
    ax.set_yscale("log")
    if gap > lowest:
        ax.axhline(gap, color=BLUE, linewidth=1.6, label=f"{name}, {gap:.2g} above the bound")
        ax.set_ylim(bottom=0.3 * gap)
    else:
        ax.plot([], [], color=BLUE, linewidth=1.6, label=f"{name}: {max(gap, 0.0):.1g}, below this axis")
        ax.set_ylim(bottom=lowest)
    legend_above(ax, 1)


def starts_figure(runs: Runs, *, x: str = "iteration", **options: Any) -> Figure:
    """Two panels: objective, and objective − lower bound on a log axis."""
    kind = options["kind"]
    above = f"objective minus the\n{BOUND_WORDS[kind]}"
    figure, axes = panels(2, [(ENDS[x], "objective (loss + penalty)"), (ENDS[x], above)])
    draw_starts(axes, runs, x=x, **options)
    return figure


def legend_above(ax: Axes, columns: int) -> None:
    """A legend over the panel, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False,
            fontsize=9.5, labelcolor=INK, borderaxespad=0.1,
        )  # fmt: skip


def draw_series(
    ax: Axes, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, start: int = 0
) -> None:
    """Lines with markers, one a label."""
    for k, (label, (x, y)) in enumerate(series.items(), start):
        colour, marker = CYCLE[k % len(CYCLE)], MARKERS[k % len(MARKERS)]
        ax.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.6, label=label)


def draw_strip(
    ax: Axes, place: float, points: Sequence[float], colour: str, label: str | None = None
) -> None:
    """One dot a start above a place on the x axis, spread a little to the sides."""
    shift = np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else np.zeros(1)
    ax.plot(
        place + shift, points, color=colour, marker="o", markersize=4, alpha=0.65, linestyle="", label=label
    )


def name_places(ax: Axes, names: Sequence[str]) -> None:
    """Names in place of numbers 0, 1, … on the x axis."""
    ax.set_xticks(range(len(names)), list(names))
    ax.set_xlim(-0.5, len(names) - 0.5)


def plain_log_x(ax: Axes, ticks: Sequence[float]) -> None:
    """A log x axis with plain numbers at the given places."""
    ax.set_xscale("log")
    ax.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def plain_log_y(ax: Axes) -> None:
    """A log y axis with plain numbers at 1, 2, 5, 10, …"""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_locator(LogLocator(subs=()))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
