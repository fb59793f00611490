"""What the records of the study of CIFAR-10 show: pictures and sentences."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convexnn.experiments import drawing
from convexnn.experiments.records import Row, Tables
from convexnn.experiments.runs import column, curves, pick, values
from convexnn.experiments.words import KINDS, listed, number, over, percent
from convexnn.plots import BLUE, CYCLE, INK, columns

GLOBAL, PROGRAM, GATED = "global training", "approximate program", "gated program"
_CNN = ("linear CNN", "circular CNN")


def methods(tables: Tables, loss: str = "squared") -> dict[str, list[Row]]:
    """Name of a method with its data → its rows."""
    groups: dict[str, list[Row]] = {}
    for row in pick(tables["rows"], loss=loss):
        plain = row["method"] in (GLOBAL, PROGRAM, GATED, *_CNN)
        name = row["method"] if plain else f"{row['method']}, {row['data']}"
        groups.setdefault(name, []).append(row)
    return groups


def chosen(rows: Sequence[Row]) -> tuple[float, list[Row]]:
    """(β with the best mean validation accuracy, the rows at this β)."""
    betas = values(rows, "beta")
    means = [float(np.mean(column(pick(rows, beta=beta), "validation"))) for beta in betas]
    best = betas[int(np.argmax(means))]
    return best, pick(rows, beta=best)


def final(tables: Tables, name: str, rows: Sequence[Row]) -> tuple[float, list[Row]]:
    """`chosen`, but the rows of the fits at this β on training and validation rows, where there are some."""
    beta, best = chosen(rows)
    return beta, methods({"rows": tables.get("refits", [])}).get(name, best)


def pictures(tables: Tables) -> dict[str, Figure]:
    """Objective by iterations and by seconds at each β, accuracy, the table of methods, other losses."""
    shown = {}
    for beta in values(pick(tables["rows"], method=GLOBAL, loss="squared"), "beta"):
        shown[f"objective_beta_{beta:g}"] = _objective_figure(tables, beta)
        shown[f"accuracy_beta_{beta:g}"] = _accuracy_figure(tables, beta)
    return shown | {"methods": _methods_figure(tables), "losses": _losses_figure(tables)}


def _descents(tables: Tables, beta: float) -> dict[str, list[list[Row]]]:
    rows = [row for row in pick(tables["histories"], loss="squared", beta=beta) if row["method"] != GLOBAL]
    names = dict.fromkeys((row["method"], row["data"]) for row in rows)
    return {f"{m}, {d}": curves(pick(rows, method=m, data=d)) for m, d in names}


def _best(tables: Tables, beta: float, loss: str = "squared") -> Row:
    return pick(tables["rows"], method=GLOBAL, loss=loss, beta=beta)[0]


def _objective_figure(tables: Tables, beta: float) -> Figure:
    labels = [
        ("iteration (number)", "objective (loss + penalty)"),
        ("time (seconds, log axis)", "objective (loss + penalty)"),
        ("iteration (number)", "objective minus the\nestimated lower bound"),
    ]
    figure, axes = drawing.panels(3, labels, height=3.1)
    best = _best(tables, beta)
    runs = _descents(tables, beta)
    levels = {
        "optimum": best["objective"],
        "bound": best["lower_bound"],
        "kind": best["kind"],
        "name": GLOBAL,
    }
    drawing.draw_starts((axes[0], axes[2]), runs, x="iteration", **levels)
    for (_, group), colour in zip(runs.items(), CYCLE, strict=False):
        drawing.draw_curves(axes[1], "", [_timed(run) for run in group], colour)
    training = pick(tables["histories"], loss="squared", method=GLOBAL, beta=beta)
    axes[1].plot(*_timed(training), color=BLUE, marker="o", markersize=4, label="global training, each round")
    for row in pick(tables["rows"], method=PROGRAM, loss="squared", beta=beta):
        axes[0].axhline(
            row["objective"], color=INK, linestyle=":", linewidth=2.0,
            label=f"{row['patterns']} sampled patterns: {row['objective']:.6g}",
        )  # fmt: skip
        axes[1].plot([row["seconds"]], [row["objective"]], color=INK, marker="D", linestyle="", label=PROGRAM)
    drawing.draw_bound(axes[1], None, best["lower_bound"], best["kind"], GLOBAL)
    seen = [row["primal"] for row in pick(tables["histories"], loss="squared", beta=beta)]
    for ax in axes[:2]:
        drawing.plain_log_y(ax)
        ax.set_ylim(0.9 * max(best["lower_bound"], 1e-3 * best["objective"]), 1.1 * max(seen))
    axes[1].set_xscale("log")
    drawing.legend_above(axes[0], 1)
    drawing.legend_above(axes[1], 1)
    return figure


def _timed(run: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Objective against seconds, from the first step on."""
    x, y = columns(run, "seconds", "primal")
    return x[x > 0], y[x > 0]


