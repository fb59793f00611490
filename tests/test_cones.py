"""The projection on a cone against its own optimality conditions and against non-negative least squares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from convexnn.cones import adjoint_blocks, prepare_rows, project_blocks, project_cone
from convexnn.patterns import Patterns

Case = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cells(draw: st.DrawFn, *, integer: bool) -> Case:
    """X (n×d), the mask of a full-dimensional cell of it, and a vector to project."""
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    if integer:
        X = draw(arrays(np.float64, (n, d), elements=st.integers(-2, 2).map(float)))
        g = draw(arrays(np.float64, d, elements=st.integers(-3, 3).map(float)))
    else:
        X, g = rng.standard_normal((n, d)), rng.standard_normal(d)
    mask = Patterns.from_generators(X, rng.standard_normal((d, 1))).masks[:, 0]
    return X, mask, g


def cone_matrix(X: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (2.0 * mask - 1.0)[:, None] * X


def assert_is_projection(X: np.ndarray, mask: np.ndarray, g: np.ndarray, u: np.ndarray) -> None:
    """Moreau: u ∈ K, g − u in the polar cone {−Aᵀλ : λ ≥ 0}, the two orthogonal."""
    A, scale = cone_matrix(X, mask), max(1.0, float(np.linalg.norm(g)))
    lengths = np.maximum(np.linalg.norm(X, axis=1), 1e-300)
    assert np.min(A @ u / lengths) >= -1e-9 * scale
    assert abs(float(u @ (g - u))) <= 1e-9 * scale**2
    assert nnls(A.T, u - g)[1] <= 1e-9 * scale


@given(cells(integer=False))
@settings(max_examples=100, deadline=None)
def test_moreau_identity(case: Case) -> None:
    X, mask, g = case
    assert_is_projection(X, mask, g, project_cone(X, mask, g))


@given(cells(integer=True))
@settings(max_examples=300, deadline=None)
def test_moreau_identity_with_ties(case: Case) -> None:
    X, mask, g = case
    assert_is_projection(X, mask, g, project_cone(X, mask, g))


@given(cells(integer=True))
@settings(max_examples=100, deadline=None)
def test_polar_part_is_the_other_projection(case: Case) -> None:
    """Π is idempotent, homogeneous, and Π(g − Π(g)) = 0."""
    X, mask, g = case
    u = project_cone(X, mask, g)
    np.testing.assert_allclose(project_cone(X, mask, u), u, atol=1e-9)
    np.testing.assert_allclose(project_cone(X, mask, g - u), 0.0, atol=1e-9)
    np.testing.assert_allclose(project_cone(X, mask, 3.0 * g), 3.0 * u, atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(40, 3), (200, 12), (15, 20)])
def test_against_least_squares(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, d))
    masks = Patterns.sample(X, 10, rng=1).masks
    for mask in masks.T:
        g = rng.standard_normal(d)
        A = cone_matrix(X, mask)
        lam, length = nnls(A.T, -g)
        u = project_cone(X, mask, g)
        np.testing.assert_allclose(u, g + A.T @ lam, atol=1e-9)
        assert np.linalg.norm(u) == pytest.approx(length, abs=1e-9)


def many_blocks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    X = np.c_[rng.standard_normal((60, 5)), np.ones(60)]
    masks = np.ascontiguousarray(Patterns.sample(X, 40).masks.T)
    return X, masks, rng.standard_normal((len(masks), 6))


def test_warm_start_equals_cold_start() -> None:
    """The tight rows of another vector, and those of the vector itself, lead to the same point."""
    X, masks, G = many_blocks()
    rows = prepare_rows(X)
    tight, count = np.zeros(G.shape, dtype=np.int64), np.zeros(len(G), dtype=np.int64)
    cold = project_blocks(rows, masks, G, tight=tight, count=count)
    assert count.any()
    again = project_blocks(rows, masks, G, tight=tight, count=count)
    np.testing.assert_allclose(again, cold, atol=1e-11)
    shifted = G + 0.3 * np.random.default_rng(2).standard_normal(G.shape)
    warm = project_blocks(rows, masks, shifted, tight=tight, count=count)
    fresh = project_blocks(rows, masks, shifted, tight=np.zeros_like(tight), count=np.zeros_like(count))
    np.testing.assert_allclose(warm, fresh, atol=1e-10)


def test_tight_rows_are_tight() -> None:
    X, masks, G = many_blocks()
    tight, count = np.zeros(G.shape, dtype=np.int64), np.zeros(len(G), dtype=np.int64)
    W = project_blocks(prepare_rows(X), masks, G, tight=tight, count=count)
    for b, w in enumerate(W):
        np.testing.assert_allclose(X[tight[b, : count[b]]] @ w, 0.0, atol=1e-10)


@pytest.mark.parametrize("threshold", [0.2, 0.7, 1.5])
def test_an_early_stop_bounds_the_norm_from_above(threshold: float) -> None:
    X, masks, G = many_blocks()
    rows, empty = prepare_rows(X), np.zeros(G.shape, dtype=np.int64)
    none = np.zeros(len(G), dtype=np.int64)
    exact = project_blocks(rows, masks, G, tight=empty.copy(), count=none.copy())
    stopped = project_blocks(rows, masks, G, tight=empty.copy(), count=none.copy(), threshold=threshold)
    norms, bounds = np.linalg.norm(exact, axis=1), np.linalg.norm(stopped, axis=1)
    assert (bounds >= norms - 1e-12).all()
    above = bounds > threshold
    np.testing.assert_allclose(stopped[above], exact[above], atol=1e-11)
    assert (norms[~above] <= threshold + 1e-12).all()


def test_no_cone_when_gated() -> None:
    X, masks, G = many_blocks()
    out = project_blocks(
        prepare_rows(X), masks, G, tight=np.zeros(G.shape, dtype=np.int64),
        count=np.zeros(len(G), dtype=np.int64), gated=True,
    )  # fmt: skip
    np.testing.assert_array_equal(out, G)


def test_adjoint_of_blocks() -> None:
    X, masks, shift = many_blocks()
    X[3] = 0.0
    rng = np.random.default_rng(5)
    signs, nu = rng.choice([-1.0, 1.0], len(masks)), rng.standard_normal(len(X))
    expected = np.stack([c + s * (X.T @ (m * nu)) for m, s, c in zip(masks, signs, shift, strict=True)])
    np.testing.assert_allclose(adjoint_blocks(prepare_rows(X), masks, signs, nu, shift), expected, atol=1e-12)


def test_a_zero_row_constrains_nothing() -> None:
    X = np.array([[1.0, 0.0], [0.0, 0.0]])
    g = np.array([1.0, -5.0])
    np.testing.assert_array_equal(project_cone(X, np.array([True, False]), g), g)
    np.testing.assert_allclose(project_cone(X, np.array([False, False]), g), [0.0, -5.0], atol=1e-15)
