"""What every solver returns."""

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._types import Array, Progress
from convexnn.cones import project_blocks
from convexnn.program import ConvexProgram
from convexnn.status import Status


@dataclass(frozen=True)
class Solution:
    """A point of program (2) with its value and bound over the program's pattern set.

    Attributes
    ----------
    v, w : (d, P)
        Blocks of positive and negative neurons.
    status : Status
        Why the solver stopped.
    primal : float
        Objective at (v, w).
    dual : float
        Best lower bound over this pattern set (−inf if none was computed): not a bound on p*.
    relative_gap : float
        (primal − dual)/primal.
    violation : float
        Largest −(2d_i − 1) x_iᵀv/‖x_i‖ over rows and blocks, 0 for gated programs.
    nu : (n,)
        The dual point of `dual`, already scaled to be feasible.
    history : list of dict
        Rows with the keys seconds, iteration, primal, bound.
    """

    v: Array
    w: Array
    status: Status
    primal: float
    dual: float
    relative_gap: float
    violation: float
    nu: Array
    history: list[dict[str, Any]] = field(default_factory=list)


def make_solution(
    program: ConvexProgram,
    v: Array,
    w: Array,
    nu: Array,
    dual: float,
    status: Status,
    history: list[dict[str, Any]],
) -> Solution:
    """A Solution whose primal value, gap and violation are recomputed from (v, w)."""
    v, w = np.ascontiguousarray(v), np.ascontiguousarray(w)
    primal = program.primal(v, w)
    gap = (primal - dual) / primal if primal > 0 else 0.0
    return Solution(v, w, status, primal, dual, gap, program.violation(v, w), nu, history)


def record(
    history: list[dict[str, Any]],
    progress: Progress | None,
    *,
    begin: float,
    iteration: int,
    primal: float,
    bound: float,
) -> None:
    """Append a row to the history and hand a copy to `progress`, which may raise KeyboardInterrupt."""
    row = {"seconds": perf_counter() - begin, "iteration": iteration, "primal": primal, "bound": bound}
    history.append(row)
    if progress is not None:
        progress(dict(row))


def project_on_cones(program: ConvexProgram, blocks: Array) -> Array:
    """The nearest point of the program's cones to d×P blocks."""
    masks = np.ascontiguousarray(program.patterns.masks.T)
    G = np.ascontiguousarray(blocks.T, dtype=np.float64)
    tight, count = np.zeros(G.shape, dtype=np.int64), np.zeros(len(G), dtype=np.int64)
    return project_blocks(program._rows, masks, G, tight=tight, count=count, gated=program.gated).T


def feasible_start(program: ConvexProgram, warm_start: Solution) -> Solution:
    """A warm start with its blocks projected on the program's cones.

    Raises
    ------
    ValueError
        If it is no Solution, its blocks have other shapes, or a value is not finite.
    """
    if not isinstance(warm_start, Solution):
        raise ValueError(f"warm_start must be a Solution; it is a {type(warm_start).__name__}.")
    shape = program.patterns.generators.shape
    if warm_start.v.shape != shape or warm_start.w.shape != shape or warm_start.nu.shape != program.y.shape:
        raise ValueError("warm_start belongs to a program with other patterns.")
    if not all(np.isfinite(part).all() for part in (warm_start.v, warm_start.w, warm_start.nu)):
        raise ValueError("warm_start must be finite.")
    v, w = (project_on_cones(program, part) for part in (warm_start.v, warm_start.w))
    return replace(warm_start, v=v, w=w)
