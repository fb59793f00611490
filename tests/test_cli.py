"""The command line through its runner: good paths, and bad input of each kind."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from convexnn import training
from convexnn.cli import app
from convexnn.network import Network, load_metadata
from convexnn.status import Status
from convexnn.table_model import TableModel


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_rows(path: Path, rows: list[list[Any]]) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n", encoding="utf-8")
    return path


def class_rows(n: int = 40) -> list[list[Any]]:
    """Two classes by the sign of a + b, with a column of words."""
    rng = np.random.default_rng(1)
    numbers = rng.standard_normal((n, 2)).round(4)
    words = np.resize(["red", "green", "blue"], n)
    labels = np.where(numbers.sum(axis=1) > 0, "yes", "no")
    return [["a", "b", "colour", "y"], *zip(*numbers.T.tolist(), words, labels, strict=True)]


def number_rows(n: int = 40) -> list[list[Any]]:
    """A regression, y = 50 + |a|·10, far from standardised."""
    a = np.random.default_rng(2).standard_normal(n).round(4)
    return [["a", "y"], *zip(a.tolist(), (50 + 10 * np.abs(a)).tolist(), strict=True)]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    """(table, folder of the model, what `fit` said) of a classification."""
    folder = tmp_path_factory.mktemp("cli")
    table = write_rows(folder / "t.csv", class_rows())
    out = folder / "model"
    return table, out, run("fit", table, "--target", "y", "--beta", 2, "--test", 0.25, "--out", out)


def refused(result: Result, *words: str) -> None:
    """Exit code 2 and a short message that holds `words`."""
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) <= 6
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


# ---------------------------------------------------------------------------------------------- good paths


def test_fit_writes_the_three_files_and_says_the_certificate(fitted: tuple[Path, Path, Result]) -> None:
    _, out, result = fitted
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["history.csv", "model.safetensors", "report.html"]
    assert "proved lower bound" in result.stdout  # six columns: an exact certificate is cheap
    assert "accuracy" in result.stdout
    assert "30 training rows, 10 test rows" in result.stdout
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["seconds", "iteration", "primal", "bound", "neurons"]
    primal = TableModel.load(out).record["certificate"]["primal"]
    assert float(rows[-1]["primal"]) == pytest.approx(primal, rel=1e-2)


def test_the_model_is_a_plain_network_file(fitted: tuple[Path, Path, Result]) -> None:
    _, out, _ = fitted
    network = Network.load(out)
    assert network.n_features == 6  # two numbers, three colours, the bias
    assert json.dumps(load_metadata(out))
    model = TableModel.load(out / "model.safetensors")
    assert (model.beta, model.loss) == (2.0, "logistic")
    assert model.pipeline.encoder.classes == ("no", "yes")


def test_predict_agrees_with_the_network(fitted: tuple[Path, Path, Result], tmp_path: Path) -> None:
    table, out, _ = fitted
    target = tmp_path / "p.csv"
    assert run("predict", out, table, "--out", target).exit_code == 0
    with target.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prediction", "output", "probability_yes"]
    f = np.array([float(row["output"]) for row in rows])
    assert [row["prediction"] for row in rows] == ["yes" if value > 0 else "no" for value in f]
    np.testing.assert_allclose([float(row["probability_yes"]) for row in rows], 1 / (1 + np.exp(-f)))
    labels = [row[-1] for row in class_rows()[1:]]
    right = np.mean([row["prediction"] == label for row, label in zip(rows, labels, strict=True)])
    scores = TableModel.load(out).record["scores"]
    assert right == pytest.approx((30 * scores["train"]["accuracy"] + 10 * scores["test"]["accuracy"]) / 40)


def test_predict_needs_no_target_and_takes_any_order(
    fitted: tuple[Path, Path, Result], tmp_path: Path
) -> None:
    table, out, _ = fitted
    shuffled = write_rows(tmp_path / "s.csv", [[row[2], row[1], row[0]] for row in class_rows()])
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    assert run("predict", out, table, "--out", first).exit_code == 0
    assert run("predict", out / "model.safetensors", shuffled, "--out", second).exit_code == 0
    assert first.read_text() == second.read_text()


def test_certify_recomputes_the_certificate(fitted: tuple[Path, Path, Result]) -> None:
    table, out, _ = fitted
    result = run("certify", out, table)
    assert result.exit_code == 0, result.output
    assert "the 30 rows that the model was trained on" in result.stdout
    primal = TableModel.load(out).record["certificate"]["primal"]
    assert f"{primal:.7g}" in result.stdout
    assert "proved gap" in result.stdout


def test_the_kind_of_certificate_can_be_chosen_and_is_named(fitted: tuple[Path, Path, Result]) -> None:
    table, out, _ = fitted
    result = run("certify", out, table, "--certificate", "estimated")
    assert result.exit_code == 0, result.output
    assert "estimated gap" in result.stdout
    assert "not a proof" in result.stdout
    assert run("certify", out, table, "--certificate", "certain").exit_code == 2


def test_certify_says_when_the_table_is_another(fitted: tuple[Path, Path, Result], tmp_path: Path) -> None:
    _, out, _ = fitted
    fewer = write_rows(tmp_path / "fewer.csv", class_rows()[:30])
    assert "not the training table: it has 29 rows" in run("certify", out, fewer).stdout
    changed = class_rows()
    changed[5] = [9.0, *changed[5][1:]]
    other = write_rows(tmp_path / "other.csv", changed)
    assert "not the training table: it has other values" in run("certify", out, other).stdout


def test_regression_is_scored_in_the_unit_of_the_target(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "r.csv", number_rows())
    result = run("fit", table, "--target", "y", "--beta", 0.5, "--out", tmp_path / "m", "--max-time", 5)
    assert result.exit_code == 0, result.output
    record = TableModel.load(tmp_path / "m").record
    assert record["scores"]["test"]["r2"] > 0.8
    assert record["scores"]["test"]["rmse"] < 5
    out = tmp_path / "p.csv"
    assert run("predict", tmp_path / "m", table, "--out", out).exit_code == 0
    predicted = np.loadtxt(out, skiprows=1)
    true = np.array([row[1] for row in number_rows()[1:]])
    assert np.abs(predicted - true).mean() < 5


def test_auto_beta_is_stated_and_zero_network_above_beta_max(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "r.csv", number_rows(24))
    result = run("fit", table, "--target", "y", "--beta", 1e6, "--test", 0, "--out", tmp_path / "zero")
    assert result.exit_code == 0, result.output
    assert TableModel.load(tmp_path / "zero").network.n_neurons == 0
    assert str(Status.ZERO) in result.stdout
    result = run("fit", table, "--target", "y", "--out", tmp_path / "auto", "--max-time", 2, "--tol", 0.1)
    assert result.exit_code == 0, result.output
    model = TableModel.load(tmp_path / "auto")
    assert model.beta == pytest.approx(model.record["beta_max"] / 100)
    assert f"beta = beta_max/100 = {model.beta:.6g}" in result.stdout


def test_brackets_in_names_are_printed_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "[red]x[bold]"
    folder.mkdir()
    rows = number_rows(24)
    rows[0] = ["[bold]a", "[b]y[/b]"]
    table = write_rows(folder / "t.csv", rows)
    result = run("fit", table, "--target", "[b]y[/b]", "--beta", 5, "--out", folder / "m")
    assert result.exit_code == 0, result.output
    assert "[red]x[bold]/m/model.safetensors" in result.stdout
    assert "'[b]y[/b]'" in result.stdout
    assert "\x1b" not in result.output


def test_category_option_makes_a_category_of_numbers(tmp_path: Path) -> None:
    rows = [[k % 3, row[0], row[1]] for k, row in enumerate(number_rows(30)[1:])]
    table = write_rows(tmp_path / "t.csv", [["code", "a", "y"], *rows])
    out = tmp_path / "m"
    options = ("--target", "y", "--beta", 5, "--category", "code", "--out", out)
    assert run("fit", table, *options).exit_code == 0
    assert TableModel.load(out).pipeline.encoder.feature_names == ("code=0", "code=1", "code=2", "a")
    result = run("certify", out, table)
    assert "that the model was trained on" in result.stdout


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["t.csv", "empty"]),
        ("a,y\n", ["t.csv", "no rows"]),
        ("a,y\n1,2\n3\n4,5\n", ["t.csv", "line 3", "2 cells"]),
        ("a,y\n1,2\n2,4\n3,oops\n4,7\n", ["line 4", "'y'", "oops"]),
        ("a,y\n1,2\nx7,4\n3,5\n4,7\n", ["line 3", "'a'", "x7", "--category a"]),
        ("a,y\n1,yes\n2,yes\n3,yes\n", ["'y'", "one value"]),
        ("a,y\n" + "".join(f"{k},c{k}\n" for k in range(21)), ["'y'", "21 classes", "20 are the limit"]),
        ("a,y\n1,2\n2,\n3,5\n4,7\n", ["'y'", "line 3", "missing"]),
        ("a,b\n1,2\n3,4\n", ["no column 'y'", "a, b"]),
        ("a,y\n,2\n,4\n,5\n", ["'a'", "no value"]),
    ],
)
def test_bad_tables(tmp_path: Path, content: str, words: list[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_text(content)
    refused(run("fit", table, "--target", "y", "--out", tmp_path / "m"), *words)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--beta", "-1"], ["--beta", "positive", "-1"]),
        (["--beta", "many"], ["--beta", "many"]),
        (["--beta", "nan"], ["--beta"]),
        (["--loss", "absolute"], ["absolute", "squared_hinge"]),
        (["--loss", "hinge"], ["hinge", "regression"]),
        (["--tol", "0"], ["--tol"]),
        (["--max-time", "-3"], ["--max-time"]),
        (["--test", "1.5"], ["--test"]),
        (["--seed", "-1"], ["--seed"]),
        (["--task", "ranking"], ["ranking"]),
        (["--task", "classification"], ["too few rows", "--test 0"]),
        (["--category", "nothing"], ["nothing"]),
        (["--colour", "red"], ["--colour"]),
        (["--tol", "small"], ["--tol"]),
    ],
)
def test_bad_options(tmp_path: Path, options: list[str], words: list[str]) -> None:
    table = write_rows(tmp_path / "t.csv", number_rows(12))
    refused(run("fit", table, "--target", "y", "--out", tmp_path / "m", *options), *words)
    assert not (tmp_path / "m").exists()


def test_missing_table_and_missing_arguments(tmp_path: Path) -> None:
    refused(run("fit", tmp_path / "none.csv", "--target", "y", "--out", tmp_path / "m"), "none.csv")
    refused(run("fit"), "TABLE")
    refused(run("predict", tmp_path, tmp_path / "none.csv", "--out", tmp_path / "p.csv"), "no model")


def test_existing_output_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / "history.csv").write_text("mine")
    result = run("fit", tmp_path / "none.csv", "--target", "y", "--out", out)
    refused(result, "history.csv", "--force")
    assert (out / "history.csv").read_text() == "mine"


def test_force_overwrites(tmp_path: Path) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / "history.csv").write_text("mine")
    table = write_rows(tmp_path / "t.csv", number_rows(12))
    assert run("fit", table, "--target", "y", "--beta", 5, "--out", out, "--force").exit_code == 0
    assert (out / "history.csv").read_text().startswith("seconds,")
    assert not list(out.glob("*.part"))


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    table = write_rows(tmp_path / "t.csv", number_rows(12))
    refused(run("fit", table, "--target", "y", "--out", table), "folder")


def test_predict_refuses(fitted: tuple[Path, Path, Result], tmp_path: Path) -> None:
    table, out, _ = fitted
    target = tmp_path / "p.csv"
    target.write_text("mine")
    refused(run("predict", out, table, "--out", target), "p.csv", "--force")
    assert target.read_text() == "mine"
    refused(run("predict", out, table, "--out", tmp_path / "p.xlsx"), ".csv")
    refused(run("predict", out, table, "--out", table, "--force"), "table itself")
    lacking = write_rows(tmp_path / "l.csv", [[row[0], row[2]] for row in class_rows()])
    refused(run("predict", out, lacking, "--out", tmp_path / "q.csv"), "'b'")
    worded = write_rows(tmp_path / "w.csv", [["a", "b", "colour"], ["red", 1, "blue"], ["blue", 2, "red"]])
    refused(run("predict", out, worded, "--out", tmp_path / "q.csv"), "'a'", "line 2")
    refused(run("certify", out, worded), "'y'")
    assert not (tmp_path / "q.csv").exists()


def test_damaged_models(fitted: tuple[Path, Path, Result], tmp_path: Path) -> None:
    table, out, _ = fitted
    data = (out / "model.safetensors").read_bytes()
    damaged = tmp_path / "model.safetensors"
    for content in (b"", data[: len(data) // 2], b"\x00" * 64, b"not a model at all"):
        damaged.write_bytes(content)
        refused(run("predict", damaged, table, "--out", tmp_path / "p.csv"), "model.safetensors")
    Network.load(out).save(damaged)
    refused(run("certify", damaged, table), "model.safetensors", "without its table")
    Network.load(out).save(damaged, {"kind": "table-model-1", "loss": "squared"})
    refused(run("certify", damaged, table), "model.safetensors", "incomplete")


# ------------------------------------------------------------------------------------ interruption, faults


def test_interruption_keeps_the_best_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupting(tol: float) -> Iterator[Callable[[dict[str, Any]], None]]:
        def show(row: dict[str, Any]) -> None:
            raise KeyboardInterrupt

        yield show

    monkeypatch.setattr("convexnn.cli.fit.progress_shown", interrupting)
    table = write_rows(tmp_path / "t.csv", class_rows())
    result = run("fit", table, "--target", "y", "--beta", 0.1, "--tol", 1e-9, "--out", tmp_path / "m")
    assert result.exit_code == 130, result.output
    assert str(Status.INTERRUPTED) in result.stdout
    assert "best model so far is saved" in result.stdout
    record = TableModel.load(tmp_path / "m").record
    assert record["certificate"]["primal"] > 0
    assert str(Status.INTERRUPTED) in (tmp_path / "m" / "report.html").read_text()


def test_ctrl_c_while_the_report_is_drawn_keeps_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convexnn.cli.fit._fit_pictures", interrupted)
    table, out = write_rows(tmp_path / "t.csv", number_rows(12)), tmp_path / "m"
    result = run("fit", table, "--target", "y", "--beta", 5, "--out", out)
    assert result.exit_code == 130
    assert "the report is not" in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["history.csv", "model.safetensors"]
    assert TableModel.load(out).network.n_features == 2


@pytest.mark.parametrize(("fault", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("odd"), 1)])
def test_no_traceback_for_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, code: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(training, "train", fail)
    monkeypatch.delenv("CONVEXNN_DEBUG", raising=False)
    table = write_rows(tmp_path / "t.csv", number_rows(12))
    arguments = ("fit", table, "--target", "y", "--beta", 1, "--out", tmp_path / "m")
    result = run(*arguments)
    assert result.exit_code == code
    assert "Traceback" not in result.output
    if code == 1:
        assert "RuntimeError: odd" in result.stderr
        assert "CONVEXNN_DEBUG=1" in result.stderr
        monkeypatch.setenv("CONVEXNN_DEBUG", "1")
        assert "Traceback" in run(*arguments).stderr


def test_help_and_version_in_a_pipe_are_plain_and_light() -> None:
    program = (
        "import sys\nfrom convexnn.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'matplotlib', 'pandas', 'sklearn', 'cvxpy'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    for arguments, words in ((["--help"], "certify"), (["--version"], "convexnn 0.")):
        result = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert words in result.stdout
        assert all(c.isprintable() or c == "\n" for c in result.stdout)
