"""Options that several commands share, and what they check before anything is read."""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convexnn._console import say

if TYPE_CHECKING:
    from convexnn.table_model import Prepared, TableModel


class Task(StrEnum):
    """What the target is."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


_TABLE = "A table: .csv, .tsv, either with .gz, .parquet, or - for a CSV on standard input."
_TASK = "auto: a number with more than two values is a regression."
_LOSS = "squared; two classes: logistic (default), hinge, squared_hinge; more: softmax."

Table = Annotated[Path, typer.Argument(metavar="TABLE", help=_TABLE, allow_dash=True)]
Target = Annotated[str, typer.Option(help="Name of the column to predict.")]
TaskOption = Annotated[Task, typer.Option(help=_TASK)]
Loss = Annotated[str | None, typer.Option(help=_LOSS)]
Tol = Annotated[float, typer.Option(help="Relative gap at which training stops.")]
MaxTime = Annotated[float | None, typer.Option(help="Seconds after which training stops.")]
Test = Annotated[float, typer.Option(help="Share of the rows set aside for testing; 0 for none.")]
Seed = Annotated[int, typer.Option(help="Seed of the split and of the search.")]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="A column to take as categories; repeatable.")
]
Texts = Annotated[
    list[str] | None,
    typer.Option("--text", help="A column of free text, taken as its 100 most telling terms; repeatable."),
]
Dates = Annotated[
    list[str] | None,
    typer.Option("--date", help="A column of dates, or 'COLUMN=FORM' such as 'day=%d/%m/%Y'; repeatable."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, messages on standard error.")
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="The folder that 'fit' wrote, or its model.safetensors.")
]


def column_kinds(
    categories: Sequence[str] | None, texts: Sequence[str] | None, dates: Sequence[str] | None
) -> dict[str, str]:
    """{column: kind} as `TableEncoder.fit` takes it; ValueError if a column is named twice."""
    kinds: dict[str, str] = {}
    named = [(name, "category") for name in categories or ()] + [(name, "text") for name in texts or ()]
    for entry in dates or ():
        name, _, form = entry.rpartition("=")
        named.append((name, f"date:{form}") if name and "%" in form else (entry, "date"))
    for name, kind in named:
        if name in kinds:
            raise ValueError(f"Column {name!r} is named twice among --category, --text and --date.")
        kinds[name] = kind
    return kinds


def check_training(loss: str | None, tol: float, max_time: float | None, test: float, seed: int) -> None:
    """Refuse bad options before anything is read."""
    from convexnn.losses import get_loss

    if loss is not None:
        get_loss(loss)
    if not 0 < tol < 1:
        raise ValueError(f"--tol must lie between 0 and 1; it is {tol:g}.")
    check_time(max_time)
    if not 0 <= test < 1:
        raise ValueError(f"--test must be a share of the rows from 0 up to below 1; it is {test:g}.")
    if seed < 0:
        raise ValueError(f"--seed must not be negative; it is {seed}.")


def check_time(max_time: float | None) -> None:
    """ValueError unless --max-time is absent or positive."""
    if max_time is not None and not max_time > 0:
        raise ValueError(f"--max-time must be a positive number of seconds; it is {max_time:g}.")


def number_or_auto(beta: str) -> float | None:
    """β as a number, None for auto."""
    if beta == "auto":
        return None
    try:
        number = float(beta)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"--beta must be a positive number or auto; it is {beta!r}.")
    return number


def table_name(table: Path) -> str:
    """The table's name for records."""
    return "standard input" if str(table) == "-" else table.name


def read_prepared(
    table: Path,
    target: str,
    task: Task,
    kinds: Mapping[str, str],
    test: float,
    seed: int,
    loss: str | None,
) -> tuple["Prepared", str]:
    """(rows ready for training, loss); says nothing, and ValueError if the loss does not fit the target."""
    from convexnn.data import read_table
    from convexnn.table_model import losses_for, prepare

    frame = read_table(table, target, text=list(kinds))
    data = prepare(frame, target, task=task.value, kinds=kinds, test_fraction=test, seed=seed)
    encoder = data.pipeline.encoder
    fitting = losses_for(encoder)
    if loss is not None and loss not in fitting:
        what = f"has {len(encoder.classes)} classes" if encoder.classes else "is a regression"
        raise ValueError(f"The {loss} loss does not fit: {target!r} {what}, so use {' or '.join(fitting)}.")
    return data, loss or fitting[0]


def say_table(data: "Prepared", loss: str) -> None:
    """One sentence on what was read, and one for each column that was filled or turned into others."""
    encoder, split = data.pipeline.encoder, data.split
    rows = f"{split['training_rows']} training rows, {len(data.y_test)} test rows"
    columns = f"{len(encoder.columns)} columns ({data.Z_train.shape[1]} inputs with the bias)"
    if len(encoder.classes) > 2:
        what = (
            f"{len(encoder.classes)} classes of {encoder.target!r}: {', '.join(map(repr, encoder.classes))}"
        )
    elif encoder.classes:
        what = (
            f"two classes of {encoder.target!r}: {encoder.classes[0]!r} (-1) and {encoder.classes[1]!r} (+1)"
        )
    else:
        what = f"regression of {encoder.target!r}, standardised for training"
    say(f"{rows}, {columns}; {what}; {loss} loss.")
    for note in encoder.notes:
        say(note)


def read_for(model: "TableModel", table: Path, *, with_target: bool = False) -> Any:
    """Read a table as the model's own was read."""
    from convexnn.data import read_table

    return read_table(table, model.pipeline.encoder.target if with_target else None, text=model.words)
