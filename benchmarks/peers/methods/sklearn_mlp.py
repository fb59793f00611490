"""scikit-learn's `MLPRegressor`, with its alpha set so that its penalty is β.

It has biases of its own, which it does not penalise, so it solves another problem: its network is judged on
problem (1), where they count. The hidden bias goes to the weight of the column of ones; the output bias is a
neuron on that column (`convexnn.interop.from_sklearn`). Each neuron is balanced, which keeps the function.
"""

import warnings
from time import perf_counter

import numpy as np
from benchmarks.peers.methods import Run, width
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from convexnn import Network
from convexnn.interop import from_sklearn

ADAM_RATES = (1e-3, 1e-2)
_SEEDS = (0, 1, 2)
_ITERATIONS = {"lbfgs": 10_000, "adam": 1000}


def lbfgs(problem, *, cap: float, quick: bool = False, **_) -> list[Run]:
    """solver="lbfgs", alpha = β, at most 10,000 iterations."""
    return [_one(problem, "lbfgs", 1e-3, seed, cap, quick) for seed in (_SEEDS[:1] if quick else _SEEDS)]


def adam(problem, *, cap: float, quick: bool = False, **_) -> list[Run]:
    """solver="adam", alpha = β·B/n for batches of B = min(200, n), at most 1,000 epochs."""
    rates = ADAM_RATES[1:] if quick else ADAM_RATES
    return [_one(problem, "adam", rate, 0, cap, quick) for rate in rates]


def _model(problem, solver, rate, seed, iterations) -> MLPRegressor:
    n = len(problem.X)
    alpha = problem.beta if solver == "lbfgs" else problem.beta * min(200, n) / n
    return MLPRegressor(
        hidden_layer_sizes=(width(problem),), solver=solver, alpha=alpha, learning_rate_init=rate,
        max_iter=iterations, max_fun=10**9, tol=1e-8, n_iter_no_change=50, random_state=seed,
    )  # fmt: skip


def _one(problem, solver, rate, seed, cap, quick) -> Run:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        begin = perf_counter()
        trial = _model(problem, solver, rate, seed, 20).fit(problem.X, problem.y)
        each = (perf_counter() - begin) / max(1, trial.n_iter_)
        most = 100 if quick else _ITERATIONS[solver]
        iterations = int(max(20, min(most, cap / each)))  # it has no time limit of its own
        begin = perf_counter()
        model = _model(problem, solver, rate, seed, iterations).fit(problem.X, problem.y)
        seconds = perf_counter() - begin
    network = on_ones(from_sklearn(model).network, problem.X)
    status = "iteration_limit" if model.n_iter_ >= iterations else "stalled"
    words = f"rate {rate:g}, " if solver == "adam" else ""
    setting = f"{words}at most {iterations:,} iterations, {width(problem)} neurons"
    return Run(setting, seed, seconds, status, network)


def on_ones(network: Network, X: np.ndarray) -> Network:
    """A network on [X, 1] as one on X, whose last column is constant; balanced."""
    column = X[0, -1]
    if not (X[:, -1] == column).all() or column == 0:
        raise ValueError("The last column of X must be constant and not zero.")
    U = network.U[:-1].copy()
    U[-1] += network.U[-1] / column
    return Network(U, network.alpha).balanced()
