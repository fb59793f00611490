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
    DecimalComma,
    Drops,
    Force,
    FreeIntercept,
    Loss,
    NegativeSlope,
    Table,
    Target,
    Task,
    TaskOption,
    Texts,
    Tol,
    check_form,
    check_training,
    network_form,
    read_training,
    reading,
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
    loss: Loss = None,
    negative_slope: NegativeSlope = 0.0,
    free_intercept: FreeIntercept = False,
    tol: Tol = 1e-2,
    max_time: Annotated[
        float | None,
        typer.Option(help="Seconds: no fold begins later; a convex network gets its share of a fold."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds and of all methods.")] = 0,
    category: Categories = None,
    text: Texts = None,
    date: Dates = None,
    drop: Drops = None,
    decimal_comma: DecimalComma = False,
    force: Force = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Compare with MLP, gradient boosting, ridge or logistic regression, and SVM, on TABLE.

    Score on rows left out, seconds and size, each method with one setting chosen out of five. --loss,
    --negative-slope and --free-intercept are of the convex network; with quantile and poisson the others use
    the loss where they can, and the score is of it. Ctrl-C keeps the finished folds.
    """
    from convexnn.comparison import compare as run
    from convexnn.comparison import comparison_rows
    from convexnn.report import comparison_page
    from convexnn.table_losses import choose_loss

    check_training(loss, tol, max_time, 0.0, seed)
    form = network_form(negative_slope, free_intercept)
    if folds < 2:
        raise ValueError(f"--folds must be at least 2; it is {folds}.")
    how = reading(category, text, date, drop, decimal_comma)
    files = [] if out is None else [out / name for name in FILES]
    refuse_existing(files, force=force)
    frame = read_training(table, target, how)
    check_form(form, choose_loss(frame, target, task.value, loss)[1])
    if out is not None:
        require_folder(out)
    record = run(
        frame, target, task=task.value, kinds=how.kinds, loss=loss, folds=folds, tol=tol, max_time=max_time,
        seed=seed, tell=lambda line: say(line, error=True), **form._asdict(),
    )  # fmt: skip
    record |= {"table": table_name(table), "version": __version__, "seed": seed, "tol": tol}
    record |= {"negative_slope": form.negative_slope, "free_intercept": form.intercept}
    if form.in_words():
        record["sentences"].append(f"Convex network: {form.in_words()}")
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
