"""The scikit-learn estimators: conventions, wiring to `train`, and optimality end to end."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from convexnn import Certificate, pricing, training
from convexnn.data import Scaler, five_points, load_breast_cancer, make_planted, make_spiral
from convexnn.estimators import ConvexReLUClassifier, ConvexReLURegressor
from convexnn.network import Network
from convexnn.status import Status

BOTH = [ConvexReLURegressor, ConvexReLUClassifier]


# ------------------------------------------------------------------------------- wiring, with a fake train


@pytest.fixture
def calls(monkeypatch):
    """Replaces `train` and `beta_max` by fakes that record their arguments; the network is one neuron."""
    seen = {"status": Status.CONVERGED, "beta_max": 50.0}

    def train(X, y, beta, **options):
        seen.update(options, X=X, y=y, beta=beta)
        row = {"seconds": 0.5, "iteration": 7, "primal": 2.0, "bound": 1.5, "neurons": 1}
        if options["progress"] is not None:
            options["progress"](row)
        U = np.zeros((X.shape[1], 1))
        U[0] = 1.0
        certificate = Certificate(2.0, 1.5, 0.5, 0.25, "exact", np.zeros(len(y)), beta, beta, 0, 0.5)
        return training.TrainResult(Network(U, np.array([2.0])), certificate, [row], seen["status"])

    def beta_max(X, y, loss="squared", *, seed=0, **options):
        seen.update(beta_max_loss=loss, beta_max_seed=seed)
        return seen["beta_max"]

    monkeypatch.setattr(training, "train", train, raising=False)
    monkeypatch.setattr(pricing, "beta_max", beta_max, raising=False)
    return seen


X = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 6.0], [6.0, 4.0]])
LABELS = np.array(["no", "yes", "no", "yes"])


def test_regressor_passes_its_arguments_on(calls):
    y = np.array([100.0, 101.0, 99.0, 250.0])
    model = ConvexReLURegressor(tol=1e-4, max_time=3.0, max_neurons=9, random_state=5).fit(X, y)
    np.testing.assert_array_equal(calls["X"], Scaler.fit(X).transform(X))
    np.testing.assert_array_equal(calls["y"], y)  # neither centred nor scaled
    options = {k: calls[k] for k in ("loss", "tol", "max_time", "max_neurons", "seed", "progress")}
    assert options == {
        "loss": "squared", "tol": 1e-4, "max_time": 3.0, "max_neurons": 9, "seed": 5, "progress": None,
    }  # fmt: skip
    assert (calls["beta_max_loss"], calls["beta_max_seed"]) == ("squared", 5)
    assert calls["beta"] == model.beta_ == 0.5  # a hundredth of beta_max
    assert model.n_iter_ == 1
    assert model.status_ is Status.CONVERGED
    assert model.certificate_.relative_gap == 0.25
    assert model.history_[0]["bound"] == 1.5
    np.testing.assert_array_equal(model.coefs_[0], model.network_.U)
    np.testing.assert_array_equal(model.coefs_[1], model.network_.alpha)
    np.testing.assert_array_equal(model.predict(X), 2 * np.maximum(calls["X"][:, 0], 0))


def test_classifier_encodes_its_labels(calls):
    model = ConvexReLUClassifier(loss="hinge").fit(X, LABELS)
    assert model.classes_.tolist() == ["no", "yes"]
    np.testing.assert_array_equal(calls["y"], [-1, 1, -1, 1])
    assert calls["loss"] == calls["beta_max_loss"] == "hinge"
    f = model.decision_function(X)
    assert f.shape == (4,)
    assert model.predict(X).tolist() == ["yes" if value > 0 else "no" for value in f]


def test_without_standardisation_only_the_ones_are_appended(calls):
    model = ConvexReLURegressor(standardize=False).fit(X, X[:, 0])
    np.testing.assert_array_equal(calls["X"], np.column_stack([X, np.ones(4)]))
    np.testing.assert_array_equal(model.predict(X), 2 * X[:, 0])
    assert model.scaler_ is None


def test_new_rows_are_scaled_as_the_training_rows(calls):
    model = ConvexReLURegressor().fit(X, X[:, 0])
    np.testing.assert_array_equal(model.predict(X[2:]), model.predict(X)[2:])


@pytest.mark.parametrize(
    ("beta", "largest", "used"), [(3, 50.0, 3.0), ("auto", 40.0, 0.4), ("auto", 0.0, 1.0)]
)
def test_beta(calls, beta, largest, used):
    calls["beta_max"] = largest
    assert ConvexReLURegressor(beta=beta).fit(X, X[:, 0]).beta_ == used
    assert calls["beta"] == used


def test_seeds(calls):
    seeds = [
        ConvexReLURegressor(random_state=state).fit(X, X[:, 0]) and calls["seed"]
        for state in (3, np.int64(3), np.random.RandomState(1), np.random.RandomState(1), None)
    ]
    assert seeds[0] == seeds[1] == 3
    assert seeds[2] == seeds[3] != 3
    assert all(isinstance(seed, int) for seed in seeds)


@pytest.mark.parametrize("model", BOTH)
def test_a_run_that_did_not_converge_warns(calls, model):
    calls["status"] = Status.TIME_LIMIT
    with pytest.warns(
        ConvergenceWarning, match="time limit was reached.*relative gap is 0.25, tol is 0.001"
    ) as caught:
        model().fit(X, [0, 1, 0, 1])
    assert caught[0].filename == __file__
    calls["status"] = Status.ZERO
    model().fit(X, [0, 1, 0, 1])  # warnings are errors here


def test_verbose_prints_the_rows(calls, capsys):
    ConvexReLURegressor().fit(X, X[:, 0])
    assert capsys.readouterr().out == ""
    ConvexReLURegressor(verbose=True).fit(X, X[:, 0])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    for part in ("iteration", "7", "0.50 s", "objective 2", "bound 1.5", "neurons 1"):
        assert part in out


def test_probabilities(calls):
    model = ConvexReLUClassifier().fit(X, LABELS)
    p = model.predict_proba(X)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-model.decision_function(X))))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    model.network_ = replace(model.network_, alpha=np.array([-1e6]))
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "squared"])
def test_no_probabilities_without_the_logistic_loss(calls, loss):
    model = ConvexReLUClassifier(loss=loss).fit(X, LABELS)
    assert not hasattr(model, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (ConvexReLUClassifier(loss="huber"), LABELS, "A classifier takes the losses"),
        (ConvexReLUClassifier(loss="softmax"), np.eye(4, 2, dtype=int), "takes 'logistic'"),
        (ConvexReLUClassifier(class_weight="balanced"), np.eye(4, 2, dtype=int), "use sample_weight"),
        (ConvexReLUClassifier(), np.arange(8).reshape(4, 2), "one label a row, or an indicator matrix"),
        (ConvexReLUClassifier(), ["a", "a", "a", "a"], "one class only"),
        (ConvexReLUClassifier(loss="cubed"), LABELS, "Unknown loss 'cubed'"),
        (ConvexReLURegressor(loss="cubed"), [1, 2, 3, 4], "Unknown loss 'cubed'"),
        (ConvexReLURegressor(loss="hinge"), [1, 2, 3, 4], "is for classes"),
        (ConvexReLURegressor(beta="best"), [1, 2, 3, 4], "positive number or 'auto'"),
        (ConvexReLURegressor(), [1, 2, np.nan, 4], "NaN"),
    ],
)
def test_unfit_arguments(calls, model, y, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


@pytest.mark.parametrize("model", BOTH)
def test_unfitted(model):
    with pytest.raises(NotFittedError):
        model().predict(X)


# --------------------------------------------------------------------------------- end to end, really trained


def test_five_points_known_optimum():
    data = five_points()
    model = ConvexReLURegressor(beta=0.1, standardize=False, tol=1e-4).fit(data.X[:, :1], data.y)
    Z = np.column_stack([data.X[:, :1], np.ones(5)])
    assert model.network_.objective(Z, data.y, 0.1) == pytest.approx(0.8914472, rel=2e-4)
    assert model.certificate_.lower_bound <= 0.8914473
    assert model.certificate_.relative_gap <= 1e-4


def test_same_answer_twice_and_after_cloning():
    rows, y, _ = make_planted(60, 3, 4, noise=0.1, seed=2)
    first = ConvexReLURegressor().fit(rows, y)
    again = clone(first).fit(rows, y)
    np.testing.assert_array_equal(first.predict(rows), again.predict(rows))


def test_auto_beta_follows_the_units_of_the_target():
    rows, y, _ = make_planted(60, 3, 4, noise=0.1, seed=2)
    one, thousand = (ConvexReLURegressor().fit(rows, unit * y) for unit in (1.0, 1000.0))
    assert thousand.beta_ == pytest.approx(1000 * one.beta_, rel=1e-3)
    difference = np.linalg.norm(thousand.predict(rows) / 1000 - one.predict(rows))
    assert difference < 0.1 * np.linalg.norm(one.predict(rows))


def test_breast_cancer_in_a_pipeline():
    data = load_breast_cancer()
    model = make_pipeline(MinMaxScaler(), ConvexReLUClassifier()).fit(data.X[::2], data.y[::2])
    assert model.score(data.X[1::2], data.y[1::2]) > 0.95


def test_grid_search_over_beta():
    rows, y = make_spiral(80, noise=0.02, seed=0)
    grid = GridSearchCV(ConvexReLUClassifier(loss="squared_hinge", tol=1e-2), {"beta": [1e-2, 1e4]}, cv=3)
    grid.fit(rows, y)
    assert grid.best_params_ == {"beta": 1e-2}
    assert grid.best_estimator_.beta_ == 1e-2
    zero = grid.estimator.set_params(beta=1e4).fit(rows, y)
    assert zero.network_.n_neurons == 0
    assert zero.status_ is Status.ZERO
