"""Leaky ReLU, absolute value and a free output bias from the command line."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from command_line import counts, refused, run
from convexnn import Network, certify, comparison_methods, train
from convexnn.comparison_methods import OURS, Setup
from convexnn.table_model import TableModel


def bends() -> pd.DataFrame:
    """Forty rows of a function with bends, far from zero."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40)).round(3)
    y = 50 + 20 * (np.abs(a) - 0.3 * np.maximum(b, 0)) + rng.standard_normal(40)
    return pd.DataFrame({"a": a, "b": b, "y": y.round(2)})


def by_hand(X: np.ndarray, W1: Any, b1: Any, W2: Any, b2: Any, slope: float) -> np.ndarray:
    z = X @ np.asarray(W1) + np.asarray(b1)
    return (np.where(z > 0, z, slope * z) @ np.asarray(W2))[:, 0] + np.asarray(b2)


@pytest.fixture(scope="module", params=[(0.1, True), (-1.0, False)], ids=["leaky, free", "absolute"])
def bent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict[str, Any]]:
    """(table, model, what `fit --json` printed) with a slope, and for one of them a free output bias."""
    slope, free = request.param
    folder = tmp_path_factory.mktemp("bent")
    table, out = folder / "t.csv", folder / "m"
    bends().to_csv(table, index=False)
    options = ("--negative-slope", slope, *(["--free-intercept"] if free else []), "--out", out, "--json")
    result = run("fit", table, "--target", "y", "--beta", 0.3, "--tol", 1e-3, *options)
    assert result.exit_code == 0, result.output
    said = "leaky ReLU with slope 0.1 below 0. The output bias is free" if free else "absolute value."
    assert f"Activation: {said}" in result.stderr
    assert said.split(".")[0] in (out / "report.html").read_text(encoding="utf-8")
    record = json.loads(result.stdout)
    assert (record["negative_slope"], record["free_intercept"]) == (slope, free)
    return table, out, record


def test_a_model_keeps_its_activation_and_output_bias(bent: tuple[Path, Path, dict[str, Any]]) -> None:
    table, out, record = bent
    model, slope, free = TableModel.load(out), record["negative_slope"], record["free_intercept"]
    Z, y, _ = model.training_rows(bends())
    own = train(Z, y, 0.3, negative_slope=slope, intercept=free, tol=1e-3)
    assert model.network.negative_slope == slope
    assert model.network.has_intercept == free
    assert record["certificate"]["primal"] == pytest.approx(own.certificate.primal, rel=1e-9)
    z = model.pipeline.features(bends()) @ own.network.U
    f = np.where(z > 0, z, slope * z) @ own.network.alpha + own.network.intercept
    predicted = json.loads(run("predict", out, table, "--json").stdout)["predictions"]
    expected = model.pipeline.target_mean + model.pipeline.target_scale * f
    np.testing.assert_allclose([row["prediction"] for row in predicted], expected, rtol=1e-9)
    result = run("certify", out, table, "--json")
    assert "Activation: " in result.stderr
    certified = json.loads(result.stdout)
    assert (certified["negative_slope"], certified["free_intercept"]) == (slope, free)
    bound = certify(own.network, Z, y, 0.3, intercept=free, nu=own.certificate.nu)
    assert certified["certificate"]["kind"] == bound.kind == "exact"
    for key in ("primal", "lower_bound", "relative_gap"):
        assert certified["certificate"][key] == pytest.approx(getattr(bound, key), rel=1e-6), key
    assert certified["certificate"]["primal"] == pytest.approx(record["certificate"]["primal"], rel=1e-12)
    assert 0 <= certified["certificate"]["gap"] <= record["certificate"]["gap"] * (1 + 1e-3)
    assert math.fsum(model.nu) == 0.0 if free else math.fsum(model.nu) != 0.0
    if free:  # b₀ costs nothing
        penalty = 0.15 * float(np.sum(own.network.U**2) + np.sum(own.network.alpha**2))
        loss = 0.5 * float(np.sum((own.network.predict(Z) - y) ** 2))
        assert certified["certificate"]["primal"] == pytest.approx(loss + penalty)


