"""Adam of `convexnn.descent`: compiled, float32, quicker than PyTorch on small data: the harder baseline.

Every rate of the grid is run with every budget of steps (one-cycle schedule, all rows in a step, or batches
of 500 above 4,000 rows). The pair that reaches the target first, in hindsight, is the tuned Adam; it is run
again from two more seeds. The time of all other pairs is the time of tuning.
"""

import math

from benchmarks.peers import referee
from benchmarks.peers.methods import Run, best_of, width

from convexnn.descent import descend

RATES = (0.01, 0.03, 0.1)
STEPS = (500, 2000, 8000, 30_000)
SEEDS = (1, 2)
_RECORDS = 40
_MANY_ROWS, _BATCH = 4000, 500


def adam(problem, *, cap: float, target: float = 0.0, quick: bool = False, **_) -> list[Run]:
    """The whole grid from seed 0, then the tuned pair from the other seeds."""
    options = {"neurons": width(problem)}
    if len(problem.X) > _MANY_ROWS:
        options["batch_size"] = _BATCH
    descend(problem.X, problem.y, problem.beta, steps=3, **options)  # compiled code and buffers
    steps = STEPS[:2] if quick else STEPS
    pairs = [(rate, count) for count in steps for rate in RATES]
    runs = [_one(problem, rate, count, 0, cap, options, chosen=False) for rate, count in pairs]
    values = [math.inf if run.network is None else _value(problem, run.network) for run in runs]
    best = best_of(runs, values, [referee.time_to(run.curve, target) for run in runs])
    runs[best] = runs[best]._replace(chosen=True)
    if not quick:
        runs += [_one(problem, *pairs[best], seed, cap, options, chosen=True) for seed in SEEDS]
    return runs


def _one(problem, rate, steps, seed, cap, options, *, chosen) -> Run:
    result = descend(
        problem.X, problem.y, problem.beta, steps=steps, learning_rate=rate, schedule="one-cycle", seed=seed,
        record_every=max(1, steps // _RECORDS), max_time=cap, **options,
    )  # fmt: skip
    curve = tuple((row["seconds"], row["primal"]) for row in result.history)
    setting = f"rate {rate:g}, {steps:,} steps, {options['neurons']} neurons"
    seconds, status = result.history[-1]["seconds"], result.status.name.lower()
    return Run(setting, seed, seconds, status, result.network, curve=curve, chosen=chosen)


def _value(problem, network) -> float:
    return referee.objective(problem.X, problem.y, network.U, network.alpha, problem.beta)
