"""Convolutional networks: patches, the four programs, their certificates, filters, CVXPY and descent."""

import doctest
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits

from convexnn import Network, Patterns, Status, convolution, descent
from convexnn.convolution import (
    CircularCNN,
    LinearCNN,
    PooledCNN,
    SeparableCNN,
    certify_circular,
    certify_linear,
    certify_pooled,
    certify_separable,
    circular_beta_max,
    circular_filters,
    descend_pooled,
    extract_patches,
    linear_beta_max,
    linear_filters,
    pooled_beta_max,
    pooled_patterns,
    separable_beta_max,
    train_circular,
    train_linear,
    train_pooled,
    train_separable,
)
from convexnn.convolution.circular import _Spectrum
from convexnn.convolution.dual import hinge_scale
from convexnn.convolution.linear import _Nuclear
from convexnn.convolution.patches import check_patches
from convexnn.convolution.pooling import CellPenalty, make_stack, pooled_gradient
from convexnn.losses import LOSSES, get_loss

each_loss = pytest.mark.parametrize("loss", LOSSES)
smooth_losses = pytest.mark.parametrize("loss", [name for name in LOSSES if name != "hinge"])


def random_patches(seed: int, K: int, n: int, h: int, loss: str = "squared") -> tuple[np.ndarray, np.ndarray]:
    """Gaussian patches (K, n, h) and targets of the loss."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n) if loss == "squared" else rng.choice([-1.0, 1.0], n)
    return rng.standard_normal((K, n, h)), y


def digits(count: int, first: int = 3, second: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """8×8 images of two digits in [0, 1], labels ±1."""
    data = load_digits()
    chosen = np.flatnonzero((data.target == first) | (data.target == second))[:count]
    return data.images[chosen] / 16, np.where(data.target[chosen] == second, 1.0, -1.0)


def cvxpy_loss(loss: str, f: cp.Expression, y: np.ndarray) -> cp.Expression:
    """The losses of the package, written again."""
    if loss == "squared":
        return 0.5 * cp.sum_squares(f - y)
    margin = cp.multiply(y, f)
    if loss == "logistic":
        return cp.sum(cp.logistic(-margin))
    return cp.sum(cp.pos(1 - margin)) if loss == "hinge" else 0.5 * cp.sum_squares(cp.pos(1 - margin))


def clarabel(objective: cp.Expression, constraints: list[cp.Constraint] | None = None) -> float:
    problem = cp.Problem(cp.Minimize(objective), constraints or [])
    problem.solve(solver="CLARABEL")
    assert problem.status == "optimal"
    return float(problem.value)


def planar_patterns(X: np.ndarray) -> Patterns:
    """Every pattern of a matrix with two columns, by a sweep of the angle."""
    X = X[X.any(axis=1)]
    angles = np.arctan2(X[:, 1], X[:, 0])
    kinks = np.sort(np.concatenate([angles + np.pi / 2, angles - np.pi / 2]) % (2 * np.pi))
    middle = 0.5 * (
        kinks + np.roll(kinks, -1) + np.where(np.arange(len(kinks)) == len(kinks) - 1, 2 * np.pi, 0)
    )
    return Patterns.from_generators(X, np.stack([np.cos(middle), np.sin(middle)]))


def relu_program(
    X: np.ndarray, S: np.ndarray, y: np.ndarray, beta: float, loss: str, patterns: Patterns
) -> float:
    """min L(S Σ_i D_i X (v_i − w_i), y) + β Σ ‖v_i‖ + ‖w_i‖ over the cones, with Clarabel."""
    d, P = X.shape[1], len(patterns)
    V, W = cp.Variable((d, P)), cp.Variable((d, P))
    masks = patterns.masks.astype(float)
    fit = S @ cp.sum(cp.multiply(masks, X @ (V - W)), axis=1)
    signs = 2 * masks - 1
    size = cp.sum(cp.norm(V, 2, axis=0)) + cp.sum(cp.norm(W, 2, axis=0))
    cones = [cp.multiply(signs, X @ block) >= 0 for block in (V, W)]
    return clarabel(cvxpy_loss(loss, fit, y) + beta * size, cones)


def descend_linear(
    patches: np.ndarray, y: np.ndarray, beta: float, loss: str, filters: int, seed: int
) -> LinearCNN:
    """L-BFGS on the filters and output weights themselves."""
    K, _, h = patches.shape
    function = get_loss(loss)

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        U, A = theta[: h * filters].reshape(h, filters), theta[h * filters :].reshape(filters, K)
        f = np.einsum("knh,hj,jk->n", patches, U, A, optimize=True)
        G = np.einsum("knh,n->hk", patches, function.gradient(f, y), optimize=True)
        grad = np.concatenate([(G @ A.T + beta * U).ravel(), (U.T @ G + beta * A).ravel()])
        return function.value(f, y) + 0.5 * beta * float(theta @ theta), grad

    start = 0.3 * np.random.default_rng(seed).standard_normal(filters * (h + K))
    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 1e-15, "gtol": 1e-10}
    theta = minimize(value, start, jac=True, method="L-BFGS-B", options=options).x
    return LinearCNN(theta[: h * filters].reshape(h, filters), theta[h * filters :].reshape(filters, K))


def assert_newton_factor(trial: Callable[[np.ndarray], object], nu: np.ndarray, sigma: float) -> None:
    """σ BBᵀ is the derivative of the fit AU with respect to ν."""
    rng = np.random.default_rng(1)
    step = 1e-6 * rng.standard_normal(len(nu))
    difference = trial(nu + step).fit - trial(nu - step).fit
    Bt = trial(nu).factor()
    assert np.linalg.norm(difference) > 0
    np.testing.assert_allclose(
        sigma * Bt.T @ (Bt @ (2 * step)), difference, atol=1e-4 * np.abs(difference).max()
    )


# ---- patches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "circular"),
    [
        (3, 1, 0, False),
        ((4,), 2, 1, False),
        (6, 1, 0, False),
        (3, 2, 0, True),
        (6, 1, 0, True),
        (1, 1, 0, False),
    ],
)
def test_patches_of_signals(channels, kernel, stride, padding, circular) -> None:
    signals = np.random.default_rng(0).standard_normal((4, 6, *([] if channels is None else [channels])))
    patches = extract_patches(signals, kernel, stride, padding, circular)
    h = kernel if isinstance(kernel, int) else kernel[0]
    full = np.pad(signals, [(0, 0), (padding, padding)] + [(0, 0)] * (signals.ndim - 2))
    last = full.shape[1] if circular else full.shape[1] - h + 1
    for k, start in enumerate(range(0, last, stride)):
        window = np.stack([full[:, (start + j) % full.shape[1]] for j in range(h)], axis=1)
        np.testing.assert_array_equal(patches[k], window.reshape(4, -1))
    assert patches.shape[0] == len(range(0, last, stride))


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "circular"),
    [((2, 3), 1, 0, False), ((3, 2), (2, 1), (1, 0), False), ((2, 3), (1, 2), 0, True), ((5, 6), 1, 0, True)],
)
def test_patches_of_images(channels, kernel, stride, padding, circular) -> None:
    images = np.random.default_rng(1).standard_normal((3, 5, 6, *([] if channels is None else [channels])))
    patches = extract_patches(images, kernel, stride, padding, circular)
    (sr, sc) = (stride, stride) if isinstance(stride, int) else stride
    (pr, pc) = (padding, padding) if isinstance(padding, int) else padding
    full = np.pad(images, [(0, 0), (pr, pr), (pc, pc)] + [(0, 0)] * (images.ndim - 3))
    H, W = full.shape[1:3]
    windows = []
    for r in range(0, H if circular else H - kernel[0] + 1, sr):
        for c in range(0, W if circular else W - kernel[1] + 1, sc):
            rows, columns = (r + np.arange(kernel[0])) % H, (c + np.arange(kernel[1])) % W
            windows.append(full[:, rows][:, :, columns].reshape(3, -1))
    np.testing.assert_array_equal(patches, np.stack(windows))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((3, 6), {"kernel": 7}, "kernel of 7 does not fit into a length of 6"),
        ((3, 6), {"kernel": 0}, "does not fit"),
        ((3, 6), {"kernel": 3, "stride": 2}, "leaves 1 of 6 pixels of the length out"),
        ((3, 6), {"kernel": 2, "stride": 4, "circular": True}, "leaves 2 of 6"),
        ((3, 6), {"kernel": 3, "circular": True, "padding": 1}, "padding must be 0"),
        ((3, 6), {"kernel": (2, 2)}, r"\(n, height, width\)"),
        ((3, 5, 6, 2), {"kernel": 3}, r"\(n, length\)"),
        ((3, 5, 6), {"kernel": (2, 2, 2)}, "one number for signals or two for images"),
        ((3, 6), {"kernel": 3, "stride": 0}, "stride must be a number ≥ 1"),
        ((3, 5, 6), {"kernel": (2, 2), "padding": (1, 1, 1)}, "padding must be"),
        ((0, 6), {"kernel": 3}, "not empty"),
    ],
)
def test_patches_that_do_not_fit(shape, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        extract_patches(np.ones(shape), **arguments)


def test_patches_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        extract_patches(np.array([[1.0, np.nan, 2.0]]), 2)


@pytest.mark.parametrize("train", [train_linear, train_pooled, train_separable])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patches": np.ones((4, 3))}, "K, n, h"),
        ({"y": np.ones(4)}, "one target for each of the 5 samples"),
        ({"beta": 0.0}, "beta must be a positive"),
        ({"loss": "logistic", "y": np.arange(5.0)}, "labels -1 and"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"max_time": -1.0}, "max_time"),
        ({"loss": "cubic"}, "Unknown loss"),
    ],
)
def test_bad_input(train, change, message) -> None:
    arguments = {"patches": np.ones((2, 5, 3)), "y": np.ones(5), "beta": 0.1} | change
    with pytest.raises(ValueError, match=message):
        train(**arguments)


# ---- linear: nuclear norm -----------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("shape", [(5, 14, 3), (3, 14, 6), (1, 10, 4), (4, 10, 1)])
@pytest.mark.parametrize("share", [0.3, 0.02])
def test_linear_equals_cvxpy(loss, shape, share) -> None:
    patches, y = random_patches(sum(shape), *shape, loss)
    K, _, h = shape
    beta = share * linear_beta_max(patches, y, loss)
    Z = cp.Variable((h, K))
    fit = sum(patches[k] @ Z[:, k] for k in range(K))
    expected = clarabel(cvxpy_loss(loss, fit, y) + beta * cp.normNuc(Z))
    result = train_linear(patches, y, beta, loss=loss, tol=1e-8)
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(expected, rel=1e-6)
    assert result.objective == pytest.approx(result.program_value, rel=1e-9)
    assert result.network.objective(patches, y, beta, loss) == result.objective
    certificate = result.certificate
    assert certificate.kind == "exact"
    assert certificate.relative_gap <= 1e-8
    assert certificate.lower_bound <= result.objective
    G = np.stack([X.T @ certificate.nu for X in patches], axis=1)
    assert np.linalg.svd(G, compute_uv=False)[0] <= beta
    assert get_loss(loss).dual_value(certificate.nu, y) == pytest.approx(certificate.lower_bound, rel=1e-12)


@smooth_losses
def test_linear_descent_ends_at_the_optimum_and_never_below_the_bound(loss) -> None:
    patches, y = random_patches(7, 6, 30, 4, loss)
    beta = 0.1 * linear_beta_max(patches, y, loss)
    result = train_linear(patches, y, beta, loss=loss)
    ends = [descend_linear(patches, y, beta, loss, 4, seed) for seed in range(3)]
    values = [net.objective(patches, y, beta, loss) for net in ends]
    assert min(values) >= result.certificate.lower_bound
    assert min(values) <= result.objective * (1 + 1e-5)
    checked = certify_linear(ends[int(np.argmin(values))], patches, y, beta, loss)
    assert checked.lower_bound <= result.objective * (1 + 1e-12)
    assert checked.relative_gap < 1e-2


def test_a_single_filter_can_be_too_few() -> None:
    """Without min(h, K) filters the non-convex optimum may lie strictly above the program's."""
    patches, y = random_patches(3, 5, 40, 5)
    beta = 0.01 * linear_beta_max(patches, y)
    result = train_linear(patches, y, beta)
    assert result.filters.shape[1] > 1
    narrow = min(
        descend_linear(patches, y, beta, "squared", 1, s).objective(patches, y, beta) for s in range(5)
    )
    assert narrow > 1.01 * result.objective


