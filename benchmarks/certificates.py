"""Rigorous certificates by branch and bound: gap, boxes and seconds for ranks 3 to 8.

    python benchmarks/certificates.py [--rtol 1e-4] [--full]

Each row trains a network (`convexnn.train`, tol=1e-4), bounds max ρ(±ν) of its dual point from above with
`rho_bounds` (both signs, in threads) and prints the relative gap that this bound proves. Training is not in
the time; compilation is done before. Data: the first columns of scikit-learn's diabetes table, standardised,
with a column of ones; and a planted network of five neurons with noise on Gaussian data with ones.
"""

import argparse
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes

from convexnn import train
from convexnn._types import Array
from convexnn.certificate import make_certificate
from convexnn.pricing import beta_max
from convexnn.pricing.branch_and_bound import rho_bounds


class Case(NamedTuple):
    """One row of the table; β is a share of β_max."""

    data: str
    n: int
    rank: int
    share: float
    seconds: float  # wanted


CASES = [
    Case("planted", 1000, 3, 0.02, 5),
    Case("diabetes", 442, 4, 0.1, 5),
    Case("planted", 1000, 4, 0.1, 5),
    Case("planted", 1000, 4, 0.02, 5),
    Case("diabetes", 442, 5, 0.1, 60),
    Case("planted", 450, 5, 0.02, 60),
    Case("diabetes", 442, 6, 0.1, 60),
    Case("planted", 450, 6, 0.02, 60),
    Case("diabetes", 300, 7, 0.1, 120),
    Case("planted", 300, 7, 0.1, 120),
]
FULL = [
    Case("diabetes", 300, 7, 0.02, 120),
    Case("diabetes", 442, 8, 0.1, 120),
    Case("planted", 300, 8, 0.1, 120),
    Case("diabetes", 442, 9, 0.2, 120),
]


def load(case: Case) -> tuple[Array, Array]:
    """X with a column of ones and a standardised y."""
    if case.data == "diabetes":
        table = load_diabetes()
        X, y = table.data[: case.n, : case.rank - 1], table.target[: case.n]
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    else:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((case.n, case.rank - 1))
        planted = rng.standard_normal((case.rank, 5))
        hidden = np.maximum(np.c_[X, np.ones(case.n)] @ planted, 0.0)
        y = hidden @ rng.choice([-1.0, 1.0], size=5) + 0.5 * rng.standard_normal(case.n)
    return np.ascontiguousarray(np.c_[X, np.ones(case.n)]), (y - y.mean()) / y.std()


def measure(case: Case, rtol: float) -> str:
    """Train, bound, and describe in one line of the table."""
    X, y = load(case)
    beta = case.share * beta_max(X, y)
    result = train(X, y, beta, tol=1e-4)
    nu = result.certificate.nu
    processor, begin = process_time(), perf_counter()
    bound = rho_bounds(X, nu, threshold=beta, rtol=rtol, max_time=case.seconds)
    processor = process_time() - processor
    proof = make_certificate(
        result.certificate.primal, nu, bound.upper, y, beta, "squared", "bounded", 0, begin
    )
    return (
        f"| {case.data} | {case.n} | {case.rank} | {case.share:g} | {result.network.n_neurons} "
        f"| {bound.upper / beta - 1:.1e} | {proof.relative_gap:.1e} | {bound.nodes:,} | {bound.seconds:.2f} "
        f"| {processor:.2f} | {case.seconds:g} | {'yes' if bound.finished else 'no'} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rtol", type=float, default=1e-3, help="tolerance of the bound on ρ")
    parser.add_argument("--full", action="store_true", help="add small β and ranks 8 and 9")
    arguments = parser.parse_args()
    warm = np.random.default_rng(0).standard_normal((20, 3))
    rho_bounds(warm, warm[:, 0] * warm[:, 1])
    print(f"rtol = {arguments.rtol:g}; both signs; seconds of the bound alone.\n")
    print("| data | n | rank | β/β_max | neurons | ρ̄/β − 1 | gap | boxes | seconds | CPU | limit | done |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES + (FULL if arguments.full else []):
        print(measure(case, arguments.rtol), flush=True)


if __name__ == "__main__":
    main()
