"""What several studies run: descents from many starts, global training, and their rows."""

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._recorder import Evaluate
from convexnn._types import Array
from convexnn.descent import DescentResult, descend
from convexnn.experiments.records import Row, Tables
from convexnn.network import Network
from convexnn.status import Status
from convexnn.training import TrainResult, train

HISTORY = ("start", "iteration", "epoch", "seconds", "primal")
END = ("start", "primal", "seconds", "learning_rate")
TRAINED = ("objective", "lower_bound", "kind", "gap", "neurons", "seconds")
#: A start within this share of the reference counts as having reached it.
NEAR = 1e-3


def descended(X: Array, y: Array, beta: float, **options: Any) -> DescentResult:
    """`descend`; an interruption is passed on, so that the study ends and not only this run."""
    result = descend(X, y, beta, **options)
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return result


def trained(X: Array, y: Array, beta: float, **options: Any) -> tuple[TrainResult, Row]:
    """`train` and its row; an interruption is passed on."""
    begin = perf_counter()
    result = train(X, y, beta, **options)
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    certificate = result.certificate
    row = {
        "objective": certificate.primal,
        "lower_bound": certificate.lower_bound,
        "kind": certificate.kind,
        "gap": certificate.relative_gap,
        "neurons": result.network.n_neurons,
        "seconds": perf_counter() - begin,
    }
    return result, row


def best_of(result: DescentResult) -> float:
    """The best recorded objective; inf if none was finite."""
    return min(float(row["primal"]) for row in result.history)


def tuned_rate(
    X: Array, y: Array, beta: float, rates: Sequence[float], seeds: Sequence[int], **options: Any
) -> float:
    """The rate of the grid whose mean best objective over the given starts is least: same steps for all."""
    if len(rates) == 1:
        return float(rates[0])
    means = []
    for rate in rates:
        runs = (descended(X, y, beta, learning_rate=rate, seed=seed, **options) for seed in seeds)
        means.append(float(np.mean([best_of(run) for run in runs])))
    return float(rates[int(np.argmin(means))])


def many_starts(
    X: Array,
    y: Array,
    beta: float,
    *,
    keys: Row,
    seeds: Sequence[int],
    rates: Sequence[float],
    tuning: int,
    steps: int,
    records: int,
    evaluate: Evaluate | None = None,
    keep_history: bool = True,
    **options: Any,
) -> tuple[Tables, list[Network]]:
    """Descents from the starts `seeds`, all at the rate that is best for the first `tuning` of them.

    Returns
    -------
    ({"histories": rows, "ends": rows}, networks)
        Every row opens with `keys`; a network is the best recorded one of its start.
    """
    fixed = {"steps": steps, "record_every": max(1, steps // records), **options}
    rate = tuned_rate(X, y, beta, rates, seeds[:tuning], **fixed)
    histories: list[Row] = []
    ends: list[Row] = []
    networks = []
    for seed in seeds:
        result = descended(X, y, beta, learning_rate=rate, seed=seed, evaluate=evaluate, **fixed)
        if keep_history:
            histories += [{**keys, "start": seed, **row} for row in result.history]
        best = min(result.history, key=lambda row: float(row["primal"]))
        end = {"start": seed, "seconds": result.history[-1]["seconds"], "learning_rate": rate}
        extra = {k: v for k, v in best.items() if k not in ("iteration", "epoch", "seconds")}
        ends.append({**keys, **end, **extra})
        networks.append(result.network)
    return {"histories": histories, "ends": ends}, networks


def pick(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def values(rows: Iterable[Row], key: str) -> list[Any]:
    """The distinct values of a column, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def column(rows: Iterable[Row], key: str) -> Array:
    """A column as numbers."""
    return np.array([row[key] for row in rows], dtype=np.float64)


def curves(histories: Iterable[Row]) -> list[list[Row]]:
    """The histories of the starts, one list a start."""
    groups: dict[Any, list[Row]] = {}
    for row in histories:
        groups.setdefault(row["start"], []).append(row)
    return list(groups.values())


def reached(ends: Iterable[Mapping[str, Any]], reference: float) -> tuple[int, int]:
    """(starts within `NEAR` of the reference, starts)."""
    found = [row["primal"] is not None and row["primal"] <= reference * (1.0 + NEAR) for row in ends]
    return sum(found), len(found)
