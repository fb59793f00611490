"""A table of numbers, dates, categories and text as a matrix X and a target y, and back.

All is learnt from training rows and kept as plain data, so a saved model holds no pickle: a fitted
ColumnTransformer of scikit-learn can be saved only as a pickle, which runs what it holds and is tied to one
version. What the encoder does is a ColumnTransformer's work, with the same numbers as scikit-learn's imputer,
one-hot and TF-IDF encoders where there is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._columns import (
    MAX_CATEGORIES,
    Column,
    as_text,
    column_features,
    column_names,
    column_note,
    fit_column,
    is_numeric,
    kind_of,
    place,
    texts_of,
    to_numbers,
)
from convexnn._types import Array, IntArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_CATEGORIES", "MAX_CLASSES", "Column", "TableEncoder"]

#: Classes that a target may have.
MAX_CLASSES = 20

Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class TableEncoder:
    """A data frame as X (n, d) float64: numbers as they are, categories as 0/1 columns, dates, text.

    A missing number becomes the training median. A category that is missing, or that the training rows
    did not have, becomes zero in all columns of its table column; so does a text without a known term. A
    missing date is at the median, without season. Nothing is scaled: see `Scaler`.

    Attributes
    ----------
    target : str
        Name of the target column.
    task : {"regression", "classification"}
    classes : tuple of str
        () for a regression, else the classes in sorted order (numbers by value, text by alphabet). With two,
        y is −1 for the first and +1 for the second; with more, y is the number of the class, from 0.
    columns : tuple of Column
        The feature columns, in the order of the training table.
    """

    target: str
    task: Task
    classes: tuple[str, ...]
    columns: tuple[Column, ...]

    @classmethod
    def fit(
        cls,
        frame: "pd.DataFrame",
        target: str,
        task: Literal["auto", "regression", "classification"] = "auto",
        kinds: Mapping[str, str] | None = None,
    ) -> "TableEncoder":
        """Learn the encoding of `frame`.

        `kinds` names what a column is, where that is not to be guessed: ``number``, ``category``, ``text``,
        ``date``, or ``date:`` with its form, such as ``date:%d/%m/%Y``. With ``task="auto"`` the task is a
        regression exactly if the target is numeric (bool is not) and has more than two distinct values;
        otherwise it is a classification.

        Raises
        ------
        ValueError
            If the target is not there, lacks a value (the line is named), has one value only, has more than
            `MAX_CLASSES` classes or does not fit the task; if a feature column is all missing, has more than
            `MAX_CATEGORIES` categories or holds an infinite number; or if there is no feature column.
        """
        task, classes = find_task(frame, target, task)
        kinds = kinds or {}
        names = [name for name in map(str, frame.columns) if name != target]
        columns = tuple(fit_column(frame, name, kinds.get(name)) for name in names)
        if not columns:
            raise ValueError(f"The table has no column besides the target {target!r}.")
        return cls(target, task, classes, columns)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of X, such as ``size``, ``colour=red``, ``sold:days``, ``remark:leaks``."""
        return tuple(name for column in self.columns for name in column_names(column))

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each feature column, as `fit` takes it."""
        return {column.name: kind_of(column) for column in self.columns}

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each column with dates, free text or missing training cells, for the user."""
        return tuple(note for note in map(column_note, self.columns) if note)

    def transform(self, frame: "pd.DataFrame") -> Array:
        """X (n, d) with the columns `feature_names`; further columns of the frame are ignored.

        Raises ValueError if a column is not there, a numeric one holds text or an infinite
        number, or a date has another form than in training.
        """
        blocks: list[Array] = []
        for column in self.columns:
            if column.name not in frame.columns:
                raise ValueError(f"The table has no column {column.name!r}, which the model takes.")
            blocks.append(column_features(column, frame[column.name]))
        return np.concatenate(blocks, axis=1)

    def unseen(self, frame: "pd.DataFrame") -> list[dict[str, Any]]:
        """Categories of `frame` that training did not have: column, rows (a number) and sorted values.

        `transform` makes zeros of them, as of a missing cell. One dict for each column that has any.
        """
        found: list[dict[str, Any]] = []
        for column in self.columns:
            if column.kind == "category" and column.name in frame.columns:
                cells = [text for text in texts_of(frame[column.name]) if text is not None]
                new = [text for text in cells if text not in column.categories]
                if new:
                    found.append({"column": column.name, "rows": len(new), "values": sorted(set(new))})
        return found

    def encode_target(self, frame: "pd.DataFrame") -> Array:
        """y (n,): the plain number for a regression, −1 or +1 for two classes, 0, 1, 2 … for more.

        Raises ValueError if the target is not there, lacks a value, is no finite number or is an unknown
        class; the line is named.
        """
        values = _target_values(frame, self.target)
        if self.task == "regression":
            return to_numbers(values, self.target)
        text = np.array(texts_of(values), dtype=object)
        unknown = ~np.isin(text, self.classes)
        if unknown.any():
            row = int(np.argmax(unknown))
            raise ValueError(
                f"Target {self.target!r}, {place(values, row)}: {text[row]!r} is neither class, "
                f"{' nor '.join(map(repr, self.classes))}."
            )
        number: Array = np.argmax(text[:, None] == np.array(self.classes, dtype=object), axis=1).astype(float)
        return number if len(self.classes) > 2 else 2.0 * number - 1.0

    def decode(self, f: ArrayLike) -> NDArray[Any]:
        """f (n,) for a regression; else the class: the second where f > 0, or of the largest f (n, c)."""
        f = np.asarray(f, dtype=np.float64)
        if self.task == "regression":
            return f
        number: IntArray = f.argmax(axis=1) if f.ndim == 2 else (f > 0).astype(np.int64)
        names: NDArray[Any] = np.array(self.classes)
        return names[number]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, which JSON can hold."""
        return {
            "target": self.target,
            "task": self.task,
            "classes": list(self.classes),
            "columns": [column.to_json() for column in self.columns],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TableEncoder":
        """The inverse of `to_json`; ValueError if the data are not an encoder's."""
        try:
            columns = tuple(Column.from_json(column) for column in data["columns"])
            return cls(data["target"], data["task"], tuple(data["classes"]), columns)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"These are not the data of a table encoder ({error!r}).") from error


