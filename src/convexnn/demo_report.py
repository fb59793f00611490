"""What the demonstration's record says: pictures, sentences and the page, all computed from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convexnn import plots, report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]


def pictures_of(problem: Record) -> list[tuple["Axes", str]]:
    """Four pictures with captions: objective by iterations, by seconds, gap, test accuracy."""
    training, certificate = problem["training"], problem["training"]["certificate"]
    kind, bound, primal = certificate["kind"], certificate["lower_bound"], certificate["primal"]
    runs = {name: [run["history"] for run in group] for name, group in problem["descents"].items()}
    sampled = problem["sampled"]
    marks = {} if "missing" in sampled else {f"{sampled['patterns']} sampled patterns": sampled["primal"]}
    beta, words = f"β = {problem['beta']:g}", plots.BOUND_WORDS[kind]
    by_iteration = plots.plot_objective(runs, optimum=primal, bound=bound, kind=kind, marks=marks)
    by_seconds = plots.plot_objective(
        runs, x="seconds", optimum=primal, bound=bound, kind=kind, training=training["history"]
    )
    end = None if bound is None else (training["seconds"], certificate["relative_gap"])
    rounds = {"convex training, own bounds": training["history"]}
    gap = plots.plot_gap(rounds, kind=kind, descents=runs, bound=bound, final=end)
    finals = {"convex training": (training["seconds"], training["test_accuracy"])}
    right = plots.plot_accuracy(runs, finals=finals)
    return [
        (
            by_iteration,
            f"{beta}: objective against iterations; solid line: convex training; dashed: {words}.",
        ),
        (by_seconds, f"{beta}: objective against time. A dot is a round of the convex training."),
        (gap, f"{beta}: gap closing. SGD and Adam are measured against the final {words}."),
        (right, f"{beta}: test accuracy against time; the diamond is the end of the convex training."),
    ]


def above(value: float, reference: float) -> str:
    """'0.31 % above' or '0.02 % below' a reference, in words."""
    share = (value - reference) / reference
    return f"{short_percent(abs(share))} {'above' if share >= 0 else 'below'}"


def short_percent(share: float) -> str:
    """A share as a percentage of two digits, more above 100 %."""
    return f"{100 * share:.0f} %" if share >= 1 else f"{100 * share:.2g} %"


def training_sentences(problem: Record) -> list[str]:
    """What the global training reached at one β."""
    training = problem["training"]
    lines = report.certificate_sentences(training["certificate"], training["neurons"])
    return [f"At β = {problem['beta']:g} the training took {training['seconds']:.1f} s.", *lines[:2]]


def descent_sentence(problem: Record, name: str) -> str:
    """Where the starts of one method ended, against the convex training."""
    runs, reference = problem["descents"][name], problem["training"]["certificate"]["primal"]
    ends = sorted(run["primal"] for run in runs)
    seconds = float(np.median([run["seconds"] for run in runs]))
    near = sum(end <= reference * 1.001 for end in ends)
    lowest, highest = above(ends[0], reference), above(ends[-1], reference)
    place = lowest if lowest == highest else f"{lowest} to {highest}"
    return (
        f"{name} from {len(ends)} starts ended between {report.number(ends[0])} and "
        f"{report.number(ends[-1])}, {place} the convex training; {near} of {len(ends)} came within 0.1 % "
        f"of it. A start took {seconds:.1f} s (median)."
    )


def sampled_sentence(problem: Record) -> str:
    """What the program of a few sampled patterns is worth."""
    sampled, reference = problem["sampled"], problem["training"]["certificate"]["primal"]
    if "missing" in sampled:
        return str(sampled["missing"])
    return (
        f"The convex program of {sampled['patterns']} sampled patterns, solved by CVXPY {sampled['cvxpy']} "
        f"in {sampled['seconds']:.1f} s, has the value {report.number(sampled['primal'])}: "
        f"{above(sampled['primal'], reference)} the convex training. It is the best for these patterns "
        "and says nothing about networks with others."
    )


def accuracy_sentence(problem: Record) -> str:
    """Test accuracies, and whether the convex training has the highest of them."""
    mine = problem["training"]["test_accuracy"]
    medians = {
        name: float(np.median([run["test_accuracy"] for run in runs]))
        for name, runs in problem["descents"].items()
    }
    others = ", ".join(f"{name} {report.percent(value)}" for name, value in medians.items())
    best, worst = max(medians.values()), min(medians.values())
    if mine > best:
        verdict = "The convex training is the most accurate here."
    elif mine < best:
        verdict = "The convex training is not the most accurate here: a small gap is not a high accuracy."
    elif worst < mine:
        verdict = "No method is more accurate than the convex training here."
    else:
        verdict = "All are equally accurate here."
    return f"Test accuracy: convex training {report.percent(mine)}; medians: {others}. {verdict}"


def sentences(problem: Record) -> list[str]:
    """All that is said about one β."""
    return [
        " ".join(training_sentences(problem)),
        *(descent_sentence(problem, name) for name in problem["descents"]),
        sampled_sentence(problem),
        accuracy_sentence(problem),
    ]


def conclusion(record: Record) -> str:
    """The best descent against the convex training, at each β."""
    parts = []
    for problem in record["problems"]:
        certificate = problem["training"]["certificate"]
        ends = [run["primal"] for runs in problem["descents"].values() for run in runs]
        place = above(min(ends), certificate["primal"])
        inside = certificate["primal"] > min(ends) >= (certificate["lower_bound"] or 0.0)
        note = ", which is within its gap" if inside else ""
        best = f"At β = {problem['beta']:g} the best of {len(ends)} descents"
        parts.append(f"{best} ended {place} the convex training{note}.")
    return " ".join(parts)


def comparison_rows(record: Record) -> list[list[str]]:
    """One row for each method and β; every gap is against the lower bound of the convex training."""
    rows = []
    for problem in record["problems"]:
        training, sampled = problem["training"], problem["sampled"]
        certificate = training["certificate"]
        entries = [("convex training", {**training, "primal": certificate["primal"]})]
        for name, runs in problem["descents"].items():
            best = min(runs, key=lambda run: float(run["primal"]))
            entries.append((f"{name}, best of {len(runs)}", best))
        if "missing" not in sampled:
            entries.append((f"CVXPY, {sampled['patterns']} patterns", sampled))
        rows += [_row(problem["beta"], label, entry, certificate) for label, entry in entries]
    return rows


def _row(beta: float, label: str, entry: Record, certificate: Record) -> list[str]:
    right, primal, bound = entry.get("test_accuracy"), entry["primal"], certificate["lower_bound"]
    return [
        f"β = {beta:g}: {label}",
        report.number(primal),
        "–" if bound is None else short_percent((primal - bound) / primal),
        f"{entry['seconds']:.1f}",
        "–" if right is None else report.percent(right),
    ]


def page_of(record: Record, groups: Sequence[Sequence[tuple["Axes", str]]]) -> str:
    """The demonstration's report."""
    rows = record["rows"]
    kinds = sorted({problem["training"]["certificate"]["kind"] for problem in record["problems"]})
    gap = " or ".join(dict.fromkeys(plots.GAP_WORDS[kind] for kind in kinds))
    lead = (
        f"Breast cancer: {rows['train']} training rows, {rows['test']} test rows, {record['inputs']} inputs "
        f"with the bias, two classes. Always saying the larger class is right on "
        f"{report.percent(record['larger_class'])} of the test rows. All methods minimise one objective, "
        "½ Σ (f − y)² + (β/2) Σ (‖u‖² + α²)."
    )
    blocks = [
        report.paragraph(lead, lead=True),
        report.paragraph(conclusion(record)),
        report.table(
            ["method", "objective", gap, "seconds", "test accuracy"],
            comparison_rows(record),
        ),
        report.paragraph("Every gap is against the lower bound that the convex training found."),
        *(report.paragraph(report.KIND_SENTENCES[kind]) for kind in kinds),
    ]
    for problem, group in zip(record["problems"], groups, strict=True):
        blocks += [
            report.heading(f"β = {problem['beta']:g}"),
            report.bullets(sentences(problem)),
            report.pictures(group),
        ]
    blocks += [report.heading("How it was done"), report.bullets(_method_sentences(record))]
    footer = f"Written by convexnn {record['version']}; the records are in record.json and the CSV files."
    return report.page("Convex training beside SGD and Adam", blocks, footer)


