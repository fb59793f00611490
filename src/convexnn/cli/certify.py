"""``convexnn certify``: how far a network is from the global optimum."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convexnn._console import friendly, say, show_tables
from convexnn.cli.options import AsJson, Table, check_time, read_for

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
        str | None, typer.Option(help="squared (default), logistic, hinge or squared_hinge; as --beta.")
    ] = None,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Compute the certificate of MODEL anew.

    It says how far the network is from the global optimum of its training problem on the rows of TABLE. A
    .pt or .pth file holds a state dict of Linear, ReLU, Linear, and an .onnx file such a graph; TABLE then
    has its input columns in its order, as the network saw them, all numbers, and the target.
    """
    check_time(max_time)
    if model.suffix.lower() in FOREIGN:
        return _certify_foreign(model, table, target, beta, loss, kind, max_time)
    if not (target is None and beta is None and loss is None):
        raise ValueError(
            "--target, --beta and --loss are for .pt, .pth and .onnx: a model of 'fit' has its own."
        )
    return _certify_own(model, table, kind, max_time)


def _certify_own(model: Path, table: Path, kind: "CertificateKind", max_time: float | None) -> dict[str, Any]:
    from convexnn.table_model import TableModel

    trained = TableModel.load(model)
    certificate, same = trained.certify(read_for(trained, table, with_target=True), max_time, kind)
    say(_rows_sentence(trained.record["split"], len(certificate.nu), same))
    record = _show(certificate, trained.network.n_neurons)
    return record | {"beta": trained.beta, "loss": trained.loss, "training_table": same}


def _certify_foreign(
    model: Path,
    table: Path,
    target: str | None,
    beta: float | None,
    loss: str | None,
    kind: "CertificateKind",
    max_time: float | None,
) -> dict[str, Any]:
    from convexnn.foreign_files import numeric_rows, read_network
    from convexnn.interop import certify_model
    from convexnn.losses import get_loss

    if target is None or beta is None:
        raise ValueError(f"{model.name} does not hold its problem: give --target and --beta.")
    if not beta > 0:
        raise ValueError(f"--beta must be positive; it is {beta:g}.")
    if loss is not None:
        get_loss(loss)
    foreign = read_network(model)
    loss = loss or foreign.loss or "squared"
    X, y, names = numeric_rows(table, target, foreign, loss)
    result = certify_model(foreign, X, y, beta=beta, loss=loss, max_time=max_time, certificate=kind)
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    say(f"{len(y)} rows, {len(names)} inputs ({shown}), {result.network.n_neurons} neurons, {loss} loss.")
    if model.suffix.lower() != ".onnx":
        say("A state dict does not name the activation: it is taken to be ReLU, between the two layers.")
    say(f"Biases count in the penalty; the output bias costs {result.bias_cost:.4g} of the objective.")
    record = _show(result.certificate, result.network.n_neurons)
    return record | {"beta": beta, "loss": loss, "bias_cost": result.bias_cost}


def _show(certificate: "Certificate", neurons: int) -> dict[str, Any]:
    from convexnn.report import KIND_SENTENCES, certificate_rows
    from convexnn.table_model import certificate_record

    record = certificate_record(certificate)
    show_tables((("certificate", ""), certificate_rows(record, neurons)))
    say(KIND_SENTENCES[certificate.kind])
    return {"certificate": record, "neurons": neurons, "rows": len(certificate.nu)}


def _rows_sentence(split: dict[str, Any], rows: int, same: bool) -> str:
    if same:
        return f"These are the {rows} rows that the model was trained on ({split['rows']} in the table)."
    training = f"{split['training_rows']} of {split['rows']}"
    other = "other values" if rows == split["rows"] else f"{rows} rows; training had {training}"
    return (
        f"This is not the training table: it has {other}. "
        "The certificate below is for the training problem on the rows of this table."
    )
