"""CIFAR-10, two classes: SGD and Adam, the approximate program, global training, two linear CNNs."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.linalg import eigh

from convexnn._types import Array
from convexnn.convolution import extract_patches, train_circular, train_linear
from convexnn.data import Scaler, read_cifar10, split_rows
from convexnn.experiments.cifar10_pages import (
    GATED,
    GLOBAL,
    PROGRAM,
    answer,
    chosen,
    lines,
    pictures,
    sentences,
)
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import many_starts, trained
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from convexnn.solvers import Solution, solve

__all__ = ["COLUMNS", "FULL", "QUICK", "answer", "check", "lines", "parts", "pictures", "run", "sentences"]

SECTION = "§ 9"
QUESTION = "CIFAR-10, two classes: do SGD and Adam reach what the convex training reaches, and does it pay?"
FULL: dict[str, Any] = {
    "data": None, "rows": 10_000, "test_rows": 2000, "validation": 0.2, "betas": [10.0, 3.0, 1.0],
    "neurons": 128, "epochs": 20, "batch": 500, "starts": 3, "records": 10,
    "rates": {"SGD": [1e-4, 3e-4], "Adam": [1e-2, 3e-2]},
    "principal": 1024, "patterns": 100, "program_axes": 128, "program_time": 20.0, "max_time": 55.0,
    "tol": 1e-2,
    "losses": ["logistic", "hinge"], "loss_time": 25.0, "cell_rows": 500, "cnn_rows": 1500, "cnn_time": 10.0,
    "kernel": 8,
}  # fmt: skip
QUICK = FULL | {
    "rows": 120, "test_rows": 200, "betas": [3.0, 1.0], "neurons": 20, "epochs": 40, "batch": 50, "starts": 2,
    "records": 20, "rates": {"SGD": [1e-3, 3e-3, 1e-2], "Adam": [3e-3, 1e-2]}, "principal": 100,
    "patterns": 20, "program_axes": 100, "program_time": 1.0, "max_time": 1.5, "loss_time": 0.5,
    "cnn_rows": 60, "cnn_time": 1.0,
}  # fmt: skip
_HISTORY = ("start", "iteration", "epoch", "seconds", "primal", "test_accuracy")
_ROW = (
    "loss", "method", "data", "beta", "start", "patterns", "rows", "objective", "lower_bound", "kind",
    "gap", "seconds", "learning_rate", "validation", "test_accuracy",
)  # fmt: skip
COLUMNS = {
    "histories": ("loss", "method", "data", "beta", *_HISTORY),
    "rows": _ROW,
    "refits": _ROW,
    "sizes": ("train", "validation", "test", "inputs", "principal", "program_axes"),
}  # fmt: skip
PIXELS, ROTATED = "pixels", "rotated"
METHODS: dict[str, dict[str, Any]] = {"SGD": {"method": "sgd"}, "Adam": {"method": "adam"}}


def folder(data: str | None) -> Path:
    """The folder with the official binary layout: as given, else ``$CONVEXNN_DATA/cifar10``.

    Raises
    ------
    FileNotFoundError
        If neither is given.
    """
    if data:
        return Path(data)
    root = os.environ.get("CONVEXNN_DATA")
    if not root:
        raise FileNotFoundError(
            "The study cifar10 needs the folder of CIFAR-10's binary files: give it with --data, or set "
            "CONVEXNN_DATA to the folder that holds cifar10."
        )
    return Path(root) / "cifar10"


def check(settings: Settings) -> None:
    """Read both splits once, so that a missing or damaged file is told before anything runs."""
    for split in ("train", "test"):
        read_cifar10(folder(settings["data"]), split=split)


class Problem:
    """The standardised images, split, and the same in their principal axes."""

    def __init__(self, settings: Settings) -> None:
        root, seed = folder(settings["data"]), settings["seed"]
        images, labels = _some(*read_cifar10(root), settings["rows"], seed)
        test, self.y_test = _some(*read_cifar10(root, split="test"), settings["test_rows"], seed)
        fit, held = split_rows(len(labels), settings["validation"], seed, stratify=labels)
        scaler = Scaler.fit(images[fit])
        self.y, self.y_held = labels[fit], labels[held]
        self.images = (images[fit], images[held], test)
        self.X, self.X_held, self.X_test = (scaler.transform(part) for part in self.images)
        self.settings = settings
        self._rotation: Array | None = None
        self._rotated: tuple[Array, Array, Array] | None = None

    @property
    def rotation(self) -> Array:
        """The leading eigenvectors of XᵀX, as columns: a network in these coordinates is one on pixels."""
        if self._rotation is None:
            wide = self.X.shape[1] > len(self.X)
            gram = self.X @ self.X.T if wide else self.X.T @ self.X
            kept = min(self.settings["principal"], len(gram))
            vectors = eigh(gram, subset_by_index=[len(gram) - kept, len(gram) - 1])[1][:, ::-1]
            self._rotation = np.linalg.qr(self.X.T @ vectors)[0] if wide else vectors
        return self._rotation

    def of(self, data: str) -> tuple[Array, Array, Array]:
        """(training, validation, test) inputs on pixels or rotated."""
        parts = (self.X, self.X_held, self.X_test)
        if data == PIXELS:
            return parts
        if self._rotated is None:
            self._rotated = (self.X @ self.rotation, self.X_held @ self.rotation, self.X_test @ self.rotation)
        return self._rotated

    def whole(self, data: str) -> tuple[Array, Array]:
        """(inputs, labels) of the training and validation rows together."""
        fit, held, _ = self.of(data)
        return np.concatenate([fit, held]), np.concatenate([self.y, self.y_held])

    def scores(self, network: Network, data: str) -> dict[str, float]:
        """Validation and test accuracy."""
        _, held, test = self.of(data)
        return {
            "validation": accuracy(network.predict(held), self.y_held),
            "test_accuracy": accuracy(network.predict(test), self.y_test),
        }


def accuracy(f: Array, y: Array) -> float:
    """Share of the signs that are right."""
    return float(np.mean((f > 0) == (y > 0)))


def _some(images: Array, labels: Array, count: int, seed: int) -> tuple[Array, Array]:
    """At most `count` rows, drawn by the seed."""
    if count >= len(labels):
        return images, labels
    chosen = np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])
    return images[chosen], labels[chosen]


def parts(settings: Settings) -> dict[str, Part]:
    """One part for each method, for each further loss, for the CNNs; the images are read once."""

    @cache
    def problem() -> Problem:
        return Problem(settings)

    def part(function: Callable[..., Tables], *arguments: Any) -> Part:
        return lambda: function(problem(), *arguments)

    betas = settings["betas"]
    found: dict[str, Part] = {"sizes": part(_sizes)}
    for method in METHODS:
        for data in (PIXELS, ROTATED):
            found[f"{method}, {data}"] = part(_descents, "squared", method, data, betas)
    found["global training"] = part(_global_training, betas)
    for beta in betas:
        found[f"programs at {beta:g}"] = part(_programs, "squared", beta, settings["program_time"])
    for loss in settings["losses"]:
        found[loss] = part(_other_loss, loss)
    found["convolutions"] = part(_convolutions)
    return found


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _sizes(problem: Problem) -> Tables:
    row = {"train": len(problem.y), "validation": len(problem.y_held), "test": len(problem.y_test)}
    axes = {"principal": problem.rotation.shape[1], "program_axes": problem.settings["program_axes"]}
    return {"sizes": [{**row, "inputs": problem.X.shape[1], **axes}]}


def _descents(
    problem: Problem, loss: str, method: str, data: str, betas: list[float], starts: int | None = None
) -> Tables:
    settings, X = problem.settings, problem.of(data)[0]
    seeds = list(range(settings["seed"], settings["seed"] + (starts or settings["starts"])))
    tables: Tables = {"histories": [], "rows": []}
    for beta in betas:
        found = _runs(
            problem, X, problem.y, loss, method, data, beta, seeds=seeds, rates=settings["rates"][method],
            records=settings["records"],
        )  # fmt: skip
        tables["histories"] += _without_validation(found["histories"])
        tables["rows"] += found["rows"]
    if len(betas) > 1:
        tables["refits"] = _refitted_descents(problem, loss, method, data, tables["rows"])
    return tables


def _refitted_descents(problem: Problem, loss: str, method: str, data: str, rows: list[Row]) -> list[Row]:
    """The β and rate of the best validation accuracy, on training and validation rows together."""
    X, y = problem.whole(data)
    beta, best = chosen(rows)
    rate = best[0]["learning_rate"]
    if method == "SGD":  # its steps are as long as the gradient of the sum over rows
        rate *= len(problem.y) / len(y)
    seeds = [row["start"] for row in best]
    found = _runs(problem, X, y, loss, method, data, beta, seeds=seeds, rates=[rate], records=2)
    return _without_validation(found["rows"])


def _runs(
    problem: Problem, X: Array, y: Array, loss: str, method: str, data: str, beta: float, **options: Any
) -> Tables:
    """`many_starts` of a method at one β, with both accuracies."""
    settings, batch = problem.settings, min(problem.settings["batch"], len(X))
    found, _ = many_starts(
        X, y, beta, loss=loss, keys={"loss": loss, "method": method, "data": data, "beta": beta}, tuning=1,
        steps=settings["epochs"] * -(-len(X) // batch), neurons=settings["neurons"], batch_size=batch,
        init_scale=0.05, evaluate=lambda network: problem.scores(network, data), **METHODS[method], **options,
    )  # fmt: skip
    ends = [{"objective": row.pop("primal"), "rows": len(X), **row} for row in found["ends"]]
    return {"histories": found["histories"], "rows": ends}


def _without_validation(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "validation"} for row in rows]


def _global_training(problem: Problem, betas: list[float]) -> Tables:
    """The squared loss at every β, and at the one that validation chooses on all rows."""
    tables: Tables = {"histories": [], "rows": []}
    for beta in betas:
        for name, rows in _global(problem, "squared", beta, problem.settings["max_time"]).items():
            tables[name] += rows
    beta, _ = chosen(tables["rows"])
    X, y = problem.whole(PIXELS)
    network, row, _ = _trained_globally(problem, X, y, "squared", beta, problem.settings["max_time"])
    row["test_accuracy"] = problem.scores(network, PIXELS)["test_accuracy"]
    return {**tables, "refits": [row]}


def _global(problem: Problem, loss: str, beta: float, max_time: float) -> Tables:
    """`train` on the training rows; the hinge, without a form for many columns, on the first `cell_rows`."""
    X, y = problem.X, problem.y
    if loss == "hinge":
        X, y = X[: problem.settings["cell_rows"]], y[: problem.settings["cell_rows"]]
    network, row, rounds = _trained_globally(problem, X, y, loss, beta, max_time)
    keys = {key: row[key] for key in ("loss", "method", "data", "beta", "start")}
    history = [
        {**keys, "iteration": k, "epoch": None, "seconds": r["seconds"], "primal": r["primal"]}
        for k, r in enumerate(rounds)
    ]
    return {"histories": history, "rows": [{**row, **problem.scores(network, PIXELS)}]}


def _trained_globally(
    problem: Problem, X: Array, y: Array, loss: str, beta: float, max_time: float
) -> tuple[Network, Row, list[Row]]:
    """(network, its row, the rounds)."""
    settings = problem.settings
    result, row = trained(
        X, y, beta, loss=loss, tol=settings["tol"], max_time=max_time, seed=settings["seed"],
        certificate="estimated",
    )  # fmt: skip
    row.pop("neurons")
    keys: Row = {"loss": loss, "method": GLOBAL, "data": PIXELS, "beta": beta, "start": 0, "rows": len(y)}
    return result.network, {**keys, **row}, result.history


def _programs(problem: Problem, loss: str, beta: float, max_time: float) -> Tables:
    """Sampled patterns with cones, and without them (gated), where a solver for that takes the loss."""
    tables = _program(problem, loss, beta, max_time)
    if loss != "hinge":
        tables["rows"] += _gated(problem, loss, beta, max_time)
    return tables


def _program(problem: Problem, loss: str, beta: float, max_time: float) -> Tables:
    """Sampled patterns in the leading axes only: in all of them a projection onto a cone is slow."""
    settings = problem.settings
    X = np.ascontiguousarray(problem.of(ROTATED)[0][:, : settings["program_axes"]])
    begin = perf_counter()
    patterns = Patterns.sample(X, settings["patterns"], rng=settings["seed"])
    solution = solve(ConvexProgram(X, problem.y, patterns, beta, loss), tol=1e-3, max_time=max_time)
    row = _program_row(problem, PROGRAM, loss, beta, solution, perf_counter() - begin)
    few = Network.from_solution(solution)
    U = np.zeros((problem.of(ROTATED)[0].shape[1], few.n_neurons))
    U[: len(few.U)] = few.U
    return {"rows": [{**row, **problem.scores(Network(U, few.alpha), ROTATED)}]}


def _gated(problem: Problem, loss: str, beta: float, max_time: float) -> list[Row]:
    """The same number of fixed gates over all axes."""
    settings, (X, held, test) = problem.settings, problem.of(ROTATED)
    begin = perf_counter()
    patterns = Patterns.sample(X, settings["patterns"], rng=settings["seed"])
    program = ConvexProgram(X, problem.y, patterns, beta, loss, gated=True)
    solution = solve(program, "fista", tol=1e-3, max_time=max_time)
    row = _program_row(problem, GATED, loss, beta, solution, perf_counter() - begin)

    def predict(Z: Array) -> Array:
        gates = Z @ patterns.generators >= 0
        return np.asarray(np.sum(gates * (Z @ (solution.v - solution.w)), axis=1))

    scores = {
        "validation": accuracy(predict(held), problem.y_held),
        "test_accuracy": accuracy(predict(test), problem.y_test),
    }
    return [{**row, **scores}]


def _program_row(
    problem: Problem, method: str, loss: str, beta: float, solution: Solution, seconds: float
) -> Row:
    return {
        "loss": loss, "method": method, "data": ROTATED, "beta": beta, "start": 0,
        "patterns": solution.v.shape[1], "rows": len(problem.y), "objective": solution.primal,
        "kind": "patterns", "gap": solution.relative_gap, "seconds": seconds,
    }  # fmt: skip


def _other_loss(problem: Problem, loss: str) -> Tables:
    """One β, one start of each method on rotated data, the program and global training."""
    settings = problem.settings
    beta = settings["betas"][len(settings["betas"]) // 2]
    tables: Tables = {"histories": [], "rows": []}
    for new in (
        *(_descents(problem, loss, method, ROTATED, [beta], starts=1) for method in METHODS),
        _programs(problem, loss, beta, settings["loss_time"]),
        _global(problem, loss, beta, settings["loss_time"]),
    ):
        for name, rows in new.items():
            tables[name] += rows
    return tables


def _convolutions(problem: Problem) -> Tables:
    """A linear CNN on colour patches and a circular one on grey images, on the first `cnn_rows` rows."""
    settings, kernel = problem.settings, problem.settings["kernel"]
    centre = problem.images[0].mean(axis=0)
    shaped = [(part - centre).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in problem.images]
    count = min(settings["cnn_rows"], len(problem.y))
    y, rows = problem.y[:count], []
    for beta in settings["betas"]:
        patches = [extract_patches(part, (kernel, kernel), stride=(kernel, kernel)) for part in shaped]
        begin = perf_counter()
        linear = train_linear(patches[0][:, :count], y, beta, tol=1e-3, max_time=settings["cnn_time"])
        f = [linear.network.predict(part) for part in patches[1:]]
        rows.append(_cnn_row("linear CNN", beta, count, linear, perf_counter() - begin, f, problem))
        grey = [part.mean(axis=3) for part in shaped]
        begin = perf_counter()
        circular = train_circular(grey[0][:count], y, beta, tol=1e-3, max_time=settings["cnn_time"])
        f = [circular.network.predict(part) for part in grey[1:]]
        rows.append(_cnn_row("circular CNN", beta, count, circular, perf_counter() - begin, f, problem))
    return {"rows": rows}


def _cnn_row(
    method: str, beta: float, count: int, result: Any, seconds: float, f: list[Array], problem: Problem
) -> Row:
    certificate = result.certificate
    return {
        "loss": "squared", "method": method, "data": "images", "beta": beta, "start": 0, "rows": count,
        "objective": result.objective, "lower_bound": certificate.lower_bound, "kind": certificate.kind,
        "gap": certificate.relative_gap, "seconds": seconds, "validation": accuracy(f[0], problem.y_held),
        "test_accuracy": accuracy(f[1], problem.y_test),
    }  # fmt: skip
