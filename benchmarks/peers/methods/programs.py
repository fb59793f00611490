"""Solvers of a program over given patterns: ours (ssnal, FISTA) and CVXPY with Clarabel and SCS.

The timed call of CVXPY holds building its model and moving the answer into the cones, as a user would do.
"""

from time import perf_counter

from benchmarks.peers.methods import Run

from convexnn import ConvexProgram, Patterns, solve

TOL = 1e-4
_QUICK = 10.0


def sampled(problem, patterns: int, gated: bool) -> ConvexProgram:
    """Program (2) over the cells of Gaussian directions from seed 0."""
    cells = Patterns.sample(problem.X, patterns, rng=0)
    return ConvexProgram(problem.X, problem.y, cells, problem.beta, gated=gated)


def ssnal(problem, *, patterns: int, gated: bool, cap: float, **_) -> list[Run]:
    """The semismooth Newton augmented Lagrangian method to a gap of 1e-4 over the patterns."""
    return _runs(problem, "ssnal", patterns, gated, cap, 3)


def fista(problem, *, patterns: int, gated: bool, cap: float, **_) -> list[Run]:
    """FISTA with restart to a gap of 1e-4 over the patterns (gated programs)."""
    return _runs(problem, "fista", patterns, gated, cap, 3)


def clarabel(problem, *, patterns: int, gated: bool, cap: float, **_) -> list[Run]:
    """CVXPY's Clarabel."""
    return _runs(problem, "cvxpy:CLARABEL", patterns, gated, cap, 3)


def scs(problem, *, patterns: int, gated: bool, cap: float, **_) -> list[Run]:
    """CVXPY's SCS."""
    return _runs(problem, "cvxpy:SCS", patterns, gated, cap, 3)


def _runs(problem, solver, patterns, gated, cap, repeats) -> list[Run]:
    solve(sampled(problem, 3, gated), solver, tol=1e-2, max_time=5.0)
    program, runs = sampled(problem, patterns, gated), []
    for repeat in range(repeats):
        begin = perf_counter()
        found = solve(program, solver, tol=TOL, max_time=cap)
        seconds = perf_counter() - begin
        status = found.status.name.lower()
        if status == "time_limit" and not (found.v.any() or found.w.any()):
            status = "time limit, no point"
        runs.append(Run(f"tol {TOL:g}", repeat, seconds, status, blocks=(found.v, found.w), nu=found.nu))
        if seconds >= _QUICK:
            break
    return runs
