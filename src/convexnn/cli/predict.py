"""``convexnn predict``: predict the rows of a table."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convexnn._console import friendly, say
from convexnn._files import csv_text, refuse_existing, write_file
from convexnn.cli.options import AsJson, Force, Model, Table, read_for, say_unseen


@friendly
def predict(
    model: Model,
    table: Table,
    out: Annotated[Path, typer.Option(help="The file to write, .csv; - for standard output.")] = Path("-"),
    force: Force = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Predict the rows of TABLE.

    Writes one line a row: a number, with the poisson loss a rate; or a class, the output of the network and,
    for the logistic loss, the probability of the second class. Categories that the training rows did not have
    are named on standard error.
    """
    from convexnn.table_model import TableModel

    to_file = str(out) != "-"
    if to_file:
        if out.suffix.lower() != ".csv":
            raise ValueError(f"--out must end in .csv, or be - for standard output; it is {str(out)!r}.")
        refuse_existing([out], force=force)
        if out.exists() and table.exists() and out.samefile(table):
            raise ValueError(f"--out must not be the table itself, {table}.")
    trained = TableModel.load(model)
    frame = read_for(trained, table)
    unseen = say_unseen(trained, frame)
    columns = trained.predictions(frame)
    names = tuple(columns)
    cells = zip(*(column.tolist() for column in columns.values()), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in cells]
    text = csv_text(names, rows)
    record: dict[str, Any] = {"rows": len(rows), "unseen": unseen}
    if to_file:
        write_file(out, text)
        say(f"{len(rows)} predictions written to {out}.")
        return record | {"file": str(out)}
    if not as_json:
        typer.echo(text, nl=False)
    return record | {"predictions": rows}
