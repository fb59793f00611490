"""What is run: a list of plain jobs, each for one child process, in an order that serves the tables."""

from collections.abc import Iterator
from typing import Any

from benchmarks.peers.problems import LARGE, UCI

Job = dict[str, Any]

FRACTIONS = (3, 10, 30, 100, 300, 1000)
#: Fractions and data at which the other peers run.
FEW_FRACTIONS = (10, 100, 1000)
TOLS = (1e-2, 1e-3, 1e-4)
#: The tolerance that is set against Adam.
MAIN_TOL = 1e-3
FEW_DATA = ("breast cancer", "diabetes", "concrete")
OTHERS = ("torch Adam", "torch SGD", "torch L-BFGS", "MLPRegressor lbfgs", "MLPRegressor adam")
ROWS = (250, 500, 1000, 2000, 4000)
COLUMNS = (4, 8, 16, 32, 64)
NEURONS = (1, 2, 4, 8, 16, 32)
PATTERNS = (20, 100, 1000, 5000, 20_000)
#: Patterns beyond which a peer is not started.
MOST_PATTERNS = {"Clarabel": 100, "SCS": 100, "pyscnn": 100, "adelie": 1000, "FISTA": 5000}
#: Data and β of the programs over given patterns.
PROGRAM_DATA = (("breast cancer", 3.0), ("breast cancer", 0.1), ("diabetes", 1.0))


def name_of(job: Job) -> str:
    """The key under which a job's rows are found again."""
    level = f"β = {job['beta']:g}" if "beta" in job else f"β_max/{job['fraction']:g}"
    words = [job["table"], job["data"], level, job["method"]]
    if job["method"] == "convexnn":
        words.append(f"{job['tol']:g}")
    if "patterns" in job:
        words.append(f"{job['patterns']}{' gated' if job['gated'] else ''}")
    return " | ".join(words)


def jobs(quick: bool, large: bool) -> Iterator[Job]:
    """All jobs; global training comes before Adam, whose tuning aims at the best objective on record."""
    yield from _quick() if quick else _full(large)


def _training(data: str, fraction: float, tols: tuple[float, ...], repeats: int, adams: tuple[str, ...]):
    pair = {"table": "training", "data": data, "fraction": fraction}
    for tol in sorted(tols):
        once = 1 if tol != MAIN_TOL else repeats
        yield pair | {"method": "convexnn", "tol": tol, "repeats": once, "bound": tol == min(tols)}
    for method in adams:
        yield pair | {"method": method}


def _full(large: bool) -> Iterator[Job]:
    for data in ("breast cancer", "diabetes", *UCI, "planted"):
        for fraction in FRACTIONS:
            yield from _training(data, fraction, TOLS[1:], 3, ("own Adam",))
    yield from _programs(PROGRAM_DATA, PATTERNS)
    yield from _scaling(ROWS, COLUMNS, NEURONS, 3)
    for data in FEW_DATA:
        for fraction in FEW_FRACTIONS:
            pair = {"table": "training", "data": data, "fraction": fraction}
            yield from (pair | {"method": method} for method in OTHERS)
    for data in LARGE if large else ():
        for fraction in FRACTIONS:
            yield from _training(data, fraction, TOLS[:2], 1, ("own Adam",))


def _quick() -> Iterator[Job]:
    for data in ("breast cancer", "yacht"):
        for fraction in (10, 100):
            yield from _training(data, fraction, TOLS[:2], 1, ("own Adam",))
    pair = {"table": "training", "data": "breast cancer", "fraction": 10}
    yield from (pair | {"method": method} for method in OTHERS)
    yield from _programs(PROGRAM_DATA[:1], (20,))
    yield from _scaling((125, 250, 500), (3, 6), (2, 4), 1)


def _programs(cases, counts) -> Iterator[Job]:
    for data, beta in cases:
        for gated in (False, True):
            peers = (
                ("ssnal", "FISTA", "adelie", "pyscnn") if gated else ("ssnal", "Clarabel", "SCS", "pyscnn")
            )
            pair = {"table": "programs", "data": data, "beta": beta, "gated": gated}
            for patterns in counts:
                for method in peers:
                    if patterns <= MOST_PATTERNS.get(method, patterns):
                        yield pair | {"method": method, "patterns": patterns}


def _scaling(rows, columns, neurons, repeats) -> Iterator[Job]:
    names = [f"planted n={n} d=10 neurons=10" for n in rows]
    names += [f"planted n=500 d={d} neurons=10" for d in columns]
    names += [f"planted n=1000 d=10 neurons={k}" for k in neurons]
    options = {"method": "convexnn", "tol": MAIN_TOL, "repeats": repeats, "bound": False}
    for name in dict.fromkeys(names):
        yield {"table": "scaling", "data": name, "fraction": 30} | options
