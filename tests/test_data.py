"""Scaler, CIFAR-10, embedded sets, generators and splits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.data import (
    Scaler,
    five_points,
    load_breast_cancer,
    load_diabetes,
    make_gaussian,
    make_planted,
    make_spiral,
    read_cifar10,
    split_rows,
)

DATA = Path(os.environ.get("CONVEXNN_DATA", Path(__file__).parents[2] / "shared" / "data"))
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_import_is_light():
    code = (
        "import sys, convexnn.data; "
        "print([m for m in ('pandas', 'matplotlib', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------- Scaler


def test_scaler_gives_the_documented_breast_cancer_scaling():
    X = load_breast_cancer().X
    expected = np.column_stack([(X - X.mean(axis=0)) / X.std(axis=0), np.ones(569)]) / np.sqrt(31)
    np.testing.assert_allclose(Scaler.fit(X).transform(X), expected, rtol=0, atol=1e-13)


def test_scaler_uses_training_rows_only():
    X = make_gaussian(50, 3)[0]
    scaler = Scaler.fit(X[:30])
    np.testing.assert_allclose(scaler.transform(X[:30])[:, :3].mean(axis=0), 0, atol=1e-14)
    np.testing.assert_array_equal(scaler.transform(X)[:30], scaler.transform(X[:30]))
    assert np.abs(scaler.transform(X)[:, :3].mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e200, 1e-200])
def test_scaler_leaves_a_constant_column_at_zero(value):
    X = np.column_stack([np.full(7, value), np.arange(7.0)])
    scaler = Scaler.fit(X)
    assert scaler.scale[0] == 1
    assert np.abs(scaler.transform(X)[:, 0]).max() <= 1e-15 * abs(value)


@pytest.mark.parametrize("unit", [1e-250, 1e250])
def test_scaler_survives_extreme_units(unit):
    X = make_gaussian(20, 2)[0]
    np.testing.assert_allclose(
        Scaler.fit(unit * X).transform(unit * X), Scaler.fit(X).transform(X), atol=1e-12
    )


def test_scaler_round_trip_through_json():
    scaler = Scaler.fit(make_gaussian(9, 4, seed=3)[0])
    back = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    np.testing.assert_array_equal(back.mean, scaler.mean)
    np.testing.assert_array_equal(back.scale, scaler.scale)


@pytest.mark.parametrize(
    "data", [{}, {"mean": [1.0]}, {"mean": [1.0], "scale": [1.0, 2.0]}, {"mean": [0.0], "scale": [0.0]}]
)
def test_scaler_refuses_damaged_json(data):
    with pytest.raises(ValueError, match="scaler"):
        Scaler.from_json(data)


def test_scaler_refuses_bad_input():
    scaler = Scaler.fit(np.eye(3))
    with pytest.raises(ValueError, match="3 columns"):
        scaler.transform(np.eye(2))
    with pytest.raises(ValueError, match=r"X\[1, 0\] is nan"):
        Scaler.fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="at least one row"):
        Scaler.fit(np.zeros((0, 2)))


# --------------------------------------------------------------------------------------------- CIFAR-10


def write_batch(file, labels, seed=0):
    records = np.random.default_rng(seed).integers(0, 256, (len(labels), 3073), dtype=np.uint8)
    records[:, 0] = labels
    file.write_bytes(records.tobytes())
    return records


@pytest.fixture
def cifar(tmp_path):
    batches = {
        k: write_batch(tmp_path / f"data_batch_{k}.bin", np.arange(20) % 10, seed=k) for k in range(1, 6)
    }
    batches["test"] = write_batch(tmp_path / "test_batch.bin", [3, 3, 5, 3], seed=9)
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return tmp_path, batches


def test_cifar_values_and_labels(cifar):
    folder, batches = cifar
    images, labels = read_cifar10(folder, (7, 2), batches=(4,))
    chosen = batches[4][np.isin(batches[4][:, 0], (7, 2))]
    np.testing.assert_array_equal(images, chosen[:, 1:] / 255)
    np.testing.assert_array_equal(labels, np.where(chosen[:, 0] == 2, 1, -1))
    assert images.dtype == np.float64


def test_cifar_takes_names_and_all_batches(cifar):
    folder, _ = cifar
    by_name = read_cifar10(folder, ("horse", "bird"))
    by_number = read_cifar10(folder, (7, 2), batches=(1, 2, 3, 4, 5))
    np.testing.assert_array_equal(by_name[0], by_number[0])
    np.testing.assert_array_equal(by_name[1], by_number[1])
    assert len(by_name[1]) == 20


def test_cifar_test_split(cifar):
    folder, batches = cifar
    images, labels = read_cifar10(folder, ("cat", "dog"), split="test")
    np.testing.assert_array_equal(images, batches["test"][:, 1:] / 255)
    np.testing.assert_array_equal(labels, [-1, -1, 1, -1])


def test_cifar_reads_numbers_without_the_meta_file(cifar):
    folder, _ = cifar
    (folder / "batches.meta.txt").unlink()
    assert len(read_cifar10(folder, (0, 1), batches=[1])[1]) == 4
    with pytest.raises(FileNotFoundError, match=r"batches\.meta\.txt"):
        read_cifar10(folder, ("cat", "dog"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ("cat", "lion")}, "Unknown class 'lion'"),
        ({"classes": (0, 10)}, "0 to 9"),
        ({"classes": (3, "cat")}, "two different classes"),
        ({"classes": (1,)}, "two classes"),
        ({"classes": (0, 1), "split": "test"}, "no test image of class 0"),
        ({"batches": (1, 6)}, "from 1 to 5"),
        ({"batches": ()}, "from 1 to 5"),
        ({"batches": (1,), "split": "test"}, "training split"),
        ({"split": "both"}, "'train' or 'test'"),
    ],
)
def test_cifar_refuses_bad_arguments(cifar, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_cifar10(cifar[0], **arguments)


def test_cifar_refuses_damaged_files(cifar):
    folder, batches = cifar
    file = folder / "data_batch_2.bin"
    file.write_bytes(batches[2].tobytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_2\.bin is truncated"):
        read_cifar10(folder)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"data_batch_2\.bin is truncated"):
        read_cifar10(folder)
    write_batch(file, [1, 0, 77])
    with pytest.raises(ValueError, match="record 3 has label 77"):
        read_cifar10(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_2\.bin"):
        read_cifar10(folder, batches=(1, 2))
    assert len(read_cifar10(folder)[1]) == 16  # the four that are there
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_cifar10(folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin"):
        read_cifar10(folder / "empty")


@pytest.mark.skipif(not (DATA / "cifar10").is_dir(), reason="the CIFAR-10 files are not there")
def test_cifar_of_the_shared_folder():
    images, labels = read_cifar10(DATA / "cifar10", ("airplane", "automobile"), split="test")
    assert images.shape == (2000, 3072)
    assert labels.sum() == 0
    assert images.min() == 0
    assert images.max() == 1


# ----------------------------------------------------------------------------------- sets and generators


def test_breast_cancer_is_raw_with_signs():
    data = load_breast_cancer()
    assert data.X.shape == (569, 30)
    assert len(data.feature_names) == 30
    assert data.X[0, 0] == 17.99
    assert (data.y == 1).sum() == 357  # benign
    assert (data.y == -1).sum() == 212


def test_diabetes_is_raw():
    data = load_diabetes()
    assert data.X.shape == (442, 10)
    assert data.feature_names[0] == "age"
    assert data.X[0, 0] == 59
    assert (data.y.min(), data.y.max()) == (25, 346)


def test_five_points():
    data = five_points()
    np.testing.assert_array_equal(data.X, [[-2, 1], [-1, 1], [0, 1], [1, 1], [2, 1]])
    np.testing.assert_array_equal(data.y, [1, -1, 1, 1, -1])


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: make_gaussian(11, 3, seed=seed),
        lambda seed: make_planted(11, 3, 4, noise=0.1, seed=seed)[:2],
        lambda seed: make_spiral(11, noise=0.1, seed=seed),
    ],
)
def test_generators_obey_their_seed(make):
    first, again, other = make(5), make(5), make(6)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()
    assert first[0].shape[0] == first[1].shape[0] == 11


def test_planted_labels_are_those_of_the_network():
    X, y, network = make_planted(30, 4, 6, seed=1)
    np.testing.assert_array_equal(network.predict(X), y)
    assert network.n_neurons == 6
    noisy = make_planted(20_000, 4, 6, noise=0.5, seed=1)
    assert np.std(noisy[1] - noisy[2].predict(noisy[0])) == pytest.approx(0.5, rel=0.03)


def test_spiral_arms_mirror_each_other():
    X, y = make_spiral(2001, seed=2)
    assert y.sum() == 1
    radius = np.hypot(*X.T)
    angle = 3 * np.pi * radius
    np.testing.assert_allclose(
        X * y[:, None], radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    )
    assert radius.max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_gaussian(0, 1), "n must"),
        (lambda: make_planted(5, 2, 0), "neurons must"),
        (lambda: make_planted(5, 2, 2, noise=-1.0), "noise must"),
        (lambda: make_spiral(1), "at least 2"),
        (lambda: make_spiral(5, noise=float("nan")), "noise must"),
    ],
)
def test_generators_refuse_bad_sizes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -------------------------------------------------------------------------------------------------- splits


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.floats(0.001, 0.999), st.integers(0, 5))
def test_split_is_a_partition(n, fraction, seed):
    train, test = split_rows(n, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert len(test) == max(1, min(n - 1, round(n * fraction)))
    np.testing.assert_array_equal(split_rows(n, fraction, seed)[1], test)


def test_split_depends_on_the_seed():
    assert (split_rows(100, 0.2, 0)[1] != split_rows(100, 0.2, 1)[1]).any()


def test_stratified_split_keeps_the_shares():
    labels = np.repeat(["a", "b", "c"], [60, 39, 1])
    train, test = split_rows(100, 0.2, 0, stratify=labels)
    assert [int((labels[test] == k).sum()) for k in "abc"] == [12, 8, 0]
    assert set(labels[train]) == {"a", "b", "c"}
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(100))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0.5, 0), "at least 2 rows"),
        ((5, 0.0, 0), "between 0 and 1"),
        ((5, 1.0, 0), "between 0 and 1"),
        ((5, float("nan"), 0), "between 0 and 1"),
        ((5, 0.5, 0, [1, 2]), "shape"),
        ((3, 0.5, 0, [1, 2, 3]), "too few rows"),
    ],
)
def test_split_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_rows(*arguments)
