"""Tables from files: what is read, and the sentence for everything that is not."""

import gzip
import importlib.util
import io
import re
import sys

import numpy as np
import pandas as pd
import pytest

from convexnn.data import read_table


@pytest.fixture
def write(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def refuses(path, *parts, **options):
    with pytest.raises(ValueError, match=re.escape(parts[0])) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert [part for part in parts if part not in message] == []
    assert path.name in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "separator"),
    [("t.csv", ","), ("t.csv.gz", ","), ("t.tsv", "\t"), ("t.tsv.gz", "\t"), ("T.CSV", ","), ("t.csv", ";")],
)
def test_formats(write, name, separator):
    path = write("a,b,c\n1,2.5,x\n-3,1e-3,y\n".replace(",", separator), name)
    frame = read_table(path, target="c")
    assert list(frame.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(frame[["a", "b"]].to_numpy(), [[1, 2.5], [-3, 1e-3]])
    assert frame["c"].tolist() == ["x", "y"]
    assert frame.index.tolist() == [2, 3]
    assert frame.index.name == "line"


def test_headerless(write):
    frame = read_table(write("1,2,3\n4,5,6\n"), header=False, target="y")
    assert list(frame.columns) == ["x0", "x1", "y"]
    assert frame["y"].tolist() == [3, 6]
    assert frame.index.tolist() == [1, 2]


def test_missing_cells(write):
    frame = read_table(write("a,b\n,x\nNA,?\nNaN,\n?,y\n1.5,nan\n"))
    assert frame["a"].isna().tolist() == [True, True, True, True, False]
    assert frame["b"].isna().tolist() == [False, True, True, False, True]


def test_quotes_newlines_blank_lines_bom_and_crlf(write):
    text = '\ufeff\r\n"a, 1", b\r\n1,"x\r\ny, ""z"""\r\n\r\n   \r\n2,"w"\r\n'
    frame = read_table(write(text))
    assert list(frame.columns) == ["a, 1", "b"]
    assert [cell.replace("\r", "") for cell in frame["b"]] == ['x\ny, "z"', "w"]
    assert frame.index.tolist() == [3, 7]


def test_numbers_keep_all_their_digits(write):
    values = np.random.default_rng(0).standard_normal(200) * 10.0 ** np.arange(-100, 100)
    frame = read_table(write("a\n" + "\n".join(map(repr, values.tolist())) + "\n"))
    np.testing.assert_allclose(frame["a"].to_numpy(), values, rtol=3e-16)


def test_huge_whole_numbers_are_numbers(write):
    frame = read_table(write("a,b\n123456789012345678901234567890,1\n2,2\n"))
    np.testing.assert_array_equal(frame["a"].to_numpy(), [123456789012345678901234567890.0, 2.0])


def test_text_columns_can_be_named(write):
    path = write("a,b\n1,1\n2,2\n3+,3\n")
    refuses(path, "line 4", "'a'", "'3+'", "text=['a']")
    frame = read_table(path, text=["a"])
    assert frame["a"].tolist() == ["1", "2", "3+"]
    refuses(path, "no column 'z'", text=["z"])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("a,b\n1,2\n3,x\n4,5\n", ("line 3", "column 'b'", "'x'")),
        ("a,b\n1,2\n\n3,4\nx,y\n7,8\n", ("line 5", "column 'a'", "'x'")),
        ("a,b\n1,2\n3,inf\n", ("line 3", "column 'b'", "inf")),
        ("a,b\n1,2\n3\n", ("line 3", "expected 2", "found 1")),
        ("a,b\n1,2\n3,4,5\n", ("line 3", "expected 2", "found 3")),
        ('a,b\n1,"x\ny"\n3\n', ("line 4", "expected 2", "found 1")),
        ("", ("is empty",)),
        ("\n  \n", ("is empty",)),
        ("a,b\n", ("no rows",)),
        ("a,b,a\n1,2,3\n", ("more than one column called 'a'",)),
        ("a,,c\n1,2,3\n", ("column 2 has no name",)),
        ("1.5,2,3\n4,5,6\n", ("line 1", "header=False")),
        ('a,b\n1,2\n3,"x\n', ("line 3", "quoting")),
        ('a,b\n1,"x"z\n', ("line 2", "quoting")),
        (b"a,b\n1,2\n3,\xff\n", ("line 3", "byte 3", "0xff", "UTF-8")),
        (b"a,\xe9\n1,2\n", ("line 1", "byte 3", "0xe9")),
    ],
)
def test_bad_text_files(write, content, parts):
    refuses(write(content), *parts)


def test_counted_column_names_are_no_reason_to_refuse(write):
    assert list(read_table(write("0,1,2\n4,5,6\n")).columns) == ["0", "1", "2"]


def test_missing_target(write):
    path = write("height,weight\n1,2\n")
    refuses(path, "no column 'wieght'", "height, weight", "Did you mean 'weight'?", target="wieght")
    with pytest.raises(ValueError, match=r"height, weight\.$"):
        read_table(path, target="zzzzz")


def test_missing_or_unknown_files(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path)
    refuses(write("a\n1\n", "table.xlsx"), ".parquet")
    refuses(write("a\n1\n", "table"), ".parquet")
    refuses(write("a\n1\n", "table.gz"), ".parquet")


