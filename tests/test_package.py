"""The package as a whole: what importing it costs and loads."""

import subprocess
import sys

import convexnn

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
