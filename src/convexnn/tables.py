"""Tables from files: CSV, TSV, either gzipped, and Parquet; CSV from standard input.

Importing this module does not import pandas.
"""

import csv
import gzip
import importlib.util
import io
import sys
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from convexnn._decimal_commas import read_commas
from convexnn._types import BoolArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

#: Cells that mean "missing" in a text table.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "?")
#: Numbers with commas, or with signs of money or percent.
_MARKED = r"[-+]?[$€£]?\s?\d{1,3}(,\d{3})*([.,]\d+)?\s?[%$€£]?|[-+]?[$€£]?\s?\d+([.,]\d+)?\s?[%$€£]?"


@dataclass(frozen=True)
class _Input:
    """Standard input, read whole; it is named so in messages."""

    data: bytes

    def __str__(self) -> str:
        return "standard input"


_Source = Path | _Input


def read_table(
    path: str | Path,
    target: str | None = None,
    *,
    header: bool = True,
    text: Sequence[str] = (),
    drop: Sequence[str] = (),
    only: Collection[str] | None = None,
    decimal_comma: bool = False,
) -> "pd.DataFrame":
    """A data frame whose index, called ``line``, is the line of the file on which each row begins.

    Reads ``.csv`` (comma, or semicolon where the first line holds no comma), ``.tsv``, either of them
    with ``.gz``, and ``.parquet``. Text is UTF-8 and quoting follows RFC 4180. Cells in `MISSING` become
    NaN. A column is numeric where every other cell is a number. Where a comma does not separate the cells,
    a number may have a decimal comma: ``attrs["decimal_commas"]`` of the frame names such columns.

    Parameters
    ----------
    path : str or Path
        "-" for a CSV on standard input.
    target : str, optional
        A column that must be there.
    header : bool
        False for a file without column names: they become x0, x1, …, and y for the last.
    text : sequence of str
        Columns to take as text whatever they hold. The index of a Parquet table counts its rows from 1.
    drop : sequence of str
        Columns to leave out; they may hold anything.
    only : collection of str, optional
        The columns to keep, those of them that are there.
    decimal_comma : bool
        Whether it is known that a comma within a number is decimal. Else a cell must tell: ``3,5`` does.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        For Parquet without pyarrow; the message holds the line that installs it.
    ValueError
        One sentence with file, line and column: for a ragged row, a cell that is no finite number in a
        column where more than half are, a thousands separator or a comma that may be one, a repeated or empty
        column name, bytes that are not UTF-8, bad quoting, an empty or damaged file, an unknown ending, or a
        column that was named and is not there.
    """
    source, kind = _source(path)
    if kind not in (".csv", ".tsv", ".parquet"):
        raise ValueError(f"{path} must end in .csv, .tsv, .csv.gz, .tsv.gz or .parquet.")
    layout = None if kind == ".parquet" else _layout(source, kind == ".tsv", header)
    whole = _read_parquet(source) if layout is None else _parse(source, layout, dict.fromkeys(text, str))
    columns = [str(column) for column in whole.columns]
    for name in [*text, *drop, *([] if target is None else [target])]:
        _require_column(source, columns, name)
    kept = [name for name in columns if name not in drop and (only is None or name in only)]
    frame = whole[kept]
    if layout is not None and layout.delimiter != ",":
        plain = layout

        def as_text() -> "pd.DataFrame":
            return _parse(source, plain, str)

        frame = read_commas(source, frame.copy(), text, as_text, decimal_comma)
    return _checked_cells(source, frame, text, typed=layout is None)


def _source(path: str | Path) -> tuple[_Source, str]:
    """Where the bytes come from, and the ending that says what they are."""
    if str(path) == "-":
        return _Input(sys.stdin.buffer.read()), ".csv"
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file at {path}.")
    endings = [ending.lower() for ending in path.suffixes]
    return path, endings[-2] if endings[-1:] == [".gz"] and len(endings) > 1 else "".join(endings[-1:])


def _require_column(path: _Source, columns: list[str], name: str) -> None:
    if name in columns:
        return
    near = get_close_matches(name, columns, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(columns[:20]) + (", …" if len(columns) > 20 else "")
    raise ValueError(f"{path} has no column {name!r}; its columns are {shown}.{hint}")


def _read_parquet(path: _Source) -> "pd.DataFrame":
    assert isinstance(path, Path)
    if importlib.util.find_spec("pyarrow") is None:
        raise ImportError(f"Reading {path} takes pyarrow: pip install 'convexnn[parquet]'")
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged or is not a Parquet file ({_first_line(error)}).") from error
    frame.columns = pd.Index([str(column) for column in frame.columns])
    _check_header(path, [str(column) for column in frame.columns])
    if not len(frame):
        raise ValueError(f"{path} has no rows.")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="line")
    return frame


class _Layout(NamedTuple):
    """A text table: names of the columns, first line of every row, delimiter, whether line 1 has names."""

    names: list[str]
    lines: IntArray
    delimiter: str
    header: bool


def _layout(path: _Source, tabs: bool, header: bool) -> _Layout:
    """One pass of the csv module checks the layout and finds the line numbers; pandas then parses."""
    first, lines, delimiter = _scan(path, tabs, header)
    names = first if header else [f"x{k}" for k in range(len(first) - 1)] + ["y"]
    if header:
        _check_header(path, names)
    if not len(lines):
        raise ValueError(f"{path} has a header but no rows.")
    return _Layout(names, lines, delimiter, header)


