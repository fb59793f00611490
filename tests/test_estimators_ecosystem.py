"""At home in scikit-learn: frames, sparse rows, searches, files, callbacks, warm starts and Ctrl-C."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from convexnn import ConvexReLUClassifier, ConvexReLURegressor, ReLUFeatures, Status
from convexnn.data import Scaler
from convexnn.estimators import GatedReLUClassifier, GatedReLURegressor, _progress, _rows
from convexnn.interop import to_onnx, to_sklearn, to_torch
from convexnn.layerwise import LayerwiseReLURegressor
from convexnn.losses import Huber

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
Y = np.sin(2 * X[:, 0]) + X[:, 1]
LABELS = np.where(Y > 0, "up", "down")
NAMES = ["a", "b", "c"]


# ---- frames --------------------------------------------------------------------------------------------


def frames() -> dict:
    """The rows as frames of each library that is there."""
    found = {"pandas": pd.DataFrame(X, columns=NAMES)}
    try:
        import polars as pl
    except ImportError:
        return found
    return found | {"polars": pl.DataFrame(X, schema=NAMES)}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_go_in_and_out_with_their_names(library: str) -> None:
    if library not in frames():
        pytest.skip("polars is not installed")
    frame = frames()[library]
    model = ConvexReLURegressor(tol=1e-1).fit(frame, Y)
    assert model.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(model.predict(frame), ConvexReLURegressor(tol=1e-1).fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a", "c"]])
    with pytest.warns(UserWarning, match="valid feature names"):
        model.predict(X)
    features = ReLUFeatures(ConvexReLURegressor(tol=1e-1)).set_output(transform=library).fit(frame, Y)
    out = features.transform(frame)
    assert type(out) is type(frame)
    assert list(out.columns) == list(features.get_feature_names_out())


# ---- sparse rows ---------------------------------------------------------------------------------------


def mostly_zeros(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.where(rng.random((n, d)) < 0.2, rng.random((n, d)), 0.0)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("shape", [(25, 60), (40, 8)])
def test_sparse_rows_have_the_optimum_of_dense_ones(shape: tuple[int, int], standardize: bool) -> None:
    D = mostly_zeros(*shape)
    S = sparse.csc_array(D)
    y = D[:, :4].sum(axis=1) + 0.1 * np.random.default_rng(2).standard_normal(len(D))
    options = {"beta": 0.1, "tol": 1e-5, "standardize": standardize}
    kept, dense = (ConvexReLURegressor(**options).fit(rows, y) for rows in (S, D))
    Z = np.c_[D, np.ones(len(D))] if kept.scaler_ is None else kept.scaler_.transform(D)
    assert kept.certificate_.primal == pytest.approx(dense.certificate_.primal, rel=1e-5)
    assert kept.network_.objective(Z, y, 0.1) == pytest.approx(kept.certificate_.primal, rel=1e-9)
    np.testing.assert_allclose(kept.predict(S), kept.predict(D), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kept.predict(S), dense.predict(D), atol=5e-3)
    warm = clone(kept).set_params(warm_start=True, tol=1e-4).fit(S, y).fit(S, y)
    assert warm.certificate_.primal == pytest.approx(kept.certificate_.primal, rel=1e-4)


def test_other_estimators_take_sparse_rows_or_say_no() -> None:
    S = sparse.csr_array(mostly_zeros(20, 30))
    labels = np.arange(20) % 3
    gated = GatedReLUClassifier(n_gates=5, tol=1e-2).fit(S, labels)
    np.testing.assert_allclose(gated.decision_function(S), gated.decision_function(S.toarray()), rtol=1e-9)
    features = ReLUFeatures(ConvexReLUClassifier(tol=1e-1)).fit(S, labels)
    np.testing.assert_allclose(features.transform(S), features.transform(S.toarray()), atol=1e-12)
    with pytest.raises(TypeError, match="dense data is required"):
        LayerwiseReLURegressor().fit(S, labels)


def test_a_sparse_table_that_is_too_large_is_refused_with_the_way_out(monkeypatch) -> None:
    monkeypatch.setattr(_rows, "MOST_DENSE", 100)
    S = sparse.csr_array(mostly_zeros(40, 3))
    with pytest.raises(ValueError, match=r"40 rows and 3 columns.*GiB: pass fewer columns"):
        ConvexReLURegressor().fit(S, Y)


# ---- searches, pipelines, processes, files -------------------------------------------------------------


def test_a_search_over_a_pipeline_with_categories() -> None:
    frame = pd.DataFrame(X, columns=NAMES).assign(kind=np.where(X[:, 2] > 0, "p", "q"))
    columns = ColumnTransformer([("number", StandardScaler(), NAMES), ("kind", OneHotEncoder(), ["kind"])])
    pipeline = make_pipeline(columns, ConvexReLUClassifier(tol=0.1))
    grid = GridSearchCV(pipeline, {"convexreluclassifier__beta": [1e3, 0.1]}, cv=2).fit(frame, LABELS)
    assert grid.best_params_ == {"convexreluclassifier__beta": 0.1}
    assert grid.predict_proba(frame).shape == (40, 2)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_parallel_fits_give_the_same_answer(backend: str) -> None:
    models = [ConvexReLURegressor(beta=beta, tol=0.1) for beta in (0.1, 1.0)]
    there = Parallel(n_jobs=2, backend=backend)(delayed(model.fit)(X, Y) for model in models)
    for model, other in zip(models, there, strict=True):
        np.testing.assert_array_equal(other.predict(X), clone(model).fit(X, Y).predict(X))
        assert other.status_ is Status.CONVERGED


def test_a_pickle_is_read_by_another_process(tmp_path) -> None:
    model = ConvexReLUClassifier(tol=0.1).fit(X, LABELS)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X)
    code = (
        "import pickle, sys, numpy as np; from pathlib import Path; folder = Path(sys.argv[1]);"
        "model = pickle.loads((folder / 'model.pkl').read_bytes());"
        "print(repr(model.decision_function(np.load(folder / 'X.npy')).sum()), model.status_.name)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == [repr(model.decision_function(X).sum()), "CONVERGED"]


@pytest.mark.parametrize(
    "model",
    [
        ConvexReLURegressor(loss=Huber(0.5), tol=0.1),
        ConvexReLUClassifier(tol=0.1),
        GatedReLURegressor(n_gates=5),
        LayerwiseReLURegressor(tol=0.5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_skops_files(model) -> None:
    skops = pytest.importorskip("skops.io")
    model = clone(model).fit(X, LABELS if hasattr(model, "decision_function") else Y)
    data = skops.dumps(model)
    types = skops.get_untrusted_types(data=data)
    assert all(name.startswith("convexnn.") for name in types)
    read = skops.loads(data, trusted=types)
    np.testing.assert_array_equal(read.predict(X), model.predict(X))
    assert read.get_params() == model.get_params()
    if hasattr(model, "status_"):
        assert read.status_ is model.status_
        assert str(read.certificate_) == str(model.certificate_)


def test_weights_are_routed_to_fit_and_score() -> None:
    weights = RNG.uniform(0.1, 2.0, 40)
    with sklearn.config_context(enable_metadata_routing=True):
        model = ConvexReLURegressor(beta=0.1, tol=1e-2).set_fit_request(sample_weight=True)
        scorer = get_scorer("r2").set_score_request(sample_weight=True)
        folds = [(np.arange(20), np.arange(20, 40))]
        found = cross_validate(model, X, Y, cv=folds, scoring=scorer, params={"sample_weight": weights})
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model).fit(X, Y, sample_weight=weights)
    alone = ConvexReLURegressor(beta=0.1, tol=1e-2).fit(X[:20], Y[:20], sample_weight=weights[:20])
    assert found["test_score"][0] == alone.score(X[20:], Y[20:], sample_weight=weights[20:])
    direct = clone(model).fit(StandardScaler().fit_transform(X), Y, sample_weight=weights)
    np.testing.assert_array_equal(pipeline.predict(X), direct.predict(StandardScaler().fit_transform(X)))


# ---- warm starts, callbacks, Ctrl-C --------------------------------------------------------------------


def test_a_warm_start_begins_at_the_last_network() -> None:
    model = ConvexReLURegressor(beta=0.1, tol=1e-3, warm_start=True).fit(X, Y)
    first = model.certificate_.primal
    model.fit(X, Y)
    assert model.history_[0]["primal"] <= first * (1 + 1e-9)
    model.set_params(beta=0.09).fit(X, Y)
    assert model.certificate_.primal < first
    with pytest.raises(ValueError, match="warm_start=True needs the columns and outputs of the last fit"):
        model.fit(X[:, :2], Y)
    with pytest.raises(ValueError, match="warm_start=True needs the columns and outputs of the last fit"):
        model.fit(X, np.c_[Y, Y])
    classifier = ConvexReLUClassifier(tol=0.1, warm_start=True).fit(X, LABELS)
    with pytest.raises(ValueError, match="warm_start=True needs the classes of the last fit"):
        classifier.fit(X, np.where(LABELS == "up", 1, 2))


class Recorder:
    """A callback of scikit-learn that counts tasks, and asks to stop after some."""

    def __init__(self, stop_after: int) -> None:
        self.stop_after, self.tasks, self.fitted = stop_after, [], None

    def setup(self, estimator, context) -> None:
        self.tasks.append("setup")

    def teardown(self, estimator, context) -> None:
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context) -> None:
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None) -> bool:
        self.tasks.append(context.task_name)
        self.fitted = fitted_estimator
        return self.tasks.count("iteration") >= self.stop_after


@pytest.mark.skipif(not hasattr(ConvexReLURegressor, "set_callbacks"), reason="before scikit-learn 1.9")
def test_callbacks_see_the_iterations_and_may_stop_them() -> None:
    callback = Recorder(stop_after=10**6)
    model = ConvexReLURegressor(tol=1e-3).set_callbacks(callback).fit(X, Y)
    assert callback.tasks == ["setup", *["iteration"] * model.n_iter_, "fit", "teardown"]
    np.testing.assert_array_equal(callback.fitted.predict(X), model.predict(X))
    early = Recorder(stop_after=1)
    stopped = ConvexReLURegressor(tol=1e-9).set_callbacks(early).fit(X, Y)  # no warning: it was asked for
    assert stopped.status_ is Status.INTERRUPTED
    assert early.tasks == ["setup", "iteration", "fit", "teardown"]
    assert np.isfinite(stopped.predict(X)).all()


@pytest.mark.parametrize(
    "model",
    [
        ConvexReLURegressor(tol=1e-9, verbose=True),
        ConvexReLUClassifier(tol=1e-9, verbose=True),
        GatedReLURegressor(tol=1e-12, n_gates=20, verbose=True),
        LayerwiseReLURegressor(tol=1e-9, verbose=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_an_interruption_keeps_the_best_network_and_goes_on(model, monkeypatch) -> None:
    def press_ctrl_c(row) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_progress, "print_row", press_ctrl_c)
    model = clone(model)
    y = LABELS if hasattr(model, "decision_function") else Y
    with (
        pytest.warns(ConvergenceWarning, match="interrupted.*relative gap"),
        pytest.raises(KeyboardInterrupt, match="The estimator holds the best network so far"),
    ):
        model.fit(X, y)
    assert Status.INTERRUPTED in (getattr(model, "status_", None), *getattr(model, "statuses_", []))
    assert len(model.predict(X)) == 40


def test_an_interruption_ends_a_grid_search(monkeypatch) -> None:
    fits = []

    def press_ctrl_c(row) -> None:
        fits.append(row["iteration"])
        raise KeyboardInterrupt

    monkeypatch.setattr(_progress, "print_row", press_ctrl_c)
    grid = GridSearchCV(ConvexReLURegressor(tol=1e-9, verbose=True), {"beta": [0.1, 0.2, 0.3]}, cv=2)
    with pytest.warns(ConvergenceWarning), pytest.raises(KeyboardInterrupt):
        grid.fit(X, Y)
    assert fits == [0]


# ---- export --------------------------------------------------------------------------------------------


def run_onnx(model, rows: np.ndarray) -> dict:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": rows.astype(np.float32)}), strict=True))


def test_exports_know_rates_labels_and_features() -> None:
    torch = pytest.importorskip("torch")
    rows = X.astype(np.float32).astype(float)
    counts = np.random.default_rng(1).poisson(np.exp(X[:, 0]))
    rate = ConvexReLURegressor(loss="poisson", tol=0.1).fit(rows, counts)
    np.testing.assert_allclose(run_onnx(rate, rows)["variable"][:, 0], rate.predict(rows), rtol=1e-4)
    module = to_torch(rate, dtype=torch.float64)
    np.testing.assert_allclose(np.exp(module(torch.tensor(rows)).detach().numpy()[:, 0]), rate.predict(rows))
    np.testing.assert_allclose(to_sklearn(rate).predict(rows), rate.predict(rows), rtol=1e-9)
    labels = (np.c_[Y, X[:, 2]] > 0).astype(int)
    several = ConvexReLUClassifier(tol=0.1).fit(rows, labels)
    out = run_onnx(several, rows)
    np.testing.assert_array_equal(out["label"], several.predict(rows))
    np.testing.assert_allclose(out["probabilities"], several.predict_proba(rows), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(to_sklearn(several).predict_proba(rows), several.predict_proba(rows))
    three = ConvexReLUClassifier(tol=0.1).fit(rows, np.digitize(Y, [-0.5, 0.5]))
    np.testing.assert_allclose(
        run_onnx(three, rows)["probabilities"], three.predict_proba(rows), rtol=1e-4, atol=1e-6
    )
    features = ReLUFeatures(ConvexReLURegressor(tol=0.1)).fit(rows, Y)
    np.testing.assert_allclose(run_onnx(features, rows)["variable"], features.transform(rows), atol=1e-5)


def test_a_pipeline_with_features_converts_whole() -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    from convexnn.interop import register_skl2onnx

    register_skl2onnx()
    rows = X.astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), ReLUFeatures(ConvexReLURegressor(tol=0.1)))
    pipeline.fit(rows, Y)
    model = skl2onnx.to_onnx(pipeline, rows[:1])
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: rows})
    np.testing.assert_allclose(found, pipeline.transform(rows), atol=1e-4)


def test_the_scaler_of_equal_weights_is_the_plain_one() -> None:
    plain = Scaler.fit(X)
    weighted = _rows.fit_scaler(X, np.full(40, 2.5))
    kept = _rows.fit_scaler(sparse.csr_array(X), np.full(40, 2.5))
    for other in (weighted, kept):
        np.testing.assert_allclose(other.mean, plain.mean, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(other.scale, plain.scale, rtol=1e-12)
    constant = np.full((40, 1), 0.1)
    assert _rows.fit_scaler(constant, np.full(40, 0.3)).scale == 1.0
    assert _rows.fit_scaler(sparse.csr_array(constant), np.full(40, 0.3)).scale == 1.0
