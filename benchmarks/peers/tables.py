"""The Markdown of the comparison, from the records alone; `benchmarks/run.py` puts it in RESULTS.md."""

import math
from pathlib import Path
from statistics import median

from benchmarks.peers import summary
from benchmarks.peers.records import Row

_TITLE = "Beside its peers"
_WITHIN = (1, 2, 5, 10, 100)


def write(rows: list[Row], path: Path, pictures: str, options: str = "") -> str:
    """Write the page, headed for RESULTS.md; `pictures` is their folder as seen from there."""
    command = f"python -m benchmarks.peers {options}".strip()
    parts = [f"## {_TITLE}\n\n`{command}`", _conventions(rows)]
    training = summary.measured(rows, "training")
    programs = summary.measured(rows, "programs")
    scaling = summary.measured(rows, "scaling")
    if training:
        parts += [against_adam(training), _picture(pictures, "ratio"), quality(training)]
        parts += [profiles(training), _picture(pictures, "profile"), _picture(pictures, "curves")]
    if programs:
        parts += [fixed_patterns(programs, gated=False), fixed_patterns(programs, gated=True)]
        parts += [_picture(pictures, "programs")]
    if scaling:
        parts += [growth(scaling), _picture(pictures, "scaling")]
    parts += [memory(training + programs), left_out(rows), _surroundings(rows)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text


def _conventions(rows: list[Row]) -> str:
    caps = ", ".join(f"{cap:g}" for cap in sorted({row["cap"] for row in rows}))
    return (
        "Squared loss summed over rows, standardised data with a column of ones, X/√(d+1). Objectives are "
        "recomputed in float64 from returned weights, outside the timed sections; the points of a training "
        "curve before its last are those that `train` and `descend` record, in float64. Each job is a "
        f"process of its own; compiled code is warmed up first. Cap: {caps} s a run. 'Best' is the lowest "
        "objective that any method reached; its gap is to the best lower bound on record, of the kind named "
        "(an estimated bound is strong evidence, not a proof). Settings: `benchmarks/peers/README.md`."
    )


def _table(head: str, lines: list[str]) -> str:
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *lines])


def _picture(folder: str, name: str) -> str:
    words = {
        "ratio": "Seconds of tuned Adam over seconds of global training, each pair of data and β.",
        "profile": "Share of pairs on which a method is within a factor of the quickest one.",
        "curves": "Relative distance from the best lower bound against seconds.",
        "programs": "Seconds against the number of patterns of a given program.",
        "scaling": "Seconds of global training against rows, columns and planted neurons.",
    }
    return f"![{words[name]}]({folder.removeprefix('../')}/{name}.png)"


def _seconds(value: float) -> str:
    return "never" if value == math.inf else "–" if math.isnan(value) else f"{value:.3g}"


def against_adam(rows: list[Row]) -> str:
    """Time to within 1e-3 of the best known objective: global training against tuned Adam."""
    lines, ratios, whole = [], [], []
    for pair in summary.pairs_of(rows):
        ours = summary.speed(rows, pair, "convexnn")
        theirs = summary.speed(rows, pair, *summary.ADAMS)
        if ours is None or theirs is None:
            continue
        verified, status = summary.verified_seconds(rows, pair)
        ratios.append(_over(theirs.seconds, ours.seconds))
        whole.append(_over(theirs.whole, verified if status == "converged" else math.inf))
        note = "" if status == "converged" else f" ({status})"
        lines.append(
            f"{_pair_cells(rows, pair)} | {_seconds(ours.seconds)} | {_seconds(verified)}{note} "
            f"| {_seconds(theirs.seconds)} | {_seconds(theirs.whole)} | {theirs.excess:.1e} "
            f"| {theirs.method}, {theirs.setting} | {theirs.tuning:.3g} | {_ratio(ratios[-1])} |"
        )
    head = (
        "| data | n×d | β_max/β | best objective | its gap | convexnn: first there | verified gap 1e-3 "
        "| tuned Adam: first there | whole run | excess | setting | tuning | Adam/convexnn |"
    )
    return (
        f"### Time to within 1e-3 of the best known objective\n\nFirst there: {_share(ratios)} "
        f"A whole run: {_share(whole)}\n\nSeconds. Adam is the quicker of ours and PyTorch's; "
        "its rate and number of steps came there first, chosen in hindsight for each pair, and "
        "'tuning' is the time of all other settings. 'First there' reads a curve at the first point within "
        "1e-3, which nobody knows during a run; 'whole run' is the quickest run of Adam that ended there, "
        "against `train` at tol 1e-3 with its verification. 'Excess' is that of the lowest objective of any "
        "run of Adam.\n\n" + _table(head, lines)
    )