def _accuracy_figure(tables: Tables, beta: float) -> Figure:
    labels = [(x, "test accuracy (%)") for x in ("iteration (number)", "time (seconds, log axis)")]
    figure, axes = drawing.panels(2, labels)
    for ax, x in zip(axes, ("iteration", "seconds"), strict=True):
        for (label, group), colour in zip(_descents(tables, beta).items(), CYCLE, strict=False):
            lines = [columns(run, x, "test_accuracy") for run in group]
            lines = [(a[1:], 100.0 * b[1:]) for a, b in lines]
            drawing.draw_curves(ax, label if x == "iteration" else "", lines, colour)
        for name, colour in ((GLOBAL, BLUE), (PROGRAM, INK)):
            for row in pick(tables["rows"], method=name, loss="squared", beta=beta):
                value = 100.0 * row["test_accuracy"]
                ax.axhline(value, color=colour, linewidth=1.5, label=f"{name}: {value:.1f} %")
                if x == "seconds":
                    ax.plot([row["seconds"]], [value], color=colour, marker="D", linestyle="")
    axes[1].set_xscale("log")
    drawing.legend_above(axes[0], 2)
    return figure


def _methods_figure(tables: Tables) -> Figure:
    groups = methods(tables)
    figure, ax = drawing.single("test accuracy (%)", "", height=1.2 + 0.45 * len(groups))
    for place, (name, rows) in enumerate(groups.items()):
        beta, best = final(tables, name, rows)
        right = 100.0 * column(best, "test_accuracy")
        ax.plot(
            right, [place] * len(right), color=CYCLE[place % len(CYCLE)], marker="o", linestyle="", alpha=0.7
        )
        ax.plot(
            [right.mean()], [place], color=CYCLE[place % len(CYCLE)], marker="|", markersize=20, linestyle=""
        )
        ax.annotate(
            f"β = {beta:g}", (right.max(), place), xytext=(8, -3), textcoords="offset points", fontsize=9
        )
    ax.set_yticks(range(len(groups)), list(groups))
    ax.margins(x=0.25)
    ax.invert_yaxis()
    return figure


def _losses_figure(tables: Tables) -> Figure:
    losses = values(tables["rows"], "loss")
    figure, ax = drawing.single("loss", "test accuracy (%)")
    names = list(dict.fromkeys(name for loss in losses for name in methods(tables, loss) if name not in _CNN))
    for k, name in enumerate(names):
        points = []
        for place, loss in enumerate(losses):
            rows = methods(tables, loss).get(name)
            if rows:
                value = 100.0 * float(np.mean(column(chosen(rows)[1], "test_accuracy")))
                points.append((place + 0.08 * (k - len(names) / 2), value))
        ax.plot(
            *zip(*points, strict=True), color=CYCLE[k % len(CYCLE)], linestyle="", label=name, markersize=7,
            marker=drawing.MARKERS[k % len(drawing.MARKERS)],
        )  # fmt: skip
    drawing.name_places(ax, losses)
    drawing.legend_above(ax, 2)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    said = {}
    for beta in values(pick(tables["rows"], method=GLOBAL, loss="squared"), "beta"):
        best = _best(tables, beta)
        groups = {
            name: column(pick(rows, beta=beta), "objective")
            for name, rows in methods(tables).items()
            if name not in (GLOBAL, PROGRAM, GATED, *_CNN)
        }
        ends = listed([f"{name} {over(float(v.min()), best['objective'])}" for name, v in groups.items()])
        said[f"objective_beta_{beta:g}"] = [
            f"β = {beta:g}: global training reaches {number(best['objective'])} in {best['seconds']:.3g} "
            "s; the "
            f"best start of each descent ends so far from it: {ends}.",
            f"The bound {number(best['lower_bound'])} is {KINDS[best['kind']]} (relative gap "
            f"{best['gap']:.2g}); "
            f"{_program_words(tables, beta)}.",
        ]
        means = {
            name: float(np.mean(column(pick(rows, beta=beta), "test_accuracy")))
            for name, rows in methods(tables).items()
            if name not in _CNN
        }
        top = max(means, key=lambda name: means[name])
        said[f"accuracy_beta_{beta:g}"] = [
            f"β = {beta:g}: mean test accuracy "
            + listed([f"{percent(value)} ({name})" for name, value in means.items()])
            + ".",
            f"The most accurate here is {top}; {_rows_words(tables)}.",
        ]
    return said | {"methods": _method_sentences(tables), "losses": _loss_sentences(tables)}


