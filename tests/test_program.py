"""The convex program: implicit products, values, bounds and validation."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import convexnn.program
from convexnn.cones import project_cone
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram
from problems import LOSS_NAMES, make_data, make_program, with_labels

KINDS = ["gaussian", "ties", "opposite", "zero_row", "rank_deficient", "wide", "tall"]


def explicit(program: ConvexProgram) -> np.ndarray:
    """[D_1X … D_PX], of shape (P, n, d)."""
    return program.patterns.masks.T[:, :, None] * program.X


def random_blocks(program: ConvexProgram, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two d×P arrays, some columns zero."""
    shape = program.patterns.generators.shape
    blocks = rng.standard_normal((2, *shape)) * (rng.random((2, 1, shape[1])) < 0.7)
    return blocks[0], blocks[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [None, 1])
def test_products_against_the_explicit_matrix(
    kind: str, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with one pattern at a time."""
    if block is not None:
        monkeypatch.setattr(convexnn.program, "_BLOCK", block)
    program, rng = make_program(kind, "squared", 0.1), np.random.default_rng(1)
    F = explicit(program)
    v, w = random_blocks(program, rng)
    r = rng.standard_normal(len(program.y))
    np.testing.assert_allclose(program.predict(v, w), np.einsum("pnd,dp->n", F, v - w), atol=1e-12)
    np.testing.assert_allclose(program.adjoint(r), np.einsum("pnd,n->dp", F, r), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
@settings(max_examples=50, deadline=None)
def test_adjoint_identity(seed: int, kind: str) -> None:
    """rᵀF(v, w) = ⟨Fᵀr, v − w⟩."""
    program, rng = make_program(kind, "squared", 0.1), np.random.default_rng(seed)
    v, w = random_blocks(program, rng)
    r = rng.standard_normal(len(program.y))
    assert r @ program.predict(v, w) == pytest.approx(np.sum(program.adjoint(r) * (v - w)), abs=1e-10)


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_primal_is_loss_plus_penalty(loss: str) -> None:
    program, rng = make_program("gaussian", loss, 0.1), np.random.default_rng(2)
    v, w = random_blocks(program, rng)
    fit = np.einsum("pnd,dp->n", explicit(program), v - w)
    size = sum(np.linalg.norm(u) for u in (*v.T, *w.T))
    expected = program.loss_function.value(fit, program.y) + program.beta * size
    assert program.primal(v, w) == pytest.approx(expected, rel=1e-12)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.sampled_from(LOSS_NAMES),
    st.floats(1e-3, 0.9),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_weak_duality(seed: int, kind: str, loss: str, fraction: float, gated: bool) -> None:
    """No ν gives a bound above the objective of a feasible point."""
    program, rng = make_program(kind, loss, fraction, count=4, gated=gated), np.random.default_rng(seed)
    v, w = (10.0 ** rng.uniform(-3, 0.5) * block for block in random_blocks(program, rng))
    if not gated:
        for block in (v, w):
            for j, mask in enumerate(program.patterns.masks.T):
                block[:, j] = project_cone(program.X, mask, block[:, j])
    scale = 10.0 ** rng.uniform(-2, 1)
    nu = scale * rng.standard_normal(len(program.y))
    if loss != "squared":
        nu = program.y * np.clip(np.abs(nu), 0.0, np.inf if loss == "squared_hinge" else 1.0)
    at_fit = -program.loss_function.gradient(program.predict(v, w), program.y)
    for candidate in (nu, at_fit):
        bound, scaled = program.dual(candidate)
        assert bound <= program.primal(v, w) * (1 + 1e-12)
        assert bound >= 0.0
        assert bound == pytest.approx(
            program.loss_function.dual_value(scaled, program.y), rel=1e-12, abs=1e-15
        )
        assert program.rho(scaled) <= program.beta * (1 + 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gated", [False, True])
def test_rho_against_least_squares(kind: str, gated: bool) -> None:
    program = make_program(kind, "squared", 0.1, gated=gated)
    nu = np.random.default_rng(4).standard_normal(len(program.y))
    norms = [0.0]
    for mask, g in zip(program.patterns.masks.T, program.adjoint(nu).T, strict=True):
        cone = ((2.0 * mask - 1.0)[:, None] * program.X).T
        norms += [np.linalg.norm(g)] if gated else [nnls(cone, -g)[1], nnls(cone, g)[1]]
    assert program.rho(nu) == pytest.approx(max(norms), rel=1e-9)
    assert program.rho(nu, threshold=10 * max(norms)) == 10 * max(norms)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("gated", [False, True])
def test_beta_max_is_where_zero_becomes_optimal(loss: str, gated: bool) -> None:
    program = make_program("gaussian", loss, 1.0, gated=gated)
    zero = np.zeros_like(program.patterns.generators)
    at_zero = program.primal(zero, zero)
    nu = -program.loss_function.gradient(np.zeros_like(program.y), program.y)
    assert program.zero_is_optimal()
    assert program.dual(nu)[0] == pytest.approx(at_zero, rel=1e-12)
    assert replace(program, beta=1.01 * program.beta).dual(nu)[0] == at_zero
    below = replace(program, beta=0.99 * program.beta)
    assert not below.zero_is_optimal()
    assert below.dual(nu)[0] < at_zero * (1 - 1e-6)
    assert below.beta_max == program.beta_max


def test_zero_is_found_optimal_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    program = make_program("gaussian", "squared", 1.0, count=20)
    monkeypatch.setattr(convexnn.program, "_FEW", 3)
    assert program.zero_is_optimal()
    assert not replace(program, beta=0.999 * program.beta).zero_is_optimal()


def test_violation_is_a_distance() -> None:
    program = make_program("zero_row", "squared", 0.1)
    inside = program.patterns.generators
    zero = np.zeros_like(inside)
    assert program.violation(inside, inside) == 0.0
    units = program.X / np.maximum(np.linalg.norm(program.X, axis=1), 1e-300)[:, None]
    for v, w in ((-inside, zero), (zero, -inside)):
        assert program.violation(v, w) == pytest.approx(np.abs(units @ inside).max(), rel=1e-12)
    assert replace(program, gated=True).violation(-inside, zero) == 0.0
    assert program.violation(zero, zero) == 0.0


def test_the_data_are_kept_as_float64() -> None:
    X, y = make_data("ties")
    patterns = Patterns.sample(X, 3)
    program = ConvexProgram(
        X.astype(np.float32), with_labels(y, "hinge").astype(np.int64), patterns, 1, "hinge"
    )
    assert program.X.dtype == program.y.dtype == np.float64
    assert isinstance(program.beta, float)


def test_a_program_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_program("ties", "squared", 0.1).beta = 2.0  # type: ignore[misc]


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf])
def test_beta_must_be_positive(beta: float) -> None:
    X, y = make_data("gaussian")
    with pytest.raises(ValueError, match="beta must be a positive finite number"):
        ConvexProgram(X, y, Patterns.sample(X, 3), beta)


def test_what_does_not_fit_is_refused() -> None:
    X, y = make_data("gaussian")
    patterns = Patterns.sample(X, 3)
    bad = X.copy()
    bad[2, 1] = np.nan
    empty = Patterns(patterns.masks[:, :0], patterns.generators[:, :0])
    refusals = [
        ((X, y[:-1], patterns, 1.0), "y must have one row for each of the 20 rows"),
        ((X, np.c_[y, y], patterns, 1.0), "one output"),
        ((X[:, 0], y, patterns, 1.0), "X must be a non-empty n×d matrix"),
        ((bad, y, patterns, 1.0), r"X\[2, 1\] is nan"),
        ((X[:, :2], y, patterns, 1.0), r"patterns are of a matrix 20×4; X is 20×2"),
        ((X[:-1], y[:-1], patterns, 1.0), r"patterns are of a matrix 20×4; X is 19×4"),
        ((X, y, empty, 1.0), "at least one pattern"),
        ((X, y, patterns, 1.0, "hinge"), "labels -1 and \\+1"),
        ((X, y, patterns, 1.0, "absolute"), "Unknown loss 'absolute'"),
    ]
    for arguments, message in refusals:
        with pytest.raises(ValueError, match=message):
            ConvexProgram(*arguments)
