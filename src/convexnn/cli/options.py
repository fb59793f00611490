"""Options that several commands share, and what they check before anything is read."""

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
_LOSS = (
    "Of a number: squared (default), huber:DELTA, quantile:LEVEL, squared_epsilon_insensitive:EPSILON, "
    "poisson; two classes: logistic (default), hinge, squared_hinge, squared; more: softmax."
)

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
Drops = Annotated[list[str] | None, typer.Option("--drop", help="A column to leave out; repeatable.")]
DecimalComma = Annotated[
    bool, typer.Option("--decimal-comma", help="1,234 is 1.234; a cell such as 3,5 says so by itself.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
NegativeSlope = Annotated[
    float,
    typer.Option(help="Slope of the activation below 0: 0 is ReLU, 0.01 leaky ReLU, -1 the absolute value."),
]
FreeIntercept = Annotated[
    bool, typer.Option("--free-intercept", help="An output bias that beta does not count; not for softmax.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, messages on standard error.")
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="The folder that 'fit' wrote, or its model.safetensors.")
]


class Reading(NamedTuple):
    """How the columns of a table are to be read: their kinds, which are left out, and what commas are."""

    kinds: dict[str, str]
    drop: list[str]
    decimal_comma: bool


class Form(NamedTuple):
    """The form of a network, under the names that `train`, `path` and `beta_max` have for it."""

    negative_slope: float = 0.0
    intercept: bool = False

    def in_words(self) -> str:
        """What is not a ReLU network without a free output bias, in sentences; empty if nothing is."""
        activation = f"Activation: {activation_words(self.negative_slope)}."
        sentences = [activation] if self.negative_slope else []
        if self.intercept:
            sentences.append("The output bias is free: beta does not count it.")
        return " ".join(sentences)


def activation_words(negative_slope: float) -> str:
    """The activation in words."""
    if negative_slope in (0.0, -1.0):
        return "absolute value" if negative_slope else "ReLU"
    return f"{'leaky ' if negative_slope > 0 else ''}ReLU with slope {negative_slope:g} below 0"


def network_form(negative_slope: float, free_intercept: bool) -> Form:
    """The form of the network to train; ValueError unless −1 ≤ negative_slope < 1."""
    if not -1 <= negative_slope < 1:
        raise ValueError(
            f"--negative-slope must be at least -1 and below 1; it is {negative_slope:g}. Slope 1 is a "
            "linear model, and a slope s beyond 1 or -1 is the activation of slope 1/s, scaled."
        )
    return Form(negative_slope + 0.0, free_intercept)


def check_form(form: Form, loss: str) -> None:
    """ValueError if the loss has no free output bias."""
    if form.intercept and loss == "softmax":
        raise ValueError(
            "--free-intercept is not available for the softmax loss: leave it out; the bias among the "
            "inputs, which beta counts, then serves all classes."
        )


def reading(
    categories: Sequence[str] | None,
    texts: Sequence[str] | None,
    dates: Sequence[str] | None,
    drop: Sequence[str] | None,
    decimal_comma: bool,
) -> Reading:
    """The options of columns, kinds as `TableEncoder.fit` takes them; ValueError if one is named twice."""
    kinds: dict[str, str] = {}
    named = [(name, "category") for name in categories or ()] + [(name, "text") for name in texts or ()]
    for entry in dates or ():
        name, _, form = entry.rpartition("=")
        named.append((name, f"date:{form}") if name and "%" in form else (entry, "date"))
    for name, kind in named:
        if name in kinds or name in (drop or ()):
            raise ValueError(f"Column {name!r} is named twice among --category, --text, --date and --drop.")
        kinds[name] = kind
    return Reading(kinds, list(drop or ()), decimal_comma)


def check_training(loss: str | None, tol: float, max_time: float | None, test: float, seed: int) -> None:
    """Refuse bad options before anything is read."""
    from convexnn.table_losses import parse_loss

    if loss is not None:
        parse_loss(loss)
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
    table: Path, target: str, task: Task, how: Reading, test: float, seed: int, loss: str | None
) -> tuple["Prepared", str]:
    """(rows ready for training, loss with its number); ValueError if the loss does not fit the target."""
    from convexnn.table_losses import choose_loss, with_number
    from convexnn.table_model import prepare

    frame = read_training(table, target, how)
    chosen, loss = choose_loss(frame, target, task.value, loss)
    data = prepare(
        frame, target, task=chosen, kinds=how.kinds, test_fraction=test, seed=seed, is_rate=loss == "poisson"
    )
    return data, with_number(loss, data.pipeline.target_scale)


def read_training(table: Path, target: str, how: Reading) -> Any:
    """The data frame of a table to learn from, without the columns to leave out."""
    from convexnn.data import read_table

    if target in how.drop:
        raise ValueError(f"--drop takes away the target {target!r}: leave that out.")
    return read_table(table, target, text=list(how.kinds), drop=how.drop, decimal_comma=how.decimal_comma)


def say_table(data: "Prepared", loss: str, drop: Sequence[str], form: Form) -> None:
    """One sentence on what was read, and one for each column that was filled or turned into others."""
    from convexnn.table_losses import in_words

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
    elif data.pipeline.is_rate:
        what = f"rates of {encoder.target!r}, as the exponential of the network's output"
    else:
        what = f"regression of {encoder.target!r}, standardised for training"
    say(f"{rows}, {columns}; {what}; {in_words(loss)}.")
    if form.in_words():
        say(form.in_words())
    if drop:
        say(f"Left out: {', '.join(map(repr, drop))}.")
    for note in data.notes:
        say(note)


def read_for(model: "TableModel", table: Path, *, with_target: bool = False) -> Any:
    """Read a table as the model's own was read: only the columns that the model takes."""
    from convexnn.data import read_table

    encoder = model.pipeline.encoder
    target = encoder.target if with_target else None
    only = [column.name for column in encoder.columns] + ([encoder.target] if with_target else [])
    text = [name for name in model.words if name in only]
    commas = bool(model.record.get("decimal_comma", False))
    return read_table(table, target, text=text, only=only, decimal_comma=commas)


def say_unseen(model: "TableModel", frame: Any) -> list[dict[str, Any]]:
    """Warn, on standard error, of categories that the training rows did not have; returns them."""
    from convexnn.table_model import unseen_sentence

    found = model.pipeline.encoder.unseen(frame)
    for entry in found:
        say(f"Warning: {unseen_sentence(entry)}", error=True)
    return found