def test_exports_carry_slope_and_output_bias(bent: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    from safetensors import safe_open

    table, out, record = bent
    slope, free = record["negative_slope"], record["free_intercept"]
    model = TableModel.load(out)
    X, expected = bends()[["a", "b"]].to_numpy(), model.outputs(bends())
    for kind in ("json", "safetensors"):
        result = run("export", out, "--format", kind, "--out", tmp_path / f"m.{kind}")
        assert "Activation: " in result.stdout
    plain = json.loads((tmp_path / "m.json").read_text())
    assert plain["negative_slope"] == slope
    found = by_hand(X, *(plain[name] for name in ("W1", "b1", "W2", "b2")), plain["negative_slope"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    with safe_open(str(tmp_path / "m.safetensors"), framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = float(file.metadata()["negative_slope"])
    assert ("2.bias" in tensors) == free
    layers = tensors["0.weight"].T, tensors["0.bias"], tensors["2.weight"].T, tensors.get("2.bias", 0.0)
    np.testing.assert_allclose(by_hand(X, *layers, said), expected, rtol=1e-10)
    torch = pytest.importorskip("torch")
    result = run("export", out, "--format", "torch", "--out", tmp_path / "m.pt")
    assert f"LeakyReLU({slope:g})" in result.stdout
    state = torch.load(tmp_path / "m.pt", weights_only=True)
    assert {name: tuple(t.shape) for name, t in state.items()} == {k: t.shape for k, t in tensors.items()}
    nn, m = torch.nn, len(tensors["0.bias"])
    net = nn.Sequential(nn.Linear(2, m), nn.LeakyReLU(slope), nn.Linear(m, 1, bias=free)).double()
    net.load_state_dict(state)
    np.testing.assert_allclose(net(torch.tensor(X)).detach().numpy()[:, 0], expected, rtol=1e-10)
    options = ("--target", "y", "--beta", 2, *(["--free-intercept"] if free else []))
    result = run("certify", tmp_path / "m.pt", table, *options, "--negative-slope", slope, "--json")
    weights = sum(float(np.sum(t**2)) for name, t in tensors.items() if name != "2.bias")
    primal = 0.5 * float(np.sum((expected - bends()["y"]) ** 2)) + weights
    assert json.loads(result.stdout)["certificate"]["primal"] == pytest.approx(primal)
    assert "taken to be leaky ReLU with slope 0.1" in result.stderr or not free
    assert ("the output bias, which is free" in result.stderr) == free
    ort = pytest.importorskip("onnxruntime")
    assert run("export", out, "--format", "onnx", "--out", tmp_path / "m.onnx").exit_code == 0
    (got,) = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5)
    graph = json.loads(run("certify", tmp_path / "m.onnx", table, *options, "--json").stdout)
    assert graph["negative_slope"] == pytest.approx(slope)
    assert graph["certificate"]["primal"] == pytest.approx(primal, rel=1e-4)
    refused(run("certify", tmp_path / "m.onnx", table, *options, "--negative-slope", 0), "ONNX graph")
    refused(run("certify", out, table, "--free-intercept"), "--free-intercept", "'fit'")


def test_a_path_with_a_slope_and_a_free_output_bias(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "p"
    bends().to_csv(table, index=False)
    options = ("--target", "y", "--betas", 2, "--ratio", 0.2, "--test", 0, "--out", out, "--json")
    result = run("path", table, *options, "--negative-slope", -0.5, "--free-intercept")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["points"]
    X, y = bends()[["a", "b"]].to_numpy(), bends()["y"].to_numpy()
    Z = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(40)]) / np.sqrt(3)
    zero = Network(np.zeros((3, 0)), np.zeros(0), negative_slope=-0.5)
    y = (y - y.mean()) / y.std()
    for point, neurons in ((first, 0), (second, None)):
        bound = certify(zero, Z, y, point["beta"], intercept=True).lower_bound
        assert bound <= point["objective"] * (1 + 1e-9)
        best = train(Z, y, point["beta"], negative_slope=-0.5, intercept=True).certificate
        assert point["objective"] == pytest.approx(best.primal, rel=2e-3)
        assert neurons is None or point["neurons"] == neurons
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "ReLU with slope -0.5 below 0" in page
    assert "beta does not count it" in page


def test_a_comparison_fits_the_form_that_was_asked_for() -> None:
    X, y = bends()[["a", "b"]].to_numpy(), bends()["y"].to_numpy()
    setup = Setup("regression", "squared", 1.0, 0.1, None, 0, negative_slope=-1.0, intercept=True)
    model, _ = comparison_methods.methods(setup)[OURS](X, y)
    assert model.network_.negative_slope == -1.0
    assert model.intercept_ == model.network_.intercept != 0


def test_rates_with_a_free_output_bias(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "m"
    counts().to_csv(table, index=False)
    options = ("--loss", "poisson", "--free-intercept", "--drop", "name", "--drop", "area", "--test", 0)
    result = run("fit", table, "--target", "y", "--beta", 3, *options, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    model = TableModel.load(out)
    rates = model.outputs(counts())
    assert rates.sum() == pytest.approx(counts()["y"].sum(), rel=1e-2)  # 1ᵀ∇L = 0 at the best b₀
    assert run("export", out, "--format", "json", "--out", tmp_path / "m.json").exit_code == 0
    plain = json.loads((tmp_path / "m.json").read_text())
    assert plain["b2"] == [model.network.intercept]
    layers = (plain[name] for name in ("W1", "b1", "W2", "b2", "negative_slope"))
    np.testing.assert_allclose(np.exp(by_hand(counts()[["x"]].to_numpy(), *layers)), rates)


def test_forms_of_a_network_that_are_refused(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "m"
    counts().to_csv(table, index=False)
    for command, slope in (("fit", 1), ("fit", "nan"), ("path", -1.5)):
        result = run(command, table, "--target", "y", "--out", out, "--negative-slope", slope)
        refused(result, "Error: --negative-slope", f"it is {slope}", "linear")
    for command in ("fit", "path", "compare"):
        result = run(command, table, "--target", "area", "--drop", "name", "--out", out, "--free-intercept")
        refused(result, "Error: --free-intercept", "softmax", "leave it out")
    assert not out.exists()