@each_loss
def test_linear_is_zero_exactly_from_beta_max_on(loss) -> None:
    patches, y = random_patches(11, 4, 15, 3, loss)
    top = linear_beta_max(patches, y, loss)
    for beta in (top, 3 * top):
        result = train_linear(patches, y, beta, loss=loss)
        assert result.status is Status.ZERO
        assert result.filters.shape == (3, 0)
        assert 0 <= result.certificate.relative_gap < 1e-10
    below = train_linear(patches, y, 0.99 * top, loss=loss)
    assert below.filters.shape[1] >= 1
    assert below.objective < get_loss(loss).value(np.zeros_like(y), y)


@each_loss
def test_linear_on_digits(loss) -> None:
    images, y = digits(80)
    patches = extract_patches(images, (3, 3))
    for share in (0.1, 0.003):
        beta = share * linear_beta_max(patches, y, loss)
        result = train_linear(patches, y, beta, loss=loss)
        assert result.status is Status.CONVERGED
        assert 0 <= result.certificate.relative_gap <= 1e-6
        assert result.history[-1]["primal"] <= result.history[0]["primal"]
        bounds = [row["bound"] for row in result.history]
        assert bounds == sorted(bounds)


def test_linear_filters_are_balanced_and_give_z_back() -> None:
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((5, 2)) @ rng.standard_normal((2, 7))
    net = linear_filters(Z)
    assert net.filters.shape == (5, 2)
    np.testing.assert_allclose(net.filters @ net.outputs, Z, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(net.filters, axis=0), np.linalg.norm(net.outputs, axis=1))
    assert linear_filters(np.zeros((3, 4))).filters.shape == (3, 0)


