"""The demonstration: global training beside SGD and Adam on breast cancer, with one report.

`run` measures everything into one record of plain data, then writes it: ``record.json`` and CSV files for
programs, pictures and ``report.html`` for people, ``model.safetensors`` for ``convexnn predict``.
"""

import importlib.util
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from convexnn import __version__
from convexnn._files import csv_text, write_file
from convexnn._types import Array
from convexnn.data import load_breast_cancer
from convexnn.demo_report import page_of, pictures_of, summary_lines
from convexnn.descent import descend, tune_learning_rate
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from convexnn.report import png
from convexnn.solvers import solve
from convexnn.table_model import Prepared, TableModel, certificate_record, prepare, scores
from convexnn.training import TrainResult, train

if TYPE_CHECKING:
    import pandas as pd

BETAS = (3.0, 0.3)
TARGET = "diagnosis"
TOLS = {3.0: 1e-4, 0.3: 1e-3}
#: Seconds that one global training may take.
MAX_TIME = 20.0
STARTS = 5
NEURONS = 100
STEPS = 5000
RECORDS = 50
PATTERNS = 10
METHODS: dict[str, dict[str, Any]] = {
    "SGD": {"method": "sgd", "batch_size": 64},
    "Adam": {"method": "adam"},
}
#: Learning rates from which each method's is chosen, at each β, by a quarter of the steps from one start.
RATES = {"SGD": (1e-4, 3e-4, 1e-3), "Adam": (0.01, 0.03, 0.1)}
TRAINING_COLUMNS = ("beta", "seconds", "iteration", "primal", "bound", "neurons")
DESCENT_COLUMNS = ("beta", "method", "start", "seconds", "iteration", "primal", "test_accuracy")
PICTURES = ("objective_iterations", "objective_seconds", "gap", "accuracy")
FILES = (
    "report.html",
    "model.safetensors",
    "record.json",
    "training.csv",
    "descents.csv",
    "breast_cancer.csv",
)

Tell = Callable[[str], None]


def files() -> list[str]:
    """Names of all files that `run` writes."""
    return [*FILES, *(f"{name}_beta_{beta:g}.png" for beta in BETAS for name in PICTURES)]


def run(out: Path, *, seed: int = 0, tell: Tell = print) -> dict[str, Any]:
    """Measure, write every one of `files` into the folder `out`, and say what came of it.

    Returns
    -------
    dict
        The record that ``record.json`` holds.
    """
    begin = perf_counter()
    tell("Compiling (the first time after installation) …")
    compile_seconds = warm_up()
    frame = table()
    data = prepare(frame, TARGET, task="classification", test_fraction=0.2, seed=seed)
    problems, results = [], []
    for beta in BETAS:
        problem, result = measure(data, beta, seed, tell)
        problems.append(problem)
        results.append(result)
    record: dict[str, Any] = {
        "version": __version__,
        "seed": seed,
        "rows": {"train": len(data.y_train), "test": len(data.y_test)},
        "inputs": int(data.Z_train.shape[1]),
        "classes": list(data.pipeline.encoder.classes),
        "larger_class": scores(data.pipeline, results[0].network, data.Z_test, data.y_test)["larger_class"],
        "neurons": NEURONS,
        "steps": STEPS,
        "tol": {f"{beta:g}": tol for beta, tol in TOLS.items()},
        "batch_sizes": {name: options.get("batch_size") for name, options in METHODS.items()},
        "compile_seconds": compile_seconds,
        "problems": problems,
    }
    record["seconds"] = perf_counter() - begin
    _write(out, record, frame, _model(data, results, problems, seed))
    for line in summary_lines(record, out, perf_counter() - begin):
        tell(line)
    return record


def warm_up() -> float:
    """Compile every kernel on a tiny problem, so that no figure contains it; returns the seconds."""
    begin = perf_counter()
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((24, 3)), np.resize([1.0, -1.0], 24)
    train(X, y, 0.5, tol=1e-2, max_time=1.0)
    for options in METHODS.values():
        descend(X, y, 0.5, steps=2, neurons=4, **{**options, "batch_size": None})
    return perf_counter() - begin


def table() -> "pd.DataFrame":
    """Breast cancer as a table with the column ``diagnosis``."""
    import pandas as pd

    raw = load_breast_cancer()
    frame = pd.DataFrame(raw.X, columns=list(raw.feature_names))
    frame[TARGET] = np.where(raw.y > 0, "benign", "malignant")
    return frame


