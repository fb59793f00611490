"""Solvers for a fixed pattern set: one algorithm a file, ``(program, options) -> Solution``."""

from convexnn._types import Progress
from convexnn.program import ConvexProgram
from convexnn.solvers.solution import Solution
from convexnn.solvers.ssnal import solve_ssnal

__all__ = ["Solution", "solve"]


def solve(
    program: ConvexProgram,
    solver: str = "auto",
    tol: float = 1e-4,
    max_time: float | None = None,
    warm_start: Solution | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Solve."""
    return solve_ssnal(program, tol=tol, max_time=max_time, warm_start=warm_start, progress=progress)
