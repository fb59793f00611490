"""Networks and estimators as torch modules, MLPs and ONNX graphs, and back: the same outputs."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.inspection import permutation_importance
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from convexnn import ConvexReLUClassifier, ConvexReLURegressor, Network
from convexnn.data import Scaler
from convexnn.interop import (
    certify_model,
    from_onnx,
    from_sklearn,
    from_torch,
    register_skl2onnx,
    to_onnx,
    to_sklearn,
    to_torch,
)

RTOL = 1e-5
LOSSES = ["logistic", "hinge", "squared_hinge", "squared"]
standardize = pytest.mark.parametrize("standardize", [True, False])


def rows() -> np.ndarray:
    """(60, 3), each number one of float32, columns of other means and scales."""
    X = np.random.default_rng(0).standard_normal((60, 3)) * [1.0, 5.0, 0.1] + [2.0, -9.0, 0.4]
    return X.astype(np.float32).astype(np.float64)


def target(X: np.ndarray) -> np.ndarray:
    return np.sin(2 * X[:, 0]) + 0.2 * X[:, 1] + 2.0


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, bool], Any]:
    """A fitted estimator for each loss, with and without standardisation; "regression" is the regressor."""
    X = rows()
    y = target(X)
    labels = np.where(y > np.median(y), "up", "down")
    fitted: dict[tuple[str, bool], Any] = {}
    for scaled in (True, False):
        fitted["regression", scaled] = ConvexReLURegressor(tol=1e-2, standardize=scaled).fit(X, y)
        for loss in LOSSES:
            model = ConvexReLUClassifier(loss=loss, tol=1e-2, standardize=scaled)
            fitted[loss, scaled] = model.fit(X, labels)
    return fitted


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-5 of the largest value."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= RTOL * np.abs(expected).max()


def run_onnx(model: Any, inputs: Any) -> dict[str, Any]:
    """Outputs of onnxruntime by name; an array goes to the input X."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = inputs if isinstance(inputs, dict) else {"X": np.asarray(inputs, dtype=np.float32)}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def run_torch(module: Any, X: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return module(torch.tensor(X, dtype=module[0].weight.dtype)).numpy()


def random_network(outputs: int | None = None) -> Network:
    rng = np.random.default_rng(1)
    return Network(
        rng.standard_normal((3, 5)), rng.standard_normal((5,) if outputs is None else (5, outputs))
    )


# ---- networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [None, 1, 2])
def test_a_network_goes_to_each_library_and_back(outputs: int | None) -> None:
    torch = pytest.importorskip("torch")
    net, X = random_network(outputs), rows()
    f = net.predict(X)
    flat = f.reshape(len(X), -1)
    state = torch.get_rng_state()
    module = net.to_torch()
    assert torch.equal(state, torch.get_rng_state())  # the caller's seed is left alone
    assert [type(layer).__name__ for layer in module] == ["Linear", "ReLU", "Linear"]
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert module[0].bias is None
    assert module[2].bias is None
    close(run_torch(module, X), flat)
    again = Network.from_torch(net.to_torch(dtype=torch.float64))
    assert (again.U == net.U).all()
    assert again.alpha.tolist() == (net.alpha[:, 0] if outputs == 1 else net.alpha).tolist()
    assert net.to_sklearn().predict(X).reshape(len(X), -1) == pytest.approx(flat, rel=1e-13)
    close(run_onnx(net.to_onnx(), X)["variable"], flat)


def test_a_network_of_one_output_comes_back_from_every_library() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    net, X = random_network(), rows()
    f = net.predict(X)
    close(Network.from_onnx(net.to_onnx()).predict(X), f)
    close(Network.from_torch(net.to_torch()).predict(X), f)
    with_ones = np.column_stack([X, np.ones(len(X))])
    assert Network.from_sklearn(net.to_sklearn()).predict(with_ones) == pytest.approx(f, rel=1e-13)


def test_a_network_without_neurons_is_zero_everywhere() -> None:
    pytest.importorskip("torch")
    net, X = Network.zero(3), rows()
    assert not run_torch(net.to_torch(), X).any()
    assert not net.to_sklearn().predict(X).any()
    assert run_onnx(net.to_onnx(), X)["variable"].tolist() == np.zeros((60, 1)).tolist()


