"""``convexnn compare``: the convex network beside the usual methods, with cross-validation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convexnn import __version__
from convexnn._console import friendly, say, show_tables
from convexnn._files import csv_text, refuse_existing, require_folder, write_file
from convexnn.cli.options import (
    AsJson,
    Categories,
    Dates,
    Force,
    Table,
    Target,
    Task,
    TaskOption,
    Texts,
    Tol,
    check_training,
    column_kinds,
    table_name,
)

FILES = ("compare.csv", "report.html")
COLUMNS = ("fold", "method", "score", "seconds", "size", "setting", "status")


@friendly
def compare(
    table: Table,
    target: Target,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.csv and report.html.")] = None,
    folds: Annotated[int, typer.Option(help="Parts of the table, each left out once.")] = 5,
    task: TaskOption = Task.auto,
    tol: Tol = 1e-2,
    max_time: Annotated[
        float | None,
        typer.Option(help="Seconds: no fold begins later; a convex network gets its share of a fold."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds and of all methods.")] = 0,
    category: Categories = None,
    text: Texts = None,
    date: Dates = None,
    force: Force = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Compare with MLP, gradient boosting, ridge or logistic regression, and SVM, on TABLE.

    Score on rows left out, seconds and size, each method with one setting chosen out of five. Ctrl-C keeps
    the finished folds.
    """
    from convexnn.comparison import compare as run
    from convexnn.comparison import comparison_rows
    from convexnn.data import read_table
    from convexnn.report import comparison_page

    check_training(None, tol, max_time, 0.0, seed)
    if folds < 2:
        raise ValueError(f"--folds must be at least 2; it is {folds}.")
    kinds = column_kinds(category, text, date)
    files = [] if out is None else [out / name for name in FILES]
    refuse_existing(files, force=force)
    frame = read_table(table, target, text=list(kinds))
    if out is not None:
        require_folder(out)
    record = run(
        frame, target, task=task.value, kinds=kinds, folds=folds, tol=tol, max_time=max_time, seed=seed,
        tell=lambda line: say(line, error=True),
    )  # fmt: skip
    record |= {"table": table_name(table), "version": __version__, "seed": seed, "tol": tol}
    for note in record["notes"]:
        say(note)
    show_tables(comparison_rows(record))
    for sentence in record["sentences"]:
        say(sentence)
    if out is not None:
        write_file(out / "compare.csv", csv_text(COLUMNS, record["rows"]))
        write_file(out / "report.html", comparison_page(record))
        say("Written: " + ", ".join(map(str, files)))
    return record | {"files": [str(file) for file in files]}