@pytest.mark.parametrize("shape", [(6, 20, 3), (3, 20, 6)])
def test_nuclear_newton_factor_is_the_derivative(shape) -> None:
    patches, nu = random_patches(5, *shape)
    penalty = _Nuclear(patches)
    V = 0.5 * np.random.default_rng(2).standard_normal((shape[2], shape[0]))
    s = np.linalg.svd(V / 0.7 + np.einsum("knh,n->hk", patches, nu), compute_uv=False)
    for beta in (0.5 * (s[0] + s[1]), 0.5 * (s[1] + s[2]), 0.5 * s[2]):  # ranks 1, 2 and 3
        assert_newton_factor(lambda nu, beta=beta: penalty.trial(nu, V, beta, 0.7), nu, 0.7)


def test_certify_linear_takes_the_dual_point_and_refuses_other_shapes() -> None:
    patches, y = random_patches(2, 4, 12, 3, "hinge")
    beta = 0.2 * linear_beta_max(patches, y, "hinge")
    result = train_linear(patches, y, beta, loss="hinge")
    with_nu = certify_linear(result.network, patches, y, beta, "hinge", nu=result.certificate.nu)
    assert with_nu.relative_gap <= 1e-6
    with pytest.raises(ValueError, match="need filters"):
        certify_linear(LinearCNN(np.ones((2, 1)), np.ones((1, 4))), patches, y, beta)