def find_task(
    frame: "pd.DataFrame", target: str, task: Literal["auto", "regression", "classification"]
) -> tuple[Task, tuple[str, ...]]:
    """(task, classes), as `TableEncoder.fit` finds them; ValueError as there."""
    if task not in ("auto", "regression", "classification"):
        raise ValueError(f"task must be 'auto', 'regression' or 'classification'; it is {task!r}.")
    values = _target_values(frame, target)
    numeric = is_numeric(values)
    if task == "auto":
        task = "regression" if numeric and int(values.nunique()) > 2 else "classification"
    if task == "regression" and not numeric:
        raise ValueError(f"A regression takes a numeric target; column {target!r} holds text.")
    return task, () if task == "regression" else _classes(values, target)


def check_rates(frame: "pd.DataFrame", target: str) -> None:
    """ValueError, with the line, if a numeric target is below 0 somewhere."""
    values = _target_values(frame, target)
    negative = values.to_numpy(dtype=np.float64) < 0
    if negative.any():
        row = int(np.argmax(negative))
        raise ValueError(
            f"Target {target!r}, {place(values, row)}: {values.iloc[row]} is negative; the poisson loss "
            "takes counts or rates, 0 or more."
        )


def _target_values(frame: "pd.DataFrame", target: str) -> Any:
    """The target column, without a missing cell."""
    if target not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        raise ValueError(f"The table has no target column {target!r}; its columns are {names}.")
    values: Any = frame[target]
    missing = values.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"Target {target!r}, {place(values, int(np.argmax(missing)))}: the value is missing."
        )
    if not len(values):
        raise ValueError("The table has no rows.")
    return values


def _classes(values: Any, target: str) -> tuple[str, ...]:
    classes: Sequence[Any] = sorted(set(values.tolist()) if is_numeric(values) else set(texts_of(values)))
    names = tuple(as_text(value) for value in classes)
    if len(names) < 2:
        raise ValueError(f"Target {target!r} has one value only, {names[0]!r}: there is nothing to classify.")
    if len(names) > MAX_CLASSES:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise ValueError(
            f"Target {target!r} has {len(names)} classes ({shown}), and {MAX_CLASSES} are the limit."
        )
    return names