def test_damaged_gzip(write, tmp_path):
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)
    for name, data in (
        ("cut.csv.gz", whole[:-9]),
        ("plain.csv.gz", b"a,b\n1,2\n"),
        ("flip.csv.gz", whole[:20] + bytes(len(whole) - 20)),
    ):
        (tmp_path / name).write_bytes(data)
        refuses(tmp_path / name, "gzip")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    table = pd.DataFrame({"a": [1.0, None], "b": ["1", "x"], "c": [True, False]})
    table.to_parquet(path)
    frame = read_table(path, target="b")
    assert frame["a"].isna().tolist() == [False, True]
    assert frame["b"].tolist() == ["1", "x"]
    assert frame.index.tolist() == [1, 2]
    refuses(path, "no column 'd'", target="d")
    table.iloc[:0].to_parquet(path)
    refuses(path, "no rows")
    pd.DataFrame({"a": [1.0, np.inf]}).to_parquet(path)
    refuses(path, "line 2", "column 'a'")
    path.write_bytes(b"not parquet")
    refuses(path, "Parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape("pip install 'convexnn[parquet]'")):
        read_table(path)


def test_standard_input(monkeypatch):
    def given(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    given(b"a;b\n1;x\n\n2;y\n")
    frame = read_table("-", target="b")
    assert frame.index.tolist() == [2, 4]
    assert frame["a"].tolist() == [1, 2]
    for content, words in ((b"", "standard input is empty"), (b"a,b\n1\n", "standard input, line 2")):
        given(content)
        with pytest.raises(ValueError, match=words):
            read_table("-")


@pytest.mark.parametrize("cells", [["$4321", "$12", "$7"], ["3 %", "12 %", "4 %"]])
def test_numbers_with_commas_or_signs_are_not_taken_as_categories(cells, write):
    """A column of money must not become one category a number, in silence."""
    file = write("a;b\n" + "".join(f"{cell};1\n" for cell in cells))
    with pytest.raises(ValueError, match="is a number with a comma or a sign; write such cells plainly"):
        read_table(file)
    assert list(read_table(file, text=["a"])["a"]) == cells


def test_decimal_commas_are_read_where_a_semicolon_separates(write):
    """One cell that can only be a decimal comma decides for the column of three decimals as well."""
    rows = [
        ("3,5", "1,234", "1", "x"),
        ("-0,25", "12,500", "2", "y"),
        ("", "100", "3", "x"),
        ("1e1", "7,125", "4", "z"),
    ]
    content = "a;b;c;d\n" + "".join(";".join(row) + "\n" for row in [*rows[:3], ("1,5e1", *rows[3][1:])])
    for name, text in (("t.csv", content), ("t.tsv", content.replace(";", "\t"))):
        frame = read_table(write(text, name), target="c")
        np.testing.assert_array_equal(frame["a"], [3.5, -0.25, np.nan, 15.0])
        np.testing.assert_array_equal(frame["b"], [1.234, 12.5, 100.0, 7.125])
        assert frame["c"].tolist() == [1, 2, 3, 4]
        assert frame.attrs["decimal_commas"] == ["a", "b"]
    assert read_table(write("a;b\n3,5;1,5\n2,5;2\n"), text=["a"])["a"].tolist() == ["3,5", "2,5"]
    known = read_table(write("a\t b\n1,234\t1\n", "t.tsv"), decimal_comma=True)
    assert known["a"].tolist() == [1.234]
    assert "decimal_commas" not in read_table(write("a;b\n1;x\n2;y\n")).attrs


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["1,234", "12,500", "7"], ("line 2", "'1,234'", "decimal comma or a thousands separator")),
        (["3,5", "1.234,5", "2,5"], ("line 3", "'1.234,5'", "has a thousands separator")),
        (["3,5", "1 234,5", "2,5"], ("line 3", "'1 234,5'", "has a thousands separator")),
        (["3,5", "many", "2,5"], ("line 3", "'many'", "no number with a decimal comma")),
        (["3,5", "1.5", "2,5"], ("line 3", "'1.5'", "no number with a decimal comma")),
    ],
)
def test_commas_that_may_be_something_else_are_refused(write, cells, parts):
    content = "a;b\n" + "".join(f"{cell};{k}\n" for k, cell in enumerate(cells))
    refuses(write(content), *parts, "column 'a'", "text=['a']")


def test_points_of_thousands_beside_decimal_commas_are_refused(write):
    refuses(write("a;b\n3,5;1.234\n2,5;2\n"), "line 2", "'b'", "'1.234'", "thousands separator")
    assert read_table(write("a;b\n3,5;1.25\n2,5;2\n"))["b"].tolist() == [1.25, 2.0]


def test_columns_can_be_left_out_whatever_they_hold(write):
    path = write("a,b,c\n1,2,x\n2,3,y\n3,oops,z\n4,5,z\n")
    refuses(path, "oops")
    assert list(read_table(path, drop=["b"])) == ["a", "c"]
    assert list(read_table(path, only=["c", "a", "nothing"])) == ["a", "c"]
    refuses(path, "no column 'bb'", drop=["bb"])
