"""An unpenalised intercept in estimators, in other libraries' models, and as a certificate of those."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor

from convexnn import ConvexReLUClassifier, ConvexReLURegressor, ConvexReLURegressorCV, Network, certify, train
from convexnn.estimators import ReLUFeatures
from convexnn.interop import (
    certify_model,
    certify_module,
    from_arrays,
    from_sklearn,
    to_onnx,
    to_sklearn,
    to_torch,
)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_diabetes(return_X_y=True)
    return X[:80, :4], y[:80]


def test_a_regressor_without_the_penalty_ignores_shifts(rows) -> None:
    X, y = rows
    model = ConvexReLURegressor(100.0, penalize_intercept=False, tol=1e-5).fit(X, y)
    moved = clone(model).fit(X, y + 1e5)
    assert moved.certificate_.primal == pytest.approx(model.certificate_.primal, rel=2e-5)
    assert moved.intercept_ - model.intercept_ == pytest.approx(1e5, rel=1e-3)
    assert moved.predict(X) - 1e5 == pytest.approx(model.predict(X), abs=0.5)
    again = certify(
        model.network_, model.scaler_.transform(X), y, 100.0, intercept=True, nu=model.certificate_.nu
    )
    assert again.primal == pytest.approx(model.certificate_.primal)
    assert ConvexReLURegressor(100.0, tol=1e-2).fit(X, y).intercept_ == 0.0
    assert ConvexReLURegressor("auto", penalize_intercept=False).fit(X, y).certificate_.relative_gap <= 1e-3


def test_classifiers_weights_warm_starts_and_cross_validation(rows) -> None:
    X, y = rows
    labels, weights = y > 150, 1.0 + (np.arange(80) % 2)
    model = ConvexReLUClassifier(1.0, penalize_intercept=False, warm_start=True).fit(X, labels, weights)
    assert model.intercept_ != 0
    assert model.fit(X, labels, weights).score(X, labels) > 0.6
    assert model.set_params(penalize_intercept=True).fit(X, labels).intercept_ == 0.0
    three = np.digitize(y, [100, 200])
    rest = ConvexReLUClassifier(1.0, loss="squared_hinge", penalize_intercept=False, tol=1e-2)
    assert rest.fit(X, three).intercept_.shape == (3,)
    with pytest.raises(ValueError, match="softmax"):
        ConvexReLUClassifier(1.0, penalize_intercept=False).fit(X, three)
    search = ConvexReLURegressorCV([3e3, 1e3], cv=2, penalize_intercept=False, tol=1e-2).fit(X, y + 1e4)
    assert (search.scores_ > -1).all()
    features = ReLUFeatures(ConvexReLURegressor(100.0, penalize_intercept=False, tol=1e-2)).fit(X, y)
    inner = features.estimator_
    f = features.transform(X) @ inner.network_.alpha + inner.intercept_
    assert f == pytest.approx(inner.predict(X))


def test_sparse_rows_and_few_of_them(rows) -> None:
    from scipy import sparse

    rng = np.random.default_rng(0)
    X = rng.standard_normal((10, 40)) * (rng.random((10, 40)) < 0.3)
    y = 7.0 + X[:, 0]
    model = ConvexReLURegressor(0.3, penalize_intercept=False, tol=1e-4)
    thick, thin = clone(model).fit(X, y), clone(model).fit(sparse.csr_array(X), y)
    assert thin.certificate_.primal == pytest.approx(thick.certificate_.primal, rel=2e-4)
    assert thin.predict(sparse.csr_array(X)) == pytest.approx(thin.predict(X))
    assert abs(thin.intercept_ - 7.0) < 2.0


@pytest.mark.parametrize("outputs", [1, 2])
def test_other_libraries_compute_the_same(rows, outputs: int) -> None:
    X, y = rows
    targets = y if outputs == 1 else np.column_stack([y, -y])
    model = ConvexReLURegressor(100.0, penalize_intercept=False, tol=1e-2).fit(X, targets)
    wanted = model.predict(X).reshape(len(X), -1)
    mlp = to_sklearn(model)
    assert mlp.intercepts_[1] == pytest.approx(np.atleast_1d(model.intercept_))
    assert mlp.predict(X).reshape(len(X), -1) == pytest.approx(wanted, rel=1e-9)
    torch = pytest.importorskip("torch")
    module = to_torch(model, dtype=torch.float64)
    assert module(torch.from_numpy(X)).detach().numpy() == pytest.approx(wanted, rel=1e-9)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    assert session.run(None, {"X": X.astype(np.float32)})[0] == pytest.approx(wanted, rel=1e-5)
    net = Network(model.network_.U, model.network_.alpha, intercept=model.network_.intercept)
    back = Network.from_torch(net.to_torch(dtype=torch.float64), penalize_intercept=False)
    assert np.array_equal(back.U, net.U)
    assert np.array_equal(back.alpha, net.alpha)
    assert np.array_equal(back.intercept, net.intercept)


def test_a_free_output_bias_of_another_model(rows) -> None:
    X, y = rows
    X = X / X.std(axis=0)
    mlp = MLPRegressor(
        hidden_layer_sizes=(20,), alpha=50.0, solver="lbfgs", max_iter=5000, random_state=0
    ).fit(X, y)
    paid, free = from_sklearn(mlp), from_sklearn(mlp, penalize_intercept=False)
    assert free.network.intercept == mlp.intercepts_[1][0]
    assert free.network.n_neurons == paid.network.n_neurons - (mlp.intercepts_[1][0] != 0)
    assert free.predict(X) == pytest.approx(mlp.predict(X))
    result = certify_model(mlp, X, y, penalize_intercept=False, certificate="estimated", starts=300)
    assert result.bias_cost == 0
    assert "free output bias" in str(result)
    Z = free.design(X)
    best = train(Z, y, result.beta, intercept=True, tol=1e-3).certificate
    assert result.certificate.lower_bound <= best.primal * (1 + 1e-9)
    tight = certify_model(mlp, X, y, penalize_intercept=False, tighten=True, starts=300)
    assert tight.certificate.lower_bound >= 0.9 * best.lower_bound
    with pytest.raises(ValueError, match="penalize_intercept=False"):
        certify_model(paid, X, y, beta=1.0, penalize_intercept=False)
    arrays = (np.ones((4, 1)), None, np.ones(1), 3.0)
    assert not from_arrays(*arrays, penalize_intercept=False).has_ones
    assert from_arrays(*arrays).network.intercept == 0.0


def test_certify_module_with_a_bias_without_decay(rows) -> None:
    torch = pytest.importorskip("torch")
    X, y = rows
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)).double()
    with torch.no_grad():
        module[2].bias.fill_(150.0)
    batches = [(X[:40], y[:40]), (X[40:], y[40:])]
    result = certify_module(module, batches, 0.1, penalize_intercept=False, max_time=5.0)
    assert result.network.intercept == 150.0
    assert result.certificate.lower_bound <= result.reached * (1 + 1e-9)
    paid = certify_module(module, batches, 0.1, max_time=5.0, tighten=False)
    assert paid.bias_cost == pytest.approx(paid.beta * 150.0)
