"""path, compare, export, certify of foreign files, JSON, standard input, dates and text, end to end."""

import json
import re
import shlex
import warnings
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.neural_network import MLPRegressor
from typer.testing import CliRunner, Result

from convexnn import comparison
from convexnn.cli import app
from convexnn.comparison_methods import Setup
from convexnn.data import read_table
from convexnn.foreign_files import read_network
from convexnn.regularisation_path import path as train_path
from convexnn.status import Status
from convexnn.table_export import ENDINGS
from convexnn.table_model import TableModel


def run(*arguments: object, table: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=table)


def refused(result: Result, *words: str) -> None:
    """Exit code 2 and one sentence that holds `words`."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert [word for word in words if word not in result.stderr] == []


def flats(n: int = 60) -> pd.DataFrame:
    """A regression with a number, a category, a date and a free text, each with a missing cell."""
    rng = np.random.default_rng(4)
    days = rng.integers(0, 700, n)
    size = rng.uniform(30, 150, n).round(1)
    remark = [", ".join(rng.choice(["quiet", "garden", "needs repair", "lift"], 2, False)) for _ in range(n)]
    price = 2 * size + 0.1 * days + np.array([30.0 * ("garden" in words) for words in remark])
    frame = pd.DataFrame({"size": size, "area": np.resize(["north", "south"], n)})
    frame["sold"] = (pd.Timestamp("2022-03-01") + pd.to_timedelta(days, unit="D")).strftime("%d.%m.%Y")
    frame["remark"], frame["price"] = remark, price.round(2)
    for row, name in enumerate(("size", "area", "sold", "remark")):
        frame.loc[row, name] = None
    return frame


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """(table, folder of the model, what `fit --json` printed)."""
    folder = tmp_path_factory.mktemp("flats")
    table, out = folder / "flats.csv", folder / "model"
    flats().to_csv(table, index=False)
    options = ("--target", "price", "--beta", 2, "--text", "remark", "--max-time", 20, "--tol", 1e-2)
    result = run("fit", table, *options, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert "training rows" in result.stderr
    return table, out, json.loads(result.stdout)


# ------------------------------------------------------------------------------------------------ tables


def test_dates_and_text_survive_the_file(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    table, out, record = fitted
    assert record["kinds"] == {"remark": "text"}
    assert record["certificate"]["relative_gap"] <= 1e-2
    model = TableModel.load(out)
    assert [c.kind for c in model.pipeline.encoder.columns] == ["number", "category", "date", "text"]
    shown = run("certify", out, table, "--json")
    again = json.loads(shown.stdout)
    assert again["training_table"] is True  # the fingerprint of the encoded rows is the same
    assert again["certificate"]["primal"] == pytest.approx(record["certificate"]["primal"], rel=1e-12)
    assert "estimate" in shown.stderr or "proved" in shown.stderr
    new = (
        read_table(table, text=model.words)
        .iloc[:3]
        .assign(sold="24.12.2031", remark="unheard words", area="east")
    )
    assert np.isfinite(model.outputs(new)).all()


def test_standard_input_and_parquet_give_the_same_predictions(
    fitted: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    table, out, _ = fitted
    piped = run("predict", out, "-", table=table.read_text())
    assert piped.exit_code == 0, piped.output
    flats().to_parquet(tmp_path / "t.parquet")
    assert run("predict", out, tmp_path / "t.parquet").stdout == piped.stdout
    typed = flats()
    typed["sold"] = pd.to_datetime(typed["sold"], format="%d.%m.%Y")
    typed.to_parquet(tmp_path / "typed.parquet")
    assert run("predict", out, tmp_path / "typed.parquet").stdout == piped.stdout
    assert piped.stdout.splitlines()[0] == "prediction"
    assert len(piped.stdout.splitlines()) == 61
    refused(run("predict", out, "-", table="size,area\n1,2,3\n"), "standard input", "line 2")


def test_dates_that_read_in_two_ways_are_refused_until_told(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"0{k % 9 + 1}/0{k % 7 + 1}/2024,{k}" for k in range(20)]
    table.write_text("\n".join(["day,y", *rows]))
    options = ("fit", table, "--target", "y", "--beta", 5, "--out", tmp_path / "m")
    refused(run(*options), "'day'", "more than one way", "--date 'day=%d/%m/%Y'")
    assert run(*options, "--date", "day=%m/%d/%Y").exit_code == 0
    assert TableModel.load(tmp_path / "m").pipeline.encoder.columns[0].form == "%m/%d/%Y"
    refused(run(*options, "--date", "day", "--text", "day"), "named twice")


# -------------------------------------------------------------------------------------------------- path


def test_path_writes_a_certificate_for_each_beta(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "p"
    flats().to_csv(table, index=False)
    options = ("--target", "price", "--betas", 3, "--ratio", 0.1, "--tol", 1e-2, "--text", "remark")
    result = run("path", table, *options, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    saved = pd.read_csv(out / "path.csv")
    assert saved["neurons"].tolist() == [point["neurons"] for point in record["points"]]
    assert saved["neurons"][0] == 0
    assert (saved["lower_bound"] <= saved["objective"]).all()
    assert np.all(np.diff(saved["objective"]) < 0)
    assert saved["test_r2"].notna().all()
    assert (out / "path.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert "estimate" in page or "proved" in page
    refused(run("path", table, *options, "--out", out), "path.csv", "--force")
    refused(run("path", table, "--target", "price", "--out", tmp_path / "q", "--ratio", 2), "--ratio")


def test_an_interrupted_path_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(X: Any, y: Any, **options: Any) -> Any:
        calls = 0

        def show(row: dict[str, object]) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt

        return train_path(X, y, **options | {"progress": show})

    monkeypatch.setattr("convexnn.regularisation_path.path", interrupted)
    table, out = tmp_path / "t.csv", tmp_path / "p"
    flats().drop(columns="remark").to_csv(table, index=False)
    options = ("--target", "price", "--betas", 4, "--ratio", 0.3, "--tol", 1e-2, "--out", out)
    result = run("path", table, *options)
    assert result.exit_code == 130, result.output
    assert "Interrupted: 2 of 4 points." in result.stdout
    saved = pd.read_csv(out / "path.csv")["beta"]
    assert len(saved) == 2
    missing = saved[0] * 0.3 ** (np.array([2, 3]) / 3)
    assert f"Missing: beta = {missing[0]:.4g}, {missing[1]:.4g}." in result.stdout
    assert "2 of 4 points" in (out / "report.html").read_text()


# ----------------------------------------------------------------------------------------------- compare


def quick_methods(setup: Setup) -> dict[str, Any]:
    """All but MLP and gradient boosting, which cost seconds."""
    whole = METHODS(setup)
    return {name: make for name, make in whole.items() if name not in ("MLP", "gradient boosting")}


METHODS = comparison.methods


def test_compare_says_who_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "methods", quick_methods)
    table, out = tmp_path / "t.csv", tmp_path / "c"
    flats().drop(columns=["remark", "sold"]).to_csv(table, index=False)
    options = ("--target", "price", "--folds", 2, "--tol", 0.05, "--out", out)
    result = run("compare", table, *options, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["folds"] == 2
    saved = pd.read_csv(out / "compare.csv")
    means = saved.groupby("method")["score"].mean()
    assert record["summary"][0]["method"] == means.idxmax()
    assert record["summary"][0]["mean"] == pytest.approx(means.max())
    assert means.idxmax() in record["sentences"][0]
    assert means[comparison.OURS] > means["mean"]
    assert "fold 2 of 2" in result.stderr
    assert record["sentences"][0] in (out / "report.html").read_text()


@pytest.mark.slow
def test_compare_with_all_methods(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    flats(60).to_csv(table, index=False)
    result = run("compare", table, "--target", "price", "--folds", 2, "--max-time", 60, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert len(record["rows"]) == 2 * 6
    means = {entry["method"]: entry["mean"] for entry in record["summary"]}
    assert all(means[name] > means["mean"] for name in (comparison.OURS, "MLP", "ridge"))


def test_the_light_methods_fit_both_tasks() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2))
    for task, y in (("regression", X[:, 0]), ("classification", np.where(X[:, 0] > 0, 1.0, -1.0))):
        made = METHODS(Setup(task, "squared" if task == "regression" else "logistic", 1.0, 0.1, 5.0, 0))
        assert len(made) == 6
        for name, make in made.items():
            if name in ("gradient boosting", "MLP"):
                continue
            model, _ = comparison.made(make, X, y)
            assert model.predict(X).shape == (30,)
            assert comparison._size(model) > 0


def test_ctrl_c_in_the_last_fold_keeps_the_folds_before(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = 0

    def warned(X: Any, y: Any) -> Any:  # scikit-learn's MLP makes a warning of Ctrl-C
        warnings.warn("Training interrupted by user.", stacklevel=1)
        return MLPRegressor(), ""

    def methods(setup: Setup) -> dict[str, Any]:
        nonlocal folds
        folds += 1
        made = METHODS(setup)
        quick = {name: lambda X, y: (made["mean"](X, y)[0], "C=1") for name in (comparison.OURS, "MLP")}
        return quick if folds == 1 else quick | {"MLP": warned}

    monkeypatch.setattr(comparison, "methods", methods)
    record = comparison.compare(flats(24)[["size", "price"]], "price", folds=2)
    assert record["interrupted"]
    assert (record["folds"], len(record["rows"])) == (1, 2)
    assert "Finished: 1 of 2 folds." in record["sentences"]


def score_rows(**scores: list[float]) -> list[dict[str, Any]]:
    return [
        {"fold": k, "method": name.replace("_", " "), "score": value, "seconds": 1.0, "size": 1024.0,
         "setting": "C=1", "status": str(Status.CONVERGED)}
        for name, values in scores.items() for k, value in enumerate(values)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (
            [0.9, 0.8, 0.85],
            [0.95, 0.86, 0.9],
            "0.053 below SVM (paired standard error 0.003): by score, SVM wins",
        ),
        (
            [0.9, 0.8, 0.85],
            [0.85, 0.75, 0.79],
            "0.053 above SVM (paired standard error 0.003): by score, convex",
        ),
        ([0.9, 0.8, 0.85], [0.8, 0.9, 0.86], "these folds do not tell them apart"),
        ([0.9], [0.95], "one fold decides nothing"),
        ([0.9, 0.9], [0.9, 0.9], "equals SVM"),
    ],
)
def test_the_verdict_is_computed(ours: list[float], theirs: list[float], words: str) -> None:
    rows = score_rows(convex_network=ours, SVM=theirs)
    record = {"score": "accuracy", "loss": "logistic", "folds": len(ours), "asked_folds": 3, "rows": rows}
    found = comparison.sentences(record | {"summary": comparison._summary(rows)})
    assert words in " ".join(found)
    assert ("Finished: 1 of 3 folds." in found) == (len(ours) == 1)


def test_compare_refuses_too_many_folds(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,y\n" + "\n".join(f"{k},{'yes' if k < 3 else 'no'}" for k in range(12)))
    refused(run("compare", table, "--target", "y"), "5 folds", "has 3")
    refused(run("compare", table, "--target", "y", "--folds", 1), "--folds")


# ------------------------------------------------------------------------------------- more than two classes


def test_three_classes_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.random.default_rng(3).standard_normal((36, 2)).round(3)
    labels = np.array(["low", "middle", "high"])[np.digitize(a.sum(axis=1), [-0.7, 0.7])]
    table, out = tmp_path / "t.csv", tmp_path / "m"
    pd.DataFrame(a, columns=["a", "b"]).assign(y=labels).to_csv(table, index=False)
    options = ("--target", "y", "--beta", 0.5, "--tol", 1e-2, "--max-time", 20)
    fitted = run("fit", table, *options, "--out", out)
    assert fitted.exit_code == 0, fitted.output
    assert "3 classes of 'y': 'high', 'low', 'middle'" in fitted.stdout
    predicted = run("predict", out, table)
    rows = pd.read_csv(StringIO(predicted.stdout))
    assert list(rows) == ["prediction", "probability_high", "probability_low", "probability_middle"]
    shares = rows.iloc[:, 1:].to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert rows["prediction"].tolist() == np.array(["high", "low", "middle"])[shares.argmax(axis=1)].tolist()
    assert (rows["prediction"] == labels).mean() > 0.9
    record = TableModel.load(out).record
    certified = json.loads(run("certify", out, table, "--json").stdout)
    assert certified["training_table"]
    assert certified["certificate"]["primal"] == pytest.approx(record["certificate"]["primal"], rel=1e-9)
    assert certified["certificate"]["relative_gap"] <= 1e-2
    path_options = ("--target", "y", "--betas", 2, "--ratio", 0.2, "--tol", 1e-2, "--out", tmp_path / "p")
    assert run("path", table, *path_options).exit_code == 0
    monkeypatch.setattr(comparison, "methods", quick_methods)
    compared = json.loads(run("compare", table, "--target", "y", "--folds", 2, "--tol", 0.1, "--json").stdout)
    means = {entry["method"]: entry["mean"] for entry in compared["summary"]}
    assert means[comparison.OURS] > means["larger class"]
    refused(run("fit", table, *options, "--out", tmp_path / "q", "--loss", "hinge"), "3 classes", "softmax")
    ort = pytest.importorskip("onnxruntime")
    assert run("export", out, "--format", "onnx", "--out", tmp_path / "m.onnx").exit_code == 0
    names, given = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"X": a.astype(np.float32)})
    assert list(names) == rows["prediction"].tolist()
    np.testing.assert_allclose(given, shares, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------ export


def test_exports_compute_what_the_model_computes(
    fitted: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    torch, ort = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    from safetensors.numpy import load_file

    table, out, _ = fitted
    model = TableModel.load(out)
    frame = read_table(table, text=model.words)
    X, expected = model.pipeline.encoder.transform(frame), model.outputs(frame)
    files = {name: tmp_path / f"m{end}" for name, end in ENDINGS.items()}
    for name, file in files.items():
        result = run("export", out, "--format", name, "--out", file, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["inputs"] == list(model.pipeline.encoder.feature_names)
    (got,) = ort.InferenceSession(files["onnx"]).run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5)
    for state in (torch.load(files["torch"], weights_only=True), load_file(files["safetensors"])):
        W1, b1, W2 = (np.asarray(state[name]) for name in ("0.weight", "0.bias", "2.weight"))
        np.testing.assert_allclose(np.maximum(X @ W1.T + b1, 0) @ W2[0], expected, rtol=1e-10)
    plain = json.loads(files["json"].read_text())
    hidden = np.maximum(X @ np.array(plain["W1"]) + plain["b1"], 0)
    np.testing.assert_allclose((hidden @ plain["W2"])[:, 0], expected, rtol=1e-10)
    refused(run("export", out, "--format", "json", "--out", files["json"]), "--force")
    refused(run("export", out, "--format", "onnx", "--out", tmp_path / "m.json"), ".onnx")


def test_a_classifier_as_onnx_gives_labels_and_probabilities(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    a = np.random.default_rng(1).standard_normal((30, 2)).round(3)
    frame = pd.DataFrame(a, columns=["a", "b"]).assign(y=np.where(a.sum(axis=1) > 0, "yes", "no"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert (
        run("fit", tmp_path / "t.csv", "--target", "y", "--beta", 1, "--out", tmp_path / "m").exit_code == 0
    )
    assert run("export", tmp_path / "m", "--format", "onnx", "--out", tmp_path / "m.onnx").exit_code == 0
    labels, shares = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"X": a.astype(np.float32)})
    expected = TableModel.load(tmp_path / "m").predictions(frame)
    assert list(labels) == expected["prediction"].tolist()
    np.testing.assert_allclose(shares[:, 1], expected["probability_yes"], rtol=1e-5)


# ---------------------------------------------------------------------------------- certify of other files


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """(table of numbers, X, y)."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2)).round(3)
    y = np.abs(X[:, 0]).round(3)
    table = tmp_path_factory.mktemp("numbers") / "t.csv"
    pd.DataFrame(X, columns=["a", "b"]).assign(y=y).to_csv(table, index=False)
    return table, X, y


