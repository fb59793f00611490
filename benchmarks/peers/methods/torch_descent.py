"""PyTorch on problem (1) as it is written: Adam, SGD with momentum 0.9, and L-BFGS.

Adam and SGD take float32 and the one-cycle schedule of `convexnn.descent`, all rows in a step (batches of 500
above 4,000 rows); L-BFGS takes float64 and strong Wolfe line searches. Weights start at 0.1·N(0, 1). Threads:
40 steps are timed with one thread and with two, and the quicker is kept (its time is not counted). Every rate
of the grid is run with every budget of steps; the pair that reaches the target first is the tuned one, and is
run again from two more seeds. L-BFGS has no rate; it runs from three seeds.
"""

import math
from time import perf_counter

import numpy as np
import torch
from benchmarks.peers import referee
from benchmarks.peers.methods import Run, best_of, width

from convexnn import Network
from convexnn.descent import schedule_factor

ADAM_RATES = (0.01, 0.03, 0.1)
SGD_RATES = (0.03, 0.1, 0.3, 1.0)  # over n: the loss is a sum
STEPS = (2000, 8000)
LBFGS_ITERATIONS = 3000
_RECORDS, _TRIAL, _SEEDS = 40, 40, (1, 2)
_MANY_ROWS, _BATCH = 4000, 500


def adam(problem, *, cap: float, target: float = 0.0, quick: bool = False, **_) -> list[Run]:
    """torch.optim.Adam over the grid."""
    return _tuned(problem, "Adam", ADAM_RATES, cap, target, quick)


def sgd(problem, *, cap: float, target: float = 0.0, quick: bool = False, **_) -> list[Run]:
    """torch.optim.SGD with momentum over the grid."""
    rates = tuple(rate / len(problem.X) for rate in SGD_RATES)
    return _tuned(problem, "SGD", rates, cap, target, quick)


def lbfgs(problem, *, cap: float, quick: bool = False, **_) -> list[Run]:
    """torch.optim.LBFGS, memory 20, until it stalls or the budget ends."""
    _set_threads(problem, "LBFGS", 1.0)
    count = 200 if quick else LBFGS_ITERATIONS
    return [_one(problem, "LBFGS", 1.0, count, seed, cap) for seed in ((0,) if quick else (0, *_SEEDS))]


def _tuned(problem, name, rates, cap, target, quick) -> list[Run]:
    _set_threads(problem, name, rates[0])
    pairs = [(rate, count) for count in ((500,) if quick else STEPS) for rate in rates]
    runs = [_one(problem, name, rate, count, 0, cap)._replace(chosen=False) for rate, count in pairs]
    curves = [_evaluated(problem, run) for run in runs]
    times = [referee.time_to(curve, target) for curve in curves]
    best = best_of(runs, [min((v for _, v in curve), default=math.inf) for curve in curves], times)
    runs[best] = runs[best]._replace(chosen=True)
    if not quick:
        runs += [_one(problem, name, *pairs[best], seed, cap) for seed in _SEEDS]
    return runs


def _evaluated(problem, run) -> list[tuple[float, float]]:
    X, y, beta = problem.X, problem.y, problem.beta
    return [(seconds, referee.objective(X, y, *weights, beta)) for seconds, weights in run.curve]


def _set_threads(problem, name, rate) -> None:
    """Keep the quicker of one and two threads."""
    seconds = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        _one(problem, name, rate, 5, 0, 10.0)
        seconds[threads] = _one(problem, name, rate, _TRIAL, 0, 10.0).seconds
    torch.set_num_threads(min(seconds, key=seconds.get))


def _optimiser(name, parameters, rate):
    if name == "Adam":
        return torch.optim.Adam(parameters, lr=rate)
    if name == "SGD":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9)
    return torch.optim.LBFGS(
        parameters, lr=rate, max_iter=1, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=0.0, tolerance_change=0.0,
    )  # fmt: skip


def _one(problem, name, rate, steps, seed, cap) -> Run:
    real = torch.float64 if name == "LBFGS" else torch.float32
    X, y = torch.as_tensor(problem.X, dtype=real), torch.as_tensor(problem.y, dtype=real)
    neurons = width(problem)
    start = 0.1 * np.random.default_rng(seed).standard_normal((X.shape[1] + 1, neurons))
    U = torch.tensor(start[:-1], dtype=real, requires_grad=True)
    alpha = torch.tensor(start[-1], dtype=real, requires_grad=True)
    optimiser = _optimiser(name, [U, alpha], rate)
    batches = _batches(X, y, name, seed)
    snapshots, paused, last, status = [], 0.0, math.inf, "iteration_limit"
    begin = perf_counter()
    for step in range(steps):
        if name != "LBFGS":
            optimiser.param_groups[0]["lr"] = rate * schedule_factor("one-cycle", step, steps)
        value = optimiser.step(_closure(optimiser, U, alpha, problem.beta, len(X), *next(batches)))
        seconds = perf_counter() - begin - paused
        if name == "LBFGS":
            status, last = ("stalled" if float(value) == last else status), float(value)
        status = "time_limit" if seconds > cap else status
        ended = step == steps - 1 or status != "iteration_limit"
        if ended or (step + 1) % max(1, steps // _RECORDS) == 0:
            stopped = perf_counter()
            snapshots.append((seconds, _weights(U, alpha)))
            paused += perf_counter() - stopped
        if ended:
            break
    finite = all(np.isfinite(part).all() for part in snapshots[-1][1])
    words = f"rate {rate:.3g}, " if name != "LBFGS" else ""
    return Run(
        f"{words}{steps:,} steps, {neurons} neurons, {torch.get_num_threads()} threads", seed,
        snapshots[-1][0], status if finite else "failed", Network(*snapshots[-1][1]) if finite else None,
        curve=tuple(snapshots),
    )  # fmt: skip


def _batches(X, y, name, seed):
    """All rows at each step, or batches drawn at random above 4,000 rows."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        if len(X) <= _MANY_ROWS or name == "LBFGS":
            yield X, y
        else:
            rows = torch.randint(len(X), (_BATCH,), generator=generator)
            yield X[rows], y[rows]


def _closure(optimiser, U, alpha, beta, n, X, y):
    """P(U, α) on a batch, its loss times n/(rows of the batch), and the gradient."""

    def closure():
        optimiser.zero_grad()
        loss = 0.5 * (n / len(y)) * (torch.relu(X @ U) @ alpha - y).square().sum()
        value = loss + 0.5 * beta * (U.square().sum() + alpha.square().sum())
        value.backward()
        return value.detach()

    return closure


def _weights(U, alpha) -> tuple[np.ndarray, np.ndarray]:
    return np.array(U.detach(), dtype=np.float64), np.array(alpha.detach(), dtype=np.float64)
