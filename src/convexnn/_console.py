"""What the commands print: sentences, tables, progress and faults. In a pipe all of it is plain text."""

import errno
import functools
import json
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from time import perf_counter
from typing import Any

import typer

#: Longest message of a fault, in characters: it stays within six lines of a terminal.
LONGEST_FAULT = 460
#: Seconds between two lines of progress where there is no terminal.
QUIET_SECONDS = 2.0


def plain(text: str) -> str:
    """Text without control characters, which a file's name or a table's cell may hold."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def say(text: str = "", *, error: bool = False) -> None:
    """Print one line, on standard error if `error`."""
    typer.echo(plain(text), err=error)


def show_tables(*tables: tuple[Sequence[str], Sequence[Sequence[str]]]) -> None:
    """Print tables (header, rows), side by side where they fit; no markup is read in their cells."""
    from rich import box
    from rich.columns import Columns
    from rich.console import Console
    from rich.table import Table

    blocks = []
    for header, rows in tables:
        block = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for k, name in enumerate(header):
            block.add_column(name, justify="right" if k else "left")
        for row in rows:
            block.add_row(*map(plain, row))
        blocks.append(block)
    console = Console(markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(Columns(blocks, padding=(0, 2)))
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n"))


def friendly(command: Callable[..., Mapping[str, Any] | None]) -> Callable[..., None]:
    """Wrap a command: bad input exits with 2 and one sentence, a fault of ours with 1, never a traceback.

    A command may return a record. With its option ``as_json`` all messages go to standard error and the
    record, as one JSON object, to standard output; if the record says ``interrupted``, the exit code is 130.
    With CONVEXNN_DEBUG=1 in the environment the traceback of a fault is printed too.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            with redirect_stdout(sys.stderr) if as_json else nullcontext():
                record = command(*args, **kwargs)
            if as_json and record is not None:
                typer.echo(json_text(record))
            if record is not None and record.get("interrupted"):
                raise typer.Exit(130)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            say("Interrupted: nothing was written.", error=True)
            raise typer.Exit(130) from None
        except (ValueError, OSError, ImportError) as fault:
            _show_traceback()
            say(f"Error: {_fault_text(fault)}", error=True)
            raise typer.Exit(2) from None
        except Exception as fault:
            _show_traceback()
            say(f"Error: {type(fault).__name__}: {_shorten(str(fault))}", error=True)
            say("This is a fault of convexnn; run with CONVEXNN_DEBUG=1 for the traceback.", error=True)
            raise typer.Exit(1) from None

    return wrapped


def json_text(record: Mapping[str, Any]) -> str:
    """One line of strict JSON; a number that is not finite is null, an array a list, anything else text."""
    return json.dumps(_plain(record), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # NumPy
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _show_traceback() -> None:
    if os.environ.get("CONVEXNN_DEBUG") == "1":
        traceback.print_exc()


def _fault_text(fault: Exception) -> str:
    """The message in the words of the command line."""
    if isinstance(fault, OSError) and fault.errno is not None and fault.filename:
        return _shorten(f"{fault.filename}: {fault.strerror or errno.errorcode.get(fault.errno, 'failed')}.")
    text = re.sub(r"column as text: text=\['?(.*?)'?\]", r"column as a category: --category \1", str(fault))
    text = re.sub(r"text=\['?(.*?)'?\]", r"--text \1", text)
    text = text.replace("decimal_comma=True", "--decimal-comma")
    text = re.sub(r"drop=\['?(.*?)'?\]", r"--drop \1", text)
    text = re.sub(r"dates=\{'(.*?)': '(.*?)'\}", r"--date '\1=\2'", text)
    text = text.replace("split without stratify", "keep all for training, --test 0")
    return _shorten(text.replace("say so (header=False)", "add a first line with names"))


def _shorten(text: str) -> str:
    """One line, with the middle left out where it is too long."""
    line = " ".join(text.split())
    if len(line) <= LONGEST_FAULT:
        return line
    return f"{line[: LONGEST_FAULT - 123]} … {line[-120:]}"


def progress_text(row: dict[str, Any]) -> str:
    """One line about a row of a training history; its bound has not been verified yet."""
    gap = _row_gap(row)
    shown = "no bound yet" if gap is None else f"gap {gap:.1e} (unverified)"
    return f"objective {row['primal']:.6g}, {shown}, {row['neurons']} neurons"


def _row_gap(row: dict[str, Any]) -> float | None:
    primal, bound = row.get("primal"), row.get("bound")
    if primal is None or bound is None or not (math.isfinite(bound) and min(primal, bound) > 0):
        return None
    return float(max(primal - bound, 0.0) / primal)


@contextmanager
def progress_shown(tol: float) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that shows rows of a history: a live bar on a terminal, else a line now and then.

    The bar counts decimal digits: it is full when the gap is at `tol`.
    """
    if not sys.stderr.isatty():
        yield _print_rows()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    parts = (BarColumn(24), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task("training", total=1.0)
        reached = 0.0

        def update(row: dict[str, Any]) -> None:
            nonlocal reached
            gap = _row_gap(row)
            if gap is not None:
                reached = max(reached, min(1.0, math.log(max(gap, 1e-300)) / math.log(min(tol, 0.5))))
            bar.update(task, completed=reached, description=progress_text(row))

        yield update


def _print_rows() -> Callable[[dict[str, Any]], None]:
    last = -math.inf

    def update(row: dict[str, Any]) -> None:
        nonlocal last
        if perf_counter() - last >= QUIET_SECONDS:
            last = perf_counter()
            say(f"{row['seconds']:7.1f} s  {progress_text(row)}", error=True)

    return update
