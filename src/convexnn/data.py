r"""The scaler, CIFAR-10, embedded sets, seeded generators and row splits; tables come from here too.

`Scaler` alone standardises and appends the column of ones; readers and generators return raw numbers (only
`five_points` holds its ones). Importing this module imports neither pandas nor scikit-learn.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._types import Array, IntArray
from convexnn.encoding import TableEncoder
from convexnn.network import Network
from convexnn.tables import MISSING, read_table

__all__ = [
    "MISSING",
    "Dataset",
    "Scaler",
    "TableEncoder",
    "five_points",
    "load_breast_cancer",
    "load_diabetes",
    "make_gaussian",
    "make_planted",
    "make_spiral",
    "read_cifar10",
    "read_table",
    "split_rows",
]

_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True)
class Dataset:
    """X (n, d) float64, y (n,) float64, the names of the d columns and the name of the set."""

    X: Array
    y: Array
    feature_names: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Scaler:
    """[(X − mean)/scale, 1]/√(d+1): standardised columns, a column of ones, and rows of length near 1.

    Attributes
    ----------
    mean, scale : (d,)
        Mean and population standard deviation of the rows given to `fit`; 1 for a constant column.
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, X: ArrayLike) -> "Scaler":
        """Mean and scale of the rows of X (n, d); ValueError if X is empty, not a matrix or not finite."""
        X = _finite_matrix(X)
        largest = np.abs(X).max(axis=0, initial=0.0)
        unit = np.where(largest > 0, largest, 1.0)  # neither overflow nor underflow in the squares
        Z = X / unit
        mean, std = Z.mean(axis=0), Z.std(axis=0)
        return cls(unit * mean, np.where(std > 1e-14, unit * std, 1.0))

    def transform(self, X: ArrayLike) -> Array:
        """(n, d+1) from X (n, d); ValueError if X has another number of columns or is not finite."""
        X = _finite_matrix(X)
        d = len(self.mean)
        if X.shape[1] != d:
            raise ValueError(f"X must have the {d} columns of the training rows; it has {X.shape[1]}.")
        root = math.sqrt(d + 1)
        out = np.empty((X.shape[0], d + 1))
        np.subtract(X, self.mean, out=out[:, :d])
        out[:, :d] /= self.scale
        out[:, :d] /= root
        out[:, d] = 1.0 / root
        return out

    def to_json(self) -> dict[str, Any]:
        """{"mean": [...], "scale": [...]}, plain lists; numbers survive JSON exactly."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Scaler":
        """The inverse of `to_json`; ValueError if the lists are not there or differ in length."""
        try:
            scaler = cls(np.array(data["mean"], dtype=np.float64), np.array(data["scale"], dtype=np.float64))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"These are not the data of a scaler ({error!r}).") from error
        if scaler.mean.ndim != 1 or scaler.mean.shape != scaler.scale.shape or not (scaler.scale > 0).all():
            raise ValueError("The mean and the scale of a scaler must be two lists of one length, scale > 0.")
        return scaler


def _finite_matrix(X: ArrayLike) -> Array:
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or not X.shape[0]:
        raise ValueError(f"X must be a matrix with at least one row; its shape is {X.shape}.")
    if not np.isfinite(X).all():
        row, column = map(int, np.argwhere(~np.isfinite(X))[0])
        raise ValueError(f"X must be finite; X[{row}, {column}] is {X[row, column]}.")
    return X


# --------------------------------------------------------------------------------------------- CIFAR-10


def read_cifar10(
    folder: str | Path,
    classes: Sequence[int | str] = (0, 1),
    batches: Sequence[int] | None = None,
    split: Literal["train", "test"] = "train",
) -> tuple[Array, Array]:
    """Images (n, 3072) in [0, 1] and labels (n,): −1 for ``classes[0]``, +1 for ``classes[1]``.

    Parameters
    ----------
    folder : str or Path
        Holds the official binary layout: ``data_batch_1.bin`` … ``data_batch_5.bin``, ``test_batch.bin``
        and ``batches.meta.txt``. A record is one label byte and 3072 bytes: the red, the green and the
        blue plane, 32×32 each, row by row.
    classes : two of 0 … 9, or two names
        Names are looked up in ``batches.meta.txt``.
    batches : sequence of 1 … 5, optional
        Training batches to read; all that are there unless given.
    split : {"train", "test"}

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is not there.
    ValueError
        If a file is truncated or damaged, a class is unknown or has no image, or an argument is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder at {folder}.")
    if len(classes) != 2:
        raise ValueError(f"classes must name two classes; it is {classes!r}.")
    numbers = [_class_number(folder, entry) for entry in classes]
    if numbers[0] == numbers[1]:
        raise ValueError(f"classes must name two different classes; it is {classes!r}.")
    records = np.concatenate([_records(file, numbers) for file in _batch_files(folder, batches, split)])
    for entry, number in zip(classes, numbers, strict=True):
        if not (records[:, 0] == number).any():
            raise ValueError(f"{folder} has no {split} image of class {entry!r}.")
    images = np.empty((len(records), _RECORD - 1))
    np.divide(records[:, 1:], 255.0, out=images)
    return images, np.where(records[:, 0] == numbers[1], 1.0, -1.0)


