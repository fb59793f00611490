"""When others win: nested cross-validation against the usual methods, on small tables.

    python benchmarks/study/run.py                   # what is missing, then the page; about 25 CPU minutes
    python benchmarks/study/run.py --quick           # one split of three tables, to results/study-quick
    python benchmarks/study/run.py --only yacht,SVM  # jobs whose name holds one of the words
    python benchmarks/study/run.py --longer          # the convex network again where the cap cut it short
    python benchmarks/study/run.py --tables          # run nothing, write the page from the records

A job is a table, an outer split and a model: its settings are searched on the training rows only, by the
same inner folds for all models, and the chosen one is tested once. The models of one split run one after
another, so that they meet the same load. A row goes to ``benchmarks/results/study/DATA.csv`` as soon as it is
there, and a run that was killed goes on; ``--again`` starts anew. The UCI tables are read from
``$CONVEXNN_DATA/uci``. ``--longer`` gives the convex network four times the cap on the first split of the
tables where the cap ended its search; the page shows those results apart.
"""

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

if __name__ == "__main__":  # the library's time limits then count seconds of CPU, and no other work
    time.perf_counter = time.process_time

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.study import models, records, tables  # noqa: E402
from benchmarks.study.datasets import TABLES, Table  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "study"
QUICK = ("yacht", "iris", "breast cancer")
Job = tuple[str, int, str]


def jobs(only: list[str], quick: bool) -> list[Job]:
    """(table, split, model), every table's first split before any second one."""
    counts = dict.fromkeys(QUICK, 1) if quick else {name: count for name, (_, count) in TABLES.items()}
    found = [
        (data, split, model)
        for split in range(max(counts.values()))
        for data, count in counts.items()
        if split < count
        for model in models.NAMES
    ]
    return [job for job in found if _is_wanted(job, only)]


def longer_jobs(only: list[str], folder: Path) -> list[Job]:
    """The first splits on which the cap cut the convex network short."""
    have = records.read(folder)
    cut = have[(have["model"] == models.OURS) & (have["split"] == 0) & (have["finished"] < have["settings"])]
    return [job for job in ((data, 0, models.LONG) for data in cut["data"]) if _is_wanted(job, only)]


def _is_wanted(job: Job, only: list[str]) -> bool:
    return not only or any(word in " ".join(map(str, job)) for word in only)


def measure(table: Table, job: Job, cap: float) -> dict[str, Any]:
    """Search, fit and test one model on one split; its row."""
    data, split, name = job
    cap *= models.LONGER if name == models.LONG else 1
    inside, outside = table.splits[split]
    X, y = table.X[inside], table.y[inside]
    unit, centre = (1.0, 0.0) if table.classes else (float(y.std()), float(y.mean()))
    target = y if table.classes else (y - centre) / unit
    wall, busy = time.time(), time.process_time()
    with threadpool_limits(1):
        fitted = models.fit(name, X, target, table.classes, cap)
    row: dict[str, Any] = {"cpu_seconds": time.process_time() - busy, "seconds": time.time() - wall}
    predicted = fitted.model.predict(table.X[outside])
    truth = table.y[outside]
    if table.classes:
        row["error"] = float(np.mean(predicted != truth))
    else:
        row["error"] = float(np.sqrt(np.mean((predicted - (truth - centre) / unit) ** 2)))
    if name in (models.OURS, models.LONG):
        parts = models.networks(fitted.model)
        row["neurons"] = sum(part.network_.n_neurons for part in parts)
        row["relative_gap"] = max(part.certificate_.relative_gap for part in parts)
    row |= {"data": data, "split": split, "model": name, "kind": "classes" if table.classes else "regression"}
    row |= {"n": len(inside), "n_test": len(outside), "d": table.X.shape[1]}
    row |= {"parameters": models.parameters(fitted.model), "setting": fitted.setting, "cap": cap}
    row |= {"finished": fitted.finished, "settings": models.SETTINGS, "load": os.getloadavg()[0]}
    return row | {"date": datetime.now(UTC).isoformat(timespec="seconds")}


def run(folder: Path, wanted: list[Job], cap: float) -> None:
    """All jobs without a row."""
    have = records.read(folder)
    done = set(zip(have["data"], have["split"], have["model"], strict=True))
    missing = [job for job in wanted if job not in done]
    where = records.surroundings()
    cache: dict[str, Table] = {}
    if missing:
        _warm_up()
    for k, job in enumerate(missing):
        if job[0] not in cache:
            cache = {job[0]: TABLES[job[0]][0]()}
        row = measure(cache[job[0]], job, cap)
        records.append(folder, row | where)
        print(
            f"{k + 1}/{len(missing)}  {job[0]}, split {job[1]}, {job[2]}: error {row['error']:.4f}, "
            f"{row['cpu_seconds']:.1f} s of CPU, {row['finished']} settings",
            flush=True,
        )


def _warm_up() -> None:
    """Compile the kernels on small problems, so that no time contains it."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    for name in models.NAMES:
        models.fit(name, X, X[:, 0] + X[:, 1] ** 2, False, 0.5)
        models.fit(name, X, (X[:, 0] > 0).astype(int), True, 0.5)


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="words, separated by commas")
    parser.add_argument("--cap", type=float, help="seconds of CPU for a search (30; 5 with --quick)")
    parser.add_argument("--again", action="store_true", help="forget the records first")
    parser.add_argument("--longer", action="store_true", help="only the convex network, with more time")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    options = parser.parse_args()
    folder = RESULTS.with_name("study-quick") if options.quick else RESULTS
    if options.again:
        for path in folder.glob("*.csv"):
            path.unlink()
    if not options.tables:
        only = [word for word in options.only.split(",") if word]
        wanted = longer_jobs(only, folder) if options.longer else jobs(only, options.quick)
        run(folder, wanted, options.cap or (5.0 if options.quick else 30.0))
    page = tables.page(records.read(folder))
    if options.quick:
        print(page)
    else:
        tables.write(ROOT / "docs" / "comparison.md", page)


if __name__ == "__main__":
    main()