def test_a_time_limit_returns_the_best_point_with_its_certificate() -> None:
    images, y = digits(60)
    patches = extract_patches(images, (3, 3))
    beta = 0.01 * linear_beta_max(patches, y)
    result = train_linear(patches, y, beta, tol=1e-15, max_time=1e-6)
    assert result.status is Status.TIME_LIMIT
    assert result.certificate.gap > 0
    assert result.objective <= get_loss("squared").value(0 * y, y)


@pytest.mark.parametrize("seed", range(24))
def test_no_descent_goes_below_the_bound_of_an_awkward_problem(seed) -> None:
    """Integer data with ties, huge or tiny scales, repeated and opposite samples; all four losses."""
    rng = np.random.default_rng(seed)
    loss, kind = list(LOSSES)[seed % 4], seed % 3
    K, n, h = (int(k) for k in rng.integers(1, (6, 20, 6)))
    patches, y = random_patches(seed, K, n, h, loss)
    if kind == 0:
        patches = rng.integers(-2, 3, patches.shape).astype(float)
        patches[0, 0, 0] = 1.0
    elif kind == 1:
        patches *= 10.0 ** rng.choice([-6, 6])
    else:
        patches = np.concatenate([patches, patches, -patches], axis=1)
        y = np.concatenate([y, -y, y])
    beta = 10 ** rng.uniform(-3, 0) * linear_beta_max(patches, y, loss)
    result = train_linear(patches, y, beta, loss=loss)
    assert result.status in (Status.CONVERGED, Status.ZERO)
    assert result.objective == pytest.approx(result.program_value, rel=1e-9)
    assert -1e-12 * result.objective <= result.certificate.gap <= 1e-6 * result.objective
    end = descend_linear(patches, y, beta, loss, min(h, K), seed)
    assert end.objective(patches, y, beta, loss) >= result.certificate.lower_bound * (1 - 1e-12)


def test_hinge_scale_is_the_minimum_along_the_ray() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        margin, penalty = rng.standard_normal(rng.integers(1, 9)), float(rng.uniform(0.01, 3))

        def value(t: float, margin: np.ndarray = margin, penalty: float = penalty) -> float:
            return float(np.maximum(1 - t * margin, 0).sum()) + t * penalty

        kinks = [0.0, *(1 / margin[margin > 0])]
        assert value(hinge_scale(margin, penalty)) == pytest.approx(min(map(value, kinks)), rel=1e-12)


