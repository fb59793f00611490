"""A table of numbers and categories as a matrix X and a target y, and back; fitted on training rows only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convexnn._types import Array, BoolArray

if TYPE_CHECKING:
    import pandas as pd

#: Distinct values a categorical column may have.
MAX_CATEGORIES = 50

Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class Column:
    """How one column of a table enters X.

    Attributes
    ----------
    name : str
    median : float or None
        What fills a missing cell of a numeric column; None for a categorical column.
    categories : tuple of str
        Values of a categorical column, one 0/1 column of X each, sorted; () for a numeric column.
    missing : int
        Missing cells among the training rows.
    """

    name: str
    median: float | None
    categories: tuple[str, ...]
    missing: int


@dataclass(frozen=True)
class TableEncoder:
    """A data frame as X (n, d) float64: numbers as they are, categories as 0/1 columns.

    A missing number becomes the training median. A category that is missing, or that the training rows
    did not have, becomes zero in all columns of its table column. Nothing is scaled: see `Scaler`.

    Attributes
    ----------
    target : str
        Name of the target column.
    task : {"regression", "classification"}
    classes : tuple of str
        () for a regression, else the two classes in sorted order (numbers by value, text by alphabet): y
        is −1 for the first and +1 for the second.
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
    ) -> "TableEncoder":
        """Learn the encoding of `frame`.

        With ``task="auto"`` the task is a regression exactly if the target is numeric (bool is not) and
        has more than two distinct values; otherwise it is a classification with two classes.

        Raises
        ------
        ValueError
            If the target is not there, lacks a value (the line is named), has one value only, has more than
            two classes or does not fit the task; if a feature column is all missing, has more than
            `MAX_CATEGORIES` categories or holds an infinite number; or if there is no feature column.
        """
        if task not in ("auto", "regression", "classification"):
            raise ValueError(f"task must be 'auto', 'regression' or 'classification'; it is {task!r}.")
        values = _target_values(frame, target)
        numeric = _is_numeric(values)
        distinct = int(values.nunique())
        if task == "auto":
            task = "regression" if numeric and distinct > 2 else "classification"
        if task == "regression" and not numeric:
            raise ValueError(f"A regression takes a numeric target; column {target!r} holds text.")
        classes = () if task == "regression" else _two_classes(values, target)
        columns = tuple(_fit_column(frame, name) for name in map(str, frame.columns) if name != target)
        if not columns:
            raise ValueError(f"The table has no column besides the target {target!r}.")
        return cls(target, task, classes, columns)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of X: ``name`` for a number, ``name=value`` for a category."""
        return tuple(
            name
            for column in self.columns
            for name in ([f"{column.name}={c}" for c in column.categories] or [column.name])
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each column with missing training cells, to be shown to the user."""
        notes = []
        for column in self.columns:
            if column.missing:
                cells = f"{column.missing} missing cell{'s' if column.missing > 1 else ''}"
                filled = (
                    "zero in all its 0/1 columns"
                    if column.median is None
                    else f"{column.median:g}, the median"
                )
                notes.append(f"Column {column.name!r}: {cells} filled with {filled}.")
        return tuple(notes)

    def transform(self, frame: "pd.DataFrame") -> Array:
        """X (n, d) with the columns `feature_names`; further columns of the frame are ignored.

        Raises ValueError if a column is not there, or a numeric one holds text or an infinite number.
        """
        blocks: list[Array] = []
        for column in self.columns:
            if column.name not in frame.columns:
                raise ValueError(f"The table has no column {column.name!r}, which the model takes.")
            values = frame[column.name]
            if column.median is None:
                text = np.array(_texts(values), dtype=object)
                blocks.append((text[:, None] == np.array(column.categories, dtype=object)).astype(np.float64))
            else:
                number = _numbers(values, column.name)
                blocks.append(np.where(np.isnan(number), column.median, number)[:, None])
        return np.concatenate(blocks, axis=1)

    def encode_target(self, frame: "pd.DataFrame") -> Array:
        """y (n,): the plain number for a regression, −1 or +1 for the classes.

        Raises ValueError if the target is not there, lacks a value, is no finite number or is an unknown
        class; the line is named.
        """
        values = _target_values(frame, self.target)
        if self.task == "regression":
            return _numbers(values, self.target)
        text = np.array(_texts(values), dtype=object)
        unknown = ~np.isin(text, self.classes)
        if unknown.any():
            row = int(np.argmax(unknown))
            raise ValueError(
                f"Target {self.target!r}, {_place(values, row)}: {text[row]!r} is neither class, "
                f"{' nor '.join(map(repr, self.classes))}."
            )
        return np.where(text == self.classes[1], 1.0, -1.0)

    def decode(self, f: ArrayLike) -> NDArray[Any]:
        """The network's output f (n,) as it is for a regression, else the class: the second where f > 0."""
        f = np.asarray(f, dtype=np.float64)
        return f if self.task == "regression" else np.array(self.classes)[(f > 0).astype(np.intp)]

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, which JSON can hold."""
        return {
            "target": self.target,
            "task": self.task,
            "classes": list(self.classes),
            "columns": [{**asdict(c), "categories": list(c.categories)} for c in self.columns],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TableEncoder":
        """The inverse of `to_json`; ValueError if the data are not an encoder's."""
        try:
            columns = tuple(Column(**{**c, "categories": tuple(c["categories"])}) for c in data["columns"])
            return cls(data["target"], data["task"], tuple(data["classes"]), columns)
        except (KeyError, TypeError) as error:
            raise ValueError(f"These are not the data of a table encoder ({error!r}).") from error


