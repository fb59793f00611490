"""``convexnn certify``: how far a network is from the global optimum."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convexnn._console import friendly, say, show_tables
from convexnn.cli.options import (
    AsJson,
    Form,
    Table,
    activation_words,
    check_time,
    network_form,
    read_for,
    say_unseen,
)

if TYPE_CHECKING:
    from convexnn.certificate import Certificate, CertificateKind

FOREIGN = (".pt", ".pth", ".onnx")


@friendly
def certify(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="The folder that 'fit' wrote, or its file; or .pt, .pth, .onnx of others."
        ),
    ],
    table: Table,
    max_time: Annotated[float | None, typer.Option(help="Seconds for the certificate.")] = None,
    kind: Annotated[
        Literal["auto", "exact", "bounded", "estimated"],
        typer.Option("--certificate", help="exact needs rank at most 12; auto: exact if that is cheap."),
    ] = "auto",
    target: Annotated[
        str | None, typer.Option(help="Column of the targets; only for .pt, .pth and .onnx.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Penalty of a summed loss; only for .pt, .pth and .onnx.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="squared (default), logistic, hinge, huber:DELTA, … as of 'fit'; as --beta."),
    ] = None,
    negative_slope: Annotated[
        float | None, typer.Option(help="Slope of LeakyReLU, which .pt and .pth files do not hold.")
    ] = None,
    free_intercept: Annotated[
        bool,
        typer.Option("--free-intercept", help="No penalty on the output bias; for .pt, .pth and .onnx."),
    ] = False,
    tighten: Annotated[
        bool,
        typer.Option("--tighten", help="Train too, for a better bound; only for .pt, .pth and .onnx."),
    ] = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Compute the certificate of MODEL anew.

    It says how far the network is from the global optimum of its training problem on the rows of TABLE. A
    .pt or .pth file holds a state dict of Linear, ReLU, Linear, and an .onnx file such a graph; TABLE then
    has its input columns in its order, as the network saw them, all numbers, and the target.
    """
    check_time(max_time)
    if model.suffix.lower() in FOREIGN:
        if negative_slope is not None and model.suffix.lower() == ".onnx":
            raise ValueError("--negative-slope is for .pt and .pth files: an ONNX graph has its activation.")
        form = network_form(negative_slope or 0.0, free_intercept)
        return _certify_foreign(model, table, target, beta, loss, form, kind, max_time, tighten)
    given = [value for value in (target, beta, loss, negative_slope) if value is not None]
    if given or tighten or free_intercept:
        raise ValueError(
            "--target, --beta, --loss, --negative-slope, --free-intercept and --tighten are for .pt, .pth "
            "and .onnx: a model of 'fit' has its own."
        )
    return _certify_own(model, table, kind, max_time)


def _certify_own(model: Path, table: Path, kind: "CertificateKind", max_time: float | None) -> dict[str, Any]:
    from convexnn.table_model import TableModel

    begin = perf_counter()
    trained = TableModel.load(model)
    frame = read_for(trained, table, with_target=True)
    unseen = say_unseen(trained, frame)
    certificate, same = trained.certify(frame, _left(max_time, begin), kind)
    say(_rows_sentence(trained.record["split"], len(certificate.nu), same))
    form = Form(trained.network.negative_slope, trained.free_intercept)
    if form.in_words():
        say(form.in_words())
    record = _show(certificate, trained.network.n_neurons, kind, max_time)
    record |= {"beta": trained.beta, "loss": trained.loss, "training_table": same, "unseen": unseen}
    return record | {"negative_slope": form.negative_slope, "free_intercept": form.intercept}


def _certify_foreign(
    model: Path,
    table: Path,
    target: str | None,
    beta: float | None,
    loss: str | None,
    form: Form,
    kind: "CertificateKind",
    max_time: float | None,
    tighten: bool,
) -> dict[str, Any]:
    from convexnn.foreign_files import numeric_rows, read_network
    from convexnn.interop import certify_model
    from convexnn.interop.certificates import WIDE
    from convexnn.table_losses import in_words, scaled

    begin = perf_counter()
    if target is None or beta is None:
        raise ValueError(f"{model.name} does not hold its problem: give --target and --beta.")
    if not beta > 0:
        raise ValueError(f"--beta must be positive; it is {beta:g}.")
    if loss is not None:
        scaled(loss, 1.0)
    foreign = read_network(model, form.negative_slope, penalize_intercept=not form.intercept)
    loss = loss or foreign.loss or "squared"
    X, y, names = numeric_rows(table, target, foreign, scaled(loss, 1.0))
    left = _left(max_time, begin)
    if left is not None and tighten:
        left /= 2  # one half for the training, one for the certificate
    result = certify_model(
        foreign, X, y, beta=beta, loss=scaled(loss, 1.0), max_time=left, certificate=kind, tighten=tighten
    )
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    say(
        f"{len(y)} rows, {len(names)} inputs ({shown}), {result.network.n_neurons} neurons, {in_words(loss)}."
    )
    if model.suffix.lower() != ".onnx":
        activation = activation_words(form.negative_slope)
        say(f"A state dict does not name the activation: it is taken to be {activation}.")
    elif foreign.network.negative_slope:
        say(f"Activation: {activation_words(foreign.network.negative_slope)}.")
    if form.intercept:
        say("Biases count in the penalty, but for the output bias, which is free.")
    else:
        say(f"Biases count in the penalty; the output bias costs {result.bias_cost:.4g} of the objective.")
    record = _show(result.certificate, result.network.n_neurons, kind, max_time)
    if result.reached is not None:
        say(f"Training on the same problem reached the objective {result.reached:.7g}.")
    elif result.certificate.relative_gap > WIDE:
        say("The bound is the one that this network gives; --tighten trains for a better one.")
    record |= {"beta": beta, "loss": loss, "bias_cost": result.bias_cost, "reached": result.reached}
    slope = result.network.negative_slope
    return record | {"negative_slope": slope, "free_intercept": form.intercept}


def _left(max_time: float | None, begin: float) -> float | None:
    """Seconds left of the limit, which counts from `begin`; never 0."""
    return None if max_time is None else max(0.01, max_time - (perf_counter() - begin))


def _show(
    certificate: "Certificate", neurons: int, wanted: "CertificateKind", max_time: float | None
) -> dict[str, Any]:
    from convexnn.report import KIND_SENTENCES, certificate_rows
    from convexnn.table_model import certificate_record

    record = certificate_record(certificate)
    show_tables((("certificate", ""), certificate_rows(record, neurons)))
    say(KIND_SENTENCES[certificate.kind])
    shown: dict[str, Any] = {"certificate": record, "neurons": neurons, "rows": len(certificate.nu)}
    if wanted == "exact" and certificate.kind != "exact":
        why = (
            "boxes that are too many to keep or too thin for floating point stayed open"
            if max_time is None
            else f"the limit of {max_time:g} s came first"
        )
        shown["why"] = f"An exact certificate was asked for, but the search is not finished: {why}."
        say(shown["why"])
    return shown


def _rows_sentence(split: dict[str, Any], rows: int, same: bool) -> str:
    if same:
        return f"These are the {rows} rows that the model was trained on ({split['rows']} in the table)."
    training = f"{split['training_rows']} of {split['rows']}"
    other = "other values" if rows == split["rows"] else f"{rows} rows; training had {training}"
    return (
        f"This is not the training table: it has {other}. "
        "The certificate below is for the training problem on the rows of this table."
    )
