"""One program, every solver: residuals recomputed, and a verdict when two answers disagree."""

import importlib.util
import warnings
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn._types import Array
from convexnn.cones import project_blocks
from convexnn.data import make_planted
from convexnn.experiments import drawing
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import column, pick, values
from convexnn.experiments.words import listed, number, over
from convexnn.patterns import Patterns
from convexnn.plots import CYCLE, INK, VERMILION
from convexnn.program import ConvexProgram
from convexnn.solvers import solve

SECTION = "§ 10"
QUESTION = "Two solvers give different answers: which one is wrong?"
FULL: dict[str, Any] = {"n": 60, "d": 6, "patterns": 80, "beta": 0.1, "tol": 1e-4}
QUICK = FULL | {"n": 30, "d": 4, "patterns": 25}
RESIDUALS = ("feasibility", "complementarity", "stationarity")
COLUMNS = {
    "runs": ("program", "solver", "state", "objective", "excess", *RESIDUALS, "seconds", "claimed"),
    "verdicts": ("program", "bound", "spread", "tol", "solver", "residual", "size", "sentence"),
}
#: Name → (CVXPY's name, options). The last one is loose on purpose.
_CVXPY: dict[str, tuple[str, dict[str, Any]]] = {
    "Clarabel": ("CLARABEL", {}),
    "ECOS": ("ECOS", {"abstol": 1e-9, "reltol": 1e-9, "feastol": 1e-9}),
    "SCS": ("SCS", {"eps_abs": 1e-8, "eps_rel": 1e-8, "max_iters": 100_000}),
    "OSQP": ("OSQP", {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 200_000}),
    "SCS, loose": ("SCS", {"eps_abs": 3e-2, "eps_rel": 3e-2}),
}
_MODULES = {"CLARABEL": "clarabel", "ECOS": "ecos", "SCS": "scs", "OSQP": "osqp"}
_NO_CONES = "does not apply: it has no second-order cones"


def parts(settings: Settings) -> dict[str, Part]:
    """A ReLU program, its gated form, and one whose norms are absolute values, for OSQP."""
    sizes = {"ReLU": settings["d"], "gated": settings["d"], "ReLU, one input": 1}
    return {name: partial(_all_runs, name, d, settings) for name, d in sizes.items()}


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _program(name: str, d: int, settings: Settings) -> ConvexProgram:
    X, y, _ = make_planted(settings["n"], d, 5, noise=0.2, seed=settings["seed"])
    patterns = (
        Patterns.enumerate(X) if d == 1 else Patterns.sample(X, settings["patterns"], rng=settings["seed"])
    )
    return ConvexProgram(X, y, patterns, settings["beta"], gated=name == "gated")


def _all_runs(name: str, d: int, settings: Settings) -> Tables:
    program = _program(name, d, settings)
    rows = [_own(program, "ssnal")]
    if program.gated:
        rows.append(_own(program, "fista"))
    rows += [_by_cvxpy(program, solver) for solver in _CVXPY]
    bound = max((row.pop("dual") for row in rows if "dual" in row), default=0.0)
    for row in rows:
        if row.get("objective") is not None:
            row["excess"] = (row["objective"] - bound) / bound
        row["program"] = name
    return {"runs": rows, "verdicts": [_verdict(name, rows, bound, settings["tol"])]}


def _own(program: ConvexProgram, solver: str) -> Row:
    begin = perf_counter()
    solution = solve(program, solver=solver, tol=1e-9, max_time=20.0)
    seconds = perf_counter() - begin
    name = {"ssnal": "own (SSNAL)", "fista": "own (FISTA)"}[solver]
    return _judged(program, name, solution.v, solution.w, seconds, solution.primal)


