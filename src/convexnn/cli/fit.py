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
    DecimalComma,
    Drops,
    Force,
    Form,
    FreeIntercept,
    Loss,
    MaxTime,
    NegativeSlope,
    Seed,
    Table,
    Target,
    Task,
    TaskOption,
    Test,
    Texts,
    Tol,
    activation_words,
    check_form,
    check_training,
    network_form,
    number_or_auto,
    read_prepared,
    reading,
    say_table,
    table_name,
)

if TYPE_CHECKING:
    from convexnn.network import Network
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
    negative_slope: NegativeSlope = 0.0,
    free_intercept: FreeIntercept = False,
    tol: Tol = 1e-3,
    max_time: MaxTime = None,
    test: Test = 0.2,
    seed: Seed = 0,
    category: Categories = None,
    text: Texts = None,
    date: Dates = None,
    drop: Drops = None,
    decimal_comma: DecimalComma = False,
    force: Force = False,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Train a network on TABLE.

    Writes model.safetensors, report.html and history.csv. Ctrl-C ends the training early and keeps its best
    network, with its certificate; the exit code is then 130.
    """
    check_training(loss, tol, max_time, test, seed)
    form = network_form(negative_slope, free_intercept)
    number, how = number_or_auto(beta), reading(category, text, date, drop, decimal_comma)
    refuse_existing([out / name for name in FILES], force=force)
    data, loss = read_prepared(table, target, task, how, test, seed, loss)
    check_form(form, loss)
    require_folder(out)
    say_table(data, loss, how.drop, form)
    value, beta_max = _beta(number, data, loss, form, seed)
    result = _train(data, value, loss, form, tol, max_time, seed)
    record: dict[str, Any] = {"table": table_name(table), "target": target, "tol": tol, "seed": seed}
    record |= {"beta_max": beta_max, "kinds": how.kinds, "drop": how.drop}
    record["decimal_comma"] = bool(data.decimal_commas)
    record |= {"negative_slope": form.negative_slope, "free_intercept": form.intercept}
    return _save_fit(out, data, result, loss, value, record)


def _beta(
    number: float | None, data: "Prepared", loss: str, form: Form, seed: int
) -> tuple[float, float | None]:
    """(β, β_max or None); says what auto stands for."""
    if number is not None:
        return number, None
    from convexnn.pricing import beta_max
    from convexnn.table_losses import scaled

    trained = scaled(loss, data.pipeline.target_scale)
    largest = float(beta_max(data.Z_train, data.y_train, loss=trained, seed=seed, **form._asdict()))
    if not largest > 0:
        say("beta = 1: beta_max is 0, so a network without neurons is a solution whatever beta is.")
        return 1.0, largest
    say(f"beta = beta_max/100 = {largest / 100:.6g} (beta_max {largest:.6g}, found by search).")
    return largest / 100, largest


def _train(
    data: "Prepared", beta: float, loss: str, form: Form, tol: float, max_time: float | None, seed: int
) -> "TrainResult":
    from convexnn.status import Status
    from convexnn.table_losses import scaled
    from convexnn.training import train

    with progress_shown(tol) as show:
        result = train(
            data.Z_train,
            data.y_train,
            beta,
            loss=scaled(loss, data.pipeline.target_scale),
            tol=tol,
            max_time=max_time,
            seed=seed,
            progress=show,
            **form._asdict(),
        )
    say(str(result.status))
    if result.status is Status.INTERRUPTED:
        say("The best model so far is saved with its certificate.")
    return result


def _save_fit(
    out: Path, data: "Prepared", result: "TrainResult", loss: str, beta: float, record: dict[str, Any]
) -> dict[str, Any]:
    """Scores and certificate on the screen; model, history and report in the folder.

    The report comes last: Ctrl-C while its pictures are drawn does not lose the training.
    """
    from convexnn.report import KIND_SENTENCES, certificate_rows, score_rows
    from convexnn.status import Status
    from convexnn.table_model import TableModel, certificate_record, scores

    network, pipeline = result.network, data.pipeline
    record |= {
        "version": __version__,
        "status": str(result.status),
        "split": data.split,
        "certificate": certificate_record(result.certificate),
        "scores": {
            "train": scores(pipeline, network, data.Z_train, data.y_train, loss),
            "test": scores(pipeline, network, data.Z_test, data.y_test, loss),
        },
        "settings": _settings(data, network, loss, beta, record),
        "notes": list(data.notes),
    }
    model = TableModel(network, pipeline, loss, beta, record, result.certificate.nu)
    model.save(out / "model.safetensors")
    write_file(out / "history.csv", csv_text(HISTORY, result.history))
    files = [str(out / name) for name in FILES]
    interrupted = result.status is Status.INTERRUPTED
    try:
        _write_report(out, data, result, record)
    except KeyboardInterrupt:
        say("Interrupted: the model and the history are saved, the report is not.", error=True)
        (out / "report.html").unlink(missing_ok=True)  # of an earlier training
        files, interrupted = [name for name in files if not name.endswith(".html")], True
    certificate = record["certificate"]
    show_tables(
        (("score", "train", "test"), score_rows(record["scores"])),
        (("certificate", ""), certificate_rows(certificate, network.n_neurons)),
    )
    say(KIND_SENTENCES[certificate["kind"]])
    say("Written: " + ", ".join(files))
    return record | {
        "beta": beta,
        "loss": loss,
        "neurons": network.n_neurons,
        "files": files,
        "interrupted": interrupted,
    }


def _write_report(out: Path, data: "Prepared", result: "TrainResult", record: dict[str, Any]) -> None:
    from convexnn.report import fit_page

    page = fit_page(record, result.network.n_neurons, _fit_pictures(data, result), data.notes)
    write_file(out / "report.html", page)


def _settings(
    data: "Prepared", network: "Network", loss: str, beta: float, record: dict[str, Any]
) -> dict[str, str]:
    """The settings as the report shows them."""
    from convexnn.table_losses import in_words

    encoder, beta_max = data.pipeline.encoder, record["beta_max"]
    found = f" = beta_max/100, beta_max = {beta_max:.6g} found by search" if beta_max else ""
    settings = {"task": encoder.task, "loss": in_words(loss), "beta": f"{beta:.6g}{found}"}
    settings["activation"] = activation_words(network.negative_slope)
    if record["free_intercept"]:
        settings["output bias"] = f"{float(network.intercept):.6g} in training; beta does not count it"
    settings |= {"tolerance of the relative gap": f"{record['tol']:g}", "seed": str(record["seed"])}
    settings["columns"] = f"{len(encoder.columns)}, as {len(encoder.feature_names)} inputs and a bias"
    if record["drop"]:
        settings["left out"] = ", ".join(record["drop"])
    if len(encoder.classes) > 2:
        settings["classes"] = ", ".join(encoder.classes)
    elif encoder.classes:
        settings["classes"] = f"{encoder.classes[0]} (−1), {encoder.classes[1]} (+1)"
    elif data.pipeline.is_rate:
        settings["target"] = "as it is; the prediction is the exponential of the network's output"
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
        ax = plots.plot_predictions(pipeline.unscale(y), pipeline.predicted(f), held_out=rows, name=name)
        shown.append((ax, f"Predicted against true values on the {rows}."))
    return shown
