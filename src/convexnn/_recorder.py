"""The record of a descent: a clock that stands still during evaluations, the history, the best network."""

import math
from collections.abc import Callable
from time import perf_counter

import numpy as np

from convexnn._relu_gradient import Real
from convexnn._types import Array, Progress, Record
from convexnn.losses import LossLike
from convexnn.network import Network

Evaluate = Callable[[Network], dict[str, float]]


class Recorder:
    """Clock, history and best network of a run; the clock stands still while it evaluates."""

    def __init__(
        self,
        problem: tuple[Array, Array, float, LossLike],
        shape: tuple[int, int],
        epoch_steps: int,
        evaluate: Evaluate | None,
        progress: Progress | None,
        negative_slope: float = 0.0,
    ) -> None:
        self.negative_slope = negative_slope
        self.problem, self.shape, self.epoch_steps = problem, shape, epoch_steps
        self.evaluate, self.progress = evaluate, progress
        self.history: list[Record] = []
        self.best: Network | None = None
        self._best_primal = math.inf
        self.iteration = 0
        self._paused = 0.0
        self._begin = perf_counter()

    def seconds(self) -> float:
        return perf_counter() - self._begin - self._paused

    def record(self, theta: Real, quiet: bool = False) -> None:
        """Evaluate θ, at most once an iteration; `quiet` calls neither `evaluate` nor `progress`."""
        if self.history and self.history[-1]["iteration"] == self.iteration:
            return
        seconds, stopped = self.seconds(), perf_counter()
        try:
            self._evaluate(theta, seconds, quiet)
        finally:
            self._paused += perf_counter() - stopped

    def _evaluate(self, theta: Real, seconds: float, quiet: bool) -> None:
        record: Record = {"seconds": seconds, "iteration": self.iteration}
        record["epoch"] = self.iteration / self.epoch_steps
        record["primal"] = math.inf
        self.history.append(record)
        if not np.isfinite(theta).all():
            return
        d, m = self.shape
        X, y, beta, loss = self.problem
        weights, own = theta[: d * m + m], theta[d * m + m :]
        network = Network(
            weights[: d * m].reshape(d, m), weights[d * m :], intercept=float(own[0]) if own.size else 0.0,
            negative_slope=self.negative_slope,
        )  # fmt: skip
        primal = network.objective(X, y, beta, loss)
        record["primal"] = primal if math.isfinite(primal) else math.inf
        if self.best is None or record["primal"] < self._best_primal:
            self.best, self._best_primal = network, record["primal"]
        if self.evaluate is not None and not quiet:
            record.update(self.evaluate(network))
        if self.progress is not None and not quiet:
            self.progress(dict(record))
