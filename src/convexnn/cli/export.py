"""``convexnn export``: a model for other tools."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from convexnn._console import friendly, say
from convexnn._files import refuse_existing
from convexnn.cli.options import AsJson, Force, Model


@friendly
def export(
    model: Model,
    to: Annotated[
        Literal["onnx", "torch", "safetensors", "json"], typer.Option("--format", help="What to write.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write; model.<ending> unless given.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Write MODEL for other tools: Linear, ReLU, Linear, with the scaling of the columns folded in.

    Its inputs are the columns of the encoded table, unscaled, as numbers in the order that is said; its
    output is the prediction in the unit of the target, or a score whose sign is the class. onnx gives the
    class and probabilities as well, json the encoding of the columns.
    """
    from convexnn.table_export import ENDINGS, write_export
    from convexnn.table_model import TableModel

    trained = TableModel.load(model)
    file = Path(f"model{ENDINGS[to]}") if out is None else out
    if file.suffix.lower() != ENDINGS[to]:
        raise ValueError(f"--out must end in {ENDINGS[to]} for --format {to}; it is {str(file)!r}.")
    refuse_existing([file], force=force)
    write_export(trained, to, file)
    names = trained.pipeline.encoder.feature_names
    say(f"Inputs, {len(names)} in this order: {', '.join(names)}.")
    classes = trained.pipeline.encoder.classes
    if len(classes) > 2:
        say(f"Output: one score a class, {', '.join(map(repr, classes))}; the largest is the prediction.")
    elif classes:
        say(f"Output: a score, above 0 for {classes[1]!r}, else {classes[0]!r}.")
    else:
        say(f"Output: {trained.pipeline.encoder.target!r} in its own unit.")
    say(f"Written: {file}")
    return {"format": to, "file": str(file), "inputs": list(names), "classes": list(classes)}