def _target_values(frame: "pd.DataFrame", target: str) -> Any:
    """The target column, without a missing cell."""
    if target not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        raise ValueError(f"The table has no target column {target!r}; its columns are {names}.")
    values: Any = frame[target]
    missing = values.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"Target {target!r}, {_place(values, int(np.argmax(missing)))}: the value is missing."
        )
    if not len(values):
        raise ValueError("The table has no rows.")
    return values


def _two_classes(values: Any, target: str) -> tuple[str, ...]:
    classes: Sequence[Any] = sorted(set(values.tolist()) if _is_numeric(values) else set(_texts(values)))
    names = tuple(_text(value) for value in classes)
    if len(names) < 2:
        raise ValueError(f"Target {target!r} has one value only, {names[0]!r}: there is nothing to classify.")
    if len(names) > 2:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise ValueError(
            f"Target {target!r} has {len(names)} classes ({shown}); more than two are not supported yet."
        )
    return names


def _fit_column(frame: "pd.DataFrame", name: str) -> Column:
    values: Any = frame[name]
    missing = int(values.isna().sum())
    if missing == len(values):
        raise ValueError(f"Column {name!r} has no value in any row: remove it from the table.")
    if _is_numeric(values):
        return Column(name, float(np.nanmedian(_numbers(values, name))), (), missing)
    categories = tuple(sorted({text for text in _texts(values) if text is not None}))
    if len(categories) > MAX_CATEGORIES:
        raise ValueError(
            f"Column {name!r} holds {len(categories)} different texts, and {MAX_CATEGORIES} are the limit: "
            "remove it from the table or group its values."
        )
    return Column(name, None, categories, missing)


def _is_numeric(values: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _numbers(values: Any, name: str) -> Array:
    """float64 with NaN where missing; text and infinity are refused."""
    import pandas as pd

    numbers: Any = pd.to_numeric(values, errors="coerce")
    out: Array = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong: BoolArray = np.isinf(out) | (np.isnan(out) & values.notna().to_numpy())
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"Column {name!r}, {_place(values, row)}: {str(values.iloc[row])!r} is not a finite number."
        )
    return out


def _texts(values: Any) -> list[str | None]:
    """Categories as text, None where missing; 1 and 1.0 are both '1'."""
    missing = values.isna().tolist()
    return [None if gone else _text(value) for gone, value in zip(missing, values.tolist(), strict=True)]


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _place(values: Any, row: int) -> str:
    """'line 7' where the frame is from `read_table`, else 'row' with the label of the index."""
    return f"{'line' if values.index.name == 'line' else 'row'} {values.index[row]}"
