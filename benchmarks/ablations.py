"""What each part of global training buys (breast cancer, β = 0.1, to a verified gap of 1e-3).

``python benchmarks/ablations.py [SECONDS]`` prints one Markdown table. Each line switches one part off, runs
three seeds in this one process, in turn with the full method, and shows medians; a run that is not done after
SECONDS (60) is stopped, and its gap shown. Scaling as in foundations.py.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from time import perf_counter

import numpy as np

from convexnn import train
from convexnn.data import Scaler, load_breast_cancer
from convexnn.solvers import inner
from convexnn.training import cells, loop

BETA, TOL, SEEDS = 0.1, 1e-3, 3


def as_new(X, present, found):
    """Every violator becomes a block of its own."""
    fresh = cells.cells_of_neurons(X, found.maxima.directions, found.signs)
    fresh.blocks.v[:] = 0.0
    return cells.Cells(
        cells._join(present.blocks, fresh.blocks), np.concatenate([present.idle, fresh.idle])
    ), len(fresh.idle)


#: Name of a part → (module, attribute, what stands in its place).
PARTS = {
    "nothing (the full method)": (),
    "mirrored starts": (
        (loop, "_LATE_NOISE", tuple(n for n in loop._LATE_NOISE if n[0] > 0)),
        (loop, "_EARLY_NOISE", tuple(n for n in loop._EARLY_NOISE if n[0] > 0)),
    ),
    "hops around violators": ((loop, "_HOPS", 0),),
    "relabelling of tight rows": ((loop, "relabel", lambda rows, state, nu: None),),
    "merging of cells": ((loop, "merge", lambda state: state),),
    "moving of cells (violators are new blocks)": ((loop, "absorb", as_new),),
    "growth of σ": ((loop, "_grow", None),),
    "n×n Newton products": ((inner, "_prefers_gram", lambda *_: False),),
    "one BLAS thread": ((loop, "single_blas", nullcontext),),
}


def constant_sigma(grow):
    """`_grow` with σ as it was."""

    def growing(task, state, found) -> None:
        sigma = state.sigma
        grow(task, state, found)
        state.sigma = sigma

    return growing


@contextmanager
def without(changes) -> Iterator[None]:
    """The package with these parts replaced."""
    kept = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for (module, name, new), (_, _, old) in zip(changes, kept, strict=True):
            setattr(module, name, constant_sigma(old) if new is None else new)
        yield
    finally:
        for module, name, old in kept:
            setattr(module, name, old)


def main() -> None:
    """Print the table."""
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    raw = load_breast_cancer()
    X, y = Scaler.fit(raw.X).transform(raw.X), raw.y
    train(X, y, 20.0)
    runs = {name: [] for name in PARTS}
    for seed in range(SEEDS):
        for name, changes in PARTS.items():
            with without(changes):
                begin = perf_counter()
                result = train(X, y, BETA, tol=TOL, seed=seed, max_time=limit)
                runs[name].append((perf_counter() - begin, result))
            print(f"{name}, seed {seed}: {runs[name][-1][0]:.1f} s", file=sys.stderr, flush=True)
    print("| without | seconds | largest gap | rounds | starts of the verification | objective |")
    print("|---|---|---|---|---|---|")
    for name, found in runs.items():
        results = [result for _, result in found]
        rounds = [sum(row["bound"] > 0 for row in result.history) for result in results]
        print(
            f"| {name} | {median(s for s, _ in found):.1f} "
            f"| {max(r.certificate.relative_gap for r in results):.1e} "
            f"| {median(rounds):.0f} "
            f"| {median(r.certificate.starts for r in results):,.0f} "
            f"| {median(r.network.objective(X, y, BETA) for r in results):.5f} |"
        )


if __name__ == "__main__":
    main()
