"""Records of a study: CSV tables of plain rows and one JSON file that says what made them.

A folder holds ``record.json`` and a CSV file for each table. Every row names the part that made it. The
tables are written before ``record.json`` names the part as done, each file under a temporary name that is
then renamed: after a kill, rows of an unfinished part are ignored, and ``--resume`` goes on with the others.
"""

import csv
import io
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

from convexnn import __version__
from convexnn._files import csv_text, write_file

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Settings = Mapping[str, Any]
Part = Callable[[], Tables]
Columns = Mapping[str, Sequence[str]]

FILE = "record.json"
_PACKAGES = ("numpy", "scipy", "numba", "cvxpy", "clarabel", "ecos", "scs", "osqp")


def run_parts(parts: Mapping[str, Part]) -> Tables:
    """All parts in order, in one set of tables."""
    tables: Tables = {}
    for name, function in parts.items():
        add_part(tables, name, function())
    return tables


def add_part(tables: Tables, name: str, new: Tables) -> None:
    """Append the rows of a part, each with the name of the part."""
    for table, rows in new.items():
        tables.setdefault(table, []).extend({"part": name, **_plain_row(row)} for row in rows)


def describe(name: str, settings: Settings, command: str) -> dict[str, Any]:
    """What made the records: versions, settings with the seed, machine, command."""
    return {
        "study": name,
        "command": command,
        "settings": dict(settings),
        "versions": {"convexnn": __version__, "python": platform.python_version(), **_versions()},
        "machine": {
            "processor": _processor(),
            "cores": usable_cores(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "done": {},
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def timed(function: Part) -> tuple[Tables, float]:
    """What a part returns, and the seconds it took."""
    begin = perf_counter()
    tables = function()
    return tables, perf_counter() - begin


def save(folder: Path, meta: Mapping[str, Any], tables: Tables, columns: Columns) -> None:
    """Write the tables, then ``record.json``; every file is complete at every moment.

    Raises
    ------
    ValueError
        If a table or a column has no place in `columns`.
    """
    for table, rows in tables.items():
        names = ("part", *columns.get(table, ()))
        strange = sorted({key for row in rows for key in row} - set(names))
        if table not in columns or strange:
            raise ValueError(f"The table {table!r} has unexpected columns: {', '.join(strange) or 'all'}.")
        write_file(folder / f"{table}.csv", csv_text(names, rows))
    write_file(folder / FILE, json.dumps(meta, indent=1, ensure_ascii=False) + "\n")


def load(folder: Path, columns: Columns) -> tuple[dict[str, Any], Tables]:
    """(description, tables) of a folder, without rows of unfinished parts.

    Raises
    ------
    FileNotFoundError
        If there are no records.
    ValueError
        If they are damaged, with one sentence.
    """
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(f"There are no records at {folder}.")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        done = set(meta["done"])
        settings, study = meta["settings"], meta["study"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}): choose another folder with --out.") from error
    if not isinstance(settings, dict) or not isinstance(study, str):
        raise ValueError(f"{file} is damaged (no settings): choose another folder with --out.")
    tables = {table: _read(folder / f"{table}.csv", names, done) for table, names in columns.items()}
    return meta, {table: rows for table, rows in tables.items() if rows}


def _read(file: Path, columns: Sequence[str], done: set[str]) -> list[Row]:
    if not file.is_file():
        return []
    reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
    if tuple(reader.fieldnames or ()) != ("part", *columns):
        raise ValueError(f"{file} is damaged: its columns are not those of the study.")
    return [{key: parse(cell) for key, cell in row.items()} for row in reader if row["part"] in done]


def parse(cell: str | None) -> Any:
    """A cell of a CSV file as None, an int, a float or a text."""
    if not cell:
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell


def _plain_row(row: Row) -> Row:
    """Python numbers and texts; what is not a number (NaN) becomes None."""
    return {key: _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or (float(value).is_integer() and "int" in type(value).__name__):
        return int(value)
    number = float(value)
    return None if math.isnan(number) else number


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
