"""``convexnn fit``: train a network on a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convexnn import __version__
from convexnn._console import friendly, progress_shown, say, show_tables
from convexnn._files import csv_text, refuse_existing, require_folder, write_file
from convexnn.cli.options import (
    AsJson,
    Categories,
    Dates,
    Force,
    Loss,
    MaxTime,
    Seed,
    Table,
    Target,
    Task,
    TaskOption,
    Test,
    Texts,
    Tol,
    check_training,
    column_kinds,
    number_or_auto,
    read_prepared,
    say_table,
    table_name,
)

if TYPE_CHECKING:
    from convexnn.table_model import Prepared
    from convexnn.training import TrainResult

HISTORY = ("seconds", "iteration", "primal", "bound", "neurons")
FILES = ("model.safetensors", "report.html", "history.csv")


@friendly
def fit(
    table: Table,
    target: Target,
    out: Annotated[Path, typer.Option(help="Folder for the model, the report and the history.")],
    task: TaskOption = Task.auto,
    beta: Annotated[str, typer.Option(help="Regularisation, or auto: beta_max/100.")] = "auto",
    loss: Loss = None,
    tol: Tol = 1e-3,
    max_time: MaxTime = None,
    test: Test = 0.2,
    seed: Seed = 0,
    category: Categories = None,
    text: Texts = None,
    date: Dates = None,
    force: Force = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Train a network on TABLE.

    Writes model.safetensors, report.html and history.csv. Ctrl-C ends the training early and keeps its best
    network, with its certificate; the exit code is then 130.
    """
    check_training(loss, tol, max_time, test, seed)
    number, kinds = number_or_auto(beta), column_kinds(category, text, date)
    refuse_existing([out / name for name in FILES], force=force)
    data, loss = read_prepared(table, target, task, kinds, test, seed, loss)
    require_folder(out)
    say_table(data, loss)
    value, beta_max = _beta(number, data, loss, seed)
    result = _train(data, value, loss, tol, max_time, seed)
    record: dict[str, Any] = {"table": table_name(table), "target": target, "tol": tol, "seed": seed}
    return _save_fit(out, data, result, loss, value, record | {"beta_max": beta_max, "kinds": kinds})


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
) -> dict[str, Any]:
    """Scores and certificate on the screen; history, report and, last, the model in the folder."""
    from convexnn.report import KIND_SENTENCES, certificate_rows, fit_page, score_rows
    from convexnn.status import Status
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
    say("Written: " + ", ".join(str(out / name) for name in FILES))
    return record | {
        "beta": beta,
        "loss": loss,
        "neurons": network.n_neurons,
        "files": [str(out / name) for name in FILES],
        "interrupted": result.status is Status.INTERRUPTED,
    }


def _settings(data: "Prepared", loss: str, beta: float, record: dict[str, Any]) -> dict[str, str]:
    """The settings as the report shows them."""
    encoder, beta_max = data.pipeline.encoder, record["beta_max"]
    found = f" = beta_max/100, beta_max = {beta_max:.6g} found by search" if beta_max else ""
    settings = {"task": encoder.task, "loss": loss, "beta": f"{beta:.6g}{found}"}
    settings |= {"tolerance of the relative gap": f"{record['tol']:g}", "seed": str(record["seed"])}
    settings["columns"] = f"{len(encoder.columns)}, as {len(encoder.feature_names)} inputs and a bias"
    if len(encoder.classes) > 2:
        settings["classes"] = ", ".join(encoder.classes)
    elif encoder.classes:
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
    if len(pipeline.encoder.classes) > 2:
        return shown
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
