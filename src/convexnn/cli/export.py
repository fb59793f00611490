"""``convexnn export``: a model for other tools."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from convexnn._console import friendly, say
from convexnn._files import refuse_existing
from convexnn.cli.options import AsJson, Force, Model, activation_words


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
    output is the prediction in the unit of the target, a score whose sign is the class, or, for the poisson
    loss, the logarithm of the rate. onnx gives the class and probabilities, or the rate; json has the
    encoding of the columns.
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
    elif trained.pipeline.is_rate and to != "onnx":
        say(f"Output: the logarithm of the rate of {trained.pipeline.encoder.target!r}.")
    else:
        say(f"Output: {trained.pipeline.encoder.target!r} in its own unit.")
    slope = trained.network.negative_slope
    if slope:
        how = f"; the state dict does not say so: build it with LeakyReLU({slope:g})" if to == "torch" else ""
        say(f"Activation: {activation_words(slope)}{how}.")
    say(f"Written: {file}")
    record = {"format": to, "file": str(file), "inputs": list(names), "classes": list(classes)}
    return record | {"negative_slope": slope}