def _program_words(tables: Tables, beta: float) -> str:
    best, said = _best(tables, beta)["objective"], []
    where = f"in {tables['sizes'][0]['program_axes']} leading axes"
    for method, name in ((PROGRAM, f"the program of sampled patterns ({where})"), (GATED, "its gated form")):
        for row in pick(tables["rows"], method=method, loss="squared", beta=beta):
            place = over(row["objective"], best)
            said.append(f"{name}, {row['patterns']} patterns, is {place} it after {row['seconds']:.3g} s")
    return listed(said)


def _rows_words(tables: Tables) -> str:
    size = tables["sizes"][0]
    return f"there are {size['train']:,} training and {size['test']:,} test rows"


def _method_sentences(tables: Tables) -> list[str]:
    texts = []
    for name, rows in methods(tables).items():
        beta, best = final(tables, name, rows)
        right = column(best, "test_accuracy")
        spread = f" ± {100.0 * float(right.std()):.1f}" if len(right) > 1 else ""
        texts.append(f"{name} {percent(float(right.mean()))}{spread} (β = {beta:g})")
    size = tables["sizes"][0]
    return [
        "Test accuracy at the β that validation chooses for each method: " + listed(texts) + ".",
        f"The {size['validation']:,} validation rows choose β; descents and global training are then fitted "
        f"again with them, the CNNs train on {pick(tables['rows'], method=_CNN[0])[0]['rows']:,} rows.",
    ]


def _loss_sentences(tables: Tables) -> list[str]:
    texts = []
    for loss in values(tables["rows"], "loss"):
        row = max(pick(tables["rows"], loss=loss, method=GLOBAL), key=lambda r: float(r["validation"]))
        size = f"β = {row['beta']:g}, {row['rows']:,} rows, gap {row['gap']:.2g}"
        texts.append(f"{loss} {percent(row['test_accuracy'])} ({size})")
    losses = values(tables["rows"], "loss")[1:]
    starts = min((len(rows) for loss in losses for rows in methods(tables, loss).values()), default=0)
    return [
        f"Global training by loss: {listed(texts)}.",
        f"The further losses are run at one β with {starts} start a method, so their numbers are rougher.",
    ]


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    lower, total = 0, 0
    for beta in values(pick(tables["rows"], method=GLOBAL, loss="squared"), "beta"):
        best = _best(tables, beta)["objective"]
        for name, rows in methods(tables).items():
            if name not in (GLOBAL, PROGRAM, GATED, *_CNN):
                total += 1
                lower += min(column(pick(rows, beta=beta), "objective")) < best
    groups = methods(tables)
    right = {
        name: float(np.mean(column(final(tables, name, rows)[1], "test_accuracy")))
        for name, rows in groups.items()
    }
    others = {name: v for name, v in right.items() if name not in (GLOBAL, PROGRAM, GATED, *_CNN)}
    first = max(others, key=lambda name: others[name])
    word = (
        "The global training is lower at every β."
        if not lower
        else f"A descent is lower in {lower} of {total} cases."
    )
    return word, f"test accuracy {percent(right[GLOBAL])} against {percent(others[first])} ({first})"


def lines(tables: Tables) -> list[str]:
    """The objectives at each β, and the accuracies."""
    said = [pair[0] for name, pair in sentences(tables).items() if name.startswith("objective")]
    return [*said, *_method_sentences(tables)]
