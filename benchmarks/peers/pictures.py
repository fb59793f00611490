"""Pictures of the comparison, from the records alone, in colours that colour-blind readers can tell apart."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.peers import summary
from benchmarks.peers.records import Row
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from convexnn.plots import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, add_legend, apply_style

#: Colour, marker and line of each method: never colour alone.
STYLES: dict[str, dict[str, Any]] = {
    "convexnn": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "own Adam": {"color": ORANGE, "marker": "s", "linestyle": "--"},
    "torch Adam": {"color": VERMILION, "marker": "^", "linestyle": "-."},
    "torch SGD": {"color": PURPLE, "marker": "v", "linestyle": ":"},
    "torch L-BFGS": {"color": GREEN, "marker": "D", "linestyle": "--"},
    "MLPRegressor lbfgs": {"color": SKY, "marker": "P", "linestyle": "-."},
    "MLPRegressor adam": {"color": INK, "marker": "X", "linestyle": ":"},
    "ssnal": {"color": BLUE, "marker": "o", "linestyle": "-"},
    "FISTA": {"color": SKY, "marker": "v", "linestyle": ":"},
    "Clarabel": {"color": ORANGE, "marker": "s", "linestyle": "--"},
    "SCS": {"color": VERMILION, "marker": "^", "linestyle": "-."},
    "pyscnn": {"color": PURPLE, "marker": "D", "linestyle": "--"},
    "adelie": {"color": GREEN, "marker": "P", "linestyle": "-."},
}
_SHOWN = ("breast cancer", "diabetes", "concrete", "wine")
_MOST_PANELS = 6


def draw(rows: list[Row], folder: Path) -> list[Path]:
    """Every picture that the records allow, as PNG files; returns their paths."""
    training = summary.measured(rows, "training")
    made = {
        "ratio": ratio(training),
        "profile": profile(training),
        "curves": curves(training),
        "programs": programs(summary.measured(rows, "programs")),
        "scaling": scaling(summary.measured(rows, "scaling")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in made.items():
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=120, facecolor="white")
            paths.append(folder / f"{name}.png")
    return paths


def _log_axes(ax: Any) -> None:
    """Logarithmic axes with plain numbers at the ticks."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        low, high = axis.get_view_interval()
        subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _figure(rows: int = 1, columns: int = 1, width: float = 6.4, height: float = 4.2) -> Any:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def ratio(rows: list[Row]) -> Figure | None:
    """Seconds of tuned Adam over ours for each pair; pairs that Adam never reached lie on the upper edge."""
    values: dict[str, list[tuple[float, float]]] = {}
    for pair in summary.pairs_of(rows):
        ours, theirs = summary.speed(rows, pair, "convexnn"), summary.speed(rows, pair, *summary.ADAMS)
        if ours and theirs and ours.seconds < math.inf:
            values.setdefault(pair[0], []).append((pair[1], theirs.seconds / ours.seconds))
    if not values:
        return None
    finite = [v for points in values.values() for _, v in points if v < math.inf]
    top = 3 * max([*finite, 3.0])
    figure, axes = _figure(width=7.6)
    ax = apply_style(axes[0, 0], "β_max/β", "seconds of tuned Adam / of convexnn")
    ax.axhspan(0.5, 1, color=ORANGE, alpha=0.15, linewidth=0)
    ax.axhline(1, color=INK, linewidth=1)
    styles = list(STYLES.values())[:7]
    for k, (name, points) in enumerate(values.items()):
        x, y = np.array(points).T
        style = {**styles[k % 7], "linestyle": ("-", ":")[k // 7 % 2]}
        ax.plot(x, np.minimum(y, top), label=name, linewidth=1.0, markersize=5, **style)
    ax.axhline(top, color=INK, linewidth=0.8, linestyle=":")
    _log_axes(ax)
    ax.annotate(
        "Adam never came within 1e-3", (0.02, top), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", color=INK, fontsize=9,
    )  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, labelcolor=INK)
    return figure


def profile(rows: list[Row]) -> Figure | None:
    """Share of pairs reached within τ times the quickest method's time."""
    ratios, count = summary.profile(rows)
    if not count:
        return None
    figure, axes = _figure()
    ax = apply_style(
        axes[0, 0], "τ: time over the quickest method's", f"share of {count} pairs within 1e-3 by then"
    )
    tau = np.logspace(0, 3, 200)
    for method, values in ratios.items():
        share = np.mean(np.array(values)[:, None] <= tau, axis=0)
        ax.step(
            tau,
            share,
            where="post",
            label=method,
            linewidth=1.6,
            markevery=25,
            markersize=5,
            **STYLES[method],
        )
    ax.set_xscale("log")
    ax.set_ylim(-0.02, 1.02)
    add_legend(ax)
    return figure


def curves(rows: list[Row]) -> Figure | None:
    """Relative distance from the best lower bound against seconds, one panel a pair."""
    pairs = [p for p in summary.pairs_of(rows) if summary.best_bound(rows, p)[0] > -math.inf]
    chosen = [p for p in pairs if p[0] in _SHOWN and p[1] in (10, 100, 1000)]
    chosen = (chosen or pairs)[:_MOST_PANELS]
    if not chosen:
        return None
    columns = min(3, len(chosen))
    height = -(-len(chosen) // columns)
    figure, axes = _figure(height, columns, 4.0 * columns, 3.2 * height + 0.6)
    for k, pair in enumerate(chosen):
        lower, kind, _ = summary.best_bound(rows, pair)
        ax = apply_style(axes.flat[k], "time (seconds)", f"relative gap ({kind})")
        ax.set_title(f"{pair[0]}, β_max/{pair[1]:g}", color=INK, fontsize=10.5)
        for method in dict.fromkeys(row["method"] for row in summary.of_pair(rows, pair)):
            _curve(ax, rows, pair, method, lower)
        _log_axes(ax)
    for ax in axes.flat[len(chosen) :]:
        ax.set_axis_off()
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9.5,
    )
    return figure


def _curve(ax: Any, rows: list[Row], pair: summary.Pair, method: str, lower: float) -> None:
    """The curve of a method's setting that came first (of the finest tolerance for convexnn)."""
    own = summary.of_pair(rows, pair, method)
    found = summary.speed(rows, pair, method)
    if found is None:
        return
    settings = [row for row in own if row["setting"] == found.setting] or own
    row = min(own, key=lambda r: r["objective"]) if method == "convexnn" else settings[0]
    points = [(s, 1 - lower / v) for s, v in row["curve"] if s > 0 and v < math.inf and v > lower]
    if points:
        x, y = np.array(points).T
        ax.plot(
            x, y, label=method, linewidth=1.4, markersize=4, markevery=max(1, len(x) // 8), **STYLES[method]
        )


def programs(rows: list[Row]) -> Figure | None:
    """Seconds against patterns, one panel for ReLU and one for gated programs, of the first data and β."""
    kinds = [gated for gated in (False, True) if any(bool(row["gated"]) == gated for row in rows)]
    if not kinds:
        return None
    figure, axes = _figure(1, len(kinds), 4.8 * len(kinds), 3.8)
    for ax, gated in zip(axes.flat, kinds, strict=True):
        own = [row for row in rows if bool(row["gated"]) == gated]
        data, beta = own[0]["data"], own[0]["beta"]
        apply_style(ax, "patterns", "time (seconds)")
        ax.set_title(f"{'gated' if gated else 'ReLU'}: {data}, β = {beta:g}", color=INK, fontsize=10.5)
        for method in dict.fromkeys(row["method"] for row in own):
            seconds: dict[float, list[float]] = {}
            for row in own:
                if (row["method"], row["data"], row["beta"]) == (method, data, beta):
                    seconds.setdefault(row["patterns"], []).append(row["seconds"])
            points = sorted((count, float(np.median(values))) for count, values in seconds.items())
            if points:
                ax.plot(*np.array(points).T, label=method, linewidth=1.5, markersize=5, **STYLES[method])
        _log_axes(ax)
        add_legend(ax)
    return figure


def scaling(rows: list[Row]) -> Figure | None:
    """Seconds of global training against rows, columns and planted neurons, with the fitted slope."""
    sizes = {key: points for key, points in summary.sizes(rows).items() if points}
    if not sizes:
        return None
    names = {"n": "rows n", "d": "columns d", "neurons": "planted neurons"}
    figure, axes = _figure(1, len(sizes), 3.6 * len(sizes), 3.4)
    for ax, (key, points) in zip(axes.flat, sizes.items(), strict=True):
        apply_style(ax, names[key], "time (seconds)")
        x, seconds = np.array(points)[:, 0], np.array(points)[:, 1]
        ax.plot(x, seconds, color=BLUE, marker="o", linestyle="none", label="median of runs")
        exponent = summary.slope(list(x), list(seconds))
        if not math.isnan(exponent):
            level = np.exp(np.mean(np.log(seconds) - exponent * np.log(x)))
            ax.plot(x, level * x**exponent, color=VERMILION, linestyle="--", label=f"slope {exponent:.2f}")
        _log_axes(ax)
        add_legend(ax)
    return figure
