"""Files: nothing is overwritten without leave, nothing is left half written."""

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def refuse_existing(paths: Iterable[Path], *, force: bool) -> None:
    """Raise FileExistsError, naming the first of `paths` that exists, unless `force`."""
    for path in paths:
        if not force and path.exists():
            raise FileExistsError(
                f"{path} exists already: choose another place, or overwrite it with --force."
            )


def require_folder(path: Path) -> None:
    """Make the folder `path`; OSError if a file has that name or nothing can be written there."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file: --out takes a folder.")
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass


def write_file(path: Path, content: str | bytes) -> Path:
    """Write under a temporary name in the same folder, then rename; returns `path`."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with the given columns; a missing value is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row.get(name) is None else row[name] for name in columns])
    return out.getvalue()
