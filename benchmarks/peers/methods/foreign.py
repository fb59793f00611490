"""Peers with environments of their own (pyscnn, adelie): a process of another Python, arrays in npz files.

That Python is ``$CONVEXNN_PEERS_PYTHON``, ``.venv-peers/bin/python`` in the repository, or the running one:
the first that can import the package. See ``benchmarks/peers/README.md`` for how to make it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from benchmarks.peers.methods import Missing, Run
from benchmarks.peers.methods.programs import sampled

_SCRIPT = Path(__file__).with_name("foreign_script.py")
_ROOT = Path(__file__).parents[3]
_INSTALL = "see benchmarks/peers/README.md"


def pyscnn(problem, *, patterns: int, gated: bool, cap: float, **_) -> list[Run]:
    """The augmented Lagrangian (ReLU) or R-FISTA (gated) of pyscnn, at its default tolerances."""
    return _run("pyscnn", "scnn.optimize", problem, patterns, gated, cap)


def adelie(problem, *, patterns: int, gated: bool, cap: float, **_) -> list[Run]:
    """adelie's group elastic net on the columns of [D₁X … D_PX], without intercept; gated programs only."""
    return _run("adelie", "adelie", problem, patterns, gated, cap)


def python_with(name: str, module: str) -> str:
    """A Python that can import the module; `Missing` if there is none."""
    places = [os.environ.get("CONVEXNN_PEERS_PYTHON"), str(_ROOT / ".venv-peers/bin/python"), sys.executable]
    for place in places:
        if place and Path(place).exists():
            done = subprocess.run([place, "-c", f"import {module}"], capture_output=True, check=False)
            if done.returncode == 0:
                return place
    raise Missing(f"{name} is left out: it is not installed ({_INSTALL}).")


def _run(name, module, problem, patterns, gated, cap) -> list[Run]:
    python = python_with(name, module)
    program = sampled(problem, patterns, gated)
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "given.npz", Path(scratch) / "answer.npz"
        cells = program.patterns
        np.savez(
            given, X=program.X, y=program.y, masks=cells.masks, generators=cells.generators, beta=program.beta
        )
        command = [python, str(_SCRIPT), name, str(given), str(answer), json.dumps([gated, cap])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=8 * cap + 120, check=False)
        if done.returncode:
            words = (done.stderr.strip() or "no message").splitlines()[-1]
            raise Missing(f"{name} failed: {words[:200]}")
        with np.load(answer) as found:
            return [_read(found, k) for k in range(int(found["runs"]))]


def _read(found, k) -> Run:
    blocks = found[f"v{k}"], found[f"w{k}"]
    return Run(
        str(found[f"setting{k}"]), 0, float(found[f"seconds{k}"]), str(found[f"status{k}"]), blocks=blocks,
        peak_mib=float(found["peak_mib"]),
    )  # fmt: skip
