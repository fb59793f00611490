"""One job in a process of its own: ``python -m benchmarks.peers.job JOB ANSWER`` (JSON in, JSON out).

Compiled code is warmed up by each method before its clock starts; the referee comes after all timed sections.
"""

import json
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from benchmarks.peers import problems, referee
from benchmarks.peers.methods import Missing, Run, function_of
from benchmarks.peers.methods.programs import sampled
from benchmarks.peers.plan import name_of
from benchmarks.peers.records import Row

from convexnn import ConvexProgram, Network

_CURVE_POINTS = 80


def run(job: dict[str, Any]) -> list[Row]:
    """Run a job and judge what it returned: one row a run."""
    base = {key: job[key] for key in ("table", "data", "method", "cap")} | {"job": name_of(job)}
    base |= {key: job.get(key) for key in ("fraction", "beta", "patterns", "gated")} | {"chosen": True}
    try:
        function = function_of(job["method"])
        problem = problems.problem(job["data"], job.get("fraction"), job.get("beta"))
        before = _peak()
        runs = function(problem, **job)
        peak = _peak()
    except Missing as reason:
        return [base | {"status": "skipped", "note": str(reason)}]
    n, d = problem.X.shape
    base |= {"n": n, "d": d, "beta": problem.beta, "peak_mib": peak, "base_mib": before}
    base["fraction"] = job.get("fraction", problem.beta_max / problem.beta)
    if job["table"] == "programs":
        program = sampled(problem, job["patterns"], job["gated"])
        return [base | _facts(run) | judge_blocks(program, run) for run in runs]
    rows = [base | _facts(run) | judge_network(problem, run) for run in runs]
    if job.get("bound"):
        best = min((run for run in runs if run.network is not None), key=lambda run: run.seconds)
        value, kind, starts = referee.bound(
            problem.X, problem.y, problem.beta, best.network, best.nu, job["bound_seconds"]
        )
        rows[runs.index(best)] |= {"lower_bound": value, "bound_kind": kind, "starts": starts}
    return rows


def _peak() -> float:
    """The most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _facts(run: Run) -> Row:
    facts = {"setting": run.setting, "seed": run.seed, "status": run.status, "seconds": run.seconds}
    facts["chosen"] = run.chosen
    return facts | ({} if run.peak_mib is None else {"peak_mib": run.peak_mib, "base_mib": None})


def judge_network(problem: problems.Problem, run: Run) -> Row:
    """Objective (1) of the returned network and of the snapshots."""
    X, y, beta = problem.X, problem.y, problem.beta
    step = max(1, len(run.curve) // _CURVE_POINTS)
    kept = (*run.curve[:-1:step], *run.curve[-1:])
    curve, claimed = [], None
    for seconds, reached in kept:
        if isinstance(reached, tuple):
            curve.append((seconds, referee.objective(X, y, *reached, beta)))
        else:
            claimed = float(reached)
            curve.append((seconds, claimed))
    if run.network is None:
        return {"objective": np.inf, "curve": curve}
    value = referee.objective(X, y, run.network.U, run.network.alpha, beta)
    curve.append((run.seconds, value))
    return {"objective": value, "claimed": claimed, "neurons": run.network.n_neurons, "curve": curve}


def judge_blocks(program: ConvexProgram, run: Run) -> Row:
    """Objective (2) with the blocks in their cones, the bound over the patterns, and (1) as a network."""
    v, w = run.blocks
    value, violation = referee.program_value(program, v, w)
    lower = referee.program_bound(program, v, w, run.nu)
    row = {"objective": value, "violation": violation, "lower_bound": lower, "bound_kind": "patterns"}
    row["neurons"] = int((v.any(axis=0)).sum() + (w.any(axis=0)).sum())
    if not program.gated:
        network = Network.from_solution(SimpleNamespace(v=v, w=w))
        row["network_objective"] = referee.objective(
            program.X, program.y, network.U, network.alpha, program.beta
        )
    return row


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(json.loads(sys.argv[1]))), encoding="utf-8")
