"""Activation patterns: counts that are known, generators inside their cells, and neurons on kinks."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.data import five_points
from convexnn.network import Network
from convexnn.patterns import Patterns

properties = settings(deadline=None, derandomize=True, max_examples=80)

THREE_ROWS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
BRAID = np.array([np.eye(4)[i] - np.eye(4)[j] for i in range(4) for j in range(i + 1, 4)])


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def strictly_inside(X: np.ndarray, patterns: Patterns) -> bool:
    """Whether no row is 0 on a generator and each mask is the sign of its generator."""
    Z = X @ patterns.generators
    rows = X.any(axis=1)
    return bool((Z[rows] != 0).all() and (patterns.masks[rows] == (Z[rows] >= 0)).all())


# ---- counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "count"),
    [
        (five_points().X, 10),
        (THREE_ROWS, 6),
        (gaussian(5, 2), 10),
        (gaussian(5, 3), 22),
        (gaussian(10, 3, seed=2), 92),
        (BRAID, 24),
    ],
    ids=["five points", "three rows", "5x2", "5x3", "10x3", "braid"],
)
def test_many_samples_reach_the_known_number_of_cells(X: np.ndarray, count: int) -> None:
    assert len(Patterns.sample(X, 30_000)) == count


@properties
@given(n=st.integers(1, 8), d=st.integers(1, 4), seed=st.integers(0, 1000), count=st.integers(1, 300))
def test_samples_never_exceed_the_bound(n: int, d: int, seed: int, count: int) -> None:
    X = np.random.default_rng(seed).integers(-2, 3, (n, d)).astype(float)
    rows = int(X.any(axis=1).sum())
    bound = 2 * sum(comb(rows - 1, k) for k in range(np.linalg.matrix_rank(X))) if rows else 1
    assert len(Patterns.sample(X, count, rng=seed)) <= min(bound, count)


def test_the_all_zero_mask_is_kept_where_it_is_a_cell() -> None:
    masks = Patterns.sample(five_points().X, 1000).masks
    assert int((~masks.any(axis=0)).sum()) == 1


# ---- form of a pattern set ----------------------------------------------------------------------------


@pytest.mark.parametrize("directions", ["gaussian", "rows"])
@pytest.mark.parametrize("X", [gaussian(12, 3), five_points().X, BRAID, np.eye(4)])
def test_generators_lie_strictly_inside_their_cells(X: np.ndarray, directions: str) -> None:
    assert strictly_inside(X, Patterns.sample(X, 300, directions=directions))


@pytest.mark.parametrize("directions", ["gaussian", "rows"])
def test_no_mask_appears_twice(directions: str) -> None:
    masks = Patterns.sample(gaussian(12, 3), 2000, directions=directions).masks
    assert np.unique(masks, axis=1).shape == masks.shape


@pytest.mark.parametrize("directions", ["gaussian", "rows"])
def test_one_seed_gives_the_same_bits(directions: str) -> None:
    a, b = (Patterns.sample(gaussian(9, 3), 100, rng=7, directions=directions) for _ in range(2))
    assert np.array_equal(a.masks, b.masks)
    assert np.array_equal(a.generators, b.generators)


def test_seeds_differ() -> None:
    a, b = (Patterns.sample(gaussian(9, 3), 5, rng=seed) for seed in (0, 1))
    assert not np.array_equal(a.generators, b.generators)


def test_gaussian_draw_is_the_documented_one() -> None:
    X = gaussian(40, 5)
    G = np.random.default_rng(0).standard_normal((5, 20))
    patterns = Patterns.sample(X, 20)
    assert len(patterns) == 20
    assert np.array_equal(patterns.generators, G)


def test_order_is_that_of_first_appearance() -> None:
    G = np.array([[1.0, -1, 1, 0.5, -1], [0.3, 0.4, 0.2, -1, 0.4]])
    patterns = Patterns.from_generators(np.eye(2), G)
    assert np.array_equal(patterns.generators, G[:, [0, 1, 3]])


def test_a_longer_sample_begins_with_the_shorter() -> None:
    X, G = gaussian(10, 3), gaussian(3, 400, seed=4)
    short, long = Patterns.from_generators(X, G[:, :50]), Patterns.from_generators(X, G)
    assert np.array_equal(long.masks[:, : len(short)], short.masks)


def test_a_zero_row_is_false_everywhere() -> None:
    X = gaussian(6, 3)
    X[[0, 4]] = 0.0
    patterns = Patterns.sample(X, 200)
    assert not patterns.masks[[0, 4]].any()
    assert patterns.masks[[1, 2, 3, 5]].any(axis=1).all()


def test_zero_rows_add_no_cells() -> None:
    X = gaussian(5, 3)
    padded = np.vstack([X, np.zeros((4, 3))])
    assert len(Patterns.sample(padded, 20_000)) == 22


def test_a_zero_matrix_has_one_cell() -> None:
    patterns = Patterns.sample(np.zeros((3, 2)), 10)
    assert patterns.masks.tolist() == [[False]] * 3


def test_more_than_eight_rows_are_told_apart_by_the_last_one() -> None:
    X = np.ones((9, 1))
    X[8] = -1.0
    assert Patterns.from_generators(X, np.array([[1.0, -1.0]])).masks[8].tolist() == [False, True]


# ---- directions from rows -----------------------------------------------------------------------------


def test_rows_that_are_orthogonal_to_each_other_give_generators_off_their_kinks() -> None:
    X = np.eye(5)
    patterns = Patterns.sample(X, 400, directions="rows")
    assert strictly_inside(X, patterns)
    assert len(patterns) > 16


def test_row_directions_survive_zero_rows() -> None:
    X = np.vstack([np.zeros((3, 3)), gaussian(2, 3)])
    assert strictly_inside(X, Patterns.sample(X, 50, directions="rows"))


# ---- neurons and generators on kinks ------------------------------------------------------------------


@properties
@given(seed=st.integers(0, 10_000))
def test_the_closure_of_each_cell_contains_its_neuron_on_integer_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (7, 3)).astype(float)
    U = rng.integers(-2, 3, (3, 6)).astype(float)
    patterns, cell_of = Patterns.locate(X, U[:, U.any(axis=0)])
    inside = (2 * patterns.masks[:, cell_of] - 1) * (X @ U[:, U.any(axis=0)])
    assert inside.min(initial=0.0) >= 0.0
    assert strictly_inside(X, patterns)


def test_from_network_skips_zero_neurons() -> None:
    U = np.array([[1.0, 0.0, -1.0], [0.5, 0.0, 0.5]])
    assert len(Patterns.from_network(np.eye(2), Network(U, np.ones(3)))) == 2


def test_from_network_of_a_neuron_on_every_kink_is_one_cell_around_it() -> None:
    patterns = Patterns.from_network(BRAID, Network(np.ones((4, 1)), np.ones(1)))
    assert len(patterns) == 1
    assert strictly_inside(BRAID, patterns)
    np.testing.assert_allclose(patterns.generators, 1.0, atol=1e-5)


def test_the_cell_of_a_column_does_not_depend_on_the_other_columns() -> None:
    X = np.vstack([np.eye(3), -np.eye(3), np.ones((1, 3))])
    G = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1], [1, -1, 0], [0, 1, -1]]).T
    together, cell_of = Patterns.locate(X, G)
    for j in range(G.shape[1]):
        alone = Patterns.from_generators(X, G[:, j : j + 1])
        assert np.array_equal(alone.masks[:, 0], together.masks[:, cell_of[j]])


def test_a_moved_generator_does_not_cross_a_close_hyperplane() -> None:
    X = np.array([[0.0, 1.0], [1e-9, 1.0], [-1e-9, 1.0]])
    patterns = Patterns.from_generators(X, np.array([[1.0], [0.0]]))
    assert strictly_inside(X, patterns)
    assert patterns.masks[1:, 0].tolist() == [True, False]


def test_no_neurons_give_no_patterns() -> None:
    assert len(Patterns.from_network(np.eye(3), Network.zero(3))) == 0


# ---- errors -------------------------------------------------------------------------------------------


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1; it is 0"):
        Patterns.sample(np.eye(2), 0)


def test_an_unknown_kind_of_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="'gaussian' or 'rows'; it is 'columns'"):
        Patterns.sample(np.eye(2), 3, directions="columns")


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_generator_without_a_direction_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and non-zero"):
        Patterns.from_generators(np.eye(2), np.array([[1.0, bad], [1.0, bad]]))


@pytest.mark.parametrize("shape", [(3, 4), (2,)])
def test_generators_of_another_dimension_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="generators d×k"):
        Patterns.from_generators(np.eye(2), np.ones(shape))


def test_masks_and_generators_of_different_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="same P"):
        Patterns(np.ones((3, 2), dtype=bool), np.ones((2, 3)))
