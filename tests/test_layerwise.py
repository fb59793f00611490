"""Stacks of convex fits: conventions, what each certificate is about, and objectives that do not rise."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from convexnn import Network, Status, certify
from convexnn.data import make_spiral
from convexnn.estimators import ConvexReLUClassifier, ConvexReLURegressor
from convexnn.layerwise import LayerwiseReLUClassifier, LayerwiseReLURegressor, _same_function

BOTH = [LayerwiseReLURegressor, LayerwiseReLUClassifier]
both = pytest.mark.parametrize("model", BOTH)


def make_data(model: type) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 3))
    f = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    return X, f if model is LayerwiseReLURegressor else np.where(f > 0, "yes", "no")


def layer_features(model: object, X: np.ndarray) -> list[np.ndarray]:
    """Z of every layer, written out."""
    Z = np.c_[X, np.ones(len(X))] if model.scaler_ is None else model.scaler_.transform(X)
    features = [Z]
    for network in model.networks_[:-1]:
        hidden = np.maximum(features[-1] @ network.U / np.linalg.norm(network.U, axis=0), 0)
        features.append(np.c_[hidden, Z if model.skip else Z[:, -1]])
    return features


@both
@pytest.mark.parametrize("skip", [True, False])
def test_every_layer_is_certified_on_its_own_features(model: type, skip: bool) -> None:
    X, y = make_data(model)
    fitted = model(n_layers=3, skip=skip, tol=1e-3).fit(X, y)
    assert fitted.n_layers_ == len(fitted.networks_) == len(fitted.certificates_) == 3
    assert fitted.statuses_ == [Status.CONVERGED] * 3
    targets = y if model is LayerwiseReLURegressor else np.where(y == "yes", 1.0, -1.0)
    layers = zip(layer_features(fitted, X), fitted.networks_, fitted.certificates_, strict=True)
    for features, network, certificate in layers:
        objective = network.objective(features, targets, fitted.beta_, fitted.loss)
        assert certificate.primal == pytest.approx(objective, rel=1e-9)
        assert certificate.relative_gap <= 1e-3
        again = certify(network, features, targets, fitted.beta_, fitted.loss, nu=certificate.nu, starts=300)
        assert again.lower_bound == pytest.approx(certificate.lower_bound, rel=2e-3)
    assert fitted.objectives_ == [c.primal for c in fitted.certificates_]


@both
@pytest.mark.parametrize("skip", [True, False])
def test_objectives_do_not_rise_and_optima_do_not(model: type, skip: bool) -> None:
    X, y = make_data(model)
    fitted = model(n_layers=3, skip=skip, tol=1e-3).fit(X, y)
    for before, after in pairwise(fitted.certificates_):
        assert after.primal <= before.primal * (1 + 1e-12)
        assert after.lower_bound <= before.primal
    assert fitted.objectives_[-1] < fitted.objectives_[0]


def test_a_layer_is_carried_over_at_no_larger_penalty() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((20, 4))
    network = Network(rng.standard_normal((4, 6)), rng.standard_normal(6)).balanced()
    hidden = np.maximum(X @ network.U / np.linalg.norm(network.U, axis=0), 0)
    carried = _same_function(network, 6 + 4)
    assert carried.n_neurons == 2
    assert carried.predict(np.c_[hidden, X]) == pytest.approx(network.predict(X), rel=1e-12)
    assert carried.penalty() < network.penalty()


@pytest.mark.parametrize(
    ("stack", "flat"),
    [(LayerwiseReLURegressor, ConvexReLURegressor), (LayerwiseReLUClassifier, ConvexReLUClassifier)],
)
def test_one_layer_is_the_two_layer_network(stack: type, flat: type) -> None:
    X, y = make_data(stack)
    first, second = stack(n_layers=1).fit(X, y), flat().fit(X, y)
    assert first.beta_ == second.beta_
    assert (first.predict(X) == second.predict(X)).all()
    deeper = stack(n_layers=2).fit(X, y)
    assert (next(deeper.staged_predict(X)) == first.predict(X)).all()
    assert (list(deeper.staged_predict(X))[-1] == deeper.predict(X)).all()


def test_outputs_are_those_of_the_last_layer() -> None:
    X, y = make_spiral(60, seed=0)
    fitted = LayerwiseReLUClassifier(n_layers=2, standardize=False, tol=1e-2).fit(X, y)
    features = layer_features(fitted, X)
    f = fitted.networks_[1].predict(features[1])
    assert fitted.scaler_ is None
    assert fitted.decision_function(X) == pytest.approx(f, rel=1e-12)
    assert fitted.predict_proba(X)[:, 1] == pytest.approx(1 / (1 + np.exp(-f)), rel=1e-12)
    assert (fitted.predict(X) == np.where(f > 0, 1, -1)).all()
    assert not hasattr(LayerwiseReLUClassifier(loss="hinge"), "predict_proba")


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "squared"])
def test_other_losses_of_the_classifier(loss: str) -> None:
    X, y = make_data(LayerwiseReLUClassifier)
    fitted = LayerwiseReLUClassifier(loss=loss, tol=1e-2).fit(X, y)
    assert fitted.objectives_[1] <= fitted.objectives_[0]
    assert all(c.relative_gap <= 1e-2 for c in fitted.certificates_)


@both
def test_a_zero_layer_ends_the_stack(model: type) -> None:
    X, y = make_data(model)
    fitted = model(n_layers=3, beta=1e9).fit(X, y)
    assert fitted.n_layers_ == 1
    assert fitted.networks_[0].n_neurons == 0
    assert len(fitted.predict(X)) == len(X)


def test_a_layer_that_was_cut_warns_and_says_which() -> None:
    X, y = make_data(LayerwiseReLURegressor)
    model = LayerwiseReLURegressor(max_neurons=1, tol=1e-4)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(X, y)
    assert [str(w.message)[:24] for w in caught] == [f"Layer {k}: The width limit" for k in (1, 2)]
    assert model.networks_[0].n_neurons == 1
    with pytest.warns(ConvergenceWarning) as caught:
        LayerwiseReLURegressor(max_time=1e-3, tol=1e-9).fit(X, y)
    assert [str(w.message)[:23] for w in caught] == [f"Layer {k}: The time limit" for k in (1, 2)]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (LayerwiseReLURegressor, {"n_layers": 0}, "n_layers must be at least 1"),
        (LayerwiseReLURegressor, {"loss": "logistic"}, "is for classes"),
        (LayerwiseReLURegressor, {"beta": -1.0}, "beta must be a positive"),
        (LayerwiseReLURegressor, {"beta": "many"}, "positive number or 'auto'"),
        (LayerwiseReLUClassifier, {"loss": "cubed"}, "Unknown loss"),
    ],
)
def test_bad_input_is_refused(model: type, options: dict, message: str) -> None:
    X, y = make_data(model)
    with pytest.raises(ValueError, match=message):
        model(**options).fit(X, y)


@both
def test_predicting_before_fitting_is_refused(model: type) -> None:
    with pytest.raises(NotFittedError):
        model().predict(np.eye(3))
    with pytest.raises(NotFittedError):
        list(model().staged_predict(np.eye(3)))