# ---- circular: ℓ1 of the spectrum ---------------------------------------------------------------------


def dft_matrix(shape: tuple[int, ...], unitary: bool) -> np.ndarray:
    """F, acting on flattened arrays of the shape."""
    d = int(np.prod(shape))
    basis = np.eye(d).reshape(d, *shape)
    axes = tuple(range(1, len(shape) + 1))
    return np.fft.fftn(basis, axes=axes, norm="ortho" if unitary else "backward").reshape(d, d).T


@each_loss
@pytest.mark.parametrize("shape", [(7,), (8,), (3, 4)])
@pytest.mark.parametrize("unitary", [False, True])
def test_circular_equals_cvxpy_with_either_normalisation(loss, shape, unitary) -> None:
    rng = np.random.default_rng(len(shape))
    d, n = int(np.prod(shape)), 12
    images = rng.standard_normal((n, *shape))
    y = rng.standard_normal(n) if loss == "squared" else rng.choice([-1.0, 1.0], n)
    beta = 0.2 * circular_beta_max(images, y, loss)
    z = cp.Variable(d, complex=True)
    XF = images.reshape(n, d) @ dft_matrix(shape, unitary)
    scale = np.sqrt(d) if unitary else 1.0
    fit = cp.real(XF @ z)
    expected = clarabel(cvxpy_loss(loss, fit, y) + beta / scale * cp.norm1(z))
    result = train_circular(images, y, beta, loss=loss, tol=1e-8)
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(expected, rel=1e-6)
    assert result.objective == pytest.approx(result.program_value, rel=1e-9)
    assert result.network.objective(images, y, beta, loss) == result.objective
    assert result.certificate.kind == "exact"
    assert 0 <= result.certificate.relative_gap <= 1e-8
    spectrum = np.fft.fftn(np.tensordot(result.certificate.nu, images, axes=1))
    assert np.abs(spectrum).max() <= beta
    back = circular_filters(z.value.reshape(shape), "ortho" if unitary else "backward")
    assert back.objective(images, y, beta, loss) == pytest.approx(expected, rel=1e-5)


def test_circular_filters_of_any_point_keep_fit_and_penalty() -> None:
    rng = np.random.default_rng(4)
    for shape in ((6,), (5,), (4, 3)):
        d = int(np.prod(shape))
        w = rng.standard_normal(d)
        for norm, scale in (("backward", 1.0), ("ortho", np.sqrt(d))):
            z = np.fft.ifftn(w.reshape(shape), norm=norm)
            net = circular_filters(z, norm)
            np.testing.assert_allclose(net.weights, w, atol=1e-12)
            penalty = 0.5 * np.sum(net.filters**2) + 0.5 * np.sum(net.outputs**2)
            assert penalty == pytest.approx(np.abs(z).sum() / scale, rel=1e-12)
    assert not circular_filters(np.zeros(4, dtype=complex)).weights.any()


@pytest.mark.parametrize("shape", [(6,), (3, 4)])
def test_circular_network_is_the_linear_one_on_circular_patches(shape) -> None:
    """Same function of the same filters, and the ℓ1 and nuclear programs have one optimum."""
    rng = np.random.default_rng(6)
    images, y = rng.standard_normal((15, *shape)), rng.standard_normal(15)
    kernel = shape[0] if len(shape) == 1 else shape
    patches = extract_patches(images, kernel, circular=True)
    beta = 0.1 * circular_beta_max(images, y)
    assert circular_beta_max(images, y) == pytest.approx(linear_beta_max(patches, y), rel=1e-12)
    result = train_circular(images, y, beta, kernel=kernel, tol=1e-8)
    same = LinearCNN(result.filters, result.outputs)
    np.testing.assert_allclose(same.predict(patches), result.network.predict(images), atol=1e-12)
    nuclear = train_linear(patches, y, beta, tol=1e-8)
    assert result.objective == pytest.approx(nuclear.objective, rel=1e-7)
    ends = [
        descend_linear(patches, y, beta, "squared", m, s).objective(patches, y, beta)
        for m in (1, 4)
        for s in (0, 1)
    ]
    assert min(ends) >= result.certificate.lower_bound
    assert min(ends[2:]) <= result.objective * (1 + 1e-5)


