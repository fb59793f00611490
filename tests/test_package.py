"""The package as a whole: what importing it costs and loads."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import convexnn
from convexnn._compiling import MESSAGE

ROOT = Path(__file__).parents[1]
HEAVY = ("matplotlib", "pandas", "cvxpy", "torch", "onnx", "sklearn", "typer")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_no_heavy_module():
    code = f"import sys, convexnn; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code).strip() == "[]"


def test_core_works_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import numpy as np\n"
        "from convexnn import Network, Patterns, ConvexProgram, solve, certify, train\n"
        "X, y = np.eye(3), np.array([1.0, -1.0, 2.0])\n"
        "print(train(X, y, 0.5).certificate.relative_gap <= 1e-3)"
    )
    assert run(code).strip() == "True"


def test_every_public_name_exists():
    for name in convexnn.__all__:
        assert getattr(convexnn, name) is not None


def test_unknown_names_are_attribute_errors():
    assert not hasattr(convexnn, "no_such_name")


def test_module_runs_as_a_command():
    out = subprocess.run(
        [sys.executable, "-m", "convexnn", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert convexnn.__version__ in out


def test_nothing_is_printed_or_compiled_by_importing():
    code = (
        "import sys\n"
        "from numba.core import event\n"
        "compiled = event.RecordingListener()\n"
        "event.register('numba:compile', compiled)\n"
        "import convexnn\n"
        "print(len(compiled.buffer))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_training_is_silent_unless_logging_is_set_up():
    code = (
        "import logging, sys\n"
        "import numpy as np\n"
        "from convexnn import ConvexReLURegressor, train\n"
        "X, y = np.eye(3), np.array([1.0, -1.0, 2.0])\n"
        "train(X, y, 0.5)\n"
        "ConvexReLURegressor(beta=0.5).fit(X, y)\n"
        "print('silence ends', file=sys.stderr, flush=True)\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "train(X, y, 0.5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert (done.stdout, lines[0]) == ("", "silence ends")
    assert any("form cells" in line for line in lines)
    assert any("relative gap" in line for line in lines)


KERNEL = """
from numba import njit
import convexnn
@njit
def plain(x):
    return x
plain(1)
print("ours from here", file=__import__("sys").stderr, flush=True)
@njit
def kernel(x):
    return x + 1
kernel.py_func.__module__ = "convexnn.cones"
kernel(1), kernel(1.0)
"""


def test_compilation_is_said_once_to_a_person_or_a_logger():
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", KERNEL], stderr=follower, check=True)
    os.close(follower)
    seen = os.read(leader, 4096).decode().splitlines()
    os.close(leader)
    assert seen == ["ours from here", MESSAGE]
    piped = subprocess.run([sys.executable, "-c", KERNEL], capture_output=True, text=True, check=True).stderr
    assert piped.splitlines() == ["ours from here"]
    logged = "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s')" + KERNEL
    heard = subprocess.run([sys.executable, "-c", logged], capture_output=True, text=True, check=True).stderr
    assert heard.splitlines() == ["ours from here", MESSAGE]


def test_metadata_agree():
    assert metadata.version("convexnn") == convexnn.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {convexnn.__version__}\n" in citation


def test_bounds_of_dependencies_are_the_lowest_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    bounds = dict(
        re.fullmatch(r"([\w-]+)>=([\d.]+)", text).groups()
        for text in project["dependencies"] + extras["cvxpy"] + extras["onnx"] + extras["parquet"]
    )
    lowest = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints-lowest.txt").read_text(), re.M))
    newest = dict(re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.M))
    for name, bound in bounds.items():
        assert numbers(lowest[name])[: len(numbers(bound))] == numbers(bound), name
        assert numbers(newest[name]) >= numbers(bound), name


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
