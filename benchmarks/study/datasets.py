"""The study's tables: UCI regression tables with their given splits, and scikit-learn's embedded sets."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]

#: Training rows of a large table: this many, drawn once a split; its test rows are all used.
MOST_ROWS = 4000
SEED = 0


class Table(NamedTuple):
    """X (n, d), y (n,), the outer splits as (training rows, test rows), and whether y are classes."""

    X: NDArray[np.float64]
    y: NDArray[Any]
    splits: list[tuple[Rows, Rows]]
    classes: bool


def data_folder() -> Path:
    """``$CONVEXNN_DATA/uci``, or that of a folder ``shared/data`` beside the repository."""
    root = os.environ.get("CONVEXNN_DATA")
    return (Path(root) if root else Path(__file__).parents[3] / "shared" / "data") / "uci"


def read_uci(name: str) -> Table:
    """One table with its ten given splits; a split of a large table has `MOST_ROWS` training rows."""
    folder = data_folder() / name
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no table at {folder}: set CONVEXNN_DATA to the folder of uci.")
    data = np.loadtxt(folder / "data.csv.gz", delimiter=",")
    masks = np.loadtxt(folder / "test_mask.csv.gz", delimiter=",") > 0
    splits = []
    for split, is_test in enumerate(masks.T):
        inside = np.flatnonzero(~is_test)
        if len(inside) > MOST_ROWS:
            inside = np.random.default_rng([SEED, split]).choice(inside, MOST_ROWS, replace=False)
        splits.append((inside, np.flatnonzero(is_test)))
    return Table(data[:, :-1], data[:, -1], splits, False)


def embedded(loader: str, classes: bool, recode: Callable[[Any], Any] = np.asarray) -> Table:
    """A set of scikit-learn with ten shuffled (for classes stratified) folds; `recode` makes the target."""
    from sklearn import datasets
    from sklearn.model_selection import KFold, StratifiedKFold

    X, raw = getattr(datasets, loader)(return_X_y=True)
    y = recode(raw)
    folds = (StratifiedKFold if classes else KFold)(10, shuffle=True, random_state=SEED)
    return Table(np.asarray(X, dtype=np.float64), y, list(folds.split(X, y)), classes)


#: Name → (reader, splits that are used).
TABLES: dict[str, tuple[Callable[[], Table], int]] = {
    **{name: (partial(read_uci, name), 5) for name in ("yacht", "autompg", "forest", "energy")},
    "diabetes": (partial(embedded, "load_diabetes", False), 5),
    **{name: (partial(read_uci, name), 3) for name in ("concrete", "airfoil")},
    "wine quality": (partial(read_uci, "wine"), 3),
    **{name: (partial(read_uci, name), 2) for name in ("kin40k", "protein")},
    "iris": (partial(embedded, "load_iris", True), 5),
    "wine cultivars": (partial(embedded, "load_wine", True), 5),
    "breast cancer": (partial(embedded, "load_breast_cancer", True), 5),
    "digits, even or odd": (partial(embedded, "load_digits", True, lambda digit: digit % 2), 2),
}
