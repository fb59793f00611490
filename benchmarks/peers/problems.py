"""The data of the comparison, each in one scaling.

Columns are standardised, a column of ones is appended and X is divided by √(d+1); a regression target is
standardised, labels are ±1; squared loss summed over rows. Tables are read from ``$CONVEXNN_DATA``, else
``../shared/data`` beside the repository, and are never copied.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convexnn import beta_max
from convexnn.data import Scaler, load_breast_cancer, load_diabetes, make_planted, read_cifar10

UCI = ("airfoil", "autompg", "concrete", "energy", "forest", "wine", "yacht")
#: Tables and images that only ``--large`` runs.
LARGE = ("kin40k", "protein", "cifar")
#: Rows, raw columns, neurons and noise of the planted network unless a name says otherwise.
PLANTED = {"n": 1000, "d": 10, "neurons": 10, "noise": 0.1}


class Problem(NamedTuple):
    """X (n, d) with its column of ones, y (n,), β and the largest β of interest."""

    name: str
    X: np.ndarray
    y: np.ndarray
    beta: float
    beta_max: float


def folder() -> Path:
    """Where the tables are."""
    base = os.environ.get("CONVEXNN_DATA")
    return Path(base) if base else Path(__file__).parents[3] / "shared" / "data"


def missing(name: str) -> str:
    """A sentence if the data of this name are not here, else an empty string."""
    if name in UCI or name in LARGE[:2]:
        place = folder() / "uci" / name / "data.csv.gz"
    elif name == "cifar":
        place = folder() / "cifar10" / "data_batch_1.bin"
    else:
        return ""
    return "" if place.exists() else f"{name} is left out: set CONVEXNN_DATA to the folder of the tables."


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """X and y in the scaling above.

    ``planted`` may be followed by sizes: ``planted n=500 d=20 neurons=5``.
    """
    if name == "breast cancer":
        data = load_breast_cancer()
        return Scaler.fit(data.X).transform(data.X), data.y
    if name == "cifar":
        X, y = read_cifar10(folder() / "cifar10")
        return Scaler.fit(X).transform(X), y
    if name == "diabetes":
        data = load_diabetes()
        X, y = data.X, data.y
    elif name.startswith("planted"):
        sizes = PLANTED | {k: float(v) for k, v in (word.split("=") for word in name.split()[1:])}
        n, d, neurons = (int(sizes[key]) for key in ("n", "d", "neurons"))
        X, y, _ = make_planted(n, d, neurons, sizes["noise"])
    elif name in UCI or name in LARGE:
        table = np.genfromtxt(folder() / "uci" / name / "data.csv.gz", delimiter=",")
        X, y = table[:, :-1], table[:, -1]
    else:
        raise ValueError(f"There are no data named {name!r}.")
    return Scaler.fit(X).transform(X), (y - y.mean()) / y.std()


def problem(name: str, fraction: float | None, beta: float | None = None) -> Problem:
    """The data at β = β_max/fraction, or at the β given."""
    X, y = load(name)
    top = beta_max(X, y)
    return Problem(name, X, y, top / fraction if beta is None else beta, top)
