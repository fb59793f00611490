"""The table encoder: task, categories, missing cells, unknown values and the JSON round trip."""

import json

import numpy as np
import pandas as pd
import pytest

from convexnn.data import TableEncoder, read_table

FRAME = pd.DataFrame(
    {
        "size": [1.0, 2.0, None, 7.0],
        "colour": ["red", None, "blue", "red"],
        "flag": [True, False, True, True],
        "constant": [5, 5, 5, 5],
        "price": [1.5, 2.5, 3.5, 9.0],
        "label": ["yes", "no", "no", "yes"],
    }
)


def test_transform():
    encoder = TableEncoder.fit(FRAME.drop(columns="label"), "price")
    assert encoder.feature_names == (
        "size", "colour=blue", "colour=red", "flag=False", "flag=True", "constant",
    )  # fmt: skip
    np.testing.assert_array_equal(
        encoder.transform(FRAME),
        [[1, 0, 1, 0, 1, 5], [2, 0, 0, 1, 0, 5], [2, 1, 0, 0, 1, 5], [7, 0, 1, 0, 1, 5]],
    )
    assert encoder.transform(FRAME).dtype == np.float64


def test_notes_say_what_was_filled():
    notes = TableEncoder.fit(FRAME, "price").notes
    assert len(notes) == 2
    assert "'size': 1 missing cell filled with 2, the median" in notes[0]
    assert "'colour'" in notes[1]
    assert "zero" in notes[1]


def test_regression_target_is_untouched():
    encoder = TableEncoder.fit(FRAME, "price")
    assert encoder.task == "regression"
    np.testing.assert_array_equal(encoder.encode_target(FRAME), [1.5, 2.5, 3.5, 9.0])
    np.testing.assert_array_equal(encoder.decode([0.5, -2.0]), [0.5, -2.0])


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (["yes", "no", "no", "yes"], ("no", "yes")),
        ([10, 9, 9, 10], ("9", "10")),
        ([1.0, -1.0, -1.0, 1.0], ("-1", "1")),
        ([True, False, False, True], ("False", "True")),
        ([0.5, 0.25, 0.25, 0.5], ("0.25", "0.5")),
    ],
)
def test_two_values_make_a_classification(target, classes):
    frame = FRAME[["size"]].assign(t=target)
    encoder = TableEncoder.fit(frame, "t")
    assert encoder.task == "classification"
    assert encoder.classes == classes
    np.testing.assert_array_equal(encoder.encode_target(frame), [1, -1, -1, 1])
    assert encoder.decode([2.0, -1.0, 0.0]).tolist() == [classes[1], classes[0], classes[0]]


def test_task_can_be_forced():
    frame = FRAME[["size"]].assign(t=[0, 1, 1, 0])
    assert TableEncoder.fit(frame, "t", task="regression").task == "regression"
    with pytest.raises(ValueError, match="4 classes"):
        TableEncoder.fit(FRAME, "price", task="classification")
    with pytest.raises(ValueError, match="holds text"):
        TableEncoder.fit(FRAME, "label", task="regression")
    with pytest.raises(ValueError, match="task must be"):
        TableEncoder.fit(FRAME, "label", task="ranking")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="label"), "no target column 'label'"),
        (FRAME.assign(label=["a", "b", "c", "a"]), r"3 classes \(a, b, c\); more than two are not supported"),
        (FRAME.assign(label="a"), "one value only"),
        (FRAME.assign(label=[1, None, 2, 1]), "row 1: the value is missing"),
        (FRAME.assign(size=np.nan), "'size' has no value in any row"),
        (FRAME.assign(size=[1, np.inf, 2, 3]), "'size', row 1: 'inf'"),
        (FRAME[["label"]], "no column besides"),
        (FRAME.iloc[:0], "no rows"),
    ],
)
def test_fit_refuses(frame, message):
    with pytest.raises(ValueError, match=message):
        TableEncoder.fit(frame, "label")


def test_category_limit():
    def table(count):
        return pd.DataFrame({"c": [f"v{k}" for k in range(count)], "t": np.arange(count) % 2})

    assert TableEncoder.fit(table(50), "t").transform(table(50)).shape == (50, 50)
    with pytest.raises(ValueError, match="'c' holds 51 different texts, and 50 are the limit"):
        TableEncoder.fit(table(51), "t")


def test_new_rows():
    encoder = TableEncoder.fit(FRAME, "label")
    new = FRAME.drop(columns="label").iloc[:2].assign(colour=["green", "blue"], size=[None, 3.0], extra="?")
    X = encoder.transform(new)
    names = encoder.feature_names
    assert X[0, names.index("size")] == 2
    assert X[0, [k for k, name in enumerate(names) if name.startswith("colour")]].tolist() == [0, 0]
    assert X[1, names.index("colour=blue")] == 1
    with pytest.raises(ValueError, match="no column 'colour'"):
        encoder.transform(new.drop(columns="colour"))
    with pytest.raises(ValueError, match="'size', row 1: 'big'"):
        encoder.transform(new.assign(size=[1, "big"]))
    with pytest.raises(ValueError, match="row 1: 'maybe' is neither class, 'no' nor 'yes'"):
        encoder.encode_target(FRAME.assign(label=["yes", "maybe", "no", "no"]))


def test_numbers_among_the_categories_match_however_they_are_read():
    encoder = TableEncoder.fit(pd.DataFrame({"c": ["1", "2", "x"], "t": [0, 1, 1]}), "t")
    expected = [[1, 0, 0], [0, 1, 0]]
    for cells in ([1, 2], [1.0, 2.0], ["1", "2"]):
        np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"c": cells})), expected)


def test_lines_of_a_file_are_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,t\n1,x\n\n2,\n3,y\n")
    with pytest.raises(ValueError, match="'t', line 4: the value is missing"):
        TableEncoder.fit(read_table(path), "t")


@pytest.mark.parametrize("target", ["price", "label"])
def test_json_round_trip(target):
    encoder = TableEncoder.fit(FRAME, target)
    assert TableEncoder.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder


@pytest.mark.parametrize("data", [{}, {"target": "t"}, {"columns": [{"name": "a"}]}, {"columns": 3}])
def test_damaged_json(data):
    with pytest.raises(ValueError, match="not the data of a table encoder"):
        TableEncoder.from_json(data)