def _by_cvxpy(program: ConvexProgram, name: str) -> Row:
    """The program as in the source report, written in CVXPY; the point is taken as the solver gives it."""
    solver, options = _CVXPY[name]
    missing = [m for m in ("cvxpy", _MODULES[solver]) if importlib.util.find_spec(m) is None]
    if missing:
        return {"solver": name, "state": f"not installed: {', '.join(missing)}"}
    import cvxpy

    d = program.X.shape[1]
    if solver == "OSQP" and d > 1:
        return {"solver": name, "state": _NO_CONES}
    v, w, problem = _model(cvxpy, program)
    begin = perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(solver=solver, **options)
    except cvxpy.error.SolverError as error:
        return {"solver": name, "state": f"failed: {str(error).splitlines()[0]}"}
    if v.value is None or w.value is None:
        return {"solver": name, "state": f"failed: {problem.status}"}
    return _judged(program, name, v.value, w.value, perf_counter() - begin, float(problem.value))


def _model(cvxpy: Any, program: ConvexProgram) -> tuple[Any, Any, Any]:
    X, y, masks = program.X, program.y, program.patterns.masks
    v, w = (cvxpy.Variable((X.shape[1], masks.shape[1])) for _ in range(2))
    fit = cvxpy.sum(cvxpy.multiply(masks.astype(float), X @ (v - w)), axis=1)
    if X.shape[1] == 1:
        size = cvxpy.sum(cvxpy.abs(v)) + cvxpy.sum(cvxpy.abs(w))
    else:
        size = cvxpy.sum(cvxpy.norm(v, 2, axis=0)) + cvxpy.sum(cvxpy.norm(w, 2, axis=0))
    signs = 2.0 * masks - 1.0
    cones = [] if program.gated else [cvxpy.multiply(signs, X @ block) >= 0 for block in (v, w)]
    loss = 0.5 * cvxpy.sum_squares(fit - y)
    return v, w, cvxpy.Problem(cvxpy.Minimize(loss + program.beta * size), cones)


def _judged(program: ConvexProgram, name: str, v: Array, w: Array, seconds: float, claimed: float) -> Row:
    """Objective and residuals of a point, recomputed; all residuals are relative.

    feasibility: the largest distance outside the cones, over the largest block. complementarity:
    |Σ (β‖v_b‖ − s νᵀF_b v_b)| over the objective. stationarity: ρ(±ν)/β − 1, ν = y − f.
    """
    v, w = np.asarray(v, dtype=np.float64), np.asarray(w, dtype=np.float64)
    largest = max(float(np.linalg.norm(np.hstack([v, w]), axis=0).max()), 1e-300)
    objective, nu = program.primal(v, w), program.y - program.predict(v, w)
    size = program.beta * float(np.linalg.norm(np.hstack([v, w]), axis=0).sum())
    return {
        "solver": name, "state": "solved", "objective": objective, "seconds": seconds, "claimed": claimed,
        "feasibility": program.violation(v, w) / largest,
        "complementarity": abs(size - float(nu @ program.predict(v, w))) / objective,
        "stationarity": max(program.rho(nu) / program.beta - 1.0, 0.0),
        "dual": _dual(program, v, w),
    }  # fmt: skip


def _dual(program: ConvexProgram, v: Array, w: Array) -> float:
    """A lower bound over the pattern set that is valid whatever the point: its blocks are projected first."""
    masks = np.ascontiguousarray(program.patterns.masks.T)
    projected = [
        project_blocks(
            program._rows, masks, np.ascontiguousarray(block.T),
            tight=np.zeros(block.T.shape, dtype=np.int64),
            count=np.zeros(len(masks), dtype=np.int64), gated=program.gated,
        ).T
        for block in (v, w)
    ]  # fmt: skip
    return program.dual(program.y - program.predict(*projected))[0]


