"""``convexnn path``: the optimum at each of a falling sequence of β."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

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
    Form,
    FreeIntercept,
    Loss,
    NegativeSlope,
    Seed,
    Table,
    Target,
    Task,
    TaskOption,
    Test,
    Texts,
    Tol,
    check_form,
    check_training,
    network_form,
    read_prepared,
    reading,
    say_table,
    table_name,
)

if TYPE_CHECKING:
    from convexnn._types import Array
    from convexnn.regularisation_path import PathResult
    from convexnn.table_model import Prepared

FILES = ("path.csv", "path.png", "report.html")


@friendly
def path(
    table: Table,
    target: Target,
    out: Annotated[Path, typer.Option(help="Folder for path.csv, path.png and report.html.")],
    betas: Annotated[int, typer.Option(help="How many beta, from beta_max down.")] = 10,
    ratio: Annotated[float, typer.Option(help="Smallest beta as a share of beta_max.")] = 1e-2,
    task: TaskOption = Task.auto,
    loss: Loss = None,
    negative_slope: NegativeSlope = 0.0,
    free_intercept: FreeIntercept = False,
    tol: Tol = 1e-3,
    max_time: Annotated[
        float | None, typer.Option(help="Seconds for the path; the beta reached by then are kept.")
    ] = None,
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
    """Train a network on TABLE at each of a falling sequence of beta.

    Each has its certificate and, on the rows set aside, its score. Ctrl-C keeps what is finished.
    """
    check_training(loss, tol, max_time, test, seed)
    if betas < 1:
        raise ValueError(f"--betas must be at least 1; it is {betas}.")
    if not 0 < ratio < 1:
        raise ValueError(f"--ratio must lie between 0 and 1; it is {ratio:g}.")
    form = network_form(negative_slope, free_intercept)
    how = reading(category, text, date, drop, decimal_comma)
    refuse_existing([out / name for name in FILES], force=force)
    data, loss = read_prepared(table, target, task, how, test, seed, loss)
    check_form(form, loss)
    require_folder(out)
    say_table(data, loss, how.drop, form)
    wanted, result = _train(data, betas, ratio, loss, form, tol, max_time, seed)
    record = {"version": __version__, "table": table_name(table), "target": target, "loss": loss, "tol": tol}
    record |= {"seed": seed, "split": data.split, "notes": list(data.notes), "form": form.in_words()}
    record |= {"negative_slope": form.negative_slope, "free_intercept": form.intercept}
    return _save(out, data, wanted, result, record)


def _train(
    data: "Prepared",
    betas: int,
    ratio: float,
    loss: str,
    form: Form,
    tol: float,
    max_time: float | None,
    seed: int,
) -> tuple["Array", "PathResult"]:
    """(the β asked for, what was trained of them); finding β_max counts in `max_time`."""
    from convexnn.regularisation_path import default_betas
    from convexnn.regularisation_path import path as run
    from convexnn.table_losses import scaled

    begin, trained = perf_counter(), scaled(loss, data.pipeline.target_scale)
    wanted = default_betas(data.Z_train, data.y_train, betas, ratio, trained, seed, **form._asdict())
    left = None if max_time is None else max(1e-3, max_time - (perf_counter() - begin))
    result = run(
        data.Z_train, data.y_train, betas=wanted, loss=trained, tol=tol, max_time=left, seed=seed,
        progress=_say_point, **form._asdict(),
    )  # fmt: skip
    return wanted, result


def _say_point(row: dict[str, Any]) -> None:
    """One line on standard error as each β ends."""
    from convexnn.plots import GAP_WORDS

    say(
        f"{row['seconds']:7.1f} s  beta {row['beta']:.5g}: objective {row['primal']:.6g}, "
        f"{GAP_WORDS[str(row['kind'])]} {row['relative_gap']:.1e}, {row['neurons']} neurons",
        error=True,
    )


def _points(data: "Prepared", result: "PathResult", loss: str) -> list[dict[str, Any]]:
    """One row a β: certificate and scores."""
    from convexnn.table_model import scores

    score = "accuracy" if data.pipeline.encoder.task == "classification" else "r2"
    points = []
    for k, (net, certificate) in enumerate(zip(result.networks, result.certificates, strict=True)):
        point: dict[str, Any] = {
            "beta": float(result.betas[k]),
            "objective": certificate.primal,
            "lower_bound": certificate.lower_bound,
            "relative_gap": certificate.relative_gap,
            "kind": certificate.kind,
            "neurons": net.n_neurons,
            "seconds": float(result.seconds[k]),
        }
        for part, Z, y in (("train", data.Z_train, data.y_train), ("test", data.Z_test, data.y_test)):
            point[f"{part}_{score}"] = scores(data.pipeline, net, Z, y, loss).get(score)
        points.append(point | {"status": str(result.statuses[k])})
    return points


def _save(
    out: Path, data: "Prepared", wanted: "Array", result: "PathResult", record: dict[str, Any]
) -> dict[str, Any]:
    from convexnn.report import KIND_SENTENCES, path_rows
    from convexnn.status import Status

    interrupted = result.status is Status.INTERRUPTED
    if not len(result):
        raise KeyboardInterrupt
    points = _points(data, result, record["loss"])
    missing = [float(beta) for beta in wanted[len(result) :]]
    status = _status_text(result, len(wanted), missing)
    record |= {"status": status, "points": points, "missing_betas": missing}
    write_file(out / "path.csv", csv_text(tuple(points[0]), points))
    files = [str(out / name) for name in FILES]
    try:
        _write_report(out, data, result, record)
    except KeyboardInterrupt:  # what was trained is not lost
        say("Interrupted: path.csv is saved, the picture and the report are not.", error=True)
        for name in FILES[1:]:
            (out / name).unlink(missing_ok=True)  # of an earlier path
        files, interrupted = files[:1], True
    header, rows = path_rows(points)
    show_tables((header, rows))
    for kind in dict.fromkeys(point["kind"] for point in points):
        say(f"{kind}: {KIND_SENTENCES[kind]}")
    say(status)
    say("Written: " + ", ".join(files))
    return record | {"files": files, "interrupted": interrupted}


def _write_report(out: Path, data: "Prepared", result: "PathResult", record: dict[str, Any]) -> None:
    from convexnn.path_plots import plot_path
    from convexnn.report import path_page, png

    picture = plot_path(result)
    write_file(out / "path.png", png(picture))
    write_file(out / "report.html", path_page(record, picture, data.notes))


def _status_text(result: "PathResult", wanted: int, missing: list[float]) -> str:
    """Why the path ended and, if early, how far it came."""
    from convexnn.report import number
    from convexnn.status import Status

    if not missing and result.status not in (Status.TIME_LIMIT, Status.INTERRUPTED):
        return str(result.status)
    why = "Interrupted" if result.status is Status.INTERRUPTED else "The time limit was reached"
    text = f"{why}: {len(result)} of {wanted} points."
    if result.statuses[-1] in (Status.TIME_LIMIT, Status.INTERRUPTED):
        text += f" The last of them, beta = {number(float(result.betas[-1]), 4)}, was cut short."
    if missing:
        text += f" Missing: beta = {', '.join(number(beta, 4) for beta in missing)}."
    return text