def _pair_cells(rows: list[Row], pair: summary.Pair) -> str:
    first, best = summary.of_pair(rows, pair)[0], summary.best_objective(rows, pair)
    lower, kind, _ = summary.best_bound(rows, pair)
    gap = f"{max(0.0, 1 - lower / best):.1e} ({kind})" if lower > -math.inf else "no bound"
    return f"| {pair[0]} | {first['n']:.0f}×{first['d']:.0f} | {pair[1]:g} | {best:.6g} | {gap}"


def _over(theirs: float, ours: float) -> float:
    """theirs/ours; 0 if only ours is infinite, nan if both are."""
    if ours == math.inf:
        return math.nan if theirs == math.inf else 0.0
    return theirs / ours


def _ratio(value: float) -> str:
    if math.isnan(value):
        return "neither"
    return "Adam never" if value == math.inf else "convexnn never" if value == 0 else f"{value:.2f}"


def _share(ratios: list[float]) -> str:
    """The two figures that are asked for, in a sentence; a pair that neither reached counts as not faster."""
    if not ratios:
        return "no pair has both."
    faster = sum(ratio > 1 for ratio in ratios)
    worst = min((ratio for ratio in ratios if not math.isnan(ratio)), default=math.nan)
    words = "unbounded: there is a pair where only Adam came there" if worst == 0 else f"{1 / worst:.2f}"
    return (
        f"convexnn is faster on {faster} of {len(ratios)} pairs ({faster / len(ratios):.0%}); its worst time "
        f"over Adam's is {words}."
    )


def quality(rows: list[Row]) -> str:
    """Final objectives over the best known one, and seconds: method by β."""
    fractions = sorted({row["fraction"] for row in rows})
    labels = list(dict.fromkeys(_label(row) for row in rows))
    lines = []
    for label in sorted(labels, key=lambda label: not label.startswith("convexnn")):
        cells = [_cell(rows, label, fraction) for fraction in fractions]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    head = "| method | " + " | ".join(f"β_max/{fraction:g}" for fraction in fractions) + " |"
    return (
        "### Final objectives\n\nExcess over the best known objective, median over the data (largest in "
        "brackets), and median seconds of a run; tuned settings, without their tuning.\n\n"
        + _table(head, lines)
    )


def _label(row: Row) -> str:
    return f"convexnn, {row['setting']}" if row["method"] == "convexnn" else row["method"]


