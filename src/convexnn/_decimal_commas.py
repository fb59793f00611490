"""Numbers with decimal commas in tables that a comma does not separate: ``3,5`` is 3.5.

``1,234`` may be 1.234 or 1234. A table has one habit: a cell that can only be a decimal comma, such as
``3,5`` or ``0,125``, decides for all its columns; without one, cells that read both ways are refused unless
the caller knows better. So are thousands separators, and in a table of decimal commas a column such as
``1.234``. Importing this module does not import pandas.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convexnn._types import BoolArray

if TYPE_CHECKING:
    import pandas as pd

_COMMA = r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?"
_WHOLE = r"[-+]?\d+"
#: What a thousands separator may be: groups of three digits after one to three that do not begin with 0.
_TWO_WAYS = r"[-+]?[1-9]\d{0,2},\d{3}"
_GROUPED = r"[-+]?[1-9]\d{0,2}([.,'\s\u00a0\u2009\u202f]\d{3})+([.,]\d+)?"
_POINTS_OF_THOUSANDS = r"[-+]?[1-9]\d{0,2}(\.\d{3})+"


def read_commas(
    path: object,
    frame: "pd.DataFrame",
    text: Sequence[str],
    as_text: Callable[[], "pd.DataFrame"],
    known: bool = False,
) -> "pd.DataFrame":
    """`frame` with its columns of decimal commas as numbers, named in ``attrs["decimal_commas"]``.

    Parameters
    ----------
    path
        For messages.
    text
        Columns to leave as they are.
    as_text
        Gives the same table with all cells as text; called only where there are decimal commas.
    known
        Whether it is known that commas are decimal here, so that no cell has to tell.

    Raises
    ------
    ValueError
        One sentence with line and column for a cell that reads two ways, a thousands separator, or a word
        among numbers.
    """
    import pandas as pd

    found = {
        name: cells
        for name in frame.columns
        if name not in text and not pd.api.types.is_numeric_dtype(frame[name])
        for cells in [_cells(frame[name])]
        if _mostly_numbers(cells)
    }
    if not found:
        return frame
    if not known and all(_matches(cells, f"{_TWO_WAYS}|{_WHOLE}").all() for cells in found.values()):
        name, cells = next(iter(found.items()))
        row = int(np.flatnonzero(_matches(cells, _TWO_WAYS))[0])
        raise ValueError(
            f"{_place(path, cells, row, name)}: {cells.iloc[row]!r} may have a decimal comma or a thousands "
            "separator, and no other cell tells which: say that it is decimal (decimal_comma=True), or write "
            f"such cells without a separator (to take the column as text: text=[{name!r}])."
        )
    for name, cells in found.items():
        _check(path, name, cells)
        pointed = frame[name].astype("string").str.strip().str.replace(",", ".", regex=False)
        frame[name] = pd.to_numeric(pointed).astype(np.float64)
    plain = as_text()
    for name in frame.columns:
        if name not in found and name not in text and pd.api.types.is_float_dtype(frame[name]):
            _check_points(path, name, _cells(plain[name]))
    frame.attrs["decimal_commas"] = [str(name) for name in found]
    return frame


def _cells(column: Any) -> Any:
    """The cells that are not missing, as text without spaces around, with their lines."""
    return column.dropna().astype("string").str.strip()


def _matches(cells: Any, pattern: str) -> BoolArray:
    matched: BoolArray = cells.str.fullmatch(pattern).to_numpy(dtype=bool)
    return matched


def _mostly_numbers(cells: Any) -> bool:
    """Whether a cell has a decimal comma and more than half are whole numbers or have one."""
    commas = _matches(cells, _COMMA)
    return bool(commas.any() and 2 * (commas | _matches(cells, _WHOLE)).sum() > len(cells))


def _check(path: object, name: str, cells: Any) -> None:
    wrong = ~_matches(cells, f"{_COMMA}|{_WHOLE}")
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong)[0])
    why = (
        "has a thousands separator: write such cells without, 1234,5"
        if _matches(cells.iloc[row : row + 1], _GROUPED)[0]
        else "is no number with a decimal comma, as the others are"
    )
    raise ValueError(
        f"{_place(path, cells, row, name)}: {cells.iloc[row]!r} {why} (to take the column as text: "
        f"text=[{name!r}])."
    )


def _check_points(path: object, name: str, cells: Any) -> None:
    """Refuse a column that looks like thousands with points, in a table of decimal commas."""
    pointed = cells.str.contains(".", regex=False).to_numpy(dtype=bool)
    if pointed.any() and _matches(cells[pointed], _POINTS_OF_THOUSANDS).all():
        row = int(np.flatnonzero(pointed)[0])
        raise ValueError(
            f"{_place(path, cells, row, name)}: {cells.iloc[row]!r} may have a thousands separator, since "
            "other columns have decimal commas: write it without "
            f"(to take the column as text: text=[{name!r}])."
        )


def _place(path: object, cells: Any, row: int, name: str) -> str:
    return f"{path}, line {cells.index[row]}, column {name!r}"
