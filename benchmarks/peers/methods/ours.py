"""Global training by `convexnn.train`; its verification is part of the time."""

from time import perf_counter

import numpy as np
from benchmarks.peers.methods import Run

from convexnn import train

#: Runs quicker than this are made three times.
_QUICK = 10.0


def global_training(problem, *, cap: float, tol: float, repeats: int = 1, **_) -> list[Run]:
    """`train` at one tolerance from seeds 0 … repeats − 1 (one seed if the first takes 10 s or more)."""
    warm = np.random.default_rng(0).standard_normal((200, problem.X.shape[1]))
    train(warm, warm[:, 0] + np.sin(9 * warm[:, 1]), 0.5, tol=tol, max_time=3.0)
    if len(problem.X) > 4000 or problem.X.shape[1] > 300:  # forms of their own, compiled apart
        rows = slice(0, 5000)
        train(problem.X[rows], problem.y[rows], problem.beta_max / 4, tol=0.5, max_time=5.0)
    runs: list[Run] = []
    for seed in range(repeats):
        begin = perf_counter()
        result = train(problem.X, problem.y, problem.beta, tol=tol, max_time=cap, seed=seed)
        seconds = perf_counter() - begin
        curve = tuple((row["seconds"], row["primal"]) for row in result.history)
        runs.append(
            Run(
                f"tol {tol:g}", seed, seconds, result.status.name.lower(), result.network,
                nu=result.certificate.nu, curve=curve,
            )
        )  # fmt: skip
        if seconds >= _QUICK:
            break
    return runs
