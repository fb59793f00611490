"""The whole comparison by one command: ``python -m benchmarks.peers [--quick] [--large] [--only …]``.

Every job is a process of its own; its rows are written at once to ``benchmarks/results/peers/TABLE.csv``, so
a run that was killed goes on where it stopped (``--again`` starts anew). Tables and pictures are then made
from these records alone.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:  # as a script: python benchmarks/peers/run.py
    sys.path.insert(0, str(ROOT))

from benchmarks.peers import pictures, problems, records, tables  # noqa: E402
from benchmarks.peers.plan import Job, jobs, name_of  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "benchmarks" / "pictures"
_SECONDS, _QUICK_SECONDS = 60.0, 5.0
#: Relative distance from the best known objective that counts as reached.
CLOSE = 1e-3


def main() -> None:
    """Run what is missing, then write tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small set of jobs, about two minutes")
    parser.add_argument("--large", action="store_true", help="also kin40k, protein and CIFAR, an hour more")
    parser.add_argument("--only", default="", help="comma-separated words; jobs whose names hold one of them")
    parser.add_argument("--cap", type=float, help="seconds a single run may take (60; 5 with --quick)")
    parser.add_argument("--again", action="store_true", help="forget earlier records")
    parser.add_argument("--tables", action="store_true", help="run nothing: tables and pictures only")
    options = parser.parse_args()
    folder = RESULTS / ("peers-quick" if options.quick else "peers")
    if options.again and folder.exists():
        shutil.rmtree(folder)
    cap = options.cap or (_QUICK_SECONDS if options.quick else _SECONDS)
    if not options.tables:
        _run_all(_wanted(options), folder, cap, options.quick)
    rows = records.read(folder)
    name = folder.name
    tables.write(rows, RESULTS / f"{name}.md", f"../pictures/{name}", "--quick" if options.quick else "")
    for path in pictures.draw(rows, PICTURES / name):
        print(f"picture: {path}", flush=True)
    if not options.quick:
        subprocess.run([sys.executable, ROOT / "benchmarks" / "run.py", "--write"], check=True)
    print((RESULTS / f"{name}.md").read_text(encoding="utf-8"))


def _wanted(options: argparse.Namespace) -> list[Job]:
    words = [word.strip() for word in options.only.split(",") if word.strip()]
    found = jobs(options.quick, options.large)
    return [job for job in found if not words or any(word in name_of(job) for word in words)]


def _run_all(wanted: list[Job], folder: Path, cap: float, quick: bool) -> None:
    done = {row["job"] for row in records.read(folder) if row["status"] != "skipped"}
    open_jobs = [job for job in wanted if name_of(job) not in done]
    print(f"{len(open_jobs)} of {len(wanted)} jobs to run, at most {cap:g} s a run", flush=True)
    begin = perf_counter()
    for count, job in enumerate(open_jobs, 1):
        minutes = (perf_counter() - begin) / 60
        print(f"[{count}/{len(open_jobs)}, {minutes:.1f} min] {name_of(job)}", end=" ", flush=True)
        rows = _run_one(job, folder, cap, quick)
        records.append(folder, rows)
        print(_in_words(rows), flush=True)


def _run_one(job: Job, folder: Path, cap: float, quick: bool) -> list[records.Row]:
    """A job in a child process; what went wrong becomes a row."""
    base = {key: job.get(key) for key in ("table", "data", "fraction", "beta", "method", "patterns", "gated")}
    base |= {"job": name_of(job), "cap": cap}
    surroundings = records.surroundings() | {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    surroundings["command"] = "python -m benchmarks.peers " + " ".join(sys.argv[1:])
    sentence = problems.missing(job["data"])
    if sentence:
        return [base | surroundings | {"status": "skipped", "note": sentence}]
    limit = 20 * cap + 120  # of a job: several runs, warm-up and the referee
    given = job | {"cap": cap, "quick": quick, "target": _target(job, folder), "bound_seconds": cap / 3}
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.peers.job", json.dumps(given), str(answer)]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return [base | surroundings | {"status": "killed", "note": f"more than {limit:.0f} s"}]
        if done.returncode:
            words = (done.stderr.strip() or f"ended with code {done.returncode}").splitlines()[-1]
            return [base | surroundings | {"status": "failed", "note": words[:300]}]
        return [row | surroundings for row in json.loads(answer.read_text(encoding="utf-8"))]


def _target(job: Job, folder: Path) -> float:
    """(1 + 1e-3) × the best objective on record for the pair, what tuning aims at."""
    if job["table"] != "training" or job["method"] == "convexnn":
        return 0.0
    same = [
        row["objective"] for row in records.read(folder)
        if row["table"] == "training" and (row["data"], row["fraction"]) == (job["data"], job["fraction"])
        and row["objective"] is not None
    ]  # fmt: skip
    return (1 + CLOSE) * min(same, default=-math.inf)


def _in_words(rows: list[records.Row]) -> str:
    if rows[0]["status"] in ("skipped", "failed", "killed"):
        return f"{rows[0]['status']}: {rows[0]['note']}"
    kept = [row for row in rows if row.get("chosen", True)] or rows
    middle = sorted(kept, key=lambda row: row["seconds"])[len(kept) // 2]
    return f"objective {middle['objective']:.6g} in {middle['seconds']:.2f} s ({len(rows)} runs)"


if __name__ == "__main__":
    main()
