"""Records: one CSV file a table, a row written as soon as a model is tested, so that a killed run goes on."""

import csv
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

FIELDS = (
    "data", "kind", "n", "n_test", "d", "split", "model", "error", "cpu_seconds", "seconds", "parameters",
    "neurons", "relative_gap", "setting", "finished", "settings", "cap", "load", "machine", "versions",
    "date",
)  # fmt: skip


def append(folder: Path, row: dict[str, Any]) -> None:
    """Add a row to ``folder/DATA.csv`` in one write."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{row['data'].replace(',', '').replace(' ', '_')}.csv"
    is_new = not path.exists()
    is_torn = not is_new and not path.read_bytes().endswith(b"\n")
    with path.open("a", newline="", encoding="utf-8") as file:
        if is_torn:  # by a crash: keep the broken row apart
            file.write("\n")
        writer = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> pd.DataFrame:
    """All whole rows, the last of each (data, split, model); a row that a crash cut off is left out."""
    parts = [
        pd.read_csv(path, names=FIELDS, skiprows=1, on_bad_lines="skip", dtype={"split": "Int64"})
        for path in sorted(folder.glob("*.csv"))
    ]
    if not parts:
        return pd.DataFrame(columns=FIELDS)
    whole = pd.concat(parts, ignore_index=True).dropna(subset=["date"])
    return whole.drop_duplicates(["data", "split", "model"], keep="last")


def surroundings() -> dict[str, str]:
    """Processor and versions."""
    from benchmarks.run import processor

    packages = ", ".join(f"{name} {version(name)}" for name in ("convexnn", "numpy", "scipy", "scikit-learn"))
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, {packages}",
    }
