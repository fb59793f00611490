"""Records: one CSV file a table, rows appended as soon as a job ends, so that a killed run goes on."""

import csv
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FIELDS = (
    "job", "table", "data", "n", "d", "fraction", "beta", "method", "setting", "patterns", "gated", "seed",
    "chosen", "status", "seconds", "objective", "lower_bound", "bound_kind", "starts", "claimed", "violation",
    "network_objective", "neurons", "peak_mib", "base_mib", "cap", "note", "curve", "machine", "versions",
    "command", "date",
)  # fmt: skip
_WORDS = {
    "job", "table", "data", "method", "setting", "status", "bound_kind", "note", "machine", "versions",
    "command", "date",
}  # fmt: skip
_PACKAGES = (
    "convexnn", "numpy", "scipy", "numba", "scikit-learn", "torch", "cvxpy", "clarabel", "scs",
)  # fmt: skip


def append(folder: Path, rows: list[Row]) -> None:
    """Add rows to ``folder/TABLE.csv`` in one write each table."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in dict.fromkeys(row["table"] for row in rows):
        path = folder / f"{table}.csv"
        is_new = not path.exists()
        is_torn = not is_new and not path.read_bytes().endswith(b"\n")
        with path.open("a", newline="", encoding="utf-8") as file:
            if is_torn:  # by a crash: keep the broken row apart
                file.write("\n")
            writer = csv.DictWriter(file, FIELDS, restval="")
            if is_new:
                writer.writeheader()
            for row in rows:
                if row["table"] == table:
                    writer.writerow(row | {"curve": json.dumps(row.get("curve") or [])})
            file.flush()
            os.fsync(file.fileno())


def read(folder: Path) -> list[Row]:
    """All rows, numbers as numbers; a row that was cut off by a crash is left out."""
    rows: list[Row] = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for raw in csv.DictReader(file):
                if None not in raw.values() and None not in raw:
                    rows.append({key: _value(key, text) for key, text in raw.items()})
    done = {row["job"] for row in rows if row["status"] != "skipped"}
    return [row for row in rows if row["status"] != "skipped" or row["job"] not in done]


def _value(key: str, text: str) -> Any:
    if key in _WORDS:
        return text
    if key == "curve":
        return [tuple(point) for point in json.loads(text or "[]")]
    if text in ("", "None"):
        return None
    if text in ("True", "False"):
        return text == "True"
    return float(text)


def surroundings() -> Row:
    """Machine and versions."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor()
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return {"machine": f"{processor}, {os.cpu_count()} cores", "versions": ", ".join(found)}