def _class_number(folder: Path, entry: int | str) -> int:
    if not isinstance(entry, str):
        if not 0 <= entry <= 9:
            raise ValueError(f"A class of CIFAR-10 is a number from 0 to 9 or a name; {entry!r} is neither.")
        return int(entry)
    meta = folder / "batches.meta.txt"
    if not meta.is_file():
        raise FileNotFoundError(f"There is no {meta} to look the class {entry!r} up in; give its number.")
    names = meta.read_text(encoding="utf-8").split()
    if entry not in names:
        raise ValueError(f"Unknown class {entry!r}: choose one of {', '.join(names)}.")
    return names.index(entry)


def _batch_files(folder: Path, batches: Sequence[int] | None, split: str) -> list[Path]:
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test'; it is {split!r}.")
    if split == "test":
        if batches is not None:
            raise ValueError("batches are for the training split; the test split is one file.")
        files = [folder / "test_batch.bin"]
    elif batches is None:
        files = sorted(f for f in folder.iterdir() if re.fullmatch(r"data_batch_[1-5]\.bin", f.name))
        files = files or [folder / "data_batch_1.bin"]
    else:
        if not batches or len(set(batches)) < len(batches) or not set(batches) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"batches must be distinct numbers from 1 to 5; it is {batches!r}.")
        files = [folder / f"data_batch_{k}.bin" for k in batches]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"There is no file at {file}.")
    return files


def _records(file: Path, numbers: list[int]) -> NDArray[np.uint8]:
    """The records of one file, as bytes, whose label is one of `numbers`."""
    size = file.stat().st_size
    if size == 0 or size % _RECORD:
        raise ValueError(
            f"{file} is truncated: its {size} bytes are not a whole number of {_RECORD}-byte records."
        )
    records = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, _RECORD)
    labels = np.array(records[:, 0])
    if labels.max() > 9:
        row = int(np.argmax(labels > 9))
        raise ValueError(f"{file} is damaged: record {row + 1} has label {labels[row]}, not 0 to 9.")
    return np.array(records[np.isin(labels, numbers)])


# ------------------------------------------------------------------------------------------ embedded sets


def load_breast_cancer() -> Dataset:
    """Wisconsin breast cancer, 569×30 raw features from scikit-learn; −1 malignant, +1 benign."""
    from sklearn.datasets import load_breast_cancer as load

    raw: Any = load()
    names = tuple(map(str, raw.feature_names))
    return Dataset(raw.data.astype(np.float64), 2.0 * raw.target - 1.0, names, "breast cancer")


def load_diabetes() -> Dataset:
    """Diabetes progression after one year (25 to 346), 442×10 raw, unscaled features from scikit-learn."""
    from sklearn.datasets import load_diabetes as load

    raw: Any = load(scaled=False)
    names = tuple(map(str, raw.feature_names))
    return Dataset(raw.data.astype(np.float64), raw.target.astype(np.float64), names, "diabetes")


