"""The estimators that choose β by cross-validation: conventions, folds, choice, end to end."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss, mean_absolute_error
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

import convexnn
from convexnn import Status, beta_max
from convexnn.data import Scaler, make_planted
from convexnn.estimators import (
    ConvexReLUClassifier,
    ConvexReLUClassifierCV,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    cross_validated,
)
from convexnn.regularisation_path import path

BOTH = [ConvexReLURegressorCV, ConvexReLUClassifierCV]
X, Y, _ = make_planted(60, 3, 2, noise=0.3, seed=2)
LABELS = np.where(np.median(Y) < Y, "high", "low")
BETAS = [100.0, 0.3, 0.03]


@pytest.fixture(scope="module")
def regressor() -> ConvexReLURegressorCV:
    return ConvexReLURegressorCV(betas=BETAS, tol=1e-2, cv=3).fit(X, Y)


@pytest.fixture(scope="module")
def classifier() -> ConvexReLUClassifierCV:
    return ConvexReLUClassifierCV(betas=BETAS, tol=1e-2, cv=3).fit(X, LABELS)


def test_scores_are_those_of_the_folds_own_paths(regressor):
    expected = np.empty((3, 3))
    for k, (inside, outside) in enumerate(KFold(3).split(X)):
        scaler = Scaler.fit(X[inside])
        share = len(inside) / len(X)
        nets = path(
            scaler.transform(X[inside]), Y[inside], np.array(BETAS) * share, tol=1e-2,
            certificate="estimated",
        ).networks  # fmt: skip
        for j, net in enumerate(nets):
            f = net.predict(scaler.transform(X[outside]))
            residual = np.sum((Y[outside] - f) ** 2)
            expected[j, k] = 1 - residual / np.sum((Y[outside] - Y[outside].mean()) ** 2)
    np.testing.assert_allclose(regressor.scores_, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("kind", "name"), [(ConvexReLURegressor, "regressor"), (ConvexReLUClassifier, "classifier")]
)
def test_the_best_beta_is_trained_on_all_rows(kind, name, request):
    model = request.getfixturevalue(name)
    assert model.betas_.tolist() == BETAS
    assert model.scores_.shape == (3, 3)
    mean = model.scores_.mean(axis=1)
    assert model.best_score_ == mean.max()
    assert model.beta_ == BETAS[int(np.argmax(mean))]
    assert model.beta_ != BETAS[0]
    alone = kind(beta=model.beta_, tol=1e-2).fit(X, Y if name == "regressor" else LABELS)
    np.testing.assert_array_equal(alone.predict(X), model.predict(X))
    assert model.certificate_.relative_gap <= 1e-2
    assert model.certificate_.lower_bound == alone.certificate_.lower_bound
    assert model.n_iter_ == len(model.history_)
    assert model.status_ is Status.CONVERGED


def test_automatic_betas_come_from_all_rows():
    model = ConvexReLURegressorCV(n_betas=3, ratio=0.1, tol=1e-1, cv=2).fit(X, Y)
    top = beta_max(Scaler.fit(X).transform(X), Y)
    np.testing.assert_allclose(model.betas_, [top, top * 10**-0.5, 0.1 * top], rtol=1e-12)
    plain = ConvexReLURegressorCV(n_betas=2, ratio=0.1, tol=1e-1, cv=2, standardize=False).fit(X, Y)
    assert plain.betas_[0] == pytest.approx(beta_max(np.column_stack([X, np.ones(60)]), Y), rel=1e-12)
    assert plain.scaler_ is None


def test_of_equal_scores_the_largest_beta_is_chosen():
    model = ConvexReLURegressorCV(betas=[1e4, 3e4, 2e4], cv=2).fit(X, Y)  # zero networks all
    assert model.beta_ == 3e4
    assert model.status_ is Status.ZERO
    assert model.network_.n_neurons == 0


def test_scoring_by_name_and_by_function(classifier):
    loss = ConvexReLUClassifierCV(betas=[0.3], tol=1e-2, cv=2, scoring="neg_log_loss").fit(X, LABELS)
    inside, outside = next(StratifiedKFold(2).split(X, LABELS))
    share = len(inside) / 60
    alone = ConvexReLUClassifier(beta=0.3 * share, tol=1e-2).fit(X[inside], LABELS[inside])
    expected = -log_loss(LABELS[outside], alone.predict_proba(X[outside]))
    assert loss.scores_[0, 0] == pytest.approx(expected, rel=0.05)

    def closeness(model, rows, targets):
        return -mean_absolute_error(targets, model.predict(rows))

    own = ConvexReLURegressorCV(betas=[0.3], tol=1e-2, cv=2, scoring=closeness).fit(X, Y)
    named = clone(own).set_params(scoring="neg_mean_absolute_error").fit(X, Y)
    np.testing.assert_array_equal(own.scores_, named.scores_)
    assert own.best_score_ < 0


def test_splitters_and_lists_of_splits():
    folds = KFold(2, shuffle=True, random_state=1)
    one = ConvexReLURegressorCV(betas=[0.3], tol=1e-1, cv=folds).fit(X, Y)
    two = ConvexReLURegressorCV(betas=[0.3], tol=1e-1, cv=list(folds.split(X))).fit(X, Y)
    np.testing.assert_array_equal(one.scores_, two.scores_)
    with pytest.raises(ValueError, match="groups"):
        ConvexReLURegressorCV(betas=[0.3], cv=GroupKFold(2)).fit(X, Y)


def test_same_answer_twice(classifier):
    again = clone(classifier).fit(X, LABELS)
    np.testing.assert_array_equal(again.scores_, classifier.scores_)
    np.testing.assert_array_equal(again.decision_function(X), classifier.decision_function(X))


def test_classifier_predicts_its_labels(classifier):
    assert classifier.classes_.tolist() == ["high", "low"]
    assert set(classifier.predict(X)) == {"high", "low"}
    assert classifier.score(X, LABELS) > 0.8
    assert classifier.predict_proba(X).shape == (60, 2)
    assert not hasattr(ConvexReLUClassifierCV(loss="hinge"), "predict_proba")


def test_a_time_limit_leaves_the_first_beta_and_warns_in_the_callers_line():
    with pytest.warns(ConvergenceWarning, match="time limit") as caught:
        model = ConvexReLURegressorCV(betas=[0.3, 0.003], tol=1e-9, cv=2, max_time=1e-6).fit(X, Y)
    assert caught[0].filename == __file__
    assert model.beta_ == 0.3
    assert np.isfinite(model.scores_[0]).all()
    assert np.isnan(model.scores_[1]).all()


def test_a_beta_that_one_fold_did_not_reach_cannot_win(monkeypatch):
    def cut(Z, y, betas, **options):
        result = path(Z, y, betas, **options)
        if y[0] != Y[0]:  # the fold that leaves the first rows out
            return result
        return type(result)(
            result.betas[:2], result.networks[:2], result.certificates[:2], result.statuses[:2],
            result.seconds[:2], Status.TIME_LIMIT,
        )  # fmt: skip

    monkeypatch.setattr(cross_validated, "path", cut)
    model = ConvexReLURegressorCV(betas=BETAS, tol=1e-1, cv=2).fit(X, Y)
    assert np.isnan(model.scores_).tolist() == [[False, False], [False, True], [False, True]]
    assert model.beta_ == BETAS[0]


def test_interruption_of_a_fold_ends_the_fit(monkeypatch):
    def interrupted(Z, y, betas, **options):
        result = path(Z, y, betas[:1], **options)
        return type(result)(
            result.betas, result.networks, result.certificates, result.statuses, result.seconds,
            Status.INTERRUPTED,
        )  # fmt: skip

    monkeypatch.setattr(cross_validated, "path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ConvexReLURegressorCV(betas=[0.3], cv=2).fit(X, Y)


def test_verbose_prints_a_line_a_beta_and_fold(capsys):
    ConvexReLURegressorCV(betas=[0.3, 0.1], tol=1e-1, cv=2).fit(X, Y)
    assert capsys.readouterr().out == ""
    ConvexReLURegressorCV(betas=[0.3, 0.1], tol=1e-1, cv=2, verbose=True).fit(X, Y)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fold")]
    assert len(lines) == 4
    assert all("beta" in line and "score" in line for line in lines)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (ConvexReLURegressorCV(betas="best"), Y, "positive numbers or 'auto'"),
        (ConvexReLURegressorCV(betas=[1.0, -1.0]), Y, "positive and finite"),
        (ConvexReLURegressorCV(n_betas=0), Y, "n_betas must be"),
        (ConvexReLURegressorCV(ratio=2.0), Y, "ratio must be"),
        (ConvexReLURegressorCV(loss="hinge"), Y, "is for classes"),
        (ConvexReLURegressorCV(betas=[1.0], scoring="no such score"), Y, "scoring"),
        (ConvexReLUClassifierCV(), ["a"] * 60, "one class only"),
        (ConvexReLUClassifierCV(loss="huber"), LABELS, "A classifier takes the losses"),
        (ConvexReLUClassifierCV(loss="cubed"), LABELS, "Unknown loss 'cubed'"),
    ],
)
def test_unfit_arguments(model, y, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


@pytest.mark.parametrize("model", BOTH)
def test_unfitted(model):
    with pytest.raises(NotFittedError):
        model().predict(X)


def test_public_names():
    assert convexnn.ConvexReLURegressorCV is ConvexReLURegressorCV
    assert convexnn.ConvexReLUClassifierCV is ConvexReLUClassifierCV