def test_a_state_dict_is_certified(tmp_path: Path, numbers: tuple[Path, np.ndarray, np.ndarray]) -> None:
    torch = pytest.importorskip("torch")
    table, X, y = numbers
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1)).double()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    result = run("certify", tmp_path / "net.pt", table, "--target", "y", "--beta", 0.5, "--json")
    assert result.exit_code == 0, result.output
    assert "taken to be ReLU" in result.stderr
    record = json.loads(result.stdout)
    assert record["certificate"]["kind"] == "exact"
    f = net(torch.tensor(X)).detach().numpy()[:, 0]
    weights = sum(float((p.detach() ** 2).sum()) for name, p in net.named_parameters() if name != "2.bias")
    primal = 0.5 * np.sum((f - y) ** 2) + 0.25 * weights + 0.5 * abs(net[2].bias.item())
    assert record["certificate"]["primal"] == pytest.approx(primal, rel=1e-9)
    assert "--tighten trains for a better one" in result.stderr
    tight = run(
        "certify", tmp_path / "net.pt", table, "--target", "y", "--beta", 0.5, "--tighten", "--json",
        "--max-time", 10,
    )  # fmt: skip
    better = json.loads(tight.stdout)
    assert better["certificate"]["lower_bound"] > record["certificate"]["lower_bound"]
    assert better["certificate"]["lower_bound"] <= better["reached"] < better["certificate"]["primal"]
    torch.save(net, tmp_path / "whole.pt")
    refused(run("certify", tmp_path / "whole.pt", table, "--target", "y", "--beta", 1), "state_dict()")
    deep = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 1))
    torch.save(deep.state_dict(), tmp_path / "deep.pt")
    refused(run("certify", tmp_path / "deep.pt", table, "--target", "y", "--beta", 1), "Linear, ReLU, Linear")
    refused(run("certify", tmp_path / "net.pt", table), "--target", "--beta")
    refused(run("certify", tmp_path / "net.pt", table, "--target", "b", "--beta", -1), "--beta")
    refused(run("certify", tmp_path / "none.pt", table, "--target", "y", "--beta", 1), "none.pt")
    other = tmp_path / "o.csv"
    other.write_text("a,b,c,y\n1,2,3,4\n2,3,4,5\n")
    refused(run("certify", tmp_path / "net.pt", other, "--target", "y", "--beta", 1), "2 inputs", "3 columns")
    other.write_text("a,b,y\n1,,4\n2,3,5\n")
    refused(
        run("certify", tmp_path / "net.pt", other, "--target", "y", "--beta", 1), "'b', line 2", "missing"
    )


