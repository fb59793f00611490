"""Kinds of targets, losses and weights: each estimator solves the problem that its docstring writes."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.datasets import load_iris
from sklearn.linear_model import PoissonRegressor, QuantileRegressor
from sklearn.metrics import r2_score

from convexnn import (
    ConvexReLUClassifier,
    ConvexReLUClassifierCV,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    beta_max,
    certify,
    train,
)
from convexnn.data import Scaler
from convexnn.estimators import GatedReLUClassifier, GatedReLURegressor
from convexnn.layerwise import LayerwiseReLUClassifier, LayerwiseReLURegressor
from convexnn.losses import Huber, Quantile, Squared, Weighted

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
Y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1], np.abs(X[:, 2])])
THREE = np.array(["a", "b", "c"])[np.digitize(Y[:, 0], [-0.5, 0.7])]
Z = Scaler.fit(X).transform(X)


# ---- classes -------------------------------------------------------------------------------------------


def test_three_classes_train_the_softmax() -> None:
    model = ConvexReLUClassifier(tol=1e-2).fit(X, THREE)
    one_hot = (THREE[:, None] == model.classes_).astype(float)
    assert (model.classes_.tolist(), model.loss_, model.multilabel_) == (["a", "b", "c"], "softmax", False)
    assert model.beta_ == pytest.approx(beta_max(Z, one_hot, "softmax") / 100)
    assert model.certificate_.primal == pytest.approx(
        model.network_.objective(Z, one_hot, model.beta_, "softmax"), rel=1e-9
    )
    assert model.certificate_.relative_gap <= 1e-2
    again = certify(model.network_, Z, one_hot, model.beta_, "softmax", nu=model.certificate_.nu)
    assert again.lower_bound == pytest.approx(model.certificate_.lower_bound, rel=1e-2)
    f = model.decision_function(X)
    np.testing.assert_allclose(f, model.network_.predict(Z), rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X), softmax(f, axis=1), rtol=1e-12)
    assert (model.predict(X) == model.classes_[f.argmax(axis=1)]).all()
    assert model.score(X, THREE) > 0.9


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "squared"])
def test_other_losses_take_each_class_against_the_rest(loss: str) -> None:
    model = ConvexReLUClassifier(loss=loss, tol=1e-2, beta=0.1).fit(X, THREE)
    signs = np.where(THREE[:, None] == model.classes_, 1.0, -1.0)
    each = sum(train(Z, column, 0.1, loss=loss, tol=1e-2).certificate.primal for column in signs.T)
    assert model.certificate_.primal == pytest.approx(each, rel=1e-2)
    assert model.certificate_.relative_gap <= 1e-2
    assert not hasattr(model, "predict_proba")
    assert model.score(X, THREE) > 0.9


def test_two_classes_of_the_softmax_are_the_logistic_loss() -> None:
    two = THREE == "a"
    first = ConvexReLUClassifier(loss="softmax", tol=1e-2).fit(X, two)
    second = ConvexReLUClassifier(tol=1e-2).fit(X, two)
    assert first.loss_ == "logistic"
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_each_label_of_an_indicator_matrix_is_trained_by_itself(kind) -> None:
    labels = (Y > [0.0, 1.0]).astype(int)
    model = ConvexReLUClassifier(tol=1e-2, beta=0.05).fit(X, kind(labels))
    each = [ConvexReLUClassifier(tol=1e-2, beta=0.05).fit(X, column) for column in labels.T]
    assert model.multilabel_
    assert model.classes_.tolist() == [0, 1]
    expected = np.column_stack([one.decision_function(X) for one in each])
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), expit(expected), rtol=1e-6)
    assert (model.predict(X) == (expected > 0)).all()
    assert model.certificate_.primal == pytest.approx(sum(one.certificate_.primal for one in each))
    assert model.score(X, labels) > 0.9


# ---- real targets --------------------------------------------------------------------------------------


def test_several_targets_are_several_regressions() -> None:
    model = ConvexReLURegressor(tol=1e-2, beta=0.05).fit(X, Y)
    each = [ConvexReLURegressor(tol=1e-2, beta=0.05).fit(X, column) for column in Y.T]
    np.testing.assert_allclose(
        model.predict(X), np.column_stack([one.predict(X) for one in each]), rtol=1e-6, atol=1e-9
    )
    assert model.certificate_.relative_gap <= 1e-2
    assert model.score(X, Y) == pytest.approx(r2_score(Y, model.predict(X)))
    assert ConvexReLURegressor(tol=1e-2).fit(X, Y[:, :1]).predict(X).shape == (40, 1)


@pytest.mark.parametrize("loss", ["huber", Huber(0.2), Quantile(0.8), "squared_epsilon_insensitive"])
def test_losses_by_name_and_as_objects(loss) -> None:
    model = ConvexReLURegressor(loss=loss, tol=1e-2, beta=0.05).fit(X, Y[:, 0])
    expected = train(Z, Y[:, 0], 0.05, loss=loss, tol=1e-2)
    assert model.certificate_.primal == expected.certificate.primal
    assert model.loss_ == (loss if isinstance(loss, str) else loss.name)
    np.testing.assert_allclose(model.predict(X), expected.network.predict(Z), rtol=1e-12)


def test_the_poisson_loss_predicts_rates() -> None:
    counts = np.random.default_rng(1).poisson(np.exp(1.0 + 0.5 * X[:, 0]))
    model = ConvexReLURegressor(loss="poisson", tol=1e-2).fit(X, counts)
    np.testing.assert_allclose(model.predict(X), np.exp(model.network_.predict(Z)))
    linear = PoissonRegressor(alpha=0.0).fit(X, counts)
    loss = lambda rate: np.sum(rate - counts * np.log(rate))  # noqa: E731
    assert loss(model.predict(X)) < loss(linear.predict(X))
    with pytest.raises(ValueError, match="poisson loss takes targets y >= 0"):
        model.fit(X, -1.0 - counts)


def test_the_quantile_loss_finds_the_quantile() -> None:
    y = np.random.default_rng(2).standard_normal(60)
    flat = np.zeros((60, 1))
    model = ConvexReLURegressor(loss=Quantile(0.75), beta=1e-3, standardize=False, tol=1e-2).fit(flat, y)
    expected = QuantileRegressor(quantile=0.75, alpha=0.0).fit(flat, y).predict(flat)
    assert model.predict(flat)[0] == pytest.approx(expected[0], abs=0.05)


# ---- weights -------------------------------------------------------------------------------------------

WEIGHTED = [
    ConvexReLURegressor(tol=1e-2),
    ConvexReLUClassifier(tol=1e-2),
    GatedReLURegressor(n_gates=10),
    GatedReLUClassifier(n_gates=10),
    LayerwiseReLURegressor(tol=1e-1),
    LayerwiseReLUClassifier(tol=1e-1),
]


@pytest.mark.parametrize("model", WEIGHTED, ids=lambda model: type(model).__name__)
def test_integer_weights_are_repeated_rows(model) -> None:
    y = Y[:, 0] if hasattr(model, "staged_predict") or "Regressor" in type(model).__name__ else THREE
    y = THREE if "Classifier" in type(model).__name__ else y
    weights = np.random.default_rng(3).integers(0, 3, 40)
    repeated = model.fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)).predict(X)
    weighted = model.fit(X, y, sample_weight=weights)
    assert (weighted.predict(X) == repeated).all()


def test_the_certificate_of_weights_is_about_the_given_rows() -> None:
    weights = np.random.default_rng(4).uniform(0.0, 2.0, 40)
    weights[:3] = 0.0
    rows, y = np.r_[X, X[:5]], np.r_[Y[:, 0], Y[:5, 0]]
    weights = np.r_[weights, np.ones(5)]  # rows 3 and 4 come twice
    model = ConvexReLURegressor(tol=1e-3).fit(rows, y, sample_weight=weights)
    design = model.scaler_.transform(rows)
    nu = model.certificate_.nu
    again = certify(
        model.network_, design, y, model.beta_, sample_weight=weights, nu=nu, certificate="estimated"
    )
    assert nu.shape == (45,)
    assert again.primal == pytest.approx(model.certificate_.primal, rel=1e-9)
    assert again.lower_bound == pytest.approx(model.certificate_.lower_bound, rel=1e-3)
    mean = weights @ rows / weights.sum()
    np.testing.assert_allclose(model.scaler_.mean, mean)
    np.testing.assert_allclose(model.scaler_.scale**2, weights @ (rows - mean) ** 2 / weights.sum())


def test_class_weights_multiply_the_rows() -> None:
    two = np.where(Y[:, 0] > 1.0, "rare", "often")
    factor = {"rare": 3.0, "often": 0.5}
    own = np.random.default_rng(5).uniform(0.5, 1.5, 40)
    by_class = ConvexReLUClassifier(tol=1e-2, beta=0.1, class_weight=factor)
    by_row = ConvexReLUClassifier(tol=1e-2, beta=0.1)
    by_class.fit(X, two, sample_weight=own)
    by_row.fit(X, two, sample_weight=own * np.array([factor[label] for label in two]))
    np.testing.assert_array_equal(by_class.decision_function(X), by_row.decision_function(X))
    balanced = ConvexReLUClassifier(tol=1e-2, beta=0.1, class_weight="balanced").fit(X, two)
    mass = {label: 40 / (2 * np.sum(two == label)) for label in factor}
    by_row.fit(X, two, sample_weight=[mass[label] for label in two])
    np.testing.assert_allclose(balanced.decision_function(X), by_row.decision_function(X), rtol=1e-9)


def test_a_weighted_loss_object_is_refused() -> None:
    with pytest.raises(ValueError, match="Give weights as sample_weight to fit"):
        ConvexReLURegressor(loss=Weighted(Squared(), np.ones(40))).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match=r"sample_weight\[0\] is -1"):
        ConvexReLURegressor().fit(X, Y[:, 0], sample_weight=-np.ones(40))


# ---- cross-validated β ---------------------------------------------------------------------------------


def test_beta_is_chosen_for_three_classes_and_weighted_scores() -> None:
    iris = load_iris(return_X_y=True)
    model = ConvexReLUClassifierCV(betas=[1e3, 1.0], tol=0.1, cv=2).fit(*iris)
    assert model.beta_ == 1.0
    assert model.loss_ == "softmax"
    assert model.predict_proba(iris[0]).shape == (150, 3)
    assert model.best_score_ > 0.9
    weights = np.where(np.arange(40) < 20, 1.0, 1e-6)
    folds = [(np.arange(20, 40), np.arange(20)), (np.arange(20), np.arange(20, 40))]
    found = ConvexReLURegressorCV(betas=[0.3], tol=1e-2, cv=folds).fit(X, Y, sample_weight=weights)
    alone = ConvexReLURegressor(beta=0.3 * 20 / (20 + 20e-6), tol=1e-2)
    alone.fit(X[:20], Y[:20], sample_weight=weights[:20])
    assert found.scores_[0, 1] == pytest.approx(alone.score(X[20:], Y[20:]), rel=1e-2)