# ---- estimators ----------------------------------------------------------------------------------------


@standardize
def test_a_regressor_takes_the_columns_of_predict_everywhere(models: Any, standardize: bool) -> None:
    pytest.importorskip("torch")
    model, X = models["regression", standardize], rows()
    f = model.predict(X)
    close(run_torch(to_torch(model), X)[:, 0], f)
    graph = to_onnx(model)
    close(run_onnx(graph, X)["variable"][:, 0], f)
    close(from_onnx(graph).predict(X), f)
    close(from_torch(to_torch(model)).predict(X), f)
    mlp = to_sklearn(model)
    assert isinstance(mlp, MLPRegressor)
    assert mlp.predict(X) == pytest.approx(f, rel=1e-11)
    assert from_sklearn(mlp).predict(X) == pytest.approx(f, rel=1e-11)
    assert mlp.loss_ == pytest.approx(model.certificate_.primal / 60)
    assert mlp.score(X, target(X)) == pytest.approx(model.score(X, target(X)))


@standardize
@pytest.mark.parametrize("loss", LOSSES)
def test_a_classifier_keeps_labels_and_probabilities(models: Any, loss: str, standardize: bool) -> None:
    pytest.importorskip("torch")
    model, X = models[loss, standardize], rows()
    f, labels = model.decision_function(X), model.predict(X)
    close(run_torch(to_torch(model), X)[:, 0], f)
    graph = to_onnx(model)
    out = run_onnx(graph, X)
    assert out["label"].tolist() == labels.tolist()
    if loss == "logistic":
        close(out["probabilities"], model.predict_proba(X))
    else:
        close(out["scores"], np.column_stack([-f, f]))
    mlp = to_sklearn(model)
    assert isinstance(mlp, MLPClassifier)
    assert mlp.predict(X).tolist() == labels.tolist()
    assert mlp.predict_proba(X)[:, 1] == pytest.approx(1 / (1 + np.exp(-f)), rel=1e-11)
    back = from_onnx(graph)
    close(back.predict(X), f)
    assert back.loss == loss
    assert back.classes is not None
    assert back.classes.tolist() == model.classes_.tolist()


def test_columns_far_from_zero_keep_their_digits_in_onnx() -> None:
    """In float32 a year times a weight loses the digits that year − mean keeps; torch may be float64."""
    torch = pytest.importorskip("torch")
    years = np.array([2020.0, 0.0, 0.0])
    X = (rows() + years).astype(np.float32).astype(np.float64)
    model = ConvexReLURegressor(tol=1e-2).fit(X, target(X - years))
    close(run_onnx(to_onnx(model), X)["variable"][:, 0], model.predict(X))
    assert run_torch(to_torch(model, dtype=torch.float64), X)[:, 0] == pytest.approx(
        model.predict(X), rel=1e-9
    )


def test_names_of_columns_go_along() -> None:
    import pandas as pd

    frame = pd.DataFrame(rows(), columns=["a", "b", "c"])
    model = ConvexReLURegressor(tol=1e-2).fit(frame, target(rows()))
    mlp = to_sklearn(model)
    assert mlp.feature_names_in_.tolist() == ["a", "b", "c"]
    assert mlp.predict(frame) == pytest.approx(model.predict(frame), rel=1e-11)
    assert run_onnx(to_onnx(model), frame)["variable"].shape == (60, 1)