def five_points() -> Dataset:
    """x = (−2, −1, 0, 1, 2) with a column of ones (5×2), y = (1, −1, 1, 1, −1): ten activation patterns."""
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    y = np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    return Dataset(np.column_stack([x, np.ones(5)]), y, ("x", "one"), "five points")


# --------------------------------------------------------------------------------------------- generators


def make_gaussian(n: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    """X (n, d) and y (n,), all entries independent N(0, 1): there is nothing in y to learn.

    Raises ValueError if a size is below 1.
    """
    _require_positive(n=n, d=d)
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n)


def make_planted(
    n: int, d: int, neurons: int, noise: float = 0.0, seed: int = 0
) -> tuple[Array, Array, Network]:
    """y = (X U)₊ α + noise·N(0, 1), with X (n, d) of N(0, 1) entries; returns (X, y, Network(U, α)).

    The columns of U are N(0, I/d), and α is ±1/√neurons with signs in turn, so y has variance near ½.
    Raises ValueError if a size is below 1 or the noise is negative.
    """
    _require_positive(n=n, d=d, neurons=neurons)
    _require_noise(noise)
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    U = rng.standard_normal((d, neurons)) / math.sqrt(d)
    network = Network(U, np.resize([1.0, -1.0], neurons) / math.sqrt(neurons))
    return X, network.predict(X) + noise * rng.standard_normal(n), network


def make_spiral(n: int, noise: float = 0.0, seed: int = 0) -> tuple[Array, Array]:
    """Two interleaved spirals, ±(t/3π)(cos t, sin t) + noise·N(0, I), t ∈ [π/2, 3π]: X (n, 2), y = ±1.

    The classes take turns, so they differ by one sample at most. No column of ones is appended. Raises
    ValueError if n is below 2 or the noise is negative.
    """
    if n < 2:
        raise ValueError(f"n must be at least 2, one sample of each class; it is {n}.")
    _require_noise(noise)
    rng = np.random.default_rng(seed)
    y = np.resize([1.0, -1.0], n)
    t = rng.uniform(math.pi / 2, 3 * math.pi, n)
    arm = (t / (3 * math.pi))[:, None] * np.column_stack([np.cos(t), np.sin(t)])
    return y[:, None] * arm + noise * rng.standard_normal((n, 2)), y


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; it is {size}.")


def _require_noise(noise: float) -> None:
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be a finite number from 0 up; it is {noise!r}.")


# -------------------------------------------------------------------------------------------------- splits


def split_rows(
    n: int, test_fraction: float, seed: int, stratify: ArrayLike | None = None
) -> tuple[IntArray, IntArray]:
    """Indices (train, test), each ascending, of a random split of range(n) with round(n·fraction) test rows.

    Parameters
    ----------
    n : int
        Rows, at least 2; one row at least goes to either side.
    test_fraction : float
        Strictly between 0 and 1.
    seed : int
    stratify : (n,), optional
        Class of each row. Every class is then split by itself, so the number of test rows may differ
        from the above by rounding; the training rows hold every class.

    Raises
    ------
    ValueError
        If an argument is out of its range, or `stratify` leaves no test row.
    """
    if n < 2:
        raise ValueError(f"A split takes at least 2 rows; there are {n}.")
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(f"test_fraction must lie strictly between 0 and 1; it is {test_fraction!r}.")
    rng = np.random.default_rng(seed)
    if stratify is None:
        groups = [np.arange(n)]
        counts = [max(1, min(n - 1, round(n * test_fraction)))]
    else:
        labels = np.asarray(stratify)
        if labels.shape != (n,):
            raise ValueError(f"stratify must have shape ({n},); it has {labels.shape}.")
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        counts = [min(len(group) - 1, round(len(group) * test_fraction)) for group in groups]
    test = np.sort(np.concatenate([rng.permutation(g)[:k] for g, k in zip(groups, counts, strict=True)]))
    if not test.size:
        raise ValueError("Every class has too few rows for one to be set aside: split without stratify.")
    return np.setdiff1d(np.arange(n), test), test.astype(np.int64)
