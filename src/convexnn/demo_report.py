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
    gap = plots.plot_gap(
        {"convex training, its own bound": training["history"]}, kind=kind, descents=runs, bound=bound
    )
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
    return f"{abs(100 * share):.2g} % {'above' if share >= 0 else 'below'}"


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
    return (
        f"{name} from {len(ends)} starts ended between {report.number(ends[0])} and "
        f"{report.number(ends[-1])}, {above(ends[0], reference)} to {above(ends[-1], reference)} the convex "
        f"training; {near} of {len(ends)} came within 0.1 % of it. A start took {seconds:.1f} s (median)."
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
    """Test accuracies, and whether the lowest objective has the highest of them."""
    mine = problem["training"]["test_accuracy"]
    medians = {
        name: float(np.median([run["test_accuracy"] for run in runs]))
        for name, runs in problem["descents"].items()
    }
    others = ", ".join(f"{name} {report.percent(value)}" for name, value in medians.items())
    best = max(medians.values())
    verdict = (
        "The lower objective comes with the higher accuracy here."
        if mine > best
        else "A lower objective is not a higher accuracy here: that depends on β, not on the optimiser."
    )
    return f"Test accuracy: convex training {report.percent(mine)}; medians: {others}. {verdict}"


def sentences(problem: Record) -> list[str]:
    """All that is said about one β."""
    return [
        " ".join(training_sentences(problem)),
        *(descent_sentence(problem, name) for name in problem["descents"]),
        sampled_sentence(problem),
        accuracy_sentence(problem),
    ]


def comparison_rows(record: Record) -> list[list[str]]:
    """One row for each method and β."""
    rows = []
    for problem in record["problems"]:
        training, beta = problem["training"], f"{problem['beta']:g}"
        certificate = training["certificate"]
        rows.append(_row(beta, "convex training", certificate["primal"], training))
        rows[-1] += [f"{report.gap_words(certificate['relative_gap'])} ({certificate['kind']})"]
        for name, runs in problem["descents"].items():
            ordered = sorted(runs, key=lambda run: float(run["primal"]))
            label = f"{name}, best of {len(runs)}"
            rows.append([*_row(beta, label, ordered[0]["primal"], ordered[0]), "says nothing by itself"])
        if "missing" not in problem["sampled"]:
            sampled = problem["sampled"]
            label = f"CVXPY, {sampled['patterns']} patterns"
            rows.append([*_row(beta, label, sampled["primal"], sampled), "no bound for all networks"])
    return rows


def _row(beta: str, label: str, primal: float, entry: Record) -> list[str]:
    right = entry.get("test_accuracy")
    share = "–" if right is None else report.percent(right)
    return [f"β = {beta}: {label}", report.number(primal), f"{entry['seconds']:.1f}", share]


def page_of(record: Record, groups: Sequence[Sequence[tuple["Axes", str]]]) -> str:
    """The demonstration's report."""
    rows = record["rows"]
    kinds = sorted({problem["training"]["certificate"]["kind"] for problem in record["problems"]})
    lead = (
        f"Breast cancer: {rows['train']} training rows, {rows['test']} test rows, {record['inputs']} inputs "
        f"with the bias, two classes. Always saying the larger class is right on "
        f"{report.percent(record['larger_class'])} of the test rows. All methods minimise one objective, "
        "½ Σ (f − y)² + (β/2) Σ (‖u‖² + α²)."
    )
    blocks = [
        report.paragraph(lead, lead=True),
        report.table(
            ["method", "objective", "seconds", "test accuracy", "distance from the best network"],
            comparison_rows(record),
        ),
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
    lines = [
        f"The split, the samples and all starts come from the seed {record['seed']}; the columns are "
        "standardised by the training rows and divided by the root of their number.",
        f"The convex training stops at a relative gap of {record['tol']:g} and finds the number of neurons. "
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