def test_an_mlp_of_an_unscaled_estimator_certifies_as_it_did(models: Any) -> None:
    """alpha is β, so `certify_model` finds the objective of the training; its biases are weights as there."""
    model, X = models["regression", False], rows()
    mlp = to_sklearn(model)
    assert mlp.alpha == model.beta_
    result = certify_model(mlp, X, target(X), starts=100)
    assert result.certificate.primal == pytest.approx(model.certificate_.primal, rel=1e-12)
    scaled = to_sklearn(models["regression", True])
    with pytest.raises(ValueError, match=r"β = 0\): give a positive beta"):
        certify_model(scaled, X, target(X))


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([0, 1], "int64"), ([False, True], "int64"), ([-1.0, 1.0], "int64"), (["a", "b"], "O")],
)
def test_labels_of_each_kind(labels: list[Any], kind: str) -> None:
    X = rows()
    y = np.array(labels)[(target(X) > 0.3).astype(int)]
    model = ConvexReLUClassifier(tol=1e-2).fit(X, y)
    found = run_onnx(to_onnx(model), X)["label"]
    assert found.dtype == np.dtype(kind)
    assert (found == model.predict(X)).all()


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_a_network_of_several_classes(loss: str) -> None:
    """Three outputs: the label is that of the largest, probabilities are its softmax for that loss only."""
    pytest.importorskip("torch")
    X = rows()
    model = ConvexReLUClassifier(loss=loss)
    scaler = Scaler.fit(X)
    rng = np.random.default_rng(2)
    model.network_ = Network(rng.standard_normal((4, 6)), rng.standard_normal((6, 3)))
    model.scaler_, model.classes_ = scaler, np.array(["a", "b", "c"])
    f = model.network_.predict(scaler.transform(X))
    expected = model.classes_[f.argmax(axis=1)].tolist()
    assert len(set(expected)) == 3
    out = run_onnx(to_onnx(model), X)
    assert out["label"].tolist() == expected
    if loss == "softmax":
        close(out["probabilities"], np.exp(f) / np.exp(f).sum(axis=1, keepdims=True))
        close(to_sklearn(model).predict_proba(X), out["probabilities"].astype(float))
    else:
        close(out["scores"], f)
    assert to_sklearn(model).predict(X).tolist() == expected
    close(run_torch(to_torch(model), X), f)


# ---- skl2onnx ------------------------------------------------------------------------------------------


def test_a_whole_pipeline_converts() -> None:
    import pandas as pd

    convert = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    X = rows()
    frame = pd.DataFrame(X.astype(np.float32), columns=["a", "b", "c"]).assign(
        kind=np.where(X[:, 2] > 0.4, "x", "y")
    )
    labels = np.where(target(X) > 0.3, "up", "down")
    columns = ColumnTransformer(
        [
            ("number", StandardScaler(), ["a", "b", "c"]),
            ("word", OneHotEncoder(sparse_output=False), ["kind"]),
        ]
    )
    pipeline = make_pipeline(columns, ConvexReLUClassifier(tol=1e-2)).fit(frame, labels)
    register_skl2onnx()
    register_skl2onnx()
    types = [(name, FloatTensorType([None, 1])) for name in "abc"] + [("kind", StringTensorType([None, 1]))]
    graph = convert.convert_sklearn(
        pipeline, initial_types=types, options={id(pipeline[-1]): {"zipmap": False}}, target_opset=17
    )
    out = run_onnx(graph, {name: frame[[name]].to_numpy() for name in frame})
    assert list(out) == ["label", "probabilities"]
    assert out["label"].tolist() == pipeline.predict(frame).tolist()
    close(out["probabilities"], pipeline.predict_proba(frame))
    scores = convert.convert_sklearn(
        pipeline, initial_types=types, options={id(pipeline[-1]): {"zipmap": False, "raw_scores": True}}
    )
    out = run_onnx(scores, {name: frame[[name]].to_numpy() for name in frame})
    close(out["probabilities"][:, 1], pipeline.decision_function(frame))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_a_regressor_in_a_pipeline_converts_from_each_type(kind: type) -> None:
    convert = pytest.importorskip("skl2onnx")
    X = np.rint(rows() * 10).astype(kind)
    pipeline = make_pipeline(StandardScaler(), ConvexReLURegressor(tol=1e-2)).fit(X, target(rows()))
    register_skl2onnx()
    out = run_onnx(convert.to_onnx(pipeline, X[:1]), {"X": X})
    close(out["variable"][:, 0], pipeline.predict(X))


