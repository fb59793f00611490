"""The study: verdicts and sizes by hand, the search against GridSearchCV, records and page."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.study import models, records, run, tables  # noqa: E402
from benchmarks.study.datasets import TABLES, Table  # noqa: E402


def rows(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3)) * [1.0, 10.0, 0.1]
    return X, X[:, 0] + np.abs(X[:, 1]) / 10 + 0.1 * rng.standard_normal(n)


def frame(errors: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    """Records of given errors: table → model → one error a split."""
    found = [
        {"data": data, "split": split, "model": model, "error": error, "kind": "regression", "n": 9, "d": 2}
        | {"cpu_seconds": 2.0 if model == models.OURS else 1.0, "seconds": 3.0, "parameters": 4, "load": 1.0}
        | {"finished": 8, "settings": 8, "cap": 30.0, "relative_gap": 1e-3, "machine": "m", "versions": "v"}
        for data, by_model in errors.items()
        for model, values in by_model.items()
        for split, error in enumerate(values)
    ]
    return pd.DataFrame(found)


def test_verdicts() -> None:
    others = {key: [0.5, 0.5, 0.5] for key in models.NAMES[1:]}
    records_ = frame(
        {
            "won": {models.OURS: [0.4, 0.3, 0.4], **others},
            "lost": {models.OURS: [0.6, 0.7, 0.6], **others},
            "noisy": {models.OURS: [0.1, 0.8, 0.6], **others},  # mean 0, standard error 0.21
            "single": {models.OURS: [0.1], **{key: [0.5] for key in models.NAMES[1:]}},
        }
    )
    assert tables.score(records_, "MLP") == (["won"], ["noisy"], ["lost"])
    assert tables.difference(records_, "won", "MLP") == pytest.approx(
        (-0.4 / 3, np.sqrt(1 / 300) / np.sqrt(3))
    )
    assert {data: what for data, (what, _) in tables.standings(records_).items()} == {
        "won": "best", "lost": "beaten", "noisy": "level", "single": "open",
    }  # fmt: skip
    assert tables.ratio(records_, "cpu_seconds", "MLP") == pytest.approx(2.0)
    page = tables.page(records_)
    assert "is number 1 of 5" in page
    assert "Better than every other method** by more than one standard error: won." in page
    assert "Beaten** by more than that: lost (MLP)" in page
    assert "Open, with one split: single." in page
    assert "nan" not in page
    longer = records_[(records_["data"] == "lost") & (records_["split"] == 0)].head(1)
    page = tables.page(pd.concat([records_, longer.assign(model=models.LONG, error=0.4, cap=120.0)]))
    assert "| lost | 0.600 (8; 2 s) | 0.400 (8; 2 s) | 0.500 (MLP) |" in page
    assert "has the mean rank 1.00 on them" in page
    some = records_[(records_["data"] != "won") | (records_["model"] != "SVM")]
    assert "won" not in set(tables.complete(some)["data"])  # a split counts once it has all methods


def test_numbers_in_a_model() -> None:
    X, y = rows()
    mlp = MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0)
    with pytest.warns(ConvergenceWarning):
        assert models.parameters(mlp.fit(X, y)) == 3 * 5 + 5 + 5 + 1
    stumps = HistGradientBoostingRegressor(max_iter=7, max_leaf_nodes=2).fit(X, y)
    assert models.parameters(stumps) == 7 * (2 + 2)
    assert models.parameters(make_pipeline(StandardScaler(), Ridge()).fit(X, y)) == 4
    svm = SVR().fit(X, y)
    assert models.parameters(svm) == 4 * len(svm.support_) + 1


def test_search_is_grid_search_and_the_cap_ends_it() -> None:
    X, y = rows()
    found = models.fit("linear", X, y, classes=False, cap=60.0)
    make, settings = models.METHODS["linear"](False, 3)
    oracle = GridSearchCV(
        make_pipeline(StandardScaler(), make()),
        {"ridge__alpha": [setting["alpha"] for setting in settings]},
        scoring="neg_mean_squared_error",
        cv=models.inner_folds(y, classes=False),
    ).fit(X, y)
    assert found.setting == f"alpha={oracle.best_params_['ridge__alpha']}"
    assert found.finished == models.SETTINGS
    np.testing.assert_allclose(found.model.predict(X), oracle.predict(X), rtol=1e-12)
    assert models.fit("linear", X, y, classes=False, cap=0.0).finished == 1
    counts = {len(make(classes, 3)[1]) for make in models.METHODS.values() for classes in (True, False)}
    assert counts == {models.SETTINGS}


def test_a_row_and_the_records(tmp_path: Path) -> None:
    X, y = rows()
    inside, outside = np.arange(60), np.arange(60, 80)
    table = Table(X, y, [(inside, outside)], classes=False)
    wild = Table(X, np.where(np.arange(80) < 60, y, y + 100), table.splits, classes=False)
    records.append(tmp_path, run.measure(table, ("some table", 0, models.OURS), 60.0))
    row, other = (run.measure(one, ("some table", 0, "linear"), 60.0) for one in (table, wild))
    assert row["setting"] == other["setting"]  # the test rows choose nothing
    assert other["error"] > 10 > row["error"] > 0
    records.append(tmp_path, row)
    path = tmp_path / "some_table.csv"
    with path.open("a") as file:
        file.write("some table,regression,60")  # cut off by a crash
    assert len(records.read(tmp_path)) == 2
    records.append(tmp_path, row)
    have = records.read(tmp_path)
    assert sorted(have["model"]) == [models.OURS, "linear"]
    found = have.set_index("model")
    assert found.loc["linear", "error"] == pytest.approx(row["error"])
    ours = found.loc[models.OURS]
    assert ours["error"] < row["error"]  # |x₁| takes a hidden layer
    assert ours["finished"] == models.SETTINGS
    assert ours["parameters"] == ours["neurons"] * (3 + 1 + 1)
    assert ours["relative_gap"] <= models.TOL


def test_jobs_go_split_by_split() -> None:
    wanted = run.jobs([], quick=False)
    assert len(wanted) == sum(count for _, count in TABLES.values()) * len(models.NAMES) == len(set(wanted))
    assert [split for _, split, _ in wanted] == sorted(split for _, split, _ in wanted)
    assert run.jobs(["yacht 1"], quick=False) == [("yacht", 1, name) for name in models.NAMES]


def test_only_the_part_between_the_markers_is_written(tmp_path: Path) -> None:
    whole = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(whole, encoding="utf-8")
    tables.write(page, "new")
    head, tail = whole.split(tables.BEGIN)[0], whole.split(tables.END)[1]
    assert page.read_text(encoding="utf-8") == f"{head}{tables.BEGIN}\n\nnew\n\n{tables.END}{tail}"
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="must hold the two lines"):
        tables.write(page, "new")
