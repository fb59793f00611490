"""scikit-learn's own checks of every estimator; none may fail."""

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

from convexnn import certificate_outputs
from convexnn.estimators import (
    ConvexReLUClassifier,
    ConvexReLUClassifierCV,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    GatedReLUClassifier,
    GatedReLURegressor,
    ReLUFeatures,
)
from convexnn.layerwise import LayerwiseReLUClassifier, LayerwiseReLURegressor
from convexnn.training import loop, softmax

QUICK = [
    ConvexReLURegressor(beta=3.0, tol=0.3),
    ConvexReLUClassifier(beta=1.0, tol=0.3),
    GatedReLURegressor(n_gates=20, tol=0.1),
    GatedReLUClassifier(n_gates=20, tol=0.1),
    ReLUFeatures(ConvexReLURegressor(beta=3.0, tol=0.3)),
]
#: Estimators whose `fit` is several trainings: the checks that train most are left to the slow tests.
LONG = [
    ConvexReLURegressorCV(betas=(3.0,), tol=0.3, cv=2),
    ConvexReLUClassifierCV(betas=(1.0,), tol=0.3, cv=2),
    LayerwiseReLURegressor(beta=3.0, tol=0.3),
    LayerwiseReLUClassifier(beta=1.0, tol=0.3),
]
SLOW = {
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_multilabel_output_format_decision_function",
    "check_classifiers_multilabel_output_format_predict",
    "check_classifiers_multilabel_output_format_predict_proba",
    "check_classifiers_multilabel_representation_invariance",
    "check_classifiers_train",
    "check_estimator_sparse_matrix",
    "check_estimators_dtypes",
    "check_positive_only_tag_during_fit",
    "check_regressor_data_not_an_array",
    "check_regressors_train",
}


def checks() -> list:
    """Every estimator with each of its checks."""
    pairs = []
    for model in [*QUICK, *LONG]:
        is_long = model in LONG
        for estimator, check in estimator_checks_generator(model):
            name = check.func.__name__
            twice = name == "check_estimator_sparse_array"  # as check_estimator_sparse_matrix
            marks = [pytest.mark.slow] if twice or (is_long and name in SLOW) else []
            pairs.append(pytest.param(estimator, check, marks=marks, id=f"{type(model).__name__}-{name}"))
    return pairs


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conventions need no verified gap."""
    monkeypatch.setattr(loop, "default_starts", lambda neurons: 100)
    for module in (softmax, certificate_outputs):
        monkeypatch.setattr(module, "starts_of_output", lambda neurons: 100)


@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learn_checks(estimator, check) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)
