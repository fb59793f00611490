"""Time and memory of exact enumeration: ``python benchmarks/enumeration.py``.

One row for each size, in a process of its own: standard normal data, their patterns (as many as in general
position), processor and wall-clock seconds of `enumerate_packed` with compiled code already on disk, the
processor seconds that `estimate_cost` predicts, the peak memory of the process, and its peak before the call
(the imports).
"""

import multiprocessing
import resource
import sys
import time

import numpy as np

SIZES = [(1000, 3), (300, 3), (100, 4), (60, 5), (30, 6), (20, 10)]
HEADER = "    n   r  patterns   cpu s  wall s predicted  MiB peak  before"


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(n: int, r: int) -> str:
    """One row of the table."""
    from convexnn.enumeration import enumerate_packed, estimate_cost, pattern_bound

    X = np.random.default_rng(0).standard_normal((n, r))
    enumerate_packed(X[:6])
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    patterns = len(enumerate_packed(X))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert patterns == pattern_bound(n, r)[0], "not in general position"
    predicted = estimate_cost(n, r).seconds
    return f"{n:5} {r:3} {patterns:9,} {cpu:7.2f} {wall:7.2f} {predicted:9.2f} {peak():9.0f} {before:7.0f}"


def main() -> None:
    """Print the table."""
    print(HEADER)
    for n, r in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(measure, (n, r)), flush=True)


if __name__ == "__main__":
    main()