def test_an_onnx_file_is_certified(tmp_path: Path, numbers: tuple[Path, np.ndarray, np.ndarray]) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    table, X, y = numbers
    model = MLPRegressor(hidden_layer_sizes=4, alpha=1.0, solver="lbfgs", max_iter=3000, random_state=0).fit(
        X, y
    )
    content = skl2onnx.to_onnx(model, X[:1].astype(np.float32)).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content)
    result = run("certify", tmp_path / "m.onnx", table, "--target", "y", "--beta", 1, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["certificate"]["relative_gap"] >= 0
    np.testing.assert_allclose(
        read_network(tmp_path / "m.onnx").predict(X), model.predict(X), rtol=1e-5, atol=1e-6
    )
    (tmp_path / "bad.onnx").write_bytes(content[:50])
    refused(run("certify", tmp_path / "bad.onnx", table, "--target", "y", "--beta", 1), "bad.onnx")


def test_options_of_foreign_files_are_refused_for_own_models(
    fitted: tuple[Path, Path, dict[str, Any]],
) -> None:
    table, out, _ = fitted
    refused(run("certify", out, table, "--beta", 1), "--beta", "'fit'")
    refused(run("certify", out, table, "--tighten"), "--tighten", "'fit'")


# ----------------------------------------------------------------------------------------------- the rest


def test_completion_is_on_and_json_is_strict() -> None:
    from convexnn._console import json_text

    assert "--install-completion" in run("--help").stdout
    text = json_text(
        {"a": np.array([1.0, np.nan]), "b": float("inf"), "c": Path("x"), "d": (np.int64(3), True)}
    )
    assert json.loads(text) == {"a": [1.0, None], "b": None, "c": "x", "d": [3, True]}


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", text, re.S)[0], {})
    commands = re.findall(r"^\$ (.*)$", text, re.M)
    assert len(commands) >= 7
    for command in commands:
        piped, _, command = command.rpartition(" | ")
        program, *arguments = shlex.split(command)
        assert program == "convexnn"
        result = run(*arguments, table=Path("new.csv").read_text() if piped else None)
        assert result.exit_code == 0, (command, result.output)