def test_short_circular_filters_are_refused_because_the_l1_program_is_only_a_lower_bound() -> None:
    rng = np.random.default_rng(8)
    signals, y = rng.standard_normal((20, 8)), rng.standard_normal(20)
    beta = 0.1 * circular_beta_max(signals, y)
    with pytest.raises(ValueError, match=r"only a lower bound.*extract_patches"):
        train_circular(signals, y, beta, kernel=3)
    full = train_circular(signals, y, beta)
    short = train_linear(extract_patches(signals, 3, circular=True), y, beta)
    assert full.objective < 0.999 * short.certificate.lower_bound
    with pytest.raises(ValueError, match="channels"):
        train_circular(np.ones((3, 4, 5, 2)), np.ones(3), 0.1)


@each_loss
def test_circular_is_zero_exactly_from_beta_max_on(loss) -> None:
    images, y = digits(30)
    top = circular_beta_max(images, y, loss)
    for beta in (top, 2 * top):
        result = train_circular(images, y, beta, loss=loss)
        assert result.status is Status.ZERO
        assert not result.filters.any()
        assert 0 <= result.certificate.relative_gap < 1e-9
    below = train_circular(images, y, 0.98 * top, loss=loss)
    assert below.filters.any()
    assert 0 <= below.certificate.relative_gap <= 1e-6


def test_circular_newton_factor_is_the_derivative() -> None:
    rng = np.random.default_rng(3)
    X, nu = rng.standard_normal((18, 12)), rng.standard_normal(18)
    penalty = _Spectrum(X, (3, 4))
    V = 0.3 * rng.standard_normal(penalty.zero().shape)
    V[penalty._single, 1] = 0.0
    for beta in (2.0, 8.0):
        assert_newton_factor(lambda nu, beta=beta: penalty.trial(nu, V, beta, 0.7), nu, 0.7)


def test_certify_circular_of_a_network_that_is_not_optimal() -> None:
    images, y = digits(40)
    beta = 0.05 * circular_beta_max(images, y)
    best = train_circular(images, y, beta)
    worse = CircularCNN(1.1 * best.filters, best.outputs, (8, 8))
    certificate = certify_circular(worse, images, y, beta, nu=best.certificate.nu)
    assert certificate.lower_bound == pytest.approx(best.certificate.lower_bound, rel=1e-6)
    assert certificate.gap >= worse.objective(images, y, beta) - best.objective > 0
    with pytest.raises(ValueError, match="samples of shape"):
        certify_circular(CircularCNN(np.ones((4, 1)), np.ones((1, 4)), (4,)), images, y, beta)


# ---- separable ReLU -----------------------------------------------------------------------------------


@each_loss
def test_separable_equals_the_complete_program(loss) -> None:
    patches, y = random_patches(21, 2, 6, 2, loss)
    X, targets = patches.reshape(12, 2), np.tile(y, 2)
    beta = 0.15 * separable_beta_max(patches, y, loss)
    expected = relu_program(X, np.eye(12), targets, beta, loss, planar_patterns(X))
    result = train_separable(patches, y, beta, loss=loss, tol=1e-7)
    assert result.objective == pytest.approx(expected, rel=1e-6)
    assert result.objective == pytest.approx(result.program_value, rel=1e-9)
    assert result.certificate.relative_gap <= 1e-7


def test_separable_on_digits_predicts_each_patch_and_each_sample() -> None:
    images, y = digits(24)
    patches = extract_patches(images, (4, 4), stride=4)
    beta = 0.2 * separable_beta_max(patches, y)
    result = train_separable(patches, y, beta)
    net = result.network
    by_hand = sum(
        get_loss("squared").value(np.maximum(patches[k] @ net.filters, 0) @ net.outputs, y) for k in range(4)
    ) + 0.5 * beta * (np.sum(net.filters**2) + np.sum(net.outputs**2))
    assert result.objective == pytest.approx(by_hand, rel=1e-12)
    assert result.objective == pytest.approx(result.program_value, rel=1e-9)
    assert net.predict(patches).shape == (4, 24)
    np.testing.assert_allclose(net.predict_sample(patches, "sum"), 4 * net.predict_sample(patches))
    stack, targets = patches.reshape(96, 16), np.tile(y, 4)
    for seed in range(3):
        end = descent.descend(stack, targets, beta, method="lbfgs", neurons=30, steps=1000, seed=seed).network
        assert end.objective(stack, targets, beta) >= result.certificate.lower_bound
    assert result.certificate.relative_gap <= 1e-3


def test_separable_targets_for_each_patch() -> None:
    patches, _ = random_patches(5, 3, 8, 3)
    y = np.random.default_rng(6).standard_normal((3, 8))
    result = train_separable(patches, y, 0.3)
    assert result.network.objective(patches, y, 0.3) == pytest.approx(result.objective, rel=1e-12)
    stack = Network(result.filters, result.outputs).objective(patches.reshape(24, 3), y.ravel(), 0.3)
    assert stack == pytest.approx(result.objective, rel=1e-12)
    certificate = certify_separable(result.network, patches, y, 0.3)
    assert certificate.lower_bound <= result.objective


