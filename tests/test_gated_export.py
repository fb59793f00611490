"""Gated networks as torch modules, ONNX graphs and files; several labels in a Pipeline: the same outputs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from convexnn import ConvexReLUClassifier
from convexnn.estimators import GatedNetwork, GatedReLUClassifier, GatedReLURegressor
from convexnn.interop import register_skl2onnx, to_onnx, to_sklearn, to_torch


def rows() -> np.ndarray:
    """(60, 3), each number one of float32, columns of other means and scales."""
    X = np.random.default_rng(0).standard_normal((60, 3)) * [1.0, 5.0, 0.1] + [2.0, -9.0, 40.0]
    return X.astype(np.float32).astype(np.float64)


def target(X: np.ndarray) -> np.ndarray:
    return np.sin(2 * X[:, 0]) + 0.2 * X[:, 1] + 2.0


LABELS = {
    "two": lambda y: np.where(y > 0.2, "up", "down"),
    "three": lambda y: np.digitize(y, [-0.3, 0.7]),
    "several": lambda y: np.column_stack([y > -0.3, y > 0.7, y > 0.2]).astype(int),
}


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-5 of the largest value."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def run_onnx(model: Any, X: np.ndarray, dtype: Any = np.float32) -> dict[str, Any]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"X": X.astype(dtype)})
    return dict(zip([o.name for o in session.get_outputs()], outputs, strict=True))


def run_torch(module: Any, X: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
    import torch

    with torch.no_grad():
        return module(torch.tensor(X.astype(dtype))).numpy()


@pytest.mark.parametrize("standardize", [True, False])
def test_a_gated_regressor_goes_to_torch_and_onnx(standardize: bool) -> None:
    torch = pytest.importorskip("torch")
    X = rows()
    Y = np.column_stack([target(X), target(X) ** 2])
    for y in (Y[:, 0], Y):
        model = GatedReLURegressor(n_gates=50, standardize=standardize).fit(X, y)
        f = model.predict(X).reshape(len(X), -1)
        close(run_onnx(to_onnx(model), X)["variable"], f)
        module = to_torch(model)
        assert {p.dtype for p in module.parameters()} == {torch.float32}
        close(run_torch(module, X), f)
        wide = run_torch(to_torch(model, dtype=torch.float64), X, np.float64)
        np.testing.assert_allclose(wide, f, rtol=1e-9, atol=1e-9)
    again = pickle.loads(pickle.dumps(module))
    assert (run_torch(again, X) == run_torch(module, X)).all()


def test_gates_open_as_in_float64() -> None:
    """Rows on a gate, and rows that float32 would put on the other side: the values behind are 1000."""
    pytest.importorskip("torch")
    G = np.array([[1.0, 1.0 + 2.0**-30], [-1.0, -1.0]])
    network = GatedNetwork(G, np.full((2, 2), 1000.0))
    X = np.array([[1.0, 1.0], [-1.0, -1.0], [3.0, 3.0], [1.0, 1.0 + 2.0**-20], [1.0 + 2.0**-20, 1.0]])
    f = network.predict(X)
    assert sorted(set(np.rint(f / 2000))) == [-1.0, 0.0, 2.0, 6.0]  # −X opens gate 0 only
    close(run_onnx(network.to_onnx(), X)["variable"][:, 0], f)
    close(run_torch(network.to_torch(), X)[:, 0], f)


@pytest.mark.parametrize("kind", ["two", "three", "several"])
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_a_gated_classifier_keeps_labels_and_probabilities(kind: str, loss: str) -> None:
    pytest.importorskip("torch")
    X = rows()
    model = GatedReLUClassifier(n_gates=30, loss=loss, tol=1e-2).fit(X, LABELS[kind](target(X)))
    f = model.decision_function(X)
    close(run_torch(to_torch(model), X), f.reshape(len(X), -1))
    out = run_onnx(to_onnx(model), X)
    assert out["label"].tolist() == model.predict(X).tolist()
    if loss == "logistic":
        close(out["probabilities"], model.predict_proba(X))
    else:
        close(out["scores"], np.column_stack([-f, f]) if f.ndim == 1 else f)
    with pytest.raises(ValueError, match=r"gates in place of ReLUs: scikit-learn has no such model\.$"):
        to_sklearn(model)


def test_shares_of_classes_that_all_underflow_are_equal() -> None:
    model = GatedReLUClassifier(n_gates=5).fit(rows(), LABELS["three"](target(rows())))
    network = model.network_
    model.network_ = GatedNetwork(np.zeros_like(network.G), np.zeros_like(network.W))
    model.network_.W[-1] = -1e4
    close(run_onnx(to_onnx(model), rows())["probabilities"], np.full((60, 3), 1 / 3))


def test_a_gated_network_survives_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    network = GatedNetwork(rng.standard_normal((3, 4)), rng.standard_normal((3, 4, 2)))
    file = network.save(tmp_path / "g.safetensors")
    again = GatedNetwork.load(file)
    assert (again.G == network.G).all()
    assert (again.W == network.W).all()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"g\.safetensors cannot be read as a gated network"):
        GatedNetwork.load(file)
    with pytest.raises(FileNotFoundError, match="no model at"):
        GatedNetwork.load(tmp_path / "none.safetensors")


def test_no_gate_at_all_is_zero() -> None:
    pytest.importorskip("torch")
    model = GatedReLURegressor(beta=1e6).fit(rows(), target(rows()))
    assert model.network_.n_neurons == 0
    assert not run_onnx(to_onnx(model), rows())["variable"].any()
    assert not run_torch(to_torch(model), rows()).any()


# ---- skl2onnx ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gated_estimators_convert_in_a_pipeline(dtype: Any) -> None:
    convert = pytest.importorskip("skl2onnx")
    X = rows()
    register_skl2onnx()
    for estimator, y in (
        (GatedReLURegressor(n_gates=20), target(X)),
        (GatedReLUClassifier(n_gates=20), LABELS["three"](target(X))),
    ):
        pipeline = make_pipeline(StandardScaler(), estimator).fit(X, y)
        classes = hasattr(pipeline, "predict_proba")
        options = {id(pipeline[-1]): {"zipmap": False}} if classes else None
        out = list(
            run_onnx(convert.to_onnx(pipeline, X[:1].astype(dtype), options=options), X, dtype).values()
        )
        if classes:
            assert out[0].tolist() == pipeline.predict(X).tolist()
        close(out[-1], pipeline.predict_proba(X) if classes else pipeline.predict(X)[:, None])


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize("model", [ConvexReLUClassifier, GatedReLUClassifier])
def test_several_labels_convert_in_a_pipeline(model: Any, loss: str) -> None:
    convert = pytest.importorskip("skl2onnx")
    X = rows()
    pipeline = make_pipeline(StandardScaler(), model(loss=loss, tol=0.1)).fit(X, LABELS["several"](target(X)))
    register_skl2onnx()
    f = pipeline.decision_function(X)
    for options in ({}, {"zipmap": False}, {"zipmap": False, "raw_scores": True}):
        graph = convert.to_onnx(pipeline, X[:1].astype(np.float32), options={id(pipeline[-1]): options})
        out = run_onnx(graph, X)
        assert out["label"].tolist() == pipeline.predict(X).tolist()
        raw = loss == "hinge" or options.get("raw_scores", False)
        close(out["probabilities"], f if raw else pipeline.predict_proba(X))
