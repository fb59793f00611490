r"""A path of non-increasing objective from any wide network to a global optimum.

With u_k = √a_k û_k and α_k = s_k √a_k the objective is L(Σ a_k c_k, y) + β Σ a_k: convex in the masses a.
Align (make ‖u‖ = |α|), reduce (dependent columns c_k pay for each other until at most n neurons remain), then
interpolate in the masses, the optimum's neurons growing in the places that became free.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from convexnn._types import Array
from convexnn.activation import require_relu
from convexnn.intercepts import refuse_intercept
from convexnn.landscape.neurons import Parts, columns_of, put_together, reduction, take_apart
from convexnn.losses import check_problem
from convexnn.network import Network

Stage = Literal["align", "reduce", "interpolate"]


@dataclass(frozen=True)
class ObjectivePath:
    """Networks along a path, and what each costs.

    Attributes
    ----------
    networks : tuple of Network
        All of the same width; neighbours differ little.
    objective : (k,)
        P(θ) of each, recomputed from its weights.
    stages : tuple of str
        ``align``, ``reduce`` or ``interpolate`` for each.
    """

    networks: tuple[Network, ...]
    objective: Array
    stages: tuple[Stage, ...]


def path_to_optimum(
    network: Network, optimum: Network, X: Array, y: Array, beta: float, loss: str = "squared",
    steps: int = 50,
) -> ObjectivePath:  # fmt: skip
    """θ(t), 0 ≤ t ≤ 1, with P(θ(t)) non-increasing, from any network of width ≥ n + m* to a global optimum.

    In the first stage f is fixed and the penalty falls; in the second f(X) is fixed and the penalty falls or
    stays; in the third P is convex along a straight line in the masses and least at its end. If `optimum` is
    only nearly one, that line is left where P is least on the grid: the last network is then no worse than
    `optimum`, and the path still never rises.

    Parameters
    ----------
    network : Network
        The start, with one output. Its width is the number of columns of U, zero neurons counted.
    optimum : Network
        With m* non-zero neurons, of a lower or equal objective.
    X : (n, d);  y : (n,);  beta : float;  loss : str
    steps : int
        Intervals of each stage, at least; every corner of the second stage is a point too.

    Returns
    -------
    ObjectivePath
        The last network is `optimum` up to permutation, rescaling and zero neurons.

    Raises
    ------
    ValueError
        If the start has fewer than n + m* neurons (the message says how many it needs), if its objective is
        below that of `optimum`, or the data are not valid.

    Source: Wang, Lacotte & Pilanci (2022), on paths of non-increasing objective in wide networks.
    """
    X, y, beta = check_problem(X, y, beta, loss)
    target = _checked(network, optimum, X, y, beta, loss, steps)
    aligned = _align(network, steps)
    parts = _slots(aligned[-1])
    corners = reduction(columns_of(parts, X), parts.masses, tol=1e-13)
    reduced = [put_together(parts, a) for a in _refined(corners, steps)]
    moved = _interpolate(parts, corners[-1], target, steps)
    last = [net.objective(X, y, beta, loss) for net in moved]
    moved = moved[: int(np.argmin(last)) + 1]
    networks = (*aligned, *reduced[1:], *moved[1:])
    objective = np.array([net.objective(X, y, beta, loss) for net in networks])
    return ObjectivePath(networks, objective, _stages(len(aligned), len(reduced) - 1, len(moved) - 1))


def _stages(*counts: int) -> tuple[Stage, ...]:
    names: tuple[Stage, ...] = ("align", "reduce", "interpolate")
    return tuple(name for name, count in zip(names, counts, strict=True) for _ in range(count))


def _checked(
    network: Network, optimum: Network, X: Array, y: Array, beta: float, loss: str, steps: int
) -> Parts:
    """The parts of the optimum, after everything that may be wrong has been refused."""
    require_relu(network, "A path to an optimum")
    require_relu(optimum, "A path to an optimum")
    for one in (network, optimum):
        refuse_intercept(one, "the path is one of problem (1), where a constant is penalised")
    target = take_apart(optimum)
    take_apart(network)  # refuses several outputs
    width, needed = network.U.shape[1], len(X) + len(target.masses)
    if width < needed:
        raise ValueError(
            f"A path needs a width of at least n + m* = {len(X)} + {len(target.masses)} = {needed} neurons; "
            f"the network has {width}: widen it with zero neurons, which change nothing."
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1; it is {steps}.")
    start, end = network.objective(X, y, beta, loss), optimum.objective(X, y, beta, loss)
    if end > start * (1.0 + 1e-12):
        raise ValueError(f"The objective {end:.10g} of optimum is above that of the network, {start:.10g}.")
    return target


def _align(network: Network, steps: int) -> list[Network]:
    """u ← c^t u, α ← c^{−t} α with c = √(|α|/‖u‖); a neuron with one zero weight shrinks to nothing."""
    length, weight = np.linalg.norm(network.U, axis=0), np.abs(network.alpha)
    alive = length * weight > 0
    factor = np.where(alive, np.sqrt(np.where(alive, weight, 1.0) / np.where(alive, length, 1.0)), 1.0)
    path = []
    for t in np.linspace(0.0, 1.0, steps + 1):
        shrink = np.where(alive, 1.0, 1.0 - t)
        path.append(Network(network.U * (factor**t * shrink), network.alpha * (factor**-t * shrink)))
    return path


def _slots(network: Network) -> Parts:
    """Parts that keep a place, of mass 0, for each zero neuron."""
    length = np.linalg.norm(network.U, axis=0)
    directions = network.U / np.where(length > 0, length, 1.0)
    signs = np.where(network.alpha < 0, -1.0, 1.0)
    return Parts(directions, signs, length * np.abs(network.alpha))


def _refined(corners: list[Array], steps: int) -> list[Array]:
    """The corners with at least `steps` intervals in all."""
    if len(corners) == 1:
        return corners
    inner = -(-steps // (len(corners) - 1))
    points = [corners[0]]
    for a, b in pairwise(corners):
        points += [(1.0 - t) * a + t * b for t in np.linspace(0.0, 1.0, inner + 1)[1:]]
    return points


def _interpolate(parts: Parts, masses: Array, target: Parts, steps: int) -> list[Network]:
    """(1 − t) of the old masses, and t of the optimum's masses on free places."""
    free = np.flatnonzero(masses == 0)[: len(target.masses)]
    directions, signs, goal = parts.directions.copy(), parts.signs.copy(), np.zeros_like(masses)
    directions[:, free], signs[free], goal[free] = target.directions, target.signs, target.masses
    mixed = Parts(directions, signs, masses)
    return [put_together(mixed, (1.0 - t) * masses + t * goal) for t in np.linspace(0.0, 1.0, steps + 1)]
