"""Penalties of single features: the weighted problem itself, the change of variables, the estimators."""

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import clone

from convexnn import (
    ConvexReLUClassifier,
    ConvexReLURegressor,
    ConvexReLURegressorCV,
    Network,
    beta_max,
    certify,
    path,
    train,
)


def problem(n: int = 12, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    return X, X[:, 0] * X[:, 1] + 0.2 * rng.standard_normal(n), np.geomspace(0.2, 5.0, d)


def weighted_objective(network: Network, X: np.ndarray, y: np.ndarray, beta: float, w: np.ndarray) -> float:
    """½‖f − y‖² + (β/2) Σ_j (Σ_k w_k u_jk² + α_j²), from its definition."""
    penalty = np.sum(w[:, None] * network.U**2) + np.sum(network.alpha**2)
    return 0.5 * float(np.sum((network.predict(X) - y) ** 2)) + 0.5 * beta * float(penalty)


def test_training_is_optimal_for_the_weighted_problem() -> None:
    X, y, w = problem()
    beta = 0.3
    result = train(X, y, beta, feature_penalty=w, tol=1e-5)
    c = result.certificate
    assert c.kind == "exact"
    assert weighted_objective(result.network, X, y, beta, w) == pytest.approx(c.primal, rel=1e-10)
    rng, m = np.random.default_rng(1), 8

    def objective(theta: np.ndarray) -> float:
        U, alpha = theta[: 3 * m].reshape(3, m), theta[3 * m :]
        return weighted_objective(Network(U, alpha), X, y, beta, w)

    found = min(
        minimize(objective, rng.standard_normal(4 * m), options={"maxiter": 150}).fun for _ in range(2)
    )
    assert c.lower_bound <= found * (1 + 1e-9)
    plain = train(X, y, beta, tol=1e-5).network  # another optimum: its weighted objective is larger
    assert weighted_objective(plain, X, y, beta, w) > c.primal * 1.01
    proof = certify(result.network, X, y, beta, feature_penalty=w, certificate="exact")
    assert proof.primal == pytest.approx(c.primal, rel=1e-10)
    assert proof.relative_gap < 1e-3
    warm = train(X, y, beta, feature_penalty=w, tol=1e-5, warm_start=result.network)
    assert warm.history[0]["primal"] == pytest.approx(c.primal, rel=1e-6)


def test_limits_agree() -> None:
    X, y, _ = problem()
    same = train(X, y, 0.3, feature_penalty=np.ones(3)).certificate.primal
    assert same == train(X, y, 0.3).certificate.primal
    dear = train(X, y, 0.3, feature_penalty=[1.0, 1.0, 1e12], tol=1e-4)
    assert np.abs(dear.network.U[2]).max(initial=0.0) < 1e-4
    dropped = train(X[:, :2], y, 0.3, tol=1e-4).certificate.primal
    assert dear.certificate.primal == pytest.approx(dropped, rel=2e-4)
    top = beta_max(X, y, feature_penalty=[2.0, 2.0, 2.0])
    assert top == pytest.approx(beta_max(X, y) / np.sqrt(2))


def test_path_and_a_free_intercept() -> None:
    X, y, w = problem()
    result = path(X, y + 50, n_betas=2, ratio=0.1, feature_penalty=w, intercept=True, tol=1e-3)
    for network, c in zip(result.networks, result.certificates, strict=True):
        assert weighted_objective(network, X, y + 50, c.beta, w) == pytest.approx(c.primal)
        assert c.relative_gap <= 1e-3


@pytest.mark.parametrize("standardize", [True, False])
def test_estimators_take_it_dense_and_sparse(standardize: bool) -> None:
    X, y, w = problem(20)
    X = np.round(X, 1)
    model = ConvexReLURegressor(0.2, standardize=standardize, feature_penalty=w, tol=1e-5).fit(X, y)
    Z = model.scaler_.transform(X) if standardize else np.column_stack([X, np.ones(len(X))])
    own = np.append(w, 1.0)
    assert weighted_objective(model.network_, Z, y, 0.2, own) == pytest.approx(model.certificate_.primal)
    other = train(Z, y, 0.2, feature_penalty=own, tol=1e-5)
    assert model.certificate_.primal == pytest.approx(other.certificate.primal, rel=2e-5)
    assert model.predict(X) == pytest.approx(model.network_.predict(Z))
    wide = np.random.default_rng(0).standard_normal((12, 30)) * (np.arange(30) % 3 == 0)
    own = np.geomspace(0.5, 2.0, 30)
    options = {"standardize": standardize, "feature_penalty": own, "tol": 1e-4, "warm_start": True}
    thick = ConvexReLURegressor(0.2, **options).fit(wide, y[:12])
    thin = ConvexReLURegressor(0.2, **options).fit(sparse.csr_array(wide), y[:12])
    assert thin.certificate_.primal == pytest.approx(thick.certificate_.primal, rel=2e-4)
    assert thin.predict(wide) == pytest.approx(thick.predict(wide), abs=0.02)
    before = thin.certificate_.primal
    assert thin.fit(sparse.csr_array(wide), y[:12]).history_[0]["primal"] == pytest.approx(before, rel=1e-6)


def test_estimators_clone_cross_validate_and_classify() -> None:
    X, y, w = problem(30)
    model = ConvexReLURegressorCV([1.0, 0.3], cv=2, feature_penalty=w, penalize_intercept=False, tol=1e-2)
    assert clone(model).fit(X, y).scores_.shape == (2, 2)
    labels = np.arange(30) % 3
    assert ConvexReLUClassifier(0.5, feature_penalty=w, tol=1e-2).fit(X, labels).score(X, labels) > 0.4


@pytest.mark.parametrize(
    ("w", "says"),
    [
        ([1.0, 1.0], "for each of the 3 features"),
        ([1.0, 0.0, 1.0], r"feature_penalty\[1\] is 0"),
        ([1.0, 1.0, -2.0], r"feature_penalty\[2\] is -2"),
        ([np.nan, 1.0, 1.0], r"feature_penalty\[0\] is nan"),
        ([1.0, np.inf, 1.0], "finite"),
        ([1.0, "much", 1.0], "must be real numbers"),
    ],
)
def test_refusals(w: list[Any], says: str) -> None:
    X, y, _ = problem()
    net = Network.zero(3)
    for call in (
        lambda: train(X, y, 1.0, feature_penalty=w),
        lambda: certify(net, X, y, 1.0, feature_penalty=w),
        lambda: path(X, y, [1.0], feature_penalty=w),
        lambda: beta_max(X, y, feature_penalty=w),
        lambda: ConvexReLURegressor(feature_penalty=w).fit(X, y),
    ):
        with pytest.raises(ValueError, match=says):
            call()