def _verdict(name: str, rows: list[Row], bound: float, tol: float) -> Row:
    """Whom to believe: the worst run by its worst residual, if one exceeds the tolerance."""
    solved = [row for row in rows if row["state"] == "solved"]
    objectives = [row["objective"] for row in solved]
    spread = (max(objectives) - min(objectives)) / bound
    wrong = [row for row in solved if max(row[r] for r in RESIDUALS) > tol or abs(row["excess"]) > tol]
    common = {"program": name, "bound": bound, "spread": spread, "tol": tol}
    if not wrong:
        text = f"All {len(solved)} runs agree to {spread:.1g} and keep every residual below {tol:g}."
        return {**common, "solver": "none", "sentence": text}
    worst = max(wrong, key=lambda row: max(row[r] for r in RESIDUALS))
    residual = max(RESIDUALS, key=lambda r: float(worst[r]))
    others = ", ".join(row["solver"] for row in solved if row not in wrong)
    also = [row["solver"] for row in wrong if row is not worst]
    text = (
        f"{worst['solver']} is the one that is off: its {residual} residual is {worst[residual]:.1g}, above "
        f"{tol:g}, and its objective {over(worst['objective'], bound)} the best lower bound. "
        f"Trust {others or 'none of them'}."
    )
    text += f" Also above {tol:g}: {', '.join(also)}." if also else ""
    return {
        **common,
        "solver": worst["solver"],
        "residual": residual,
        "size": worst[residual],
        "sentence": text,
    }


def pictures(tables: Tables) -> dict[str, Figure]:
    """For each program the residuals of every run."""
    return {
        "residuals_" + program.replace(", ", "_").replace(" ", "_").lower(): _residual_figure(tables, program)
        for program in values(tables["runs"], "program")
    }


def _residual_figure(tables: Tables, program: str) -> Figure:
    rows = pick(tables["runs"], program=program, state="solved")
    tol = pick(tables["verdicts"], program=program)[0]["tol"]
    figure, ax = drawing.single("relative residual (no unit, log axis)", "", height=1.5 + 0.5 * len(rows))
    for k, residual in enumerate(("excess", *RESIDUALS)):
        size = np.maximum(np.abs(column(rows, residual)), 1e-13)
        label = "|objective − bound|" if residual == "excess" else residual
        places = np.arange(len(rows)) + 0.15 * (k - 1.5)
        ax.plot(
            size, places, color=CYCLE[k], marker=drawing.MARKERS[k], linestyle="", markersize=7, label=label
        )
    ax.axvline(tol, color=VERMILION, linestyle="--", linewidth=1.4, label=f"tolerance {tol:g}")
    ax.set_xscale("log")
    ax.set_yticks(range(len(rows)), [f"{row['solver']}\n{row['seconds']:.2g} s" for row in rows], color=INK)
    ax.invert_yaxis()
    drawing.legend_above(ax, 2)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    said = {}
    for verdict in tables["verdicts"]:
        rows = pick(tables["runs"], program=verdict["program"])
        solved = [row for row in rows if row["state"] == "solved"]
        fastest = min(solved, key=lambda row: float(row["seconds"]))
        left = [f"{row['solver']} {row['state']}" for row in rows if row["state"] != "solved"]
        second = (
            f"{len(solved)} runs solved it, the fastest being {fastest['solver']} in "
            f"{fastest['seconds']:.2g} s; "
            f"the best lower bound over these patterns is {number(verdict['bound'], 8)}"
        )
        second += f"; {listed(left)}." if left else "."
        said["residuals_" + verdict["program"].replace(", ", "_").replace(" ", "_").lower()] = [
            f"Program '{verdict['program']}': {verdict['sentence']}", second
        ]  # fmt: skip
    return said


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    verdict = tables["verdicts"][0]
    if verdict["solver"] == "none":
        return "None: they agree.", f"largest difference {verdict['spread']:.1g}"
    return (
        f"{verdict['solver']}, by its {verdict['residual']} residual.",
        f"{verdict['size']:.1g} above {verdict['tol']:g}",
    )


def lines(tables: Tables) -> list[str]:
    """The table of runs, and the verdicts."""
    said = []
    for row in tables["runs"]:
        if row["state"] != "solved":
            said.append(f"{row['program']}: {row['solver']} {row['state']}.")
            continue
        residuals = ", ".join(f"{name} {row[name]:.1e}" for name in RESIDUALS)
        said.append(
            f"{row['program']}: {row['solver']} {row['objective']:.8g} in {row['seconds']:.2g} s; "
            f"{residuals}."
        )
    return said + [f"{row['program']}: {row['sentence']}" for row in tables["verdicts"]]
