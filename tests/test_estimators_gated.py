"""The gated form and the hidden layer as features."""

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from convexnn import ConvexProgram, ConvexReLUClassifier, ConvexReLURegressor, ReLUFeatures, Status, solve
from convexnn.data import Scaler
from convexnn.displays import NeuronDisplay
from convexnn.estimators import GatedReLUClassifier, GatedReLURegressor
from convexnn.interop import to_sklearn
from convexnn.patterns import Patterns

X = np.random.default_rng(0).standard_normal((30, 2))
Y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1], np.abs(X[:, 1])])
Z = Scaler.fit(X).transform(X)
THREE = np.digitize(Y[:, 0], [-0.5, 0.7])


def test_the_gated_optimum_is_that_of_the_reference() -> None:
    pytest.importorskip("cvxpy")
    model = GatedReLURegressor(n_gates=6, beta=0.1, tol=1e-6, random_state=3).fit(X, Y[:, 0])
    program = ConvexProgram(Z, Y[:, 0], Patterns.sample(Z, 6, rng=3), 0.1, gated=True)
    expected = solve(program, "cvxpy", tol=1e-8)
    certificate = model.certificate_
    assert certificate.primal == pytest.approx(expected.primal, rel=1e-5)
    assert certificate.lower_bound <= expected.primal * (1 + 1e-9)
    assert certificate.relative_gap <= 1e-6
    assert certificate.starts == len(program.patterns)
    np.testing.assert_allclose(model.predict(X), program.predict(expected.v, expected.w), atol=1e-3)
    size = np.linalg.norm(model.network_.W, axis=0).sum()
    loss = 0.5 * np.sum((model.predict(X) - Y[:, 0]) ** 2)
    assert certificate.primal == pytest.approx(loss + 0.1 * size, rel=1e-9)


def test_its_certificate_says_that_it_is_about_these_gates() -> None:
    model = GatedReLURegressor(n_gates=5).fit(X, Y)
    assert model.certificate_.kind == "patterns"
    assert "NO bound on the optimum" in str(model.certificate_)
    assert "patterns" in model._repr_html_()
    assert model.predict(X).shape == (30, 2)
    assert model.status_ is Status.CONVERGED
    assert 0 < model.network_.n_neurons <= 5


def test_classes_are_taken_against_the_rest() -> None:
    model = GatedReLUClassifier(n_gates=20).fit(X, THREE)
    assert model.loss_ == "logistic"
    p = 1 / (1 + np.exp(-model.decision_function(X)))
    np.testing.assert_allclose(model.predict_proba(X), p / p.sum(axis=1, keepdims=True))
    assert model.score(X, THREE) > 0.8
    two = GatedReLUClassifier(n_gates=20).fit(X, THREE > 0)
    np.testing.assert_allclose(two.predict_proba(X)[:, 1], 1 / (1 + np.exp(-two.decision_function(X))))
    several = GatedReLUClassifier(n_gates=20, loss="squared_hinge").fit(X, (Y > 0).astype(int))
    assert several.predict(X).shape == (30, 2)


def test_at_a_large_beta_the_gated_form_is_zero() -> None:
    model = GatedReLURegressor(beta=1e6, n_gates=5).fit(X, Y[:, 0])
    assert model.status_ is Status.ZERO_HERE
    assert model.network_.n_neurons == 0
    assert (model.predict(X) == 0).all()


def test_displays_and_exports_of_gates_are_refused() -> None:
    model = GatedReLURegressor(n_gates=5).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="a GatedReLURegressor has gates"):
        NeuronDisplay.from_estimator(model)
    with pytest.raises(ValueError, match="has gates in place of ReLUs"):
        to_sklearn(model)


# ---- features ------------------------------------------------------------------------------------------


def test_features_are_the_hidden_layer() -> None:
    features = ReLUFeatures(ConvexReLURegressor(tol=1e-2)).fit(X, Y[:, 0])
    H = features.transform(X)
    network = features.estimator_.network_
    np.testing.assert_allclose(H, np.maximum(Z @ network.U, 0), rtol=1e-12)
    np.testing.assert_allclose(H @ network.alpha, features.estimator_.predict(X), rtol=1e-9, atol=1e-12)
    assert features.get_feature_names_out().tolist() == [f"relufeatures{k}" for k in range(H.shape[1])]
    frame = features.set_output(transform="pandas").transform(X)
    assert frame.columns.tolist() == list(features.get_feature_names_out())
    np.testing.assert_array_equal(frame, H)


def test_the_kind_of_target_chooses_the_default_estimator() -> None:
    assert isinstance(ReLUFeatures().fit(X, Y[:, 0]).estimator_, ConvexReLURegressor)
    assert isinstance(ReLUFeatures().fit(X, THREE).estimator_, ConvexReLUClassifier)


def test_a_fitted_model_is_taken_as_it_is() -> None:
    model = ConvexReLURegressor(tol=1e-2).fit(X, Y[:, 0])
    pipeline = make_pipeline(ReLUFeatures(FrozenEstimator(model)), Ridge(alpha=1e-6)).fit(X, Y[:, 1])
    assert (
        pipeline[0].estimator_.network_ is model.network_
        or (pipeline[0].estimator_.network_.U == model.network_.U).all()
    )
    assert pipeline[0].transform(X).shape == (30, model.network_.n_neurons)


def test_features_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="takes the estimator_ of a ReLUFeatures"):
        NeuronDisplay.from_estimator(ReLUFeatures(ConvexReLURegressor(tol=0.1)).fit(X, Y[:, 0]))
    with pytest.raises(ValueError, match=r"ReLUFeatures takes a ConvexReLURegressor or .* not a Ridge"):
        ReLUFeatures(Ridge()).fit(X, Y[:, 0])
