r"""The study's tables and sentences, computed from the records; no figure is typed.

d_k = error of the convex network − error of the other method on split k, k = 1 … K; the convex network wins
where mean(d) < −s/√K, s the standard deviation of d, loses where mean(d) > s/√K, and is level else.

Splits share training rows, so the standard error is a guide, not a test.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from benchmarks.study.models import LONG, LONGER, NAMES, OURS

BEGIN, END = "<!-- study: begin (written by benchmarks/study/run.py) -->", "<!-- study: end -->"
OTHERS = NAMES[1:]


class Score(NamedTuple):
    """Wins, draws and losses of the convex network against one method, and the tables of each."""

    wins: list[str]
    level: list[str]
    losses: list[str]


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of those (data, split) that have all models."""
    frame = frame[frame["model"].isin(NAMES)]
    counts = frame.groupby(["data", "split"])["model"].transform("nunique")
    return frame[counts == len(NAMES)]


def difference(frame: pd.DataFrame, data: str, other: str) -> tuple[float, float]:
    """(mean, standard error) over the splits of our error minus the other's; NaN for one split."""
    errors = frame[frame["data"] == data].pivot(index="split", columns="model", values="error")
    d = (errors[OURS] - errors[other]).to_numpy(dtype=float)
    return float(d.mean()), float(d.std(ddof=1) / np.sqrt(len(d))) if len(d) > 1 else float("nan")


def score(frame: pd.DataFrame, other: str) -> Score:
    """Where the convex network wins, is level and loses against `other`; tables of one split do not count."""
    found = Score([], [], [])
    for data in frame["data"].unique():
        mean, error = difference(frame, data, other)
        if mean < -error:
            found.wins.append(data)
        elif mean > error:
            found.losses.append(data)
        elif error >= 0:  # not NaN
            found.level.append(data)
    return found


def ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """Rank of each model by mean error on each table, 1 the best, ties shared; (tables, models)."""
    return means(frame, "error").rank(axis=1)