def _method_sentences(record: Record) -> list[str]:
    stops = " and ".join(f"{tol:g} at β = {beta}" for beta, tol in record["tol"].items())
    lines = [
        f"The split, the samples and all starts come from the seed {record['seed']}; the columns are "
        "standardised by the training rows and divided by the root of their number.",
        f"The convex training stops at a relative gap of {stops} and finds the number of neurons. "
        f"SGD and Adam have {record['neurons']} neurons and take {record['steps']:,} steps.",
    ]
    for name, batch in record["batch_sizes"].items():
        rows = f"batches of {batch} rows" if batch else "all rows in a step"
        chosen = ", ".join(f"{p['rates'][name]:g} at β = {p['beta']:g}" for p in record["problems"])
        lines.append(f"{name}: {rows}; highest learning rate of its one cycle, chosen by trial: {chosen}.")
    lines.append(
        f"Compiling took {record['compile_seconds']:.1f} s and is in no figure; all else took "
        f"{record['seconds'] - record['compile_seconds']:.1f} s. Thin lines are starts."
    )
    return lines


def summary_lines(record: Record, out: Path, seconds: float) -> list[str]:
    """The short summary that the command prints."""
    lines = []
    for problem in record["problems"]:
        training = problem["training"]
        certificate = training["certificate"]
        words = plots.GAP_WORDS[certificate["kind"]]
        lines.append(
            f"beta = {problem['beta']:g}: convex training {report.number(certificate['primal'])} with "
            f"{training['neurons']} neurons in {training['seconds']:.1f} s, {words} "
            f"{report.gap_words(certificate['relative_gap'])}."
        )
        for name, runs in problem["descents"].items():
            ends = sorted(run["primal"] for run in runs)
            lines.append(f"    {name}: {report.number(ends[0])} to {report.number(ends[-1])}.")
        if "missing" in problem["sampled"]:
            lines.append(f"    {problem['sampled']['missing']}")
        else:
            sampled = problem["sampled"]
            lines.append(f"    CVXPY, {sampled['patterns']} patterns: {report.number(sampled['primal'])}.")
    return [*lines, f"{seconds:.0f} s in all. Open {out / 'report.html'} in a browser."]