# ---- foreign ONNX graphs -------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_the_graph_of_torch_s_exporter_is_read(tmp_path: Path, bias: bool) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    nn, X = torch.nn, rows()
    module = nn.Sequential(nn.Linear(3, 4, bias=bias), nn.ReLU(), nn.Linear(4, 1, bias=bias))
    file = tmp_path / "module.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that needs no other package
        torch.onnx.export(module, (torch.zeros(1, 3),), str(file), dynamo=False)
    foreign = from_onnx(file)
    assert foreign.has_ones == bias
    close(foreign.predict(X), run_torch(module, X)[:, 0])
    y = target(X)
    by_file = certify_model(file, X, y, beta=1.0, starts=50).certificate
    assert by_file.primal == pytest.approx(
        certify_model(module, X, y, beta=1.0, starts=50).certificate.primal
    )


def test_the_graphs_of_skl2onnx_are_read() -> None:
    convert = pytest.importorskip("skl2onnx")
    X = rows()
    y = target(X)
    options = {"hidden_layer_sizes": (5,), "solver": "lbfgs", "max_iter": 2000, "random_state": 0}
    mlps = [MLPRegressor(**options).fit(X, y), MLPClassifier(alpha=1.0, **options).fit(X, y > 0.3)]
    for mlp, loss in zip(mlps, [None, "logistic"], strict=True):
        foreign = from_onnx(convert.to_onnx(mlp, X[:1].astype(np.float32)))
        close(foreign.predict(X), from_sklearn(mlp).predict(X))
        assert foreign.loss == loss