def means(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over the splits; (tables, models), tables in the order of the records."""
    return frame.pivot_table(index="data", columns="model", values=column, aggfunc="mean", sort=False)[
        list(NAMES)
    ]


def ratio(frame: pd.DataFrame, column: str, other: str) -> float:
    """Geometric mean over the tables of our mean divided by the other's, where both are positive."""
    both = means(frame, column)[[OURS, other]]
    both = both[(both > 0).all(axis=1)]
    return float(np.exp(np.log(both[OURS] / both[other]).mean())) if len(both) else float("nan")


# -------------------------------------------------------------------------------------------------- the page


def page(frame: pd.DataFrame) -> str:
    """Everything between the markers of the page."""
    longer, frame = frame[frame["model"] == LONG], complete(frame)
    if not len(frame):
        return "There are no records yet."
    parts = [*sentences(frame), "## Against each method", _against(frame)]
    titles = {
        "regression": "## Regression: test RMSE, in standard deviations of the training target",
        "classes": "## Classes: test error, per cent",
    }
    for kind, title in titles.items():
        some = frame[frame["kind"] == kind]
        if len(some):
            parts += [title, _errors(some, 1 if kind == "regression" else 100)]
    if len(longer):
        parts += [f"## The convex network with {LONGER} times the cap", _longer(frame, longer)]
    parts += ["## Seconds of CPU for search and fit", _plain(frame, "cpu_seconds", _seconds)]
    parts += ["## Numbers in the model", _plain(frame, "parameters", lambda value: f"{value:,.0f}")]
    return "\n\n".join([*parts, "## Circumstances", _circumstances(frame)])


def write(path: Path, text: str) -> None:
    """Replace what is between the markers of a page."""
    whole = path.read_text(encoding="utf-8")
    if BEGIN not in whole or END not in whole:
        raise ValueError(f"{path} must hold the two lines {BEGIN!r} and {END!r}.")
    head, rest = whole.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def sentences(frame: pd.DataFrame) -> list[str]:
    """The verdict: rank by error, where to use the convex network, where not, time and size."""
    rank = ranks(frame).mean().sort_values()
    place = int((rank < rank[OURS]).sum()) + 1
    order = ", ".join(f"{name} {value:.2f}" for name, value in rank.items())
    found = standings(frame)
    named = {
        group: [
            f"{data} ({other})" if group == "beaten" else data
            for data, (what, other) in found.items()
            if what == group
        ]
        for group in ("best", "level", "beaten", "open")
    }
    return [
        f"**By test error the {OURS} is number {place} of {len(NAMES)}**; mean rank over the {len(found)} "
        f"tables, 1 is best: {order}.",
        "**Better than every other method** by more than one standard error: "
        f"{_list(named['best'])}. **Level with the best other method**, within one standard error: "
        f"{_list(named['level'])}. **Beaten** by more than that: {_list(named['beaten'])}."
        + (f" Open, with one split: {_list(named['open'])}." * bool(named["open"])),
        f"**Time** of search and fit, geometric means over the tables: {_times(frame, 'cpu_seconds')}. "
        f"**Size**: {_times(frame, 'parameters')}. {_smallest(frame)}",
        *_effect_of_the_cap(frame),
    ]


def _effect_of_the_cap(frame: pd.DataFrame) -> list[str]:
    """Our mean rank on the tables where the time cap ended a search of ours, and on the others."""
    ours = frame[frame["model"] == OURS]
    cut = ours[ours["finished"] < ours["settings"]]["data"].unique()
    if not len(cut):
        return []
    rank = ranks(frame)[OURS]
    inside = rank.index.isin(cut)
    rest = f"; on the other {(~inside).sum()} it is {rank[~inside].mean():.2f}" if not inside.all() else ""
    return [
        f"**The time cap**: it ended searches of the {OURS} before the smallest β on {_list(list(cut))}; its "
        f"mean rank there is {rank[inside].mean():.2f}{rest}."
    ]


def standings(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Table → ("best", "beaten", "level" or, for one split, "open"; the other method of least mean error).

    Best: less error than every other method, beaten: more than the one named, by more than a standard error.
    """
    found = {}
    for data, errors in means(frame, "error").iterrows():
        against = {other: difference(frame, str(data), other) for other in OTHERS}
        other = str(errors.drop(OURS).idxmin())
        mean, error = against[other]
        verdict = "beaten" if mean > error else "level" if error >= 0 else "open"
        if all(mean < -error for mean, error in against.values()):
            verdict = "best"
        found[str(data)] = (verdict, other)
    return found


def _smallest(frame: pd.DataFrame) -> str:
    """On how many tables ours is the smallest of the non-linear models, and where it has no neuron."""
    sizes = means(frame, "parameters").drop(columns="linear")
    count = int((sizes.idxmin(axis=1) == OURS).sum())
    empty = [str(data) for data in sizes.index[sizes[OURS] == 0]]
    words = f"It is the smallest of the {sizes.shape[1]} non-linear models on {count} of {len(sizes)} tables"
    return words + (f"; it has no neuron, and predicts the mean, on {_list(empty)}." if empty else ".")


def _times(frame: pd.DataFrame, column: str) -> str:
    return ", ".join(f"{ratio(frame, column, other):.3g} times {other}" for other in OTHERS)


def _list(names: list[str]) -> str:
    return "; ".join(names) if names else "none"


def _against(frame: pd.DataFrame) -> str:
    """Wins, draws, losses and ratios against each method."""
    head = ["against", "wins", "level", "losses", "RMSE", "error", "CPU", "size"]
    rows = []
    numbers, classes = (frame[frame["kind"] == kind] for kind in ("regression", "classes"))
    for other in OTHERS:
        factor = f"× {ratio(numbers, 'error', other):.3f}" if len(numbers) else "–"
        points = "–"
        if len(classes):
            mean = means(classes, "error")
            points = f"{100 * float((mean[OURS] - mean[other]).mean()):+.2f} points"
        cost = [f"× {ratio(frame, column, other):.3g}" for column in ("cpu_seconds", "parameters")]
        rows.append([other, *(str(len(part)) for part in score(frame, other)), factor, points, *cost])
    note = (
        f"The {OURS} against each method. Wins and losses: tables where the mean error differs by more than "
        "one standard error of the paired differences over the splits. RMSE (regression), CPU and size: "
        "geometric means of ours divided by theirs, so below 1 ours is less (a network without neurons is "
        "left out of the size). Error: ours minus theirs, mean over the tables with classes."
    )
    return f"{_markdown(head, rows)}\n\n{note}"


def _errors(frame: pd.DataFrame, unit: float) -> str:
    """Mean ± standard deviation over the splits."""
    digits = 3 if unit == 1 else 1
    rows = []
    for data, mean in means(frame, "error").iterrows():
        some = frame[frame["data"] == data]
        errors = some.pivot(index="split", columns="model", values="error")
        best = mean.idxmin()
        cells = []
        for name in NAMES:
            cell = f"{unit * mean[name]:.{digits}f}"
            if len(errors) > 1:
                cell += f" ± {unit * errors[name].std(ddof=1):.{digits}f}"
            d = errors[name] - errors[best]
            near = d.mean() <= d.std(ddof=1) / np.sqrt(len(d))
            cells.append(f"**{cell}**" if mean[name] == mean[best] else f"{cell} \\*" if near else cell)
        rows.append([f"{data} ({some['n'].iloc[0]} × {some['d'].iloc[0]})", str(len(errors)), *cells])
    note = (
        "Training rows × columns in brackets. ± is the standard deviation over the splits. Bold: the least "
        "mean; \\*: within one standard error of it."
    )
    return f"{_markdown(['table', 'splits', *NAMES], rows)}\n\n{note}"


def _longer(frame: pd.DataFrame, longer: pd.DataFrame) -> str:
    """Error, settings and seconds with the longer cap, beside the equal budget and the best other method."""
    rows, places, falls = [], [], 0
    first = frame[(frame["model"] == OURS) & (frame["split"] == 0)]
    cut = first[(first["finished"] < first["settings"]) | first["data"].isin(longer["data"])]
    for _, new in longer.iterrows():
        some = frame[(frame["data"] == new["data"]) & (frame["split"] == new["split"])].set_index("model")
        if not len(some):
            continue
        old, others = some.loc[OURS], some["error"].drop(OURS)
        falls += int(new["error"] < old["error"])
        places.append(1 + int((others < new["error"]).sum()))
        cells = [
            f"{row['error']:.3f} ({row['finished']:.0f}; {row['cpu_seconds']:.0f} s)" for row in (old, new)
        ]
        rows.append([new["data"], *cells, f"{others.min():.3f} ({others.idxmin()})"])
    head = ["table", f"cap {frame['cap'].min():g} s", f"cap {longer['cap'].max():g} s", "best other method"]
    note = (
        f"First splits of {len(rows)} of the {len(cut)} tables where the cap ended the first search: test "
        "error (a share for classes) with the number of β that have a score and the seconds of CPU. The "
        f"error falls on {falls} of {len(rows)}; "
        f"among the {len(NAMES)} methods the {OURS} then has the mean rank {np.mean(places):.2f} on them. "
        "The budgets are not equal here, so these rows count in no other table."
    )
    return f"{_markdown(head, rows)}\n\n{note}"


def _plain(frame: pd.DataFrame, column: str, show: Callable[[float], str]) -> str:
    rows = [
        [str(data), *(show(float(mean[name])) for name in NAMES)]
        for data, mean in means(frame, column).iterrows()
    ]
    return _markdown(["table", *NAMES], rows)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _circumstances(frame: pd.DataFrame) -> str:
    """Time caps that were met, gaps of the final networks, machine, load and versions."""
    cut = frame[frame["finished"] < frame["settings"]].groupby("model").size()
    caps = ", ".join(
        f"{name} {cut[name]} of {(frame['model'] == name).sum()}" for name in NAMES if name in cut
    )
    ours = frame[frame["model"] == OURS]
    loads = frame["load"].quantile([0.0, 0.5, 1.0]).to_list()
    long = frame[frame["cpu_seconds"] > 1]
    slow = float((long["seconds"] / long["cpu_seconds"]).median())
    limits = ", ".join(f"{cap:g}" for cap in sorted(frame["cap"].unique()))
    shared = (
        f"**The machine was shared with other work** (load average {loads[0]:.1f} to {loads[2]:.1f}, "
        f"median {loads[1]:.1f}): a second of CPU took {slow:.1f} seconds on the wall. So times are seconds "
        "of CPU, all threads together, and the methods of a split ran one after another; trust ratios of two "
        "or more."
    )
    return "\n\n".join(
        [
            shared,
            f"Searches that the cap of {limits} seconds of CPU cut short: {caps or 'none'}. Estimated "
            f"relative gap of the final convex networks: median {ours['relative_gap'].median():.1e}, largest "
            f"{ours['relative_gap'].max():.1e}.",
            f"{_list(list(frame['machine'].unique()))}. {_list(list(frame['versions'].unique()))}.",
        ]
    )
