"""Networks: prediction, the maps to and from the convex program, and files."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from convexnn.losses import LOSSES, get_loss
from convexnn.network import Network, load_metadata
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram

properties = settings(deadline=None, derandomize=True, max_examples=60)
seeds = st.integers(0, 10**6)


def gaussian_problem(seed: int, m: int = 6) -> tuple[np.ndarray, np.ndarray, Network]:
    """X (9×3), targets ±1 and a network none of whose neurons is on a kink."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((9, 3)), rng.choice([-1.0, 1.0], 9)
    return X, y, Network(rng.standard_normal((3, m)), rng.standard_normal(m))


def integer_problem(seed: int, m: int = 9) -> tuple[np.ndarray, np.ndarray, Network]:
    """As above in small integers: ties, neurons on kinks, zero rows, zero and opposite neurons."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-2, 3, (8, 3)).astype(float), rng.choice([-1.0, 1.0], 8)
    return X, y, Network(rng.integers(-1, 2, (3, m)), rng.integers(-2, 3, m))


each_problem = pytest.mark.parametrize("make", [gaussian_problem, integer_problem])
each_loss = pytest.mark.parametrize("loss", LOSSES)


def objective_of_blocks(X, y, cells: Patterns, v: np.ndarray, w: np.ndarray, beta: float, loss: str) -> float:
    """L(Σ_i D_i X (v_i − w_i), y) + β Σ ‖v_i‖ + ‖w_i‖, from the explicit formula."""
    fit = np.sum(cells.masks * (X @ (v - w)), axis=1)
    return get_loss(loss).value(fit, y) + beta * float(
        np.linalg.norm(v, axis=0).sum() + np.linalg.norm(w, axis=0).sum()
    )


# ---- prediction and objective -------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [(), (3,)])
def test_predict_is_the_formula(outputs: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    X, U, alpha = rng.standard_normal((7, 3)), rng.standard_normal((3, 5)), rng.standard_normal((5, *outputs))
    expected = np.zeros((7, *outputs))
    for i in range(7):
        for j in range(5):
            expected[i] += max(0.0, float(X[i] @ U[:, j])) * alpha[j]
    np.testing.assert_allclose(Network(U, alpha).predict(X), expected, rtol=1e-13)


@pytest.mark.parametrize("outputs", [(), (2,)])
def test_predict_in_several_blocks_equals_the_plain_formula(outputs: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    m = 4_000_000  # two rows a block
    U, alpha, X = rng.standard_normal((1, m)), rng.standard_normal((m, *outputs)), rng.standard_normal((3, 1))
    plain = np.array([np.maximum(x * U[0], 0.0) @ alpha for x in X[:, 0]])
    np.testing.assert_allclose(Network(U, alpha).predict(X), plain, rtol=1e-10)


def test_predict_of_no_rows_and_of_no_neurons() -> None:
    assert Network(np.ones((2, 1)), np.ones(1)).predict(np.zeros((0, 2))).shape == (0,)
    assert np.array_equal(Network.zero(2, 3).predict(np.ones((4, 2))), np.zeros((4, 3)))


@each_loss
def test_objective_is_loss_plus_half_beta_times_squares(loss: str) -> None:
    X, y, net = gaussian_problem(0)
    squares = float(np.sum(net.U**2) + np.sum(net.alpha**2))
    expected = get_loss(loss).value(net.predict(X), y) + 0.5 * 0.7 * squares
    assert net.objective(X, y, 0.7, loss) == pytest.approx(expected, rel=1e-14)


def test_objective_of_several_outputs_squares_the_sum_of_output_weights() -> None:
    net = Network([[2.0]], [[1.0, -3.0]])
    assert net.objective([[0.0]], [[0.0, 0.0]], 1.0) == pytest.approx(0.5 * (4 + 16), rel=1e-15)


def test_n_neurons_counts_those_with_two_non_zero_weights() -> None:
    assert Network([[1.0, 0.0, 1.0]], [1.0, 1.0, 0.0]).n_neurons == 1


@pytest.mark.parametrize(
    ("U", "alpha", "message"),
    [
        ([[1.0, 2.0]], [1.0], "same m"),
        ([1.0], [1.0], "U must be d×m"),
        ([[np.nan]], [1.0], "finite"),
        ([[1.0]], [np.inf], "finite"),
    ],
)
def test_weights_that_make_no_network_are_refused(U, alpha, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(U, alpha)


@pytest.mark.parametrize("X", [np.ones((2, 3)), np.ones(2)])
def test_predict_refuses_other_features(X: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"X must be n×2 for this network"):
        Network(np.ones((2, 1)), np.ones(1)).predict(X)


def test_objective_refuses_another_number_of_outputs() -> None:
    with pytest.raises(ValueError, match=r"output has shape \(3,\), y has \(3, 1\)"):
        Network(np.ones((2, 1)), np.ones(1)).objective(np.ones((3, 2)), np.ones((3, 1)), 1.0)


def test_a_network_keeps_its_own_copy_of_the_weights() -> None:
    U = np.ones((1, 1))
    net = Network(U, np.ones(1))
    U[:] = 5.0
    assert net.U[0, 0] == 1.0


# ---- convex → network ---------------------------------------------------------------------------------


@each_loss
@properties
@given(seed=seeds, beta=st.floats(1e-3, 1e3))
def test_convex_to_network_keeps_the_objective(loss: str, seed: int, beta: float) -> None:
    rng = np.random.default_rng(seed)
    X, y, _ = gaussian_problem(seed)
    cells = Patterns.sample(X, 12, rng=seed)
    lengths = rng.exponential(size=(2, len(cells))) * rng.integers(0, 2, (2, len(cells)))
    v, w = cells.generators * lengths[0], cells.generators * lengths[1]
    net = Network.from_solution(SimpleNamespace(v=v, w=w))
    expected = ConvexProgram(X, y, cells, beta, loss).primal(v, w)
    assert net.objective(X, y, beta, loss) == pytest.approx(expected, rel=1e-12)


def test_the_network_of_zero_blocks_has_no_neurons() -> None:
    net = Network.from_solution(SimpleNamespace(v=np.zeros((3, 4)), w=np.zeros((3, 4))))
    assert net.U.shape == (3, 0)


# ---- network → convex ---------------------------------------------------------------------------------


@each_problem
@properties
@given(seed=seeds)
def test_network_to_convex_keeps_the_fit(make, seed: int) -> None:
    X, _, net = make(seed)
    cells, v, w = net.to_solution(X)
    fit = np.sum(cells.masks * (X @ (v - w)), axis=1)
    np.testing.assert_allclose(fit, net.predict(X), rtol=1e-12, atol=1e-12)


@each_problem
@each_loss
@properties
@given(seed=seeds, beta=st.floats(1e-3, 1e3))
def test_network_to_convex_never_raises_the_objective(make, loss: str, seed: int, beta: float) -> None:
    X, y, net = make(seed)
    convex = objective_of_blocks(X, y, *net.to_solution(X), beta, loss)
    assert convex <= net.objective(X, y, beta, loss) * (1 + 1e-12) + 1e-12


@each_problem
@properties
@given(seed=seeds)
def test_blocks_of_a_network_lie_in_their_cones(make, seed: int) -> None:
    X, _, net = make(seed)
    cells, v, w = net.to_solution(X)
    signs = 2 * cells.masks - 1
    assert min((signs * (X @ v)).min(initial=0), (signs * (X @ w)).min(initial=0)) >= -1e-11


@properties
@given(seed=seeds)
def test_one_balanced_neuron_a_cell_keeps_the_objective_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, y, _ = gaussian_problem(seed)
    cells = Patterns.sample(X, 8, rng=seed)
    net = Network(cells.generators, rng.choice([-1.0, 1.0], len(cells)) * rng.exponential(size=len(cells)))
    net = net.balanced()
    convex = objective_of_blocks(X, y, *net.to_solution(X), 0.3, "squared")
    assert convex == pytest.approx(net.objective(X, y, 0.3), rel=1e-12)


@properties
@given(seed=seeds, factor=st.floats(1.1, 10))
def test_an_unbalanced_neuron_makes_the_convex_objective_strictly_lower(seed: int, factor: float) -> None:
    X, y, net = gaussian_problem(seed, m=1)
    net = net.balanced()
    net = Network(net.U * factor, net.alpha / factor)
    convex = objective_of_blocks(X, y, *net.to_solution(X), 1.0, "squared")
    gap = 0.5 * (factor - 1 / factor) ** 2 * float(np.sum(net.alpha**2)) * factor**2
    assert net.objective(X, y, 1.0) - convex == pytest.approx(gap, rel=1e-9)


def test_several_neurons_on_kinks_find_their_cells() -> None:
    X = np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]])
    net = Network(np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [1, -1], [-1, 1]]).T, np.ones(7))
    cells, v, w = net.to_solution(X)
    np.testing.assert_allclose(np.sum(cells.masks * (X @ (v - w)), axis=1), net.predict(X), atol=1e-15)


def test_the_zero_network_has_no_blocks() -> None:
    cells, v, w = Network.zero(3).to_solution(np.eye(3))
    assert len(cells) == 0
    assert v.shape == w.shape == (3, 0)


# ---- balanced and merged ------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [(), (2,)])
@properties
@given(seed=seeds)
def test_balanced_is_the_same_function_with_equal_norms(outputs: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Network(
        rng.standard_normal((3, 5)) * rng.lognormal(size=5),
        rng.standard_normal((5, *outputs)) * rng.integers(0, 2, (5, *outputs)),
    )
    X, balanced = rng.standard_normal((9, 3)), net.balanced()
    np.testing.assert_allclose(balanced.predict(X), net.predict(X), rtol=1e-12, atol=1e-12)
    size = np.abs(balanced.alpha) if not outputs else np.abs(balanced.alpha).sum(axis=1)
    np.testing.assert_allclose(np.linalg.norm(balanced.U, axis=0), size, rtol=1e-12)
    assert balanced.penalty() <= net.penalty() * (1 + 1e-12)


@each_problem
@properties
@given(seed=seeds)
def test_merged_keeps_the_fit(make, seed: int) -> None:
    X, _, net = make(seed, m=30)
    np.testing.assert_allclose(net.merged(X).predict(X), net.predict(X), rtol=1e-11, atol=1e-11)


@each_problem
@properties
@given(seed=seeds, beta=st.floats(1e-3, 1e3))
def test_merged_never_raises_the_objective(make, seed: int, beta: float) -> None:
    X, y, net = make(seed, m=30)
    assert net.merged(X).objective(X, y, beta) <= net.objective(X, y, beta) * (1 + 1e-12)


@properties
@given(seed=seeds)
def test_merged_has_at_most_one_neuron_a_cell_and_sign(seed: int) -> None:
    X, _, net = gaussian_problem(seed, m=200)
    merged = net.merged(X)
    cells = sum(len(Patterns.from_network(X, Network(net.U[:, s], net.alpha[s]))) for s in
                (net.alpha > 0, net.alpha < 0))  # fmt: skip
    assert merged.n_neurons <= cells < net.n_neurons


def test_neurons_that_only_touch_at_a_kink_merge() -> None:
    net = Network(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones(2))
    assert net.merged(np.eye(2)).n_neurons == 1


def test_neurons_of_opposite_sign_do_not_merge() -> None:
    net = Network(np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([1.0, -1.0]))
    assert net.merged(np.eye(2)).n_neurons == 2


def test_neurons_that_cancel_leave_none() -> None:
    X = np.array([[1.0, 0.0], [2.0, 0.0]])
    net = Network(np.array([[0.0, 0.0], [1.0, -1.0]]), np.ones(2))  # off the row space
    assert net.merged(X).n_neurons == 0


def test_merged_of_the_zero_network_is_zero() -> None:
    assert Network.zero(3).merged(np.eye(3)).n_neurons == 0


def test_several_outputs_are_refused_where_one_is_meant() -> None:
    with pytest.raises(ValueError, match="to_solution is defined for one output; this network has 2"):
        Network(np.ones((2, 1)), np.ones((1, 2))).to_solution(np.eye(2))


@properties
@given(seeds)
def test_outputs_and_join_keep_the_fit_and_merged_treats_each_output_by_itself(seed: int) -> None:
    X, _, net = gaussian_problem(seed)
    net = Network(net.U, np.random.default_rng(seed).standard_normal((net.U.shape[1], 3)))
    parts = net.outputs()
    joined = Network.join(parts)
    assert joined.predict(X) == pytest.approx(net.predict(X), rel=1e-10, abs=1e-10)
    assert joined.penalty() == pytest.approx(sum(part.penalty() for part in parts))
    assert joined.penalty() <= net.penalty() * (1 + 1e-12)
    merged = net.merged(X)
    assert merged.predict(X) == pytest.approx(net.predict(X), rel=1e-10, abs=1e-10)
    assert merged.penalty() <= joined.penalty() * (1 + 1e-12)
    for part, column in zip(parts, merged.predict(X).T, strict=True):
        assert part.merged(X).predict(X) == pytest.approx(column, rel=1e-10, abs=1e-10)


# ---- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("m", [0, 4])
@pytest.mark.parametrize("name", ["net.safetensors", "folder"])
def test_a_saved_network_comes_back_bit_for_bit(tmp_path: Path, name: str, m: int, outputs) -> None:
    rng = np.random.default_rng(0)
    net = Network(rng.standard_normal((3, m)), rng.standard_normal((m,) if outputs is None else (m, outputs)))
    file = net.save(tmp_path / "new" / name)
    assert file.suffix == ".safetensors"
    for path in (file, tmp_path / "new" / name):
        again = Network.load(path)
        assert again.U.tobytes() == net.U.tobytes()
        assert again.alpha.tobytes() == net.alpha.tobytes()
        assert (again.U.shape, again.alpha.shape) == (net.U.shape, net.alpha.shape)


def test_metadata_come_back(tmp_path: Path) -> None:
    metadata = {"columns": ["größe", "β"], "beta": 0.1, "nested": {"a": [1, None, True]}}
    Network.zero(2).save(tmp_path, metadata)
    assert load_metadata(tmp_path) == metadata
    assert load_metadata(tmp_path / "model.safetensors") == metadata


def test_metadata_are_empty_by_default(tmp_path: Path) -> None:
    assert load_metadata(Network.zero(2).save(tmp_path)) == {}


def test_saving_again_replaces_the_file(tmp_path: Path) -> None:
    Network.zero(2).save(tmp_path)
    Network(np.ones((2, 1)), np.ones(1)).save(tmp_path)
    assert Network.load(tmp_path).n_neurons == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def refused(path: Path) -> str:
    """The one sentence with which `load` and `load_metadata` refuse a file."""
    with pytest.raises(ValueError, match=r"\.safetensors") as caught:
        Network.load(path)
    with pytest.raises(ValueError, match=r"\.safetensors"):
        load_metadata(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1, -20])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    file = Network(np.ones((3, 4)), np.ones(4)).save(tmp_path)
    file.write_bytes(file.read_bytes()[:keep])
    assert "damaged" in refused(file)


@pytest.mark.parametrize(
    "content", [b"garbage", b"\x00" * 100, b"\xff" * 100, b"\x80\x04pickle.", b"{}" * 50]
)
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert "damaged" in refused(file)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    file.write_bytes(save({"weight": np.ones(3)}))
    assert "is not a convexnn network" in refused(file)


GOOD = {"U": np.ones((2, 3)), "alpha": np.ones(3)}


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"U": GOOD["U"]}, "{}"),
        ({"U": GOOD["U"], "alpha": np.ones(4)}, "{}"),
        ({"U": np.full((2, 3), np.nan), "alpha": GOOD["alpha"]}, "{}"),
        (GOOD, None),
        (GOOD, "{"),
        (GOOD, "[1]"),
        (GOOD, '"text"'),
    ],
    ids=["no alpha", "other m", "nan", "no metadata", "broken JSON", "a list", "a string"],
)
def test_a_file_with_the_right_header_and_wrong_content_is_refused(tmp_path: Path, tensors, metadata) -> None:
    header = {"format": "convexnn-network-1"}
    if metadata is not None:
        header["metadata"] = metadata
    file = tmp_path / "model.safetensors"
    file.write_bytes(save(tensors, metadata=header))
    assert "damaged" in refused(file)


@pytest.mark.parametrize("name", ["none.safetensors", "no folder", "."])
def test_a_missing_model_is_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="There is no model at"):
        Network.load(tmp_path / name)


@pytest.mark.parametrize("failing", ["replace", "chmod"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    Network(np.ones((2, 1)), np.ones(1)).save(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="disk full"):
            Network.zero(2).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert Network.load(tmp_path).n_neurons == 1


def test_metadata_that_JSON_cannot_hold_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        Network.zero(2).save(tmp_path, {"X": np.ones(2)})
    assert list(tmp_path.iterdir()) == []


def test_the_header_of_a_saved_file_is_plain_json(tmp_path: Path) -> None:
    raw = Network.zero(2).save(tmp_path, {"a": 1}).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["metadata"]) == {"a": 1}