def test_separable_is_zero_from_beta_max_on() -> None:
    patches, y = random_patches(9, 3, 8, 3)
    result = train_separable(patches, y, separable_beta_max(patches, y) * (1 + 1e-9))
    assert result.status is Status.ZERO
    assert isinstance(result.network, SeparableCNN)
    assert result.filters.shape[1] == 0


# ---- ReLU with pooling --------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_pooled_equals_the_complete_program(loss, pooling) -> None:
    K, n = 3, 6
    patches, y = random_patches(31, K, n, 2, loss)
    X = patches.reshape(K * n, 2)
    S = np.tile(np.eye(n), K) / (K if pooling == "mean" else 1)
    beta = 0.1 * pooled_beta_max(patches, y, loss, pooling=pooling)
    complete = planar_patterns(X)
    expected = relu_program(X, S, y, beta, loss, complete)
    fixed = train_pooled(patches, y, beta, pooling=pooling, patterns=complete, loss=loss, tol=1e-8)
    assert fixed.objective == pytest.approx(expected, rel=1e-6)
    assert fixed.certificate.kind == "patterns"
    free = train_pooled(patches, y, beta, pooling=pooling, loss=loss, tol=1e-7)
    assert free.objective == pytest.approx(expected, rel=1e-6)
    assert free.certificate.kind == "estimated"
    assert free.certificate.lower_bound <= expected * (1 + 1e-7)
    for result in (fixed, free):
        assert result.objective == pytest.approx(result.program_value, rel=1e-9)
        assert result.network.objective(patches, y, beta, loss) == result.objective


@each_loss
def test_pooled_program_of_sampled_patterns_equals_cvxpy(loss) -> None:
    K, n, h = 4, 8, 3
    patches, y = random_patches(33, K, n, h, loss)
    patterns = pooled_patterns(patches, 12)
    S = np.tile(np.eye(n), K) / K
    beta = 0.05 * pooled_beta_max(patches, y, loss)
    expected = relu_program(patches.reshape(K * n, h), S, y, beta, loss, patterns)
    result = train_pooled(patches, y, beta, patterns=patterns, loss=loss, tol=1e-8)
    assert result.status is Status.CONVERGED
    assert result.objective == pytest.approx(expected, rel=1e-6)
    assert result.objective == pytest.approx(result.program_value, rel=1e-9)
    assert result.certificate.relative_gap <= 1e-8
    free = train_pooled(patches, y, beta, loss=loss, tol=1e-5)
    assert free.certificate.lower_bound <= result.objective


@each_loss
def test_pooled_descent_never_ends_below_the_bound(loss) -> None:
    images, y = digits(30)
    patches = extract_patches(images, (4, 4), stride=2)
    beta = 0.1 * pooled_beta_max(patches, y, loss)
    result = train_pooled(patches, y, beta, loss=loss)
    assert result.status is Status.CONVERGED
    assert 0 <= result.certificate.relative_gap <= 1e-3
    ends = [
        descend_pooled(patches, y, beta, loss=loss, neurons=30, steps=1000, init_scale=0.3, seed=seed)
        for seed in (5, 6)
    ]
    values = [net.objective(patches, y, beta, loss) for net in ends]
    assert min(values) >= result.certificate.lower_bound
    assert result.objective <= min(values) * (1 + 1e-3)


def test_pooled_gradient_by_finite_differences() -> None:
    patches, y = random_patches(41, 3, 7, 4)
    stack = make_stack(check_patches(patches, y, 0.3, "squared"), "mean")
    theta = np.random.default_rng(2).standard_normal(5 * 6)
    value, gradient = pooled_gradient(stack, y, 0.3, "squared", theta)
    net = PooledCNN(theta[:24].reshape(4, 6), theta[24:])
    assert value == pytest.approx(net.objective(patches, y, 0.3), rel=1e-12)
    for k in range(len(theta)):
        step = np.zeros_like(theta)
        step[k] = 1e-6
        ends = [pooled_gradient(stack, y, 0.3, "squared", theta + s * step)[0] for s in (1, -1)]
        assert gradient[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-6)


