"""Pictures, report and demonstration: what they show must be what the records say."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from convexnn import demo, demo_report, plots, report
from convexnn.cli import app
from convexnn.table_model import TableModel

HISTORY = [
    {"seconds": 0.1, "iteration": 0, "primal": 100.0, "bound": -np.inf, "neurons": 9},
    {"seconds": 0.2, "iteration": 1, "primal": 60.0, "bound": 45.0, "neurons": 7},
    {"seconds": 0.4, "iteration": 2, "primal": 50.0, "bound": 40.0, "neurons": 5},
]


def run_of(values: list[float]) -> list[dict[str, float]]:
    """A descent's history with one record every ten iterations."""
    return [
        {"iteration": 10.0 * k, "seconds": 0.1 * k, "primal": value, "test_accuracy": 1 - value / 200}
        for k, value in enumerate(values)
    ]


def labels(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def certificate(kind: str = "estimated") -> dict[str, Any]:
    return {
        "kind": kind,
        "primal": 50.0,
        "lower_bound": None if kind == "patterns" else 45.0,
        "relative_gap": 0.1,
        "starts": 2500,
    }


def problem(**changes: Any) -> dict[str, Any]:
    training = {
        "seconds": 1.5,
        "neurons": 5,
        "status": "done",
        "certificate": certificate(),
        "test_accuracy": 0.9,
        "history": HISTORY,
    }
    starts = [
        {"seed": k, "primal": end, "seconds": 2.0, "test_accuracy": 0.8, "history": run_of([200.0, end])}
        for k, end in enumerate((55.0, 50.01, 60.0))
    ]
    sampled = {"patterns": 10, "primal": 75.0, "seconds": 3.0, "status": "done", "cvxpy": "1.0"}
    made = {"beta": 3.0, "training": training, "descents": {"Adam": starts}, "sampled": sampled}
    return made | changes


# ----------------------------------------------------------------------------------------------- pictures


def test_median_is_pointwise_over_the_common_range() -> None:
    curves = [(np.array([0.0, 2.0]), np.array([0.0, 4.0])), (np.array([1.0, 3.0]), np.array([10.0, 10.0]))]
    x, y = plots.median_curve([*curves, (np.empty(0), np.empty(0))])
    np.testing.assert_array_equal(x, [1.0, 2.0])
    np.testing.assert_allclose(y, [(2 + 10) / 2, (4 + 10) / 2])


def test_gaps_are_best_objective_against_best_bound_so_far() -> None:
    x, gap = plots.relative_gaps(HISTORY)
    np.testing.assert_array_equal(x, [0.2, 0.4])
    np.testing.assert_allclose(gap, [1 - 45 / 60, 1 - 45 / 50])


def test_columns_leave_out_what_is_missing() -> None:
    x, y = plots.columns([{"a": 1, "b": 2}, {"a": 2, "b": None}, {"a": 3}, {"a": 4, "b": np.inf}], "a", "b")
    assert (x.tolist(), y.tolist()) == ([1.0], [2.0])


def test_objective_shows_optimum_and_bound_with_its_kind() -> None:
    runs = {"Adam": [run_of([200, 60]), run_of([180, 55]), run_of([150, 52])]}
    ax = plots.plot_objective(runs, optimum=50.0, bound=45.0, kind="estimated", marks={"sampled": 75.0})
    assert "estimated lower bound: 45" in labels(ax)
    assert "Adam: median of 3 starts" in labels(ax)
    at = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    np.testing.assert_array_equal(at["convex training: 50"], 50.0)
    np.testing.assert_array_equal(at["estimated lower bound: 45"], 45.0)
    np.testing.assert_array_equal(at["Adam: median of 3 starts"], [180.0, 55.0])
    assert len(ax.lines) == 3 + 1 + 3
    assert "iteration" in ax.get_xlabel()
    assert ax.get_yscale() == "log"


def test_no_bound_is_drawn_for_given_patterns() -> None:
    ax = plots.plot_training(HISTORY, primal=50.0, bound=45.0, kind="patterns")
    assert not [name for name in labels(ax) if "bound" in name]
    assert not ax.patches


def test_gap_names_the_kind_and_measures_descents_against_the_bound() -> None:
    ax = plots.plot_gap(
        {"training": HISTORY},
        kind="estimated",
        descents={"SGD": [run_of([90, 60])]},
        bound=45.0,
        final=(0.4, 0.125),
    )
    assert "certificate: estimated gap 0.12" in labels(ax)
    assert "estimated lower bound" in ax.get_ylabel().replace("\n", " ")
    at = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    np.testing.assert_allclose(at["SGD"], [0.5, 0.25])
    np.testing.assert_allclose(at["training"], [0.25, 0.1])


def test_accuracy_is_in_percent_with_the_end_of_the_training() -> None:
    ax = plots.plot_accuracy({"Adam": [run_of([100, 20])]}, finals={"convex": (1.5, 0.875)})
    at = {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in ax.lines}
    np.testing.assert_allclose(at["Adam"][1], [50.0, 90.0])
    assert (list(at["convex"][0]), list(at["convex"][1])) == ([1.5], [87.5])


def test_pictures_touch_no_global_state() -> None:
    program = (
        "import sys, convexnn.plots as p\n"
        "p.plot_training([], primal=1.0, bound=0.5, kind='exact').figure.savefig(sys.stdout.buffer)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------- report


def assert_self_contained(text: str) -> None:
    assert not re.search(r"https?://|<script|<link|@import|url\((?!#)", text)
    assert "<svg" in text or "data:image" in text
    for reference in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert reference.startswith(("#", "data:")), reference


def test_page_is_self_contained_and_fits_a_phone_and_the_dark() -> None:
    shown = [(plots.plot_training(HISTORY, primal=50.0, bound=45.0, kind="exact"), "caption")]
    text = report.page("title", [report.pictures(shown)], "foot")
    assert_self_contained(text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "currentColor" in text
    assert plots.INK not in text


def test_the_same_record_gives_the_same_page() -> None:
    def make() -> str:
        return report.svg(plots.plot_training(HISTORY, primal=50.0, bound=45.0, kind="exact"), "x")

    assert make() == make()


def test_text_is_escaped() -> None:
    evil = '<script>alert("x")</script>&'
    ax = plots.plot_training(HISTORY, primal=50.0, bound=45.0, kind="exact")
    blocks = [
        report.paragraph(evil),
        report.heading(evil),
        report.bullets([evil]),
        report.table([evil], [[evil]]),
        report.pictures([(ax, evil)]),
    ]
    text = report.page(evil, blocks, evil)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 10


@pytest.mark.parametrize("kind", ["exact", "bounded", "estimated", "patterns"])
def test_sentences_name_the_kind(kind: str) -> None:
    text = " ".join(report.certificate_sentences(certificate(kind), 1))
    assert "1 neuron;" in text
    assert "optimal" not in text
    assert ("not a proof" in text) == (kind == "estimated")
    assert ("proved" in text) == (kind in ("exact", "bounded"))
    assert ("45" in text) == (kind != "patterns")
    assert ("no lower bound" in text) == (kind == "patterns")
    rows = dict(report.certificate_rows(certificate(kind), 1234))
    assert rows["neurons"] == "1,234"
    assert "10 %" in rows.values() or kind == "patterns"


def test_scores_without_test_rows_have_dashes() -> None:
    rows = report.score_rows({"train": {"accuracy": 0.5, "larger_class": 0.625}, "test": {}})
    assert rows == [["accuracy", "50.0 %", "–"], ["larger class alone", "62.5 %", "–"]]


# -------------------------------------------------------------------------------------------------- demo


def test_sentences_of_the_demo_are_computed() -> None:
    text = " ".join(demo_report.sentences(problem()))
    assert "ended between 50.01 and 60" in text
    assert "0.02 % above to 20 % above the convex training; 1 of 3 came within 0.1 % of it" in text
    assert "has the value 75: 50 % above" in text
    assert "convex training 90.0 %; medians: Adam 80.0 %" in text
    assert demo_report.above(49.0, 50.0) == "2 % below"
    assert demo_report.above(175.0, 50.0) == "250 % above"


@pytest.mark.parametrize(
    ("mine", "others", "words"),
    [
        (0.9, (0.8, 0.7), "is the most accurate"),
        (0.75, (0.8, 0.7), "is not the most accurate"),
        (0.8, (0.8, 0.7), "No method is more accurate"),
        (0.8, (0.8, 0.8), "All are equally accurate"),
    ],
)
def test_verdict_on_accuracy_is_true(mine: float, others: tuple[float, float], words: str) -> None:
    start = problem()["descents"]["Adam"][0]
    descents = {str(k): [start | {"test_accuracy": value}] for k, value in enumerate(others)}
    training = problem()["training"] | {"test_accuracy": mine}
    assert words in demo_report.accuracy_sentence(problem(training=training, descents=descents))


def test_the_table_of_the_demo_measures_all_by_one_bound() -> None:
    rows = demo_report.comparison_rows({"problems": [problem()]})
    assert rows == [
        ["β = 3: convex training", "50", "10 %", "1.5", "90.0 %"],
        ["β = 3: Adam, best of 3", "50.01", "10 %", "2.0", "80.0 %"],
        ["β = 3: CVXPY, 10 patterns", "75", "40 %", "3.0", "–"],
    ]
    assert "0.02 % above the convex training." in demo_report.conclusion({"problems": [problem()]})
    starts = [problem()["descents"]["Adam"][0] | {"primal": 49.0}]
    below = demo_report.conclusion({"problems": [problem(descents={"Adam": starts})]})
    assert "2 % below the convex training, which is within its gap" in below


def test_demo_without_cvxpy_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    left_out = demo.sampled(np.eye(3), np.ones(3), 0.1, 0)
    made = problem(sampled=left_out)
    assert "CVXPY with Clarabel is not installed" in " ".join(demo_report.sentences(made))
    assert len(demo_report.pictures_of(made)) == len(demo.PICTURES)


def test_a_small_demo_writes_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    for name, value in (("STARTS", 2), ("STEPS", 40), ("RECORDS", 8), ("PATTERNS", 2), ("NEURONS", 8)):
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, "BETAS", (30.0, 20.0))
    monkeypatch.setattr(demo, "TOLS", {30.0: 1e-3, 20.0: 1e-3})
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == set(demo.files())
    assert result.stdout.count("convex training") >= 2
    assert "estimated gap" in result.stdout
    record = json.loads((out / "record.json").read_text())
    page = (out / "report.html").read_text()
    assert_self_contained(page)
    for part in record["problems"]:
        made = part["training"]["certificate"]
        assert made["primal"] >= made["lower_bound"] > 0
        assert report.number(made["primal"]) in page
        assert report.number(made["lower_bound"]) in page
        assert part["sampled"]["primal"] >= made["lower_bound"]
        for start in part["descents"]["SGD"]:
            assert start["primal"] >= made["lower_bound"]
    predicted = tmp_path / "p.csv"
    arguments = ["predict", str(out), str(out / "breast_cancer.csv"), "--out", str(predicted)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert len(predicted.read_text().splitlines()) == 570
    assert TableModel.load(out).beta == 30.0
    again = CliRunner().invoke(app, ["demo", "--out", str(out)])
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_a_gap_of_rounding_only_is_zero():
    assert report.gap_words(-2.8e-16) == "zero"
    assert report.gap_words(-0.1) == "-10 % of the objective"