def measure(data: Prepared, beta: float, seed: int, tell: Tell) -> tuple[dict[str, Any], TrainResult]:
    """All methods on the training rows at one β: (record, result of the global training)."""
    tell(f"beta = {beta:g}: global training …")
    begin = perf_counter()
    X, y = data.Z_train, data.y_train
    result = train(X, y, beta, tol=TOLS[beta], max_time=MAX_TIME, seed=seed)
    training = {
        "seconds": perf_counter() - begin,
        "neurons": result.network.n_neurons,
        "status": str(result.status),
        "certificate": certificate_record(result.certificate),
        "test_accuracy": accuracy(result.network, data),
        "history": [{key: plain_value(value) for key, value in row.items()} for row in result.history],
    }
    problem: dict[str, Any] = {"beta": beta, "training": training, "rates": {}, "descents": {}}
    for name, options in METHODS.items():
        tell(f"beta = {beta:g}: {name} from {STARTS} starts …")
        first = 1000 * seed
        rate = problem["rates"][name] = best_rate(data, beta, first, name)
        problem["descents"][name] = [
            descent(data, beta, start, {**options, "learning_rate": rate})
            for start in range(first, first + STARTS)
        ]
    tell(f"beta = {beta:g}: the program of {PATTERNS} sampled patterns, by CVXPY …")
    problem["sampled"] = sampled(X, y, beta, seed)
    return problem, result


def best_rate(data: Prepared, beta: float, seed: int, name: str) -> float:
    """The learning rate of `RATES` that serves a method best in a quarter of the steps."""
    X, y, options = data.Z_train, data.y_train, METHODS[name]
    steps = max(1, STEPS // 4)
    rate, _ = tune_learning_rate(X, y, beta, RATES[name], steps=steps, neurons=NEURONS, seed=seed, **options)
    return rate


def descent(data: Prepared, beta: float, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """One start of one method: its history, its best objective and the test accuracy there."""
    result = descend(
        data.Z_train,
        data.y_train,
        beta,
        neurons=NEURONS,
        steps=STEPS,
        seed=seed,
        record_every=STEPS // RECORDS,
        evaluate=lambda network: {"test_accuracy": accuracy(network, data)},
        **options,
    )
    history = [{key: plain_value(value) for key, value in row.items()} for row in result.history]
    return {
        "seed": seed,
        "primal": min(row["primal"] for row in result.history),
        "seconds": result.history[-1]["seconds"],
        "test_accuracy": accuracy(result.network, data),
        "history": history,
    }


def sampled(X: Array, y: Array, beta: float, seed: int) -> dict[str, Any]:
    """The program on a few sampled patterns, solved by CVXPY; only a reason if it or Clarabel is missing."""
    if any(importlib.util.find_spec(name) is None for name in ("cvxpy", "clarabel")):
        install = "pip install 'convexnn[cvxpy]'"
        return {"missing": f"CVXPY with Clarabel is not installed ({install}), so it was left out."}
    begin = perf_counter()
    patterns = Patterns.sample(X, PATTERNS, rng=seed)
    solution = solve(ConvexProgram(X, y, patterns, beta), solver="cvxpy")
    return {
        "patterns": len(patterns),
        "primal": solution.primal,
        "status": str(solution.status),
        "seconds": perf_counter() - begin,
        "cvxpy": version("cvxpy"),
    }


def accuracy(network: Network, data: Prepared) -> float:
    """Share of the test rows whose class is right."""
    return float(np.mean((network.predict(data.Z_test) > 0) == (data.y_test > 0)))


def plain_value(value: Any) -> Any:
    """A number for JSON: None where it is not finite."""
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if value is not None and np.isfinite(value) else None


def _model(
    data: Prepared, results: list[TrainResult], problems: list[dict[str, Any]], seed: int
) -> TableModel:
    """The network of the first β with its table, as `fit` would save it."""
    result, beta = results[0], BETAS[0]
    record = {
        "table": "breast_cancer.csv",
        "target": TARGET,
        "text": [],
        "tol": TOLS[beta],
        "seed": seed,
        "beta_max": None,
        "version": __version__,
        "status": str(result.status),
        "split": data.split,
        "certificate": problems[0]["training"]["certificate"],
        "scores": {
            "train": scores(data.pipeline, result.network, data.Z_train, data.y_train),
            "test": scores(data.pipeline, result.network, data.Z_test, data.y_test),
        },
    }
    return TableModel(result.network, data.pipeline, "squared", beta, record, result.certificate.nu)


def _write(out: Path, record: dict[str, Any], frame: "pd.DataFrame", model: TableModel) -> None:
    groups = [pictures_of(problem) for problem in record["problems"]]
    for beta, group in zip(BETAS, groups, strict=True):
        for name, (ax, _) in zip(PICTURES, group, strict=True):
            write_file(out / f"{name}_beta_{beta:g}.png", png(ax))
    write_file(out / "record.json", json.dumps(record, indent=1))
    training = [
        {"beta": problem["beta"], **row}
        for problem in record["problems"]
        for row in problem["training"]["history"]
    ]
    write_file(out / "training.csv", csv_text(TRAINING_COLUMNS, training))
    write_file(out / "descents.csv", csv_text(DESCENT_COLUMNS, _descent_rows(record)))
    write_file(out / "breast_cancer.csv", frame.to_csv(index=False))
    write_file(out / "report.html", page_of(record, groups))
    model.save(out / "model.safetensors")


def _descent_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"beta": problem["beta"], "method": method, "start": run["seed"], **row}
        for problem in record["problems"]
        for method, runs in problem["descents"].items()
        for run in runs
        for row in run["history"]
    ]