def test_equal_and_blank_patches_are_one_row_and_change_nothing() -> None:
    images, y = digits(20)
    patches = extract_patches(images, (2, 2))
    patches[:, :, 0] = 0.0
    stack = make_stack(check_patches(patches, y, 0.1, "squared"), "mean")
    full = patches.reshape(-1, 4)
    assert len(stack.X) < 0.8 * len(full)
    rng = np.random.default_rng(0)
    U, alpha, nu = rng.standard_normal((4, 5)), rng.standard_normal(5), rng.standard_normal(20)
    expected = PooledCNN(U, alpha).predict(patches)
    np.testing.assert_allclose(stack.pool(np.maximum(stack.X @ U, 0) @ alpha), expected, atol=1e-12)
    np.testing.assert_allclose(
        np.maximum(stack.X @ U, 0).T @ stack.spread(nu),
        np.maximum(full @ U, 0).T @ np.tile(nu, len(patches)) / len(patches),
        atol=1e-12,
    )


def test_sum_pooling_is_mean_pooling_of_longer_patches() -> None:
    patches, y = random_patches(43, 3, 10, 3)
    total = train_pooled(patches, y, 0.5, pooling="sum", tol=1e-5)
    mean = train_pooled(3 * patches, y, 0.5, pooling="mean", tol=1e-5)
    assert total.objective == pytest.approx(mean.objective, rel=1e-5)
    with pytest.raises(ValueError, match="pooling must be"):
        train_pooled(patches, y, 0.5, pooling="max")  # type: ignore[arg-type]


@each_loss
def test_pooled_is_zero_from_beta_max_on(loss) -> None:
    patches, y = random_patches(45, 3, 12, 3, loss)
    top = pooled_beta_max(patches, y, loss)
    result = train_pooled(patches, y, top * (1 + 1e-9), loss=loss)
    assert result.status is Status.ZERO
    assert result.filters.shape == (3, 0)
    assert result.certificate.relative_gap < 1e-6
    below = train_pooled(patches, y, 0.9 * top, loss=loss)
    assert below.objective < get_loss(loss).value(np.zeros_like(y), y)
    patterns = pooled_patterns(patches, 10)
    fixed = train_pooled(patches, y, top * (1 + 1e-9), loss=loss, patterns=patterns)
    assert fixed.status is Status.ZERO
    assert fixed.certificate.kind == "patterns"


def test_pooled_newton_factor_is_the_derivative() -> None:
    patches, nu = random_patches(47, 3, 9, 4)
    stack = make_stack(check_patches(patches, nu, 0.1, "squared"), "mean")
    masks = Patterns.sample(stack.X, 8).masks
    V = np.zeros((16, 4))
    trial = CellPenalty.of_masks(stack, masks).trial
    assert len(trial(nu, V, 0.2, 0.7).factor()) > 0
    assert_newton_factor(lambda nu: trial(nu, V, 0.2, 0.7), nu, 0.7)


def test_pooled_runs_repeat_and_stop_at_a_time_limit() -> None:
    patches, y = random_patches(49, 4, 15, 4)
    first, second = (train_pooled(patches, y, 0.05, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.filters, second.filters)
    assert first.certificate.lower_bound == second.certificate.lower_bound
    seen: list[dict[str, float]] = []
    cut = train_pooled(patches, y, 0.05, tol=1e-12, max_time=1e-6, progress=seen.append)
    assert cut.status is Status.TIME_LIMIT
    assert seen == cut.history
    assert cut.certificate.lower_bound <= first.objective
    assert cut.objective == cut.network.objective(patches, y, 0.05)


def test_certify_pooled_finds_a_network_wanting() -> None:
    patches, y = random_patches(51, 3, 12, 3)
    best = train_pooled(patches, y, 0.1)
    worse = PooledCNN(1.2 * best.filters, best.outputs)
    certificate = certify_pooled(worse, patches, y, 0.1, nu=best.certificate.nu)
    assert certificate.kind == "estimated"
    assert certificate.lower_bound == pytest.approx(best.certificate.lower_bound, rel=1e-2)
    assert certificate.gap >= worse.objective(patches, y, 0.1) - best.objective > 0
    with pytest.raises(ValueError, match="The patches have 3 weights"):
        certify_pooled(PooledCNN(np.ones((2, 1)), np.ones(1)), patches, y, 0.1)


def test_patterns_of_another_matrix_are_refused() -> None:
    patches, y = random_patches(53, 3, 6, 3)
    with pytest.raises(ValueError, match="patterns must be of the 18×3 stack"):
        train_pooled(patches, y, 0.1, patterns=Patterns.sample(patches[0], 5))


# ---- documentation ------------------------------------------------------------------------------------


def test_the_example_of_the_module_is_true() -> None:
    results = doctest.testmod(convolution)
    assert results.attempted >= 5
    assert results.failed == 0
