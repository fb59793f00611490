"""Two-layer ReLU networks trained to the global optimum by convex optimisation, with a certificate."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from convexnn._compiling import announce_compilation
from convexnn.certificate import Certificate, certify
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.pricing import beta_max
from convexnn.program import ConvexProgram
from convexnn.regularisation_path import PathResult, path
from convexnn.solvers import Solution, solve
from convexnn.status import Status
from convexnn.training import TrainResult, train

if TYPE_CHECKING:
    from convexnn.estimators import (
        ConvexReLUClassifier,
        ConvexReLUClassifierCV,
        ConvexReLURegressor,
        ConvexReLURegressorCV,
        GatedReLUClassifier,
        GatedReLURegressor,
        ReLUFeatures,
    )

__version__ = "0.1.0"

logging.getLogger("convexnn").addHandler(logging.NullHandler())
announce_compilation()

__all__ = [
    "Certificate",
    "ConvexProgram",
    "ConvexReLUClassifier",
    "ConvexReLUClassifierCV",
    "ConvexReLURegressor",
    "ConvexReLURegressorCV",
    "GatedReLUClassifier",
    "GatedReLURegressor",
    "Network",
    "PathResult",
    "Patterns",
    "ReLUFeatures",
    "Solution",
    "Status",
    "TrainResult",
    "beta_max",
    "certify",
    "path",
    "solve",
    "train",
]

_ESTIMATORS = (
    "ConvexReLUClassifier",
    "ConvexReLUClassifierCV",
    "ConvexReLURegressor",
    "ConvexReLURegressorCV",
    "GatedReLUClassifier",
    "GatedReLURegressor",
    "ReLUFeatures",
)


def __getattr__(name: str) -> Any:
    """Load the estimators, and with them scikit-learn, on first use."""
    if name in _ESTIMATORS:
        return getattr(import_module("convexnn.estimators"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
