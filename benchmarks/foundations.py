"""Global training beside Adam, and our solver beside Clarabel, on breast cancer.

``python benchmarks/foundations.py training`` (or ``solvers``) prints one Markdown table. Scaling:
standardised columns, a column of ones, X/√31; labels ±1, squared loss. Each contestant runs in this
one process, in turn, three times after a warm-up; medians are shown. Objectives are recomputed from the
returned weights.
"""

import sys
from statistics import median
from time import perf_counter

import numpy as np

from convexnn import ConvexProgram, Patterns, solve, train
from convexnn.data import Scaler, load_breast_cancer
from convexnn.descent import descend

REPEATS = 3


def data() -> tuple[np.ndarray, np.ndarray]:
    """Breast cancer in the scaling above."""
    raw = load_breast_cancer()
    return Scaler.fit(raw.X).transform(raw.X), raw.y


def timed(function, *args, **options):
    """The result of a call and its seconds."""
    begin = perf_counter()
    result = function(*args, **options)
    return result, perf_counter() - begin


def training() -> None:
    """`train` at several β and tolerances beside Adam (100 neurons, one-cycle, 8,000 steps)."""
    X, y = data()
    train(X, y, 20.0)
    descend(X, y, 20.0, steps=10)
    print("| β | tol | objective | estimated gap | starts | neurons | seconds | Adam's objective | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for beta, tol in ((10.0, 1e-3), (3.0, 1e-3), (3.0, 1e-5), (1.0, 1e-4), (0.1, 1e-3), (0.1, 1e-4)):
        ours, adams = [], []
        for repeat in range(REPEATS):
            ours.append(timed(train, X, y, beta, tol=tol, seed=repeat))
            options = {"steps": 8000, "learning_rate": 0.05, "schedule": "one-cycle", "seed": repeat}
            adams.append(timed(descend, X, y, beta, neurons=100, **options))
        middle = sorted(ours, key=lambda pair: pair[1])[REPEATS // 2][0]
        objectives = sorted(result.network.objective(X, y, beta) for result, _ in adams)
        print(
            f"| {beta:g} | {tol:g} | {middle.network.objective(X, y, beta):.5f} "
            f"| {middle.certificate.relative_gap:.1e} | {middle.certificate.starts:,} "
            f"| {middle.network.n_neurons} | {median(s for _, s in ours):.2f} "
            f"| {objectives[REPEATS // 2]:.4f} | {median(s for _, s in adams):.2f} |",
            flush=True,
        )


def solvers() -> None:
    """The sampled program with 20 … 5,000 patterns by `ssnal`; Clarabel at 20 and 100."""
    X, y = data()
    solve(ConvexProgram(X, y, Patterns.sample(X, 10, rng=0), 0.1))
    print("| β | patterns | ssnal objective | gap | seconds | Clarabel objective | seconds | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for beta, count in ((0.1, 20), (0.1, 100), (0.1, 1000), (0.1, 5000), (3.0, 100)):
        program = ConvexProgram(X, y, Patterns.sample(X, count, rng=0), beta)
        runs = [timed(solve, program, tol=1e-4) for _ in range(REPEATS)]
        seconds, solution = median(s for _, s in runs), runs[0][0]
        row = (
            f"| {beta:g} | {count:,} | {solution.primal:.5f} | {solution.relative_gap:.1e} | {seconds:.2f} |"
        )
        if count > 100:
            print(row + " | | |", flush=True)
            continue
        reference, reference_seconds = timed(solve, program, "cvxpy")
        print(
            f"{row} {reference.primal:.5f} | {reference_seconds:.1f} | {reference_seconds / seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    {"training": training, "solvers": solvers}[sys.argv[1]]()
