"""Proven gaps at rank 31 by the eigenvalue bound on a cut sphere: gap and seconds.

    python benchmarks/spectral.py [--max-time 15] [--steps 1200] [--sectors 32]

Each row trains a network (`convexnn.train`, tol=1e-4), then moves its dual point and the multipliers of the
bound together (`spectral_dual`) and prints (primal − D(ν))/primal. "scaled" keeps the direction of the
trained dual point and uses the bound of an uncut sphere; "one piece" moves ν on an uncut sphere. Training is
not in the time. Data: breast cancer, standardised columns, a column of ones, divided by √31, labels ±1.
"""

import argparse
from time import perf_counter

import numpy as np
from sklearn.datasets import load_breast_cancer

from convexnn import train
from convexnn.losses import get_loss
from convexnn.pricing.spectral import spectral_bound, spectral_dual

CASES = [("squared", 10.0), ("squared", 3.0), ("squared", 1.0), ("logistic", 3.0)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-time", type=float, help="seconds for a row's last column; by default none")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--sectors", type=int, default=32)
    options = parser.parse_args()
    raw = load_breast_cancer()
    X = np.c_[(raw.data - raw.data.mean(axis=0)) / raw.data.std(axis=0), np.ones(len(raw.data))] / np.sqrt(31)
    y = 2.0 * raw.target - 1.0
    print(f"| loss | β | objective | scaled | one piece | seconds | {options.sectors} sectors | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for loss, beta in CASES:
        result = train(X, y, beta, loss=loss, tol=1e-4)
        primal, start, value = result.certificate.primal, result.certificate.nu, get_loss(loss).dual_value
        rho = max(spectral_bound(X, sign * start, sectors=1) for sign in (1.0, -1.0))
        t = get_loss(loss).best_scale(start, y, beta / rho)
        row = [loss, f"{beta:g}", f"{primal:.5f}", f"{(primal - value(t * start, y)) / primal:.3f}"]
        for sectors in (2, options.sectors):
            begin = perf_counter()
            nu, _rho = spectral_dual(
                X, y, beta, loss, start,
                steps=options.steps, sectors=sectors, max_time=options.max_time,
            )  # fmt: skip
            seconds = perf_counter() - begin
            row += [f"{(primal - value(nu, y)) / primal:.4f}", f"{seconds:.1f}"]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
