"""Problems for the tests of the landscape: a polytope of optima, random ones, and the five points."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns
from convexnn.landscape import OptimalSet, optimal_network, optimal_set, vertices
from problems import with_labels

BETA = 0.1


def octagon(loss: str = "squared", beta: float = 0.3) -> ConvexProgram:
    """Eight points on the circle with equal targets: the half-wave cosine lacks the harmonics 3, 4 and 5."""
    t = np.arange(8) * np.pi / 4
    X = np.stack([np.cos(t), np.sin(t)], axis=1)
    return ConvexProgram(X, np.ones(8), Patterns.enumerate(X), beta, loss)


def small_program(seed: int, loss: str, *, integers: bool = False) -> ConvexProgram:
    """All patterns of a small random problem, at a tenth of β_max."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(5, 12)), int(rng.integers(2, 4))
    X = rng.integers(-1, 2, size=(n, d)).astype(float) if integers else rng.standard_normal((n, d))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(n)
    program = ConvexProgram(X, with_labels(y, loss), Patterns.enumerate(X), 1.0, loss)
    return replace(program, beta=0.1 * program.beta_max)


def objective(program: ConvexProgram, network: Network) -> float:
    return network.objective(program.X, program.y, program.beta, program.loss)


def assert_all_optimal(program: ConvexProgram, optima: OptimalSet, points: np.ndarray) -> None:
    """Every column is an optimum: same objective to 1e-8, amplitudes non-negative."""
    for a in points.T:
        assert (a >= 0).all()
        assert objective(program, optimal_network(optima, a)) == pytest.approx(optima.objective, rel=1e-8)


@cache
def five_points() -> tuple[ConvexProgram, OptimalSet, Network]:
    """The five points at β = 0.1, their optima, and the one optimal network."""
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    X, y = np.stack([x, np.ones(5)], axis=1), np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    program = ConvexProgram(X, y, Patterns.enumerate(X), BETA)
    optima = optimal_set(program)
    return program, optima, optimal_network(optima, vertices(optima)[:, 0])
