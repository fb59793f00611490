"""One column of a table as columns of X: numbers, dates, categories and free text, each as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from convexnn._dates import FORMATS, ISO, date_features, date_formats, date_names, dates_to_days, is_date_type
from convexnn._types import Array, BoolArray
from convexnn._words import fit_terms, looks_like_text, term_features

if TYPE_CHECKING:
    import pandas as pd

#: Distinct values a categorical column may have.
MAX_CATEGORIES = 50

Kind = Literal["number", "category", "date", "text"]


@dataclass(frozen=True)
class Column:
    """How one column of a table enters X.

    Attributes
    ----------
    name : str
    kind : {"number", "category", "date", "text"}
    missing : int
        Missing cells among the training rows.
    median : float or None
        What fills a missing cell of a number, or of a date (in days since 1970-01-01).
    categories : tuple of str
        Values of a category, one 0/1 column of X each, sorted.
    form : str
        Form of a date, in the notation of strftime; ISO8601 for year-month-day.
    origin : float
        First training date, in days since 1970-01-01.
    with_time : bool
        Whether the training dates have a time of day.
    terms, weights : tuples of str and of float
        Terms of a free text and what multiplies their counts, one column of X each.
    """

    name: str
    kind: Kind
    missing: int
    median: float | None = None
    categories: tuple[str, ...] = ()
    form: str = ""
    origin: float = 0.0
    with_time: bool = False
    terms: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain strings, numbers and lists; what is empty is left out."""
        data = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {k: v for k, v in data.items() if k in ("name", "kind", "missing") or v not in (None, [], "")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Column":
        """The inverse of `to_json`."""
        fields: dict[str, Any] = {"kind": "number" if data.get("median") is not None else "category"}
        fields |= {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        column = cls(**fields)
        if column.kind not in get_args(Kind) or len(column.terms) != len(column.weights):
            raise TypeError(f"column {column.name!r} is of no known kind")
        return column


def kind_of(column: Column) -> str:
    """The column's kind as `fit_column` takes it; a date with its form."""
    return f"date:{column.form}" if column.kind == "date" else column.kind


def fit_column(frame: "pd.DataFrame", name: str, kind: str | None = None) -> Column:
    """Learn a column from training rows.

    Parameters
    ----------
    kind : str, optional
        ``number``, ``category``, ``text``, ``date`` or ``date:`` and its form. By default a number where
        the cells are numbers; a date where all texts have one form of `_dates.FORMATS`; free text where
        there are more than `MAX_CATEGORIES` texts of three words and more; else a category.

    Raises
    ------
    ValueError
        One sentence: no value in any row, too many categories, an infinite number, dates of no known form or
        of two, or a text without a word that two rows share.
    """
    values: Any = frame[name]
    missing = int(values.isna().sum())
    if missing == len(values):
        raise ValueError(f"Column {name!r} has no value in any row: leave it out (drop=[{name!r}]).")
    kind, _, form = (kind or _guess(values)).partition(":")
    if kind == "number":
        return Column(name, "number", missing, median=float(np.nanmedian(to_numbers(values, name))))
    if kind == "date":
        return _fit_date(values, name, form, missing)
    cells = texts_of(values)
    if kind == "text":
        terms, weights = fit_terms(cells)
        if not terms:
            raise ValueError(
                f"Column {name!r} has no word that some rows share and others lack: leave it out "
                f"(drop=[{name!r}])."
            )
        return Column(name, "text", missing, terms=terms, weights=weights)
    if kind != "category":
        raise ValueError(f"Column {name!r}: a kind is number, category, date or text; it is {kind!r}.")
    categories = tuple(sorted({text for text in cells if text is not None}))
    if len(categories) > MAX_CATEGORIES:
        raise ValueError(
            f"Column {name!r} holds {len(categories)} different texts, and {MAX_CATEGORIES} are the limit: "
            f"group its values, leave it out (drop=[{name!r}]), or take it as free text (text=[{name!r}])."
        )
    return Column(name, "category", missing, categories=categories)


def _guess(values: Any) -> str:
    if is_numeric(values):
        return "number"
    if is_date_type(values):
        return "date"
    texts = [text for text in texts_of(values) if text is not None]
    if date_formats(texts):
        return "date"
    return "text" if len(set(texts)) > MAX_CATEGORIES and looks_like_text(texts) else "category"


def _fit_date(values: Any, name: str, form: str, missing: int) -> Column:
    if not form and is_date_type(values):
        form = ISO
    if not form:
        known = date_formats([text for text in texts_of(values) if text is not None])
        if len(known) > 1:
            shown = " and ".join(known)
            raise ValueError(
                f"Column {name!r} holds dates that can be read in more than one way, {shown}: say which, "
                f"dates={{{name!r}: {known[0]!r}}}."
            )
        if not known:
            shown = "2024-05-31, 31.05.2024, 31/05/2024, 05/31/2024, 31 May 2024"
            raise ValueError(
                f"Column {name!r} holds dates of no known form ({shown}): name it as strftime does, "
                f"dates={{{name!r}: {FORMATS[1]!r}}}."
            )
        form = known[0]
    days = _days(values, name, form)
    here = days[~np.isnan(days)]
    with_time = bool(np.any(here != np.floor(here)))
    median = float(np.median(here))
    return Column(name, "date", missing, median, form=form, origin=float(here.min()), with_time=with_time)


def column_names(column: Column) -> list[str]:
    """Names of the columns of X: ``name``, ``name=value``, ``name:days`` and cycles, or ``name:term``."""
    if column.kind == "category":
        return [f"{column.name}={value}" for value in column.categories]
    if column.kind == "text":
        return [f"{column.name}:{term}" for term in column.terms]
    return date_names(column.name, column.with_time) if column.kind == "date" else [column.name]


def column_features(column: Column, values: Any) -> Array:
    """(n, len(column_names(column))) from a column's cells; ValueError for a bad one, with its line."""
    if column.kind == "category":
        cells = np.array(texts_of(values), dtype=object)
        same: BoolArray = cells[:, None] == np.array(column.categories, dtype=object)
        return same.astype(np.float64)
    if column.kind == "text":
        return term_features(texts_of(values), column.terms, column.weights)
    assert column.median is not None
    if column.kind == "date":
        days = _days(values, column.name, column.form)
        return date_features(days, column.origin, column.median, column.with_time)
    number = to_numbers(values, column.name)
    return np.where(np.isnan(number), column.median, number)[:, None]


def column_note(column: Column) -> str:
    """A sentence on what was done with the column that the user should know; empty for nothing."""
    sentences = []
    if column.kind == "date":
        sentences.append(f"dates ({column.form}) as days since the first, season and day of the week")
    if column.kind == "text":
        sentences.append(f"free text as the weights of {len(column.terms)} terms")
    if column.missing:
        cells = f"{column.missing} missing cell{'s' if column.missing > 1 else ''}"
        filled = "zero in all its columns of the matrix"
        if column.kind == "number":
            filled = f"{column.median:g}, the median"
        elif column.kind == "date":
            filled = "the median date, with zero for season and day of the week"
        sentences.append(f"{cells} filled with {filled}")
    return f"Column {column.name!r}: {'; '.join(sentences)}." if sentences else ""


def is_numeric(values: Any) -> bool:
    """Numbers, but not bool."""
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def to_numbers(values: Any, name: str) -> Array:
    """float64 with NaN where missing; text and infinity are refused."""
    import pandas as pd

    numbers: Any = pd.to_numeric(values, errors="coerce")
    out: Array = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong: BoolArray = np.isinf(out) | (np.isnan(out) & values.notna().to_numpy())
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"Column {name!r}, {place(values, row)}: {str(values.iloc[row])!r} is not a finite number."
        )
    return out


def _days(values: Any, name: str, form: str) -> Array:
    days, wrong = dates_to_days(values, form)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"Column {name!r}, {place(values, row)}: {str(values.iloc[row])!r} is no date of the form {form}."
        )
    return days


def texts_of(values: Any) -> list[str | None]:
    """Cells as text, None where missing; 1 and 1.0 are both '1'."""
    missing = values.isna().tolist()
    return [None if gone else as_text(value) for gone, value in zip(missing, values.tolist(), strict=True)]


def as_text(value: Any) -> str:
    """A cell as text; a whole number without its point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def place(values: Any, row: int) -> str:
    """'line 7' where the frame is from `read_table`, else 'row' with the label of the index."""
    return f"{'line' if values.index.name == 'line' else 'row'} {values.index[row]}"