def _parse(path: _Source, layout: _Layout, dtype: Any) -> "pd.DataFrame":
    import pandas as pd

    before_3_1 = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)  # which lost digits by default
    exact: Any = {"float_precision": "round_trip"} if before_3_1 else {}
    frame: pd.DataFrame = pd.read_csv(
        path if isinstance(path, Path) else io.BytesIO(path.data),
        sep=layout.delimiter,
        header=0 if layout.header else None,
        names=layout.names,
        index_col=False,
        dtype=dtype,
        na_values=list(MISSING),
        keep_default_na=False,
        skipinitialspace=True,
        low_memory=False,
        encoding="utf-8-sig",
        **exact,
    )
    frame.index = pd.Index(layout.lines, name="line")
    return frame


def _scan(path: _Source, tabs: bool, header: bool) -> tuple[list[str], IntArray, str]:
    """The first record, the starting line of every data row, and the delimiter."""
    seen = ""  # the physical line read last
    delimiter = "\t" if tabs else ""

    def remembered() -> Iterator[str]:
        nonlocal seen
        for line in _decoded_lines(path):
            seen = line
            yield line

    for line in _decoded_lines(path):
        if line.strip():
            delimiter = delimiter or (";" if "," not in line and ";" in line else ",")
            break
    else:
        raise ValueError(f"{path} is empty.")
    first: list[str] = []
    lines: list[int] = []
    start = 1
    reader = csv.reader(remembered(), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for record in reader:
            if seen.strip():
                first = first or [cell.strip() for cell in record]
                if len(record) != len(first):
                    raise ValueError(
                        f"{path}, line {start}: expected {len(first)} cells as in the first row, "
                        f"found {len(record)}."
                    )
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {start}: broken quoting or an overlong cell ({error}).") from error
    return first, np.array(lines[1 if header else 0 :], dtype=np.int64), delimiter


def _open(path: _Source) -> BinaryIO | gzip.GzipFile:
    if isinstance(path, _Input):
        return io.BytesIO(path.data)
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _decoded_lines(path: _Source) -> Iterator[str]:
    """Lines of a UTF-8 file, plain or gzipped; a bad byte or damaged archive raises a ValueError."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(
            f"{path}, line {number}: byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8 text: "
            "save the table as UTF-8."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or is not a gzip file ({_first_line(error)}).") from error


def _check_header(path: _Source, names: list[str]) -> None:
    if "" in names:
        raise ValueError(
            f"{path}: column {names.index('') + 1} has no name; if it numbers the rows, write the file "
            "without it."
        )
    if all(map(_is_number, names)) and names != [str(k) for k in range(len(names))]:
        raise ValueError(
            f"{path}, line 1: the column names are all numbers; if the file has no header, say so "
            "(header=False)."
        )
    repeated = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if repeated is not None:
        raise ValueError(f"{path} has more than one column called {repeated!r}.")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _checked_cells(path: _Source, frame: "pd.DataFrame", text: Sequence[str], typed: bool) -> "pd.DataFrame":
    """Refuse infinite cells and, unless the file has types, words where more than half are numbers."""
    import pandas as pd

    bad: list[tuple[int, int]] = []
    for k, name in enumerate(frame.columns):
        column: Any = frame[name]
        if name in text or pd.api.types.is_bool_dtype(column):
            continue
        if not pd.api.types.is_numeric_dtype(column):
            if typed or pd.api.types.infer_dtype(column, skipna=True) not in ("string", "integer"):
                continue  # whole numbers beyond 64 bits arrive as objects
            present = column.notna().to_numpy()
            number = pd.to_numeric(column, errors="coerce").astype(np.float64)
            wrong = present & number.isna().to_numpy()
            if 2 * wrong.sum() >= present.sum():
                _refuse_marked_numbers(path, column, present, wrong)
                continue
            if not wrong.any():
                frame[name] = column = number
        if pd.api.types.is_numeric_dtype(column):
            wrong = np.isinf(column.to_numpy(dtype=np.float64, na_value=np.nan))
        bad.extend((int(row), k) for row in np.flatnonzero(wrong)[:1])
    if not bad:
        return frame
    row, k = min(bad)
    name, cell = frame.columns[k], frame.iat[row, k]
    advice = f" (to take the column as text: text=[{name!r}])" if isinstance(cell, str) else ""
    raise ValueError(
        f"{path}, line {frame.index[row]}, column {name!r}: {str(cell)!r} is not a finite number, "
        f"in a numeric column{advice}."
    )


def _refuse_marked_numbers(path: _Source, column: Any, present: BoolArray, wrong: BoolArray) -> None:
    """Refuse a column whose cells are numbers but for commas and signs of money or percent."""
    marked = wrong & column.astype("string").str.fullmatch(_MARKED).fillna(False).to_numpy(dtype=bool)
    if not marked.any() or 2 * (marked.sum() + (present & ~wrong).sum()) <= present.sum():
        return
    row = int(np.flatnonzero(marked)[0])
    raise ValueError(
        f"{path}, line {column.index[row]}, column {column.name!r}: {column.iloc[row]!r} is a number with a "
        f"comma or a sign; write such cells plainly, 4321.5 (to take the column as text: "
        f"text=[{column.name!r}])."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
