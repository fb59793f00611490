"""Convolutional cases: seconds to a certified gap, beside CVXPY (Clarabel) and descent from five starts.

Run: OPENBLAS_NUM_THREADS=1 python benchmarks/convolution.py
"""

from time import perf_counter

import cvxpy as cp
import numpy as np
from sklearn.datasets import load_digits

from convexnn.convolution import (
    circular_beta_max,
    descend_pooled,
    extract_patches,
    linear_beta_max,
    pooled_beta_max,
    train_circular,
    train_linear,
    train_pooled,
)


def nuclear_by_clarabel(patches: np.ndarray, y: np.ndarray, beta: float) -> tuple[float, float]:
    """Optimum and seconds of the nuclear program with the squared loss."""
    K, _, h = patches.shape
    begin = perf_counter()
    Z = cp.Variable((h, K))
    flat = patches.transpose(1, 0, 2).reshape(len(y), K * h)
    fit = flat @ cp.vec(Z, order="F")
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(fit - y) + beta * cp.normNuc(Z)))
    problem.solve(solver="CLARABEL")
    return float(problem.value), perf_counter() - begin


def report(name: str, result, seconds: float, other: str = "") -> None:
    c = result.certificate
    print(
        f"{name:<44} {result.objective:12.6f}  gap {c.relative_gap:.1e} ({c.kind})  {seconds:7.2f} s  "
        f"{result.filters.shape[1]:3d} filters  {other}",
        flush=True,
    )


def main() -> None:
    digits = load_digits()
    images, y = digits.images / 16, np.where(digits.target % 2 == 1, 1.0, -1.0)
    patches = extract_patches(images, (3, 3))
    train_linear(patches[:, :20], y[:20], 0.1)  # imports and compilation
    train_pooled(patches[:2, :20], y[:20], 1.0)
    for share in (10, 100, 1000):
        beta = linear_beta_max(patches, y) / share
        begin = perf_counter()
        result = train_linear(patches, y, beta)
        seconds = perf_counter() - begin
        value, other = nuclear_by_clarabel(patches, y, beta)
        report(
            f"linear, digits 1797, 3×3, β_max/{share}",
            result,
            seconds,
            f"Clarabel {value:.6f}, {other:.1f} s",
        )
        beta = circular_beta_max(images, y) / share
        begin = perf_counter()
        result = train_circular(images, y, beta)
        report(f"circular, digits 1797, β_max/{share}", result, perf_counter() - begin)
    rng = np.random.default_rng(0)
    large = extract_patches(rng.standard_normal((500, 32, 32)), (5, 5))
    target = np.einsum("knh,hk->n", large, np.outer(rng.standard_normal(25), rng.standard_normal(784)))
    target += np.std(target) * rng.standard_normal(500)
    beta = linear_beta_max(large, target) / 20
    begin = perf_counter()
    report(
        "linear, random 500×32×32, 5×5, β_max/20", train_linear(large, target, beta), perf_counter() - begin
    )
    chosen = np.flatnonzero((digits.target == 3) | (digits.target == 8))[:200]
    patches, y = extract_patches(images[chosen], (4, 4), stride=2), 2.0 * (digits.target[chosen] == 8) - 1
    for share in (5, 50):
        beta = pooled_beta_max(patches, y) / share
        begin = perf_counter()
        result = train_pooled(patches, y, beta)
        seconds = perf_counter() - begin
        begin = perf_counter()
        ends = [
            descend_pooled(patches, y, beta, seed=seed, steps=2000).objective(patches, y, beta)
            for seed in range(5)
        ]
        other = f"descent {min(ends):.6f} … {max(ends):.6f}, {perf_counter() - begin:.1f} s"
        report(f"pooled, digits 3/8 200, 4×4, β_max/{share}", result, seconds, other)


if __name__ == "__main__":
    main()
