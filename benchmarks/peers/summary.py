"""Figures drawn from the records: what was best, when it was reached, how it grows: rows in, numbers out."""

import math
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

import numpy as np
from benchmarks.peers.records import Row
from benchmarks.peers.referee import time_to

#: Relative distance from the best known objective that counts as reached.
CLOSE = 1e-3
ADAMS = ("own Adam", "torch Adam")
MAIN = "tol 0.001"
Pair = tuple[str, float]


class Speed(NamedTuple):
    """When a method came within 1e-3 of the best known objective: median over seeds of its chosen setting."""

    seconds: float  # inf: never
    setting: str
    method: str
    whole: float  # seconds of the quickest whole run that ended that close; inf: none
    excess: float  # of the lowest final objective over the best known one
    tuning: float  # seconds of all other settings


def measured(rows: Iterable[Row], table: str) -> list[Row]:
    """Rows of a table that hold an objective."""
    return [row for row in rows if row["table"] == table and row["objective"] is not None]


def pairs_of(rows: list[Row]) -> list[Pair]:
    """(data, β_max/β) in order of appearance, fractions ascending."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    found = {(row["data"], row["fraction"]) for row in rows}
    return sorted(found, key=lambda pair: (names.index(pair[0]), pair[1]))


def of_pair(rows: list[Row], pair: Pair, *methods: str) -> list[Row]:
    """The rows of one pair, of these methods only if any are named."""
    return [
        row for row in rows
        if (row["data"], row["fraction"]) == pair and (not methods or row["method"] in methods)
    ]  # fmt: skip


def best_objective(rows: list[Row], pair: Pair) -> float:
    """The lowest objective that any method has reached, as the referee found it."""
    return min((row["objective"] for row in of_pair(rows, pair)), default=math.inf)


def best_bound(rows: list[Row], pair: Pair) -> tuple[float, str, float]:
    """(lower bound, kind, starts): proven ones before estimates, then the highest."""
    known = [row for row in of_pair(rows, pair) if row["lower_bound"] is not None]
    if not known:
        return -math.inf, "none", 0.0
    best = max(known, key=lambda row: (row["bound_kind"] in ("exact", "bounded"), row["lower_bound"]))
    return best["lower_bound"], best["bound_kind"], best["starts"] or 0.0


def speed(rows: list[Row], pair: Pair, *methods: str) -> Speed | None:
    """The quickest setting of these methods in hindsight; None if none of them was run on the pair.

    `convexnn` is held to its run at tol 1e-3, and to the next finer one where that did not come close enough.
    """
    own = of_pair(rows, pair, *methods)
    if not own:
        return None
    best = best_objective(rows, pair)
    target = (1 + CLOSE) * best
    by_setting: dict[tuple[str, str], list[Row]] = {}
    for row in own:
        by_setting.setdefault((row["method"], row["setting"]), []).append(row)
    if methods == ("convexnn",):
        wanted = {key: group for key, group in by_setting.items() if key[1] == MAIN} or by_setting
        if all(time_to(row["curve"], target) == math.inf for group in wanted.values() for row in group):
            wanted = by_setting
        by_setting = wanted
    times = {key: _median([time_to(r["curve"], target) for r in group]) for key, group in by_setting.items()}
    lowest = {key: min(row["objective"] for row in group) for key, group in by_setting.items()}
    first = min(times, key=lambda key: (times[key], lowest[key]))
    whole = [
        _median([row["seconds"] if row["objective"] <= target else math.inf for row in group])
        for group in by_setting.values()
    ]
    tuning = sum(row["seconds"] for row in own if (row["method"], row["setting"]) != first)
    return Speed(times[first], first[1], first[0], min(whole), min(lowest.values()) / best - 1, tuning)


def _median(values: list[float]) -> float:
    return float(median(values)) if values else math.inf


def verified_seconds(rows: list[Row], pair: Pair) -> tuple[float, str]:
    """Seconds of `train` at tol 1e-3, its verification included, and whether it converged."""
    own = [row for row in of_pair(rows, pair, "convexnn") if row["setting"] == MAIN]
    if not own:
        return math.nan, "not run"
    middle = sorted(own, key=lambda row: row["seconds"])[len(own) // 2]
    return middle["seconds"], middle["status"]


def slope(x: list[float], seconds: list[float]) -> float:
    """The exponent a of seconds ∝ xᵃ by least squares on logarithms; nan for fewer than three points."""
    if len(x) < 3:
        return math.nan
    return float(np.polyfit(np.log(x), np.log(seconds), 1)[0])


def profile(rows: list[Row]) -> tuple[dict[str, list[float]], int]:
    """For each method its times over the quickest method's, one for each pair that all methods were run on.

    Pairs that no method reached are left out. The second value is the number of pairs.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    pairs = pairs_of(rows)
    has = {m: [p for p in pairs if of_pair(rows, p, m)] for m in methods}
    common = [p for p in pairs if all(p in has[m] for m in methods)]
    times = {m: [found.seconds for p in common if (found := speed(rows, p, m))] for m in methods}
    quickest = [min(column) for column in zip(*times.values(), strict=True)]
    used = [k for k, value in enumerate(quickest) if value < math.inf]
    return {m: [times[m][k] / quickest[k] for k in used] for m in methods}, len(used)


def sizes(rows: list[Row]) -> dict[str, list[tuple[float, float, float]]]:
    """(size, median seconds, neurons of the solution) against rows, columns and planted neurons."""
    out: dict[str, list[tuple[float, float, float]]] = {"n": [], "d": [], "neurons": []}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["data"], []).append(row)
    for name, group in groups.items():
        given = {key: float(value) for key, value in (word.split("=") for word in name.split()[1:])}
        point = _median([row["seconds"] for row in group]), _median([row["neurons"] for row in group])
        if (given["d"], given["neurons"]) == (10, 10):
            out["n"].append((given["n"], *point))
        if (given["n"], given["neurons"]) == (500, 10):
            out["d"].append((given["d"], *point))
        if (given["n"], given["d"]) == (1000, 10):
            out["neurons"].append((given["neurons"], *point))
    return {key: sorted(points) for key, points in out.items()}
