"""Types from a user's side: a typed program passes `mypy --strict`, and mistakes are found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")
FOLDER = Path(__file__).parent / "typed"
#: The package comes first on the path, so that mypy reads its types as it does for an installed package.
OPTIONS = ["--strict", "--no-error-summary", "--config-file=", "--follow-imports=silent"]


def lines_of(name: str, marker: str) -> list[int]:
    text = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(text, 1) if line.endswith(marker)]


def test_a_typed_program_passes_and_mistakes_are_found():
    command = [sys.executable, "-m", "mypy", *OPTIONS, "user_program.py", "misuse.py"]
    out = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True).stdout
    found = re.findall(r"^(\w+\.py):(\d+): error", out, flags=re.MULTILINE)
    assert {name for name, _ in found} == {"misuse.py"}, out
    assert sorted({int(line) for _, line in found}) == lines_of("misuse.py", "# error"), out