def _cell(rows: list[Row], label: str, fraction: float) -> str:
    excess, seconds = [], []
    for pair in summary.pairs_of(rows):
        own = [row for row in summary.of_pair(rows, pair) if _label(row) == label and row["chosen"]]
        if pair[1] == fraction and own:
            middle = sorted(own, key=lambda row: row["objective"])[len(own) // 2]
            excess.append(middle["objective"] / summary.best_objective(rows, pair) - 1)
            seconds.append(median(row["seconds"] for row in own))
    if not excess:
        return "–"
    return f"{median(excess):.1e} ({max(excess):.0e}), {median(seconds):.2g} s"


def profiles(rows: list[Row]) -> str:
    """Performance profile of Dolan and Moré as a table."""
    ratios, count = summary.profile(rows)
    if not count:
        return ""
    lines = []
    for method, values in ratios.items():
        shares = [sum(value <= factor for value in values) / count for factor in _WITHIN]
        reached = sum(value < math.inf for value in values) / count
        lines.append(f"| {method} | " + " | ".join(f"{share:.0%}" for share in (*shares, reached)) + " |")
    head = "| method | " + " | ".join(f"≤ {factor}×" for factor in _WITHIN) + " | reached |"
    return (
        f"### Performance profile\n\nOver the {count} pairs that all methods ran on: the share on which a "
        "method came within 1e-3 of the best known objective in at most so many times the quickest method's "
        "time.\n\n" + _table(head, lines)
    )


def fixed_patterns(rows: list[Row], *, gated: bool) -> str:
    """Solvers of the same program over the same sampled patterns."""
    own = [row for row in rows if bool(row["gated"]) == gated]
    if not own:
        return ""
    groups: dict[tuple[str, float, float], list[Row]] = {}
    for row in own:
        groups.setdefault((row["data"], row["beta"], row["patterns"]), []).append(row)
    lines = [line for same in groups.values() for line in _program_lines(same)]
    head = (
        "| data | β | patterns | method | objective | gap over the patterns | outside | as a network "
        "| seconds | × ssnal | status |"
    )
    title = "Gated programs" if gated else "Programs over given patterns"
    return (
        f"### {title}\n\nThe objective is that of the returned blocks moved into their cones; 'outside' is "
        "how far they had been, and 'as a network' is objective (1) of the blocks as they were returned. The "
        "gap is to the best bound over these patterns: it bounds no other network.\n\n" + _table(head, lines)
    )


def _program_lines(same: list[Row]) -> list[str]:
    """One line a method and setting; medians of seconds."""
    lower = max(row["lower_bound"] for row in same)
    base = [row["seconds"] for row in same if row["method"] == "ssnal"]
    lines = []
    for method, setting in dict.fromkeys((row["method"], row["setting"]) for row in same):
        group = [row for row in same if (row["method"], row["setting"]) == (method, setting)]
        seconds, row = median(r["seconds"] for r in group), group[0]
        network = "–" if row["network_objective"] is None else f"{row['network_objective']:.6g}"
        gap = max(0.0, 1 - lower / row["objective"])
        lines.append(
            f"| {row['data']} | {row['beta']:g} | {row['patterns']:,.0f} | {method}, {setting} "
            f"| {row['objective']:.6g} | {gap:.1e} | {row['violation']:.0e} | {network} | {seconds:.3g} "
            f"| {f'{seconds / median(base):.3g}' if base else '–'} | {row['status']} |"
        )
    return lines


def growth(rows: list[Row]) -> str:
    """Seconds of global training on planted data, with fitted exponents."""
    names = {"n": "rows n (d = 10, 10 neurons)", "d": "columns d (n = 500, 10 neurons)"}
    names["neurons"] = "planted neurons (n = 1,000, d = 10)"
    lines = []
    for key, points in summary.sizes(rows).items():
        if not points:
            continue
        exponent = summary.slope([p[0] for p in points], [p[1] for p in points])
        cells = ", ".join(f"{p[0]:g}: {p[1]:.3g} s ({p[2]:.0f})" for p in points)
        lines.append(f"| {names[key]} | {cells} | {'–' if math.isnan(exponent) else f'{exponent:.2f}'} |")
    return (
        "### Time against size\n\n`train` at β_max/30 to a verified gap of 1e-3, planted networks with noise "
        "0.1; in brackets the neurons of the solution. The exponent a is that of seconds ∝ sizeᵃ.\n\n"
        + _table("| against | size: seconds (neurons) | exponent |", lines)
    )


def memory(rows: list[Row]) -> str:
    """Peak memory of the processes."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method and row["peak_mib"] is not None]
        if own:
            peaks = [row["peak_mib"] for row in own]
            before = [row["base_mib"] for row in own if row["base_mib"] is not None]
            start = f"{median(before):.0f}" if before else "–"
            largest = max(own, key=lambda row: row["peak_mib"])
            where = largest["data"] + (
                f", {largest['patterns']:,.0f} patterns" if largest["patterns"] else ""
            )
            lines.append(f"| {method} | {start} | {median(peaks):.0f} | {max(peaks):.0f} ({where}) |")
    if not lines:
        return ""
    return (
        "### Peak memory\n\nResident memory of the process of a job in MiB, imports and data included.\n\n"
        + _table("| method | before the first run | median peak | largest peak |", lines)
    )


def left_out(rows: list[Row]) -> str:
    """What was not run, with its reason."""
    bad = [row for row in rows if row["status"] in ("skipped", "failed", "killed")]
    if not bad:
        return ""
    lines = dict.fromkeys(
        f"* {row['note']}"
        if row["status"] == "skipped"
        else f"* {row['job']}: {row['status']}, {row['note']}"
        for row in bad
    )
    return "### Left out\n\n" + "\n".join(lines)


def _surroundings(rows: list[Row]) -> str:
    where = dict.fromkeys(f"{row['machine']}; {row['versions']}" for row in rows)
    commands = dict.fromkeys(f"`{row['command'].strip()}`" for row in rows)
    return "Records made by " + ", ".join(commands) + " on " + " and ".join(where) + "."
