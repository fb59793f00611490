"""Dates of a table as numbers: a trend and cycles. Importing this module does not import pandas.

A date t, in days, becomes (t − t₀, sin φ, cos φ, sin ψ, cos ψ): t₀ the first training date, φ the place in
the year and ψ the day of the week as angles; and two more numbers for the time of day where the training
dates have one. The year itself is in t − t₀.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convexnn._types import Array, BoolArray

ISO = "ISO8601"
_DAYS = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d %B %Y",
         "%b %d, %Y", "%B %d, %Y")  # fmt: skip
#: The forms that are recognised, in the notation of strftime; `ISO` is 2024-05-31, with or without a time.
FORMATS = (ISO, *(day + time for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S")))


def date_formats(texts: Sequence[str]) -> list[str]:
    """The members of `FORMATS` that read every one of `texts`; more than one if they disagree."""
    unique = sorted({text.strip() for text in texts})
    if not unique or not all(any(c.isdigit() for c in text) for text in unique):
        return []
    found: list[tuple[str, Array]] = []
    for form in FORMATS:
        if np.isnan(_parse(unique[:1], form)).any():
            continue
        days = _parse(unique, form)
        if not np.isnan(days).any() and not any(np.array_equal(days, other) for _, other in found):
            found.append((form, days))
    return [form for form, _ in found]


def is_date_type(values: Any) -> bool:
    """Whether a column holds dates by its type, as Parquet files do."""
    import pandas as pd

    return bool(
        pd.api.types.is_datetime64_any_dtype(values)
        or pd.api.types.infer_dtype(values, skipna=True) in ("date", "datetime")
    )


def dates_to_days(values: Any, form: str) -> tuple[Array, BoolArray]:
    """(days since 1970-01-01 with NaN where there is none, mask of cells that are no date of the form).

    A time zone is taken off by going to UTC.
    """
    present: BoolArray = values.notna().to_numpy()
    days = np.full(len(values), np.nan)
    cells = values[present]
    if not len(cells):
        return days, np.zeros(len(values), dtype=np.bool_)
    texts = cells.tolist() if is_date_type(values) else [str(cell).strip() for cell in cells.tolist()]
    days[present] = _parse(texts, ISO if is_date_type(values) else form)
    return days, present & np.isnan(days)


def _parse(texts: Sequence[Any], form: str) -> Array:
    """Days since 1970-01-01 in UTC, NaN for what `form` does not read."""
    import pandas as pd

    iso = form == ISO
    cells = pd.Series(texts, dtype=object)
    if iso and isinstance(
        texts[0], str
    ):  # ISO as pandas has it reads 2024 and 20240531 too: they are numbers
        cells = cells.where(cells.str.match(r"\d{4}-\d{2}"), None)
    times: Any = pd.to_datetime(cells, format=form, errors="coerce", utc=True)
    stamps = times.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    days: Array = stamps.astype(np.int64) / 86_400e6
    return np.where(np.isnat(stamps), np.nan, days)


def date_names(name: str, with_time: bool) -> list[str]:
    """Names of the columns that `date_features` makes."""
    cycles = ["year", "week", *(["day"] if with_time else [])]
    return [f"{name}:days", *(f"{name}:{part}_{cycle}" for cycle in cycles for part in ("sin", "cos"))]


def date_features(days: Array, origin: float, median: float, with_time: bool) -> Array:
    """(n, 5 or 7) from days (n,) since 1970; a missing date is at `median`, its cycles are zero.

    Zero is the centre of each circle, as far from every season as from every other.
    """
    missing = np.isnan(days)
    days = np.where(missing, median, days)
    whole = np.floor(days)
    dates = whole.astype(np.int64).astype("datetime64[D]")
    in_year = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
    turns = [in_year / 365.25, (whole + 3) % 7 / 7]  # 1970-01-01 was a Thursday; weeks begin on Monday
    if with_time:
        turns.append(days - whole)
    angles = 2 * np.pi * np.column_stack(turns)
    cycles = np.where(missing[:, None, None], 0.0, np.stack([np.sin(angles), np.cos(angles)], axis=2))
    return np.column_stack([days - origin, cycles.reshape(len(days), -1)])
