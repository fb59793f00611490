"""The command line: fit, predict, certify, demo and reproduce; heavy imports wait for the command."""

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convexnn import __version__
from convexnn._console import friendly, progress_shown, say, show_tables
from convexnn._files import csv_text, refuse_existing, require_folder, write_file

if TYPE_CHECKING:
    from convexnn.table_model import Prepared, TableModel
    from convexnn.training import TrainResult

HISTORY = ("seconds", "iteration", "primal", "bound", "neurons")
FIT_FILES = ("model.safetensors", "report.html", "history.csv")

app = typer.Typer(
    name="convexnn",
    help="Two-layer ReLU networks, trained to the global optimum, with a certificate that says how close.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Task(StrEnum):
    """What the target is."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="The folder that 'fit' wrote, or its model.safetensors.")
]
Table = Annotated[
    Path, typer.Argument(metavar="TABLE", help="A table: .csv, .tsv, either with .gz, or .parquet.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"convexnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@friendly
def fit(
    table: Table,
    target: Annotated[str, typer.Option(help="Name of the column to predict.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, the report and the history.")],
    task: Annotated[Task, typer.Option(help="auto: a number with more than two values is a regression.")] = (
        Task.auto
    ),
    beta: Annotated[str, typer.Option(help="Regularisation, or auto: beta_max/100.")] = "auto",
    loss: Annotated[
        str | None, typer.Option(help="squared; or for two classes logistic (default), hinge, squared_hinge.")
    ] = None,
    tol: Annotated[float, typer.Option(help="Relative gap at which training stops.")] = 1e-3,
    max_time: Annotated[float | None, typer.Option(help="Seconds after which training stops.")] = None,
    test: Annotated[float, typer.Option(help="Share of the rows set aside for testing; 0 for none.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the search.")] = 0,
    text: Annotated[list[str] | None, typer.Option(help="A column to take as text; repeatable.")] = None,
    force: Force = False,
) -> None:
    """Train a network on TABLE.

    Writes model.safetensors, report.html and history.csv. Ctrl-C ends the training early and keeps its best
    network, with its certificate.
    """
    from convexnn.data import read_table
    from convexnn.table_model import DEFAULT_LOSS, prepare

    number = _check_fit(beta, loss, tol, max_time, test, seed)
    refuse_existing([out / name for name in FIT_FILES], force=force)
    frame = read_table(table, target, text=text or ())
    data = prepare(frame, target, task=task.value, test_fraction=test, seed=seed)
    kind = data.pipeline.encoder.task
    loss = loss or DEFAULT_LOSS[kind]
    if kind == "regression" and loss != "squared":
        raise ValueError(f"The {loss} loss is for two classes; {target!r} is a regression: use squared.")
    require_folder(out)
    _say_table(data, loss)
    for note in data.pipeline.encoder.notes:
        say(note)
    value, beta_max = _beta(number, data, loss, seed)
    result = _train(data, value, loss, tol, max_time, seed)
    record = {"table": table.name, "target": target, "tol": tol, "seed": seed, "beta_max": beta_max}
    record["text"] = text or []
    _save_fit(out, data, result, loss, value, record)


def _check_fit(
    beta: str, loss: str | None, tol: float, max_time: float | None, test: float, seed: int
) -> float | None:
    """Refuse bad options before anything is read; returns β as a number, None for auto."""
    from convexnn.losses import get_loss

    if loss is not None:
        get_loss(loss)
    if not 0 < tol < 1:
        raise ValueError(f"--tol must lie between 0 and 1; it is {tol:g}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"--max-time must be a positive number of seconds; it is {max_time:g}.")
    if not 0 <= test < 1:
        raise ValueError(f"--test must be a share of the rows from 0 up to below 1; it is {test:g}.")
    if seed < 0:
        raise ValueError(f"--seed must not be negative; it is {seed}.")
    if beta == "auto":
        return None
    try:
        number = float(beta)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"--beta must be a positive number or auto; it is {beta!r}.")
    return number


def _say_table(data: "Prepared", loss: str) -> None:
    encoder, split = data.pipeline.encoder, data.split
    rows = f"{split['training_rows']} training rows, {len(data.y_test)} test rows"
    columns = f"{len(encoder.columns)} columns ({data.Z_train.shape[1]} inputs with the bias)"
    if encoder.task == "classification":
        what = (
            f"two classes of {encoder.target!r}: {encoder.classes[0]!r} (-1) and {encoder.classes[1]!r} (+1)"
        )
    else:
        what = f"regression of {encoder.target!r}, standardised for training"
    say(f"{rows}, {columns}; {what}; {loss} loss.")


def _beta(number: float | None, data: "Prepared", loss: str, seed: int) -> tuple[float, float | None]:
    """(β, β_max or None); says what auto stands for."""
    if number is not None:
        return number, None
    from convexnn.pricing import beta_max

    largest = float(beta_max(data.Z_train, data.y_train, loss=loss, seed=seed))
    if not largest > 0:
        say("beta = 1: beta_max is 0, so the zero network is a solution whatever beta is.")
        return 1.0, largest
    say(f"beta = beta_max/100 = {largest / 100:.6g} (beta_max {largest:.6g}, found by search).")
    return largest / 100, largest


def _train(
    data: "Prepared", beta: float, loss: str, tol: float, max_time: float | None, seed: int
) -> "TrainResult":
    from convexnn.status import Status
    from convexnn.training import train

    with progress_shown(tol) as show:
        result = train(
            data.Z_train,
            data.y_train,
            beta,
            loss=loss,
            tol=tol,
            max_time=max_time,
            seed=seed,
            progress=show,
        )
    say(str(result.status))
    if result.status is Status.INTERRUPTED:
        say("The best model so far is saved with its certificate.")
    return result


def _save_fit(
    out: Path, data: "Prepared", result: "TrainResult", loss: str, beta: float, record: dict[str, Any]
) -> None:
    """Scores and certificate on the screen; history, report and, last, the model in the folder."""
    from convexnn.report import KIND_SENTENCES, certificate_rows, fit_page, score_rows
    from convexnn.table_model import TableModel, certificate_record, scores

    network, pipeline = result.network, data.pipeline
    record |= {
        "version": __version__,
        "status": str(result.status),
        "split": data.split,
        "certificate": certificate_record(result.certificate),
        "scores": {
            "train": scores(pipeline, network, data.Z_train, data.y_train),
            "test": scores(pipeline, network, data.Z_test, data.y_test),
        },
        "settings": _settings(data, loss, beta, record),
    }
    model = TableModel(network, pipeline, loss, beta, record, result.certificate.nu)
    page = fit_page(record, network.n_neurons, _fit_pictures(data, result), pipeline.encoder.notes)
    write_file(out / "history.csv", csv_text(HISTORY, result.history))
    write_file(out / "report.html", page)
    model.save(out / "model.safetensors")
    certificate = record["certificate"]
    show_tables(
        (("score", "train", "test"), score_rows(record["scores"])),
        (("certificate", ""), certificate_rows(certificate, network.n_neurons)),
    )
    say(KIND_SENTENCES[certificate["kind"]])
    say("Written: " + ", ".join(str(out / name) for name in FIT_FILES))


def _settings(data: "Prepared", loss: str, beta: float, record: dict[str, Any]) -> dict[str, str]:
    """The settings as the report shows them."""
    encoder, beta_max = data.pipeline.encoder, record["beta_max"]
    found = f" = beta_max/100, beta_max = {beta_max:.6g} found by search" if beta_max else ""
    settings = {"task": encoder.task, "loss": loss, "beta": f"{beta:.6g}{found}"}
    settings |= {"tolerance of the relative gap": f"{record['tol']:g}", "seed": str(record["seed"])}
    settings["columns"] = f"{len(encoder.columns)}, as {len(encoder.feature_names)} inputs and a bias"
    if encoder.task == "classification":
        settings["classes"] = f"{encoder.classes[0]} (−1), {encoder.classes[1]} (+1)"
    else:
        pipeline = data.pipeline
        settings["target"] = f"(value − {pipeline.target_mean:.6g})/{pipeline.target_scale:.6g} in training"
    return settings


def _fit_pictures(data: "Prepared", result: "TrainResult") -> list[tuple[Any, str]]:
    from convexnn import plots

    certificate, pipeline = result.certificate, data.pipeline
    words = plots.BOUND_WORDS[certificate.kind]
    objective = plots.plot_training(
        result.history,
        primal=certificate.primal,
        bound=certificate.lower_bound,
        kind=certificate.kind,
    )
    shown = [(objective, f"Objective while training, and the {words} at the end (dashed).")]
    if plots.relative_gaps(result.history)[0].size:
        end = (max(row["seconds"] for row in result.history), certificate.relative_gap)
        rounds = {"bounds on the way (unverified)": result.history}
        gap = plots.plot_gap(rounds, kind=certificate.kind, final=end)
        shown.append(
            (gap, "The gap closing. What counts is the certificate (diamond), made from fresh starts.")
        )
    held_out = len(data.y_test) > 0
    Z, y = (data.Z_test, data.y_test) if held_out else (data.Z_train, data.y_train)
    rows, f = ("test rows" if held_out else "training rows"), result.network.predict(Z)
    if pipeline.encoder.task == "classification":
        ax = plots.plot_outputs(y, f, classes=pipeline.encoder.classes, held_out=rows)
        shown.append((ax, f"Output of the network on the {rows}, by true class."))
    else:
        name = pipeline.encoder.target
        ax = plots.plot_predictions(pipeline.unscale(y), pipeline.unscale(f), held_out=rows, name=name)
        shown.append((ax, f"Predicted against true values on the {rows}."))
    return shown


@app.command()
@friendly
def predict(
    model: Model,
    table: Table,
    out: Annotated[Path, typer.Option(help="The file to write, .csv.")],
    force: Force = False,
) -> None:
    """Predict the rows of TABLE.

    Writes one line a row: a number; or a class, the output of the network and, for the logistic loss, the
    probability of the second class.
    """
    from convexnn.table_model import TableModel

    if out.suffix.lower() != ".csv":
        raise ValueError(f"--out must end in .csv; it is {str(out)!r}.")
    refuse_existing([out], force=force)
    if out.exists() and table.exists() and out.samefile(table):
        raise ValueError(f"--out must not be the table itself, {table}.")
    trained = TableModel.load(model)
    columns = trained.predictions(_read_for(trained, table))
    names = tuple(columns)
    cells = zip(*(column.tolist() for column in columns.values()), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in cells]
    write_file(out, csv_text(names, rows))
    say(f"{len(rows)} predictions written to {out}.")


def _read_for(model: "TableModel", table: Path, *, with_target: bool = False) -> Any:
    """Read a table as the model's own was read: what was text there is text here."""
    from convexnn.data import read_table

    encoder = model.pipeline.encoder
    words = [
        c.name for c in encoder.columns if c.categories and not {"True", "False"}.issuperset(c.categories)
    ]
    target = encoder.target if with_target else None
    if target in model.record["text"]:
        words.append(encoder.target)
    return read_table(table, target, text=words)


@app.command()
@friendly
def certify(
    model: Model,
    table: Table,
    max_time: Annotated[float | None, typer.Option(help="Seconds for the certificate.")] = None,
    kind: Annotated[
        Literal["auto", "exact", "bounded", "estimated"],
        typer.Option("--certificate", help="exact needs rank at most 12; auto: exact if that is cheap."),
    ] = "auto",
) -> None:
    """Compute the certificate of MODEL anew.

    It says how far the network is from the global optimum of its training problem on the rows of TABLE.
    """
    from convexnn.report import KIND_SENTENCES, certificate_rows
    from convexnn.table_model import TableModel, certificate_record

    if max_time is not None and not max_time > 0:
        raise ValueError(f"--max-time must be a positive number of seconds; it is {max_time:g}.")
    trained = TableModel.load(model)
    certificate, same = trained.certify(_read_for(trained, table, with_target=True), max_time, kind)
    say(_rows_sentence(trained.record["split"], len(certificate.nu), same))
    record = certificate_record(certificate)
    show_tables((("certificate", ""), certificate_rows(record, trained.network.n_neurons)))
    say(KIND_SENTENCES[certificate.kind])


def _rows_sentence(split: dict[str, Any], rows: int, same: bool) -> str:
    if same:
        return f"These are the {rows} rows that the model was trained on ({split['rows']} in the table)."
    training = f"{split['training_rows']} of {split['rows']}"
    other = "other values" if rows == split["rows"] else f"{rows} rows; training had {training}"
    return (
        f"This is not the training table: it has {other}. "
        "The certificate below is for the training problem on the rows of this table."
    )


@app.command()
@friendly
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the pictures and the model.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the split and of all starts.")] = 0,
    force: Force = False,
) -> None:
    """Compare with SGD and Adam, on breast cancer.

    Writes report.html with pictures, the records behind them, and a model for 'predict' and 'certify'.
    """
    from convexnn.demo import files, run

    refuse_existing([out / name for name in files()], force=force)
    require_folder(out)
    run(out, seed=seed, tell=say)


@app.command()
@friendly
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="small-n, larger-m, larger-n, cifar10, conv, duality, solvers, optimal-set, sparsity, all.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the records, the pictures and report.html.")] = Path(
        "experiments"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Small settings: all in three minutes.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of all data and starts; 0 unless given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the records in the folder; remake the pictures.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder of CIFAR-10; else $CONVEXNN_DATA/cifar10.")
    ] = None,
) -> None:
    """Run a study of the theory again, or all of them.

    Writes CSV and JSON records, pictures made from the records alone, and report.html with the answers.
    """
    from convexnn.experiments.runner import reproduce as run

    try:
        folder = None if data is None else str(data)
        run(name, out, quick=quick, seed=seed, resume=resume, data=folder, tell=say)
    except KeyboardInterrupt:
        say(f"Interrupted: the finished parts are in {out}; go on with --resume.", error=True)
        raise typer.Exit(130) from None


def main() -> None:
    """Entry point; a character that the terminal cannot show is replaced, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="convexnn")
