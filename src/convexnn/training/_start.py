"""Where the form over cells starts: a short run of Adam, longer and wider the smaller β/β_max is."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._types import Array
from convexnn.activation import gains
from convexnn.descent import descend
from convexnn.intercepts import best_intercept
from convexnn.losses import get_separable
from convexnn.network import Network
from convexnn.pricing.local import rho_estimate
from convexnn.status import Status
from convexnn.training.loop import Task

#: (least β/β_max, neurons, steps, learning rate, steps between rows of the history), β_max taken from below.
_STARTS = ((1 / 15, 50, 100, 0.1, 20), (1 / 200, 50, 600, 0.1, 20), (0.0, 200, 1500, 0.05, 150))
_POWER_STEPS = 5


def estimate(task: Task, nu: Array, **options: Any) -> float:
    """`rho_estimate` for the task's activation."""
    return rho_estimate(task.X, nu, negative_slope=task.negative_slope, **options)


def constant_network(task: Task) -> Network:
    """The network without neurons, with the best b₀ if that is free."""
    network = Network.zero(task.X.shape[1], negative_slope=task.negative_slope)
    if not task.intercept:
        return network
    return replace(network, intercept=best_intercept(task.loss, np.zeros_like(task.y), task.y))


def _roughly_largest(task: Task, nu: Array) -> float:
    """max ρ(±ν) from below, by power steps u ← A(u)ᵀν: enough to tell how long a run β needs."""
    largest = 0.0
    for q in (nu, -nu):
        u = task.X.T @ np.maximum(q, 0.0)
        for _ in range(_POWER_STEPS):
            z = task.X @ u
            on = gains(z > 0, task.negative_slope)
            largest = max(largest, float(q @ (on * z)) / (float(np.linalg.norm(u)) or 1.0))
            u = task.X.T @ (on * q)
    return largest


def descended(
    task: Task, nu: Array, seed: int, note: Callable[[float, float, int], None]
) -> tuple[Network, bool]:
    """The best network of a run of Adam, and whether Ctrl-C ended it; ν = −∇L(0).

    Adam works in units where rows of X and the targets have size one. `note` receives the objective, the
    bound 0 and the width some times in the run.
    """
    top = _roughly_largest(task, nu)
    neurons, steps, rate, every = next(row[1:] for row in _STARTS if task.beta >= row[0] * top)
    row = float(np.sqrt(np.mean(np.sum(task.X**2, axis=1)))) or 1.0
    size = float(np.sqrt(np.mean(task.y**2)))
    found = get_separable(task.loss).rescaled(size) if size > 0 else None
    loss, factor = (task.loss, 1.0) if found is None else found
    size = 1.0 if found is None else size
    lowest = np.inf

    def progress(record: dict[str, Any]) -> None:
        nonlocal lowest
        lowest = min(lowest, factor * record["primal"])
        if record["iteration"]:
            note(lowest, 0.0, neurons)

    descent = descend(
        task.X / row, task.y / size, task.beta * size / (row * factor), loss=loss, neurons=neurons,
        steps=steps, learning_rate=rate, schedule="linear", seed=seed, record_every=every,
        max_time=max(1e-3, task.deadline - perf_counter()) if np.isfinite(task.deadline) else None,
        intercept=task.intercept, negative_slope=task.negative_slope, progress=progress,
    )  # fmt: skip
    scaled, root = descent.network, np.sqrt(size / row)
    network = replace(scaled, U=scaled.U * root, alpha=scaled.alpha * root, intercept=scaled.intercept * size)
    return network, descent.status is Status.INTERRUPTED
