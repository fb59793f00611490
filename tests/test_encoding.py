"""The table encoder: task, categories, missing cells, unknown values and the JSON round trip."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from convexnn.data import TableEncoder, read_table
from convexnn.table_model import Pipeline

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


def test_more_than_two_classes_are_numbered():
    encoder = TableEncoder.fit(FRAME.assign(label=[10, 9, 30, 9]), "label", task="classification")
    assert encoder.classes == ("9", "10", "30")
    np.testing.assert_array_equal(encoder.encode_target(FRAME.assign(label=[10, 9, 30, 9])), [1, 0, 2, 0])
    assert encoder.decode([[0.0, 1.0, -1.0], [3.0, 1.0, 2.0]]).tolist() == ["10", "9"]
    many = pd.DataFrame({"a": range(21), "t": [f"c{k}" for k in range(21)]})
    with pytest.raises(ValueError, match=r"21 classes .* 20 are the limit"):
        TableEncoder.fit(many, "t")


def test_task_can_be_forced():
    frame = FRAME[["size"]].assign(t=[0, 1, 1, 0])
    assert TableEncoder.fit(frame, "t", task="regression").task == "regression"
    assert TableEncoder.fit(FRAME, "price", task="classification").classes == ("1.5", "2.5", "3.5", "9")
    with pytest.raises(ValueError, match="holds text"):
        TableEncoder.fit(FRAME, "label", task="regression")
    with pytest.raises(ValueError, match="task must be"):
        TableEncoder.fit(FRAME, "label", task="ranking")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="label"), "no target column 'label'"),
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


# --------------------------------------------------------------------------------------- dates and text


DATES = ["2024-01-01", "2023-12-31", None, "2024-07-01"]


def dated(cells, **kinds):
    frame = pd.DataFrame({"day": cells, "t": np.arange(len(cells))})
    return TableEncoder.fit(frame, "t", kinds=kinds), frame


def test_dates_are_days_and_cycles():
    encoder, frame = dated(DATES)
    names = ("day:days", "day:sin_year", "day:cos_year", "day:sin_week", "day:cos_week")
    assert encoder.feature_names == names
    X = encoder.transform(frame)
    np.testing.assert_array_equal(X[:, 0], [1, 0, 1, 183])  # the missing one is at the median
    turn = 2 * np.pi * np.array([0, 364, 182]) / 365.25
    week = 2 * np.pi * np.array([0, 6, 0]) / 7  # Monday, Sunday, Monday
    expected = np.column_stack([np.sin(turn), np.cos(turn), np.sin(week), np.cos(week)])
    np.testing.assert_allclose(X[[0, 1, 3], 1:], expected, atol=1e-12)
    np.testing.assert_array_equal(X[2, 1:], 0)
    assert "ISO8601" in encoder.notes[0]
    assert "1 missing cell" in encoder.notes[0]


@pytest.mark.parametrize("form", ["%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%b %d, %Y", "%m/%d/%Y", "%d-%m-%Y"])
@pytest.mark.parametrize("time", ["", " %H:%M"])
def test_common_forms_of_dates_give_the_same_numbers(form, time):
    days = pd.to_datetime(["2024-01-31 06:30", "2020-11-02 18:00", "2021-05-13 00:10"])
    encoder, frame = dated(days.strftime(form + time).tolist())
    assert encoder.columns[0].form == form + time
    iso, plain = dated(days.strftime("%Y-%m-%dT%H:%M" if time else "%Y-%m-%d").tolist())
    typed, real = dated(days if time else days.floor("D"))
    np.testing.assert_allclose(encoder.transform(frame), iso.transform(plain), atol=1e-12)
    np.testing.assert_allclose(encoder.transform(frame), typed.transform(real), atol=1e-12)
    assert len(encoder.feature_names) == (7 if time else 5)
    new = pd.DataFrame({"day": ["1999-12-31", None]})
    assert np.isfinite(iso.transform(new)).all()  # a date before all others


def test_what_is_no_date_stays_a_category_or_is_refused():
    assert dated(["2024-01-01", "soon", "2024-01-02"])[0].columns[0].kind == "category"
    assert dated(["may", "june", "may"])[0].columns[0].kind == "category"
    assert dated(["01/02/2024", "01/02/2024"], day="category")[0].columns[0].kind == "category"
    assert dated(["01/01/2024", "02/02/2024"])[0].columns[0].kind == "date"  # both readings agree
    with pytest.raises(ValueError, match=r"%d/%m/%Y and %m/%d/%Y: say which"):
        dated(["01/02/2024", "03/04/2024"])
    with pytest.raises(ValueError, match="no known form"):
        dated(["spring 24", "autumn 24"], day="date")
    with pytest.raises(ValueError, match=r"row 1: '2024-01-02' is no date of the form %d\.%m\.%Y"):
        dated(["01.02.2024", "2024-01-02"], day="date:%d.%m.%Y")
    encoder, _ = dated(DATES)
    with pytest.raises(ValueError, match=r"row 0: '31\.12\.2024' is no date"):
        encoder.transform(pd.DataFrame({"day": ["31.12.2024"]}))


def test_text_is_the_tf_idf_of_its_most_telling_terms():
    words = ["red car", "a red bike, red!", None, "the car leaks", "bike", "sold"]
    frame = pd.DataFrame({"text": words, "t": np.arange(6)})
    encoder = TableEncoder.fit(frame, "t", kinds={"text": "text"})
    assert encoder.columns[0].terms == ("bike", "car", "red")  # the others are in one row only
    texts = [text or "" for text in words]
    reference = TfidfVectorizer(vocabulary=["bike", "car", "red"]).fit(texts)
    np.testing.assert_allclose(encoder.transform(frame), reference.transform(texts).toarray(), atol=1e-15)
    new = ["Red BIKE", "unheard of"]
    X = encoder.transform(pd.DataFrame({"text": new}))
    np.testing.assert_allclose(X, reference.transform(new).toarray(), atol=1e-15)
    assert not X[1].any()
    with pytest.raises(ValueError, match="no word that some rows share"):
        TableEncoder.fit(frame.assign(text=list("abcdef")), "t", kinds={"text": "text"})


def test_terms_are_limited_and_long_texts_need_no_telling():
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{k}" for k in rng.choice(300, 20)) for _ in range(80)]
    frame = pd.DataFrame({"text": texts, "t": np.arange(80)})
    encoder = TableEncoder.fit(frame, "t")
    assert encoder.columns[0].kind == "text"
    assert encoder.transform(frame).shape == (80, 100)
    np.testing.assert_allclose(np.linalg.norm(encoder.transform(frame), axis=1), 1.0)


def test_dates_and_text_survive_json():
    frame = pd.DataFrame({"d": DATES, "x": ["a red", "red b", None, "blue b"], "t": [1.0, 2, 3, 4]})
    encoder = TableEncoder.fit(frame, "t", kinds={"x": "text"})
    again = TableEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))
    assert TableEncoder.fit(frame, "t", kinds=encoder.kinds) == encoder
    with pytest.raises(ValueError, match="a kind is number"):
        TableEncoder.fit(frame, "t", kinds={"x": "colour"})


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_a_target_whose_squares_leave_float64_is_refused(unit):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [unit, 2 * unit, 4 * unit]})
    with pytest.raises(ValueError, match=r"Target 'y' goes from .* to .*another unit"):
        Pipeline.fit(frame, "y", "regression")


@pytest.mark.parametrize("gone", ["null", "NULL", "n/a", "#N/A"])
def test_what_other_tools_write_for_missing_is_missing(tmp_path, gone):
    path = tmp_path / "t.csv"
    path.write_text(f"x,c\n1,red\n{gone},{gone}\n3,red\n4,blue\n")
    assert read_table(path).isna().sum().tolist() == [1, 1]
