"""A program with types as a user writes it: mypy --strict accepts it. It is not run."""

from typing import assert_type

import numpy as np
import numpy.typing as npt

from convexnn import (
    Certificate,
    ConvexProgram,
    ConvexReLUClassifier,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    Network,
    PathResult,
    Patterns,
    Solution,
    Status,
    TrainResult,
    beta_max,
    certify,
    path,
    solve,
    train,
)
from convexnn.interop import certify_model, from_arrays
from convexnn.losses import Huber

Floats = npt.NDArray[np.float64]


def show(row: dict[str, float]) -> None:
    """A progress callback."""
    print(row["seconds"], row["primal"])


def core(X: Floats, y: Floats) -> Floats:
    beta = beta_max(X, y) / 20
    assert_type(beta, float)
    result = train(X, y, beta, loss=Huber(0.5), tol=1e-3, max_time=10.0, progress=show)
    assert_type(result, TrainResult)
    assert_type(result.network, Network)
    assert_type(result.status, Status)
    certificate = certify(result.network, X, y, beta, certificate="bounded")
    assert_type(certificate, Certificate)
    assert_type(certificate.relative_gap, float)
    along = path(X, y, n_betas=5)
    assert_type(along, PathResult)
    assert_type(along.networks[-1], Network)
    return result.network.predict(X)


def program(X: Floats, y: Floats) -> float:
    patterns = Patterns.sample(X, 20, rng=0)
    solution = solve(ConvexProgram(X, y, patterns, 0.1))
    assert_type(solution, Solution)
    return solution.relative_gap


def estimators(X: Floats, y: Floats) -> float:
    regressor: ConvexReLURegressor = ConvexReLURegressor(beta="auto", tol=1e-2).fit(X, y)
    chosen = ConvexReLURegressorCV(cv=3).fit(X, y)
    labels = ConvexReLUClassifier(beta=0.1).fit(X, y > 0).predict(X)
    print(chosen.beta_, labels)
    return float(regressor.score(X, y))


def others(X: Floats, y: Floats, W: Floats, w: Floats) -> float:
    foreign = from_arrays(W, None, w)
    return certify_model(foreign, X, y, beta=0.1).certificate.relative_gap
