"""``convexnn path``: the optimum at each of a falling sequence of β."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convexnn import __version__
from convexnn._console import friendly, say, show_tables
from convexnn._files import csv_text, refuse_existing, require_folder, write_file
from convexnn.cli.options import (
    AsJson,
    Categories,
    Dates,
    Force,
    Loss,
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
    read_prepared,
    say_table,
    table_name,
)

if TYPE_CHECKING:
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
    tol: Tol = 1e-3,
    max_time: Annotated[
        float | None, typer.Option(help="Seconds for the path; the beta reached by then are kept.")
    ] = None,
    test: Test = 0.2,
    seed: Seed = 0,
    category: Categories = None,
    text: Texts = None,
    date: Dates = None,
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
    kinds = column_kinds(category, text, date)
    refuse_existing([out / name for name in FILES], force=force)
    data, loss = read_prepared(table, target, task, kinds, test, seed, loss)
    require_folder(out)
    say_table(data, loss)

    from convexnn.regularisation_path import path as run

    result = run(
        data.Z_train, data.y_train, n_betas=betas, ratio=ratio, loss=loss, tol=tol, max_time=max_time,
        seed=seed, progress=_say_point,
    )  # fmt: skip
    record = {"version": __version__, "table": table_name(table), "target": target, "loss": loss, "tol": tol}
    return _save(out, data, result, record | {"seed": seed, "split": data.split})


def _say_point(row: dict[str, Any]) -> None:
    """One line on standard error as each β ends."""
    from convexnn.plots import GAP_WORDS

    say(
        f"{row['seconds']:7.1f} s  beta {row['beta']:.5g}: objective {row['primal']:.6g}, "
        f"{GAP_WORDS[str(row['kind'])]} {row['relative_gap']:.1e}, {row['neurons']} neurons",
        error=True,
    )


def _points(data: "Prepared", result: "PathResult") -> list[dict[str, Any]]:
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
            point[f"{part}_{score}"] = scores(data.pipeline, net, Z, y).get(score)
        points.append(point | {"status": str(result.statuses[k])})
    return points


def _save(out: Path, data: "Prepared", result: "PathResult", record: dict[str, Any]) -> dict[str, Any]:
    from convexnn.path_plots import plot_path
    from convexnn.report import KIND_SENTENCES, path_page, path_rows, png
    from convexnn.status import Status

    interrupted = result.status is Status.INTERRUPTED
    if not len(result):
        raise KeyboardInterrupt
    points = _points(data, result)
    record |= {"status": str(result.status), "points": points}
    picture = plot_path(result)
    write_file(out / "path.csv", csv_text(tuple(points[0]), points))
    write_file(out / "path.png", png(picture))
    write_file(out / "report.html", path_page(record, picture, data.pipeline.encoder.notes))
    header, rows = path_rows(points)
    show_tables((header, rows))
    for kind in dict.fromkeys(point["kind"] for point in points):
        say(f"{kind}: {KIND_SENTENCES[kind]}")
    say("Interrupted: the beta reached so far are kept." if interrupted else str(result.status))
    say("Written: " + ", ".join(str(out / name) for name in FILES))
    return record | {"files": [str(out / name) for name in FILES], "interrupted": interrupted}
