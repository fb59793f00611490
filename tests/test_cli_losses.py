"""All losses from the command line, columns left out, decimal commas, unseen categories, limits of time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from command_line import counts, refused, run
from convexnn import certify, comparison_methods
from convexnn.comparison_methods import Setup, scorer
from convexnn.losses import Huber, Poisson, Quantile, SquaredEpsilonInsensitive
from convexnn.table_losses import in_words, parse_loss, scaled, with_number
from convexnn.table_model import TableModel

OPTIONS = ("--target", "y", "--beta", 3, "--tol", 0.05, "--max-time", 20)


@pytest.fixture(scope="module")
def poisson(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """(table, model, what `fit --json` printed) of a Poisson regression with a column left out."""
    folder = tmp_path_factory.mktemp("poisson")
    table = folder / "t.csv"
    counts().to_csv(table, index=False)
    out = folder / "m"
    result = run("fit", table, *OPTIONS, "--loss", "poisson", "--drop", "name", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert "Left out: 'name'." in result.stderr
    return table, out, json.loads(result.stdout)


# ------------------------------------------------------------------------------------------------ losses


def test_a_loss_has_its_number_in_the_unit_of_the_target() -> None:
    assert parse_loss("huber") == ("huber", None)
    assert with_number("huber", 40.0) == "huber:40.0"  # one standard deviation unless given
    assert scaled("huber", 40.0) == Huber(1.0)
    assert scaled("huber:10", 40.0) == Huber(0.25)
    assert scaled(with_number("squared_epsilon_insensitive", 40.0), 40.0) == SquaredEpsilonInsensitive(0.1)
    assert scaled("quantile:0.9", 40.0) == Quantile(0.9)
    assert scaled("poisson", 1.0) == "poisson"
    assert in_words("huber:10.0") == "huber loss with delta = 10"


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("huber:-1", ["Huber", "positive"]),
        ("huber:wide", ["'wide'", "number"]),
        ("quantile:1", ["level", "between 0 and 1"]),
        ("squared:2", ["squared loss has no parameter"]),
        ("absolute", ["'absolute'", "'quantile'"]),
        ("hinge", ["hinge", "regression", "poisson", "--task classification"]),
    ],
)
def test_bad_losses(tmp_path: Path, loss: str, words: list[str]) -> None:
    counts().to_csv(tmp_path / "t.csv", index=False)
    refused(run("fit", tmp_path / "t.csv", *OPTIONS, "--loss", loss, "--out", tmp_path / "m"), *words)
    assert not (tmp_path / "m").exists()


def test_poisson_predicts_rates(poisson: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    table, out, record = poisson
    model, frame = TableModel.load(out), counts()
    rates = np.exp(model.network.predict(model.pipeline.features(frame)))
    predicted = json.loads(run("predict", out, table, "--json").stdout)["predictions"]
    np.testing.assert_allclose([row["prediction"] for row in predicted], rates)
    rows = np.array(record["split"]["training_rows"])
    assert rows == 48
    Z, y, same = model.training_rows(frame)
    assert same
    f = model.network.predict(Z)
    deviance = 2 * np.sum(np.exp(f) - y - np.where(y > 0, y * (f - np.log(np.maximum(y, 1))), 0.0)) / len(y)
    assert record["scores"]["train"]["deviance"] == pytest.approx(deviance)
    primal = Poisson().value(f, y) + 3 * model.network.penalty()
    assert record["certificate"]["primal"] == pytest.approx(primal)
    certified = json.loads(run("certify", out, table, "--json").stdout)
    assert certified["training_table"]
    assert certified["certificate"]["primal"] == pytest.approx(primal)
    again = run("export", out, "--format", "json", "--out", tmp_path / "m.json")
    assert "logarithm of the rate" in again.stdout
    plain = json.loads((tmp_path / "m.json").read_text())
    assert plain["prediction"] == "exp(f)"
    hidden = np.maximum(model.pipeline.encoder.transform(frame) @ np.array(plain["W1"]) + plain["b1"], 0)
    np.testing.assert_allclose(np.exp(hidden @ plain["W2"])[:, 0], rates)
    ort = pytest.importorskip("onnxruntime")
    assert run("export", out, "--format", "onnx", "--out", tmp_path / "m.onnx").exit_code == 0
    X = model.pipeline.encoder.transform(frame).astype(np.float32)
    (found,) = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"X": X})
    np.testing.assert_allclose(found[:, 0], rates, rtol=1e-5)


def test_wrong_counts_are_refused_with_their_line(tmp_path: Path) -> None:
    frame = counts()
    frame.loc[4, "y"] = -2
    frame.to_csv(tmp_path / "t.csv", index=False)
    options = ("--loss", "poisson", "--drop", "name", "--out", tmp_path / "m")
    refused(run("fit", tmp_path / "t.csv", *OPTIONS, *options), "'y'", "line 6", "-2", "counts")


@pytest.mark.parametrize(
    ("loss", "made"), [("huber:0.5", Huber), ("squared_epsilon_insensitive", SquaredEpsilonInsensitive)]
)
def test_robust_losses_are_trained_on_the_scaled_target(tmp_path: Path, loss: str, made: Any) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "m"
    counts().to_csv(table, index=False)
    result = run("fit", table, *OPTIONS, "--loss", loss, "--drop", "name", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    model = TableModel.load(out)
    name, number = parse_loss(model.loss)
    scale = model.pipeline.target_scale
    assert number == (0.5 if name == "huber" else pytest.approx(0.1 * scale))
    assert f"{number:g}" in result.stderr
    Z, y, _ = model.training_rows(counts())
    primal = certify(model.network, Z, y, 3.0, made(number / scale), starts=1).primal
    assert json.loads(result.stdout)["certificate"]["primal"] == pytest.approx(primal)


def test_a_quantile_covers_its_share(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "p"
    counts().to_csv(table, index=False)
    options = ("--target", "y", "--loss", "quantile:0.8", "--drop", "name", "--drop", "area", "--test", 0)
    fitted = run("fit", table, *options, "--beta", 0.3, "--tol", 0.05, "--out", tmp_path / "m", "--json")
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(fitted.stdout)["scores"]["train"]["below"] == pytest.approx(0.8, abs=0.1)
    assert "share of the targets" in (tmp_path / "m" / "report.html").read_text()
    result = run("path", table, *options, "--betas", 2, "--ratio", 0.5, "--tol", 0.1, "--out", out, "--json")
    assert json.loads(result.stdout)["loss"] == "quantile:0.8"


def test_the_score_of_a_comparison_is_that_of_the_loss() -> None:
    class Constant:
        def predict(self, X: Any) -> Any:
            return np.full(len(X), 3.0)

    y = np.array([0.0, 1.0, 2.0, 9.0])
    poisson = scorer(Setup("regression", "poisson", 1.0, 0.1, None, 0))(Constant(), y, y)
    assert poisson == pytest.approx(0.0)  # 3 is the mean
    quantile = scorer(Setup("regression", "quantile:0.75", 1.0, 0.1, None, 0))(Constant(), y, y)
    best = np.quantile(y, 0.75)
    loss = [np.mean(np.maximum(0.75 * (y - c), -0.25 * (y - c))) for c in (3.0, best)]
    assert quantile == pytest.approx(1 - loss[0] / loss[1])
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 1))
    for name in ("poisson", "quantile:0.75"):
        made = comparison_methods.methods(Setup("regression", name, 1.0, 0.3, 5.0, 0))
        linear = next(key for key in made if key.endswith(" regression"))
        model, setting = made[linear](X, rng.poisson(np.exp(X[:, 0])).astype(float))
        assert setting.startswith("alpha=")
        assert model.predict(X).shape == (30,)


# ----------------------------------------------------------------------------------------------- columns


def test_decimal_commas_are_said_and_dropped_columns_may_hold_anything(tmp_path: Path) -> None:
    frame = counts()[["x", "area", "y"]].assign(note="?")
    frame["note"] = np.resize([1, 2, "three"], len(frame))
    table, point = tmp_path / "t.csv", tmp_path / "p.csv"
    frame.to_csv(table, index=False, sep=";", decimal=",")
    frame.drop(columns="note").to_csv(point, index=False)
    out = tmp_path / "m"
    refused(run("fit", table, *OPTIONS, "--out", out), "three", "--category note")
    result = run("fit", table, *OPTIONS, "--drop", "note", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Decimal commas (3,5 is 3.5) were read in 1 column: 'x'." in result.stdout
    assert "Decimal commas" in (out / "report.html").read_text()
    assert run("predict", out, table).stdout == run("predict", out, point).stdout
    two_ways = tmp_path / "w.csv"
    two_ways.write_text("x;area\n1,234;north\n")  # the model knows the habit of its table
    assert run("predict", out, two_ways).exit_code == 0
    two_ways.write_text("x;y\n1,234;2\n2,345;3\n3,456;1\n")
    refused(run("fit", two_ways, *OPTIONS, "--out", tmp_path / "q"), "'1,234'", "--decimal-comma")
    assert (
        run("fit", two_ways, *OPTIONS, "--out", tmp_path / "c", "--test", 0, "--decimal-comma").exit_code == 0
    )
    for options, words in (
        (("--drop", "note", "--text", "note"), ["'note'", "named twice"]),
        (("--drop", "y"), ["--drop", "target 'y'"]),
        (("--drop", "area", "--drop", "x", "--drop", "note"), ["no column besides"]),
        (("--drop", "nota"), ["no column 'nota'", "Did you mean 'note'"]),
    ):
        refused(run("fit", table, *OPTIONS, *options, "--out", tmp_path / "q"), *words)


def test_unseen_categories_are_named(poisson: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    table, out, _ = poisson
    new = counts().drop(columns="name")
    new.loc[[1, 2, 5], "area"] = ["east", "centre", "east"]
    new.loc[3, "area"] = None
    new.to_csv(tmp_path / "n.csv", index=False)
    result = run("predict", out, tmp_path / "n.csv", "--json")
    assert json.loads(result.stdout)["unseen"] == [
        {"column": "area", "rows": 3, "values": ["centre", "east"]}
    ]
    assert (
        "Warning: column 'area' has 3 rows with a value that the training rows did not have" in result.stderr
    )
    assert "'centre', 'east'" in result.stderr
    assert json.loads(run("certify", out, tmp_path / "n.csv", "--json").stdout)["unseen"]
    plain = run("predict", out, table, "--out", tmp_path / "p.csv", "--json")
    assert json.loads(plain.stdout) == {"rows": 60, "unseen": [], "file": str(tmp_path / "p.csv")}
    assert "Warning" not in plain.stderr


# ---------------------------------------------------------------------------------------------- in time


def test_a_path_cut_short_says_what_is_missing(poisson: tuple[Path, Path, Any], tmp_path: Path) -> None:
    table, _, _ = poisson
    options = ("--target", "y", "--betas", 3, "--max-time", 1e-3, "--drop", "name", "--out", tmp_path / "p")
    result = run("path", table, *options, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert len(record["points"]) == 1
    assert record["missing_betas"] == pytest.approx([0.1 * record["points"][0]["beta"] * k for k in (1, 0.1)])
    assert "The time limit was reached: 1 of 3 points." in record["status"]
    assert record["status"] in result.stderr


def test_an_exact_certificate_out_of_time_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 8))
    frame = pd.DataFrame(X.round(3), columns=list("abcdefgh")).assign(y=np.abs(X[:, 0]) + X[:, 1])
    table, out = tmp_path / "t.csv", tmp_path / "m"
    frame.to_csv(table, index=False)
    assert run("fit", table, *OPTIONS, "--test", 0, "--out", out).exit_code == 0
    result = run("certify", out, table, "--certificate", "exact", "--max-time", 0.05, "--json")
    record = json.loads(result.stdout)
    assert record["certificate"]["kind"] == "bounded"
    assert "An exact certificate was asked for" in record["why"]
    assert "the limit of 0.05 s came first" in record["why"]
    assert record["why"] in result.stderr
