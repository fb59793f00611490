"""Small reference problems that every solver runs, and data sets of known optimum."""

import math
from dataclasses import replace
from functools import cache

import numpy as np

from convexnn.losses import LOSSES
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram

LOSS_NAMES = tuple(LOSSES)
Data = tuple[np.ndarray, np.ndarray]


def with_labels(y: np.ndarray, loss: str) -> np.ndarray:
    """Targets as they are for the squared loss, their signs for the others."""
    return np.where(y > 0, 1.0, -1.0) if LOSSES[loss].is_classification else y


def make_data(kind: str) -> Data:
    """X and real targets of one kind of difficulty."""
    rng = np.random.default_rng(7)
    if kind == "ties":
        X = rng.integers(-1, 2, size=(18, 3)).astype(float)
    elif kind == "opposite":  # every row again, and once more with the other sign
        half = rng.standard_normal((6, 3))
        X = np.concatenate([half, half, -half])
    elif kind == "zero_row":
        X = rng.standard_normal((12, 3))
        X[4] = 0.0
    elif kind == "rank_deficient":
        X = rng.standard_normal((15, 2)) @ rng.standard_normal((2, 4))
    elif kind == "wide":
        X = rng.standard_normal((6, 9))
    elif kind == "tall":
        X = np.c_[rng.standard_normal(150), np.ones(150)]
    else:
        X = rng.standard_normal((20, 4))
    n = len(X)
    y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.3 * rng.standard_normal(n)
    return X, y


def make_program(
    kind: str, loss: str, fraction: float, *, count: int = 8, gated: bool = False
) -> ConvexProgram:
    """β is a fraction of the program's own β_max."""
    X, y = make_data(kind)
    program = ConvexProgram(X, with_labels(y, loss), Patterns.sample(X, count), 1.0, loss, gated)
    return replace(program, beta=fraction * program.beta_max)


#: (id, kind of data, fraction of β_max, directions drawn)
_CASES = (
    ("gaussian", "gaussian", 0.1, 8),
    ("ties", "ties", 0.1, 8),
    ("opposite", "opposite", 0.1, 8),
    ("zero_row", "zero_row", 0.1, 8),
    ("rank_deficient", "rank_deficient", 0.1, 8),
    ("wide", "wide", 0.1, 8),
    ("tall", "tall", 0.1, 8),
    ("one_pattern", "gaussian", 0.1, 1),
    ("near_beta_max", "gaussian", 0.98, 8),
    ("tiny_beta", "gaussian", 1e-3, 8),
)
_GATED = (("gaussian", 0.1), ("ties", 0.1), ("wide", 0.1), ("gaussian", 0.98), ("gaussian", 1e-2))


@cache
def bank() -> tuple[tuple[str, ConvexProgram], ...]:
    """ReLU programs: every case with every loss."""
    return tuple(
        (f"{name}-{loss}", make_program(kind, loss, fraction, count=count))
        for name, kind, fraction, count in _CASES
        for loss in LOSS_NAMES
    )


@cache
def gated_bank() -> tuple[tuple[str, ConvexProgram], ...]:
    """Gated programs with every loss."""
    return tuple(
        (f"gated-{kind}-{fraction}-{loss}", make_program(kind, loss, fraction, gated=True))
        for kind, fraction in _GATED
        for loss in LOSS_NAMES
    )


@cache
def breast_cancer() -> Data:
    """Standardised columns, ones appended, divided by √31; labels ±1 (569×31)."""
    from sklearn.datasets import load_breast_cancer

    X, target = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return np.c_[X, np.ones(len(X))] / math.sqrt(31), np.where(target > 0, 1.0, -1.0)


def breast_cancer_program(count: int, beta: float, loss: str = "squared") -> ConvexProgram:
    """The patterns of `count` Gaussian directions from seed 0."""
    X, y = breast_cancer()
    G = np.random.default_rng(0).standard_normal((X.shape[1], count))
    return ConvexProgram(X, y, Patterns.from_generators(X, G), beta, loss)
