"""Calls of the command line in tests, and a table for them."""

import numpy as np
import pandas as pd
from typer.testing import CliRunner, Result

from convexnn.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result, *words: str) -> None:
    """Exit code 2 and one sentence that holds `words`."""
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert [word for word in words if word not in result.stderr] == []


def counts(n: int = 60) -> pd.DataFrame:
    """Poisson counts of rate exp(x), twice that in the north, and a number of the row as text."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1.5, n).round(3)
    area = np.resize(["north", "south", "west"], n)
    y = rng.poisson(np.exp(x) * (1 + (area == "north")))
    return pd.DataFrame({"name": [f"row {k}" for k in range(n)], "x": x, "area": area, "y": y})
