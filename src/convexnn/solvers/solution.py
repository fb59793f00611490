"""What every solver returns."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convexnn._types import Array
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
