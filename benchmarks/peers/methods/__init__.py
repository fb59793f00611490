"""One file a family of methods; each gives a list of `Run`, which the referee judges afterwards."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from convexnn import Network


class Run(NamedTuple):
    """One timed run of one method, with all that the referee needs.

    The curve holds pairs (seconds, what was reached): weights (U, α), which the referee evaluates later, or
    the objective in float64 where the library computes that itself. The clock stood still for both.
    """

    setting: str
    seed: int
    seconds: float
    status: str
    network: Network | None = None
    blocks: tuple[np.ndarray, np.ndarray] | None = None
    nu: np.ndarray | None = None
    curve: tuple[tuple[float, Any], ...] = ()
    peak_mib: float | None = None  # of the process that did the work, where that is another one
    chosen: bool = True  # False: a run of the tuning


#: method → (module, function, package that it needs).
METHODS = {
    "convexnn": ("ours", "global_training", ""),
    "own Adam": ("own_descent", "adam", ""),
    "torch Adam": ("torch_descent", "adam", "torch"),
    "torch SGD": ("torch_descent", "sgd", "torch"),
    "torch L-BFGS": ("torch_descent", "lbfgs", "torch"),
    "MLPRegressor lbfgs": ("sklearn_mlp", "lbfgs", ""),
    "MLPRegressor adam": ("sklearn_mlp", "adam", ""),
    "ssnal": ("programs", "ssnal", ""),
    "FISTA": ("programs", "fista", ""),
    "Clarabel": ("programs", "clarabel", "clarabel"),
    "SCS": ("programs", "scs", "scs"),
    "pyscnn": ("foreign", "pyscnn", ""),
    "adelie": ("foreign", "adelie", ""),
}


class Missing(Exception):
    """A peer that is not installed, or cannot be run, in one sentence."""


def function_of(method: str) -> Callable[..., list[Run]]:
    """The function that runs a method; `Missing` if its package is not installed."""
    module, name, package = METHODS[method]
    if package:
        try:
            import_module(package)
        except ImportError as error:
            raise Missing(f"{method} is left out: pip install {package}.") from error
    return getattr(import_module(f"benchmarks.peers.methods.{module}"), name)


def width(problem: Any) -> int:
    """Neurons of the descent methods: 100 at β ≥ β_max/150, else 200; the same rule for all of them."""
    return 100 if problem.beta >= problem.beta_max / 150 else 200


def best_of(runs: list[Run], values: list[float], times: list[float]) -> int:
    """The run that reached the target first; the lowest objective if none did."""
    return min(range(len(runs)), key=lambda i: (times[i], values[i]))
