"""``convexnn predict``: predict the rows of a table."""

from pathlib import Path
from typing import Annotated

import typer

from convexnn._console import friendly, say
from convexnn._files import csv_text, refuse_existing, write_file
from convexnn.cli.options import Force, Model, Table, read_for


@friendly
def predict(
    model: Model,
    table: Table,
    out: Annotated[Path, typer.Option(help="The file to write, .csv; - for standard output.")] = Path("-"),
    force: Force = False,
) -> None:
    """Predict the rows of TABLE.

    Writes one line a row: a number; or a class, the output of the network and, for the logistic loss, the
    probability of the second class.
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
    columns = trained.predictions(read_for(trained, table))
    names = tuple(columns)
    cells = zip(*(column.tolist() for column in columns.values()), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in cells]
    text = csv_text(names, rows)
    if to_file:
        write_file(out, text)
        say(f"{len(rows)} predictions written to {out}.")
    else:
        typer.echo(text, nl=False)