def test_scalers_and_constant_nodes_are_folded() -> None:
    """((2 − x)·s/t − 1) W₁, W₁ a Constant that is transposed; then Relu, ·3, Gemm with alpha and beta."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    W1, W2, s = rng.standard_normal((3, 4)), rng.standard_normal((4, 1)), np.array([1.0, 2.0, 3.0])
    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    nodes = [
        node("Constant", [], ["W1t"], value=tensor(W1.T)),
        node("Transpose", ["W1t"], ["W1"], perm=[1, 0]),
        node("Sub", ["two", "x"], ["a"]),
        node("Mul", ["a", "s"], ["b"]),
        node("Div", ["b", "t"], ["c"]),
        node("Sub", ["c", "one"], ["d"]),
        node("MatMul", ["d", "W1"], ["e"]),
        node("Relu", ["e"], ["f"]),
        node("Mul", ["three", "f"], ["g"]),
        node("Gemm", ["g", "W2", "b2"], ["h"], alpha=0.5, beta=2.0),
        node("Reshape", ["h", "flat"], ["out"]),
    ]
    constants = {"two": np.array(2.0), "s": s[None], "t": np.array([4.0]), "one": np.ones(3), "W2": W2}
    constants |= {"three": np.array(3.0), "b2": np.array([0.7]), "flat": np.array([-1])}
    graph = make_graph(onnx, nodes, constants)
    X = rows()
    expected = 1.5 * np.maximum(((2 - X) * s / 4 - 1) @ W1, 0) @ W2[:, 0] + 1.4
    assert from_onnx(graph).predict(X) == pytest.approx(expected, rel=1e-12)


def make_graph(onnx: Any, nodes: list[Any], constants: dict[str, np.ndarray]) -> Any:
    """x (double) to out with these nodes."""
    info, double = onnx.helper.make_tensor_value_info, onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        nodes, "graph", [info("x", double, [None, 3])], [info("out", double, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return onnx.helper.make_model(graph)


def chain(onnx: Any, *ops: str) -> Any:
    """x through the operators in turn; those with a matrix take one of threes."""
    names = ["x", *(f"t{k}" for k in range(len(ops) - 1)), "out"]
    nodes = [
        onnx.helper.make_node(op, [names[k], *(["W"] if op in ("MatMul", "Add") else [])], [names[k + 1]])
        for k, op in enumerate(ops)
    ]
    return make_graph(onnx, nodes, {"W": np.full((3, 3), 0.5)})


def one_sentence(caught: Any) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("ops", "why"),
    [
        (("MatMul", "Relu", "MatMul", "Relu", "MatMul"), "2 Relu nodes"),
        (("MatMul", "Tanh", "MatMul"), "a node Tanh"),
        (("MatMul", "MatMul"), "0 Relu between matrices"),
        (("MatMul", "Relu"), "1 Relu between matrices"),
        (("Relu", "MatMul"), "not between the two layers"),
        (("Add", "MatMul", "Relu", "MatMul"), r"Add with an array of shape \(3, 3\)"),
        (("MatMul", "Relu", "MatMul"), "3 outputs"),
    ],
)
def test_other_graphs_are_refused_in_a_sentence(ops: tuple[str, ...], why: str) -> None:
    onnx = pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=why) as caught:
        from_onnx(chain(onnx, *ops))
    assert one_sentence(caught)


def test_branches_and_files_that_are_no_graphs_are_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node
    twice = [node("MatMul", ["x", "W"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["a", "b"], ["out"])]
    with pytest.raises(ValueError, match=r"2 nodes use 'a' here") as caught:
        from_onnx(make_graph(onnx, twice, {"W": np.eye(3)}))
    assert one_sentence(caught)
    square = [node("MatMul", ["x", "x"], ["out"])]
    with pytest.raises(ValueError, match="is computed, not stored"):
        from_onnx(make_graph(onnx, square, {}))
    file = tmp_path / "bad.onnx"
    file.write_bytes(b"not a graph")
    with pytest.raises(ValueError, match="cannot be read as an ONNX model") as caught:
        from_onnx(file)
    assert one_sentence(caught)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        from_onnx(tmp_path / "none.onnx")
    with pytest.raises(ValueError, match=r"takes a path or an onnx\.ModelProto, not a int"):
        from_onnx(3)


# ---- refusals ------------------------------------------------------------------------------------------


def test_what_cannot_be_exported_is_refused_in_a_sentence() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("torch")
    for export in (to_torch, to_onnx, to_sklearn):
        with pytest.raises(
            ValueError, match="ConvexReLURegressor is not fitted yet: call fit first"
        ) as caught:
            export(ConvexReLURegressor())
        assert one_sentence(caught)
        with pytest.raises(ValueError, match=r"takes a Network or a fitted .* not a MLPRegressor"):
            export(MLPRegressor())
    with pytest.raises(ValueError, match="target_opset must be 13 to"):
        to_onnx(Network.zero(3), target_opset=9)
    huge = Network(np.full((3, 1), 1e200), np.ones(1))
    with pytest.raises(ValueError, match="beyond float32"):
        huge.to_onnx()
    with pytest.raises(ValueError, match=r"beyond torch.float32: pass dtype=torch.float64"):
        huge.to_torch()
    X = rows()
    odd = ConvexReLUClassifier(tol=1e-2).fit(X, np.where(target(X) > 0.3, "a", "b"))
    odd.classes_ = np.array([0.25, 0.75])
    with pytest.raises(ValueError, match="ONNX labels are integers or text"):
        to_onnx(odd)


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("torch", lambda: to_torch(Network.zero(2)), "torch"),
        ("onnx", lambda: to_onnx(Network.zero(2)), "onnx"),
        ("onnx", lambda: from_onnx("model.onnx"), "onnx"),
        ("skl2onnx", register_skl2onnx, "onnx"),
    ],
)
def test_a_missing_extra_names_its_command(
    monkeypatch: pytest.MonkeyPatch, package: str, call: Any, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs the package {package}: pip install 'convexnn\[{extra}\]'"):
        call()


# ---- importances ---------------------------------------------------------------------------------------


def test_permutation_importance_finds_the_column_that_matters(models: Any) -> None:
    X = rows()
    found = permutation_importance(models["regression", True], X, target(X), n_repeats=3, random_state=0)
    assert found.importances_mean[2] < 0.1 * min(found.importances_mean[:2])


@pytest.mark.filterwarnings("ignore")
def test_shap_values_add_up_to_the_prediction(models: Any) -> None:
    shap = pytest.importorskip("shap")
    model, X = models["regression", True], rows()
    explanation = shap.KernelExplainer(model.predict, X[:20], silent=True)(X[:5], silent=True)
    total = explanation.values.sum(axis=1) + explanation.base_values
    assert total == pytest.approx(model.predict(X[:5]), rel=1e-9)
    assert np.abs(explanation.values[:, 2]).mean() < 0.2 * np.abs(explanation.values[:, :2]).mean()
