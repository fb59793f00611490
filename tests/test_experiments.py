"""The studies: records, pictures from records alone, resuming, sentences, faults."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner, Result

from convexnn import experiments
from convexnn.cli import app
from convexnn.experiments import STUDIES, pages, records, runner, solvers, study
from convexnn.experiments.words import over

#: Settings that take a second or two each.
TINY: dict[str, dict[str, Any]] = {
    "small-n": {"betas": [0.1], "starts": 3, "steps": 300, "records": 10, "rates": [3e-3], "tuning": 1},
    "larger-m": {"widths": [5, 15], "starts": 2, "steps": 200, "records": 5, "rates": [1e-3], "tuning": 1},
    "larger-n": {
        "sizes": [20, 40], "inputs": [2], "widths": [5], "starts": 2, "steps": 50, "records": 5,
        "rates": [1e-3], "tuning": 1, "tol": 0.1, "max_time": 0.3, "programs": [[20, 2]], "patterns": [5, 10],
    },
    "conv": {"images": 12, "starts": 2, "steps": 10, "adam_steps": 20, "max_time": 0.5, "tol": 0.5},
    "duality": {
        "widths": [1, 4], "starts": 2, "steps": 100, "columns": 1, "share": 0.3, "tol": 1e-2, "max_time": 1.0,
        "budgets": [0.2],
    },
    "solvers": {"n": 20, "d": 3, "patterns": 12},
    "optimal-set": {"samples": 10, "starts": 2, "copies": 2},
    "sparsity": {
        "shares": [0.9, 0.5], "linear_shares": [0.9, 0.1], "tol": 0.1, "max_time": 0.3, "widths": [2, 5],
        "starts": 1, "steps": 50, "share": 0.5, "images": 12,
    },
    "cifar10": {
        "rows": 24, "test_rows": 10, "betas": [3.0], "neurons": 4, "epochs": 2, "batch": 8, "starts": 2,
        "records": 2, "rates": {"SGD": [1e-3], "Adam": [3e-3]}, "principal": 20, "patterns": 4,
        "program_time": 0.5, "max_time": 0.5, "losses": ["hinge"], "loss_time": 0.5, "cnn_rows": 10,
        "cnn_time": 0.3, "kernel": 16,
    },
}  # fmt: skip


def cifar_folder(folder: Path, classes: tuple[int, ...] = (0, 1)) -> Path:
    """A folder of the official binary layout: 30 images a batch, the brighter ones of class 1."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        labels = np.resize(classes, 30).astype(np.uint8)
        pixels = rng.integers(0, 200, size=(30, 3072)) + 40 * labels[:, None]
        (folder / name).write_bytes(np.hstack([labels[:, None], pixels.astype(np.uint8)]).tobytes())
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all studies with tiny settings, and its report."""
    folder = tmp_path_factory.mktemp("studies")
    patch = pytest.MonkeyPatch()
    for name, settings in TINY.items():
        module = study(name)
        patch.setattr(module, "QUICK", module.QUICK | settings)
    data = cifar_folder(folder / "data")
    runner.reproduce("all", folder, quick=True, data=str(data), tell=lambda line: None)
    yield folder
    patch.undo()


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["reproduce", *map(str, arguments)])


def load(out: Path, name: str) -> tuple[dict[str, Any], records.Tables]:
    return records.load(out / name, study(name).COLUMNS)


def numbers_in(tables: records.Tables) -> set[float]:
    cells = (cell for rows in tables.values() for row in rows for cell in row.values())
    return {float(cell) for cell in cells if isinstance(cell, int | float)}


def test_every_study_of_the_command_has_a_module_and_settings() -> None:
    assert set(STUDIES) == set(TINY)
    for name in STUDIES:
        module = study(name)
        assert set(module.QUICK) == set(module.FULL), name
        assert set(TINY[name]) <= set(module.QUICK), name
    assert experiments.__doc__


@pytest.mark.parametrize("name", list(STUDIES))
def test_records_have_the_columns_of_the_study(out: Path, name: str) -> None:
    meta, tables = load(out, name)
    columns = study(name).COLUMNS
    assert set(tables) == set(columns)
    for table, rows in tables.items():
        assert set(rows[0]) == {"part", *columns[table]}
        assert {row["part"] for row in rows} <= set(meta["done"])
    assert meta["versions"]["numpy"] == np.__version__
    assert meta["machine"]["cores"] >= 1
    assert meta["machine"]["processor"]
    assert meta["settings"]["seed"] == 0


@pytest.mark.parametrize("name", list(STUDIES))
def test_pictures_and_sentences_come_from_records_on_disk(out: Path, name: str) -> None:
    module, (_, tables) = study(name), load(out, name)
    figures, said = module.pictures(tables), module.sentences(tables)
    assert set(figures) == set(said)
    for picture, figure in figures.items():
        assert isinstance(figure, Figure)
        assert (out / name / f"{picture}.png").stat().st_size > 5000
        assert len(said[picture]) == 2
        assert all(sentence.endswith(".") for sentence in said[picture]), said[picture]
    assert module.lines(tables)
    assert all(isinstance(text, str) and text for text in module.answer(tables))


def test_a_sentence_follows_the_records(out: Path) -> None:
    module, (_, tables) = study("small-n"), load(out, "small-n")
    reference = next(r for r in tables["optimum"] if r["route"] == "global training")["objective"]
    above = sum(row["primal"] > reference * 1.001 for row in tables["ends"])
    sentence = module.sentences(tables)["objective_beta_0.1"][0]
    assert f"{above} of 3 starts" in sentence
    assert f"{reference:.7g}" in sentence
    for row in tables["ends"]:
        row["primal"] = reference
    assert "0 of 3 starts" in module.sentences(tables)["objective_beta_0.1"][0]


@pytest.mark.parametrize("name", ["optimal-set", "small-n", "larger-m", "larger-n", "conv"])
def test_numbers_of_sentences_are_in_the_records(out: Path, name: str) -> None:
    """Every number of six digits or more in a sentence is a cell of the tables; percentages are derived."""
    module, (_, tables) = study(name), load(out, name)
    known = {f"{value:.{digits}g}" for value in numbers_in(tables) for digits in (6, 7, 9)}
    said = " ".join(sentence for pair in module.sentences(tables).values() for sentence in pair)
    numbers = re.findall(r"(?<![\d.])\d+\.\d+(?![\d.e]| %)", said)
    long = [text for text in numbers if len(text.replace(".", "").lstrip("0")) >= 6]
    assert long
    assert set(long) <= known


def test_the_three_routes_print_the_known_optimum(out: Path) -> None:
    module, (_, tables) = study("small-n"), load(out, "small-n")
    lines = module.lines(tables)
    assert sum("0.8914472" in line for line in lines[:3]) == 3
    assert "starts of SGD with m = 5 end" in lines[3]
    exact = next(r for r in tables["optimum"] if r["route"] == "global training")
    assert exact["kind"] == "exact"


def test_equal_minima_are_one_cluster(out: Path) -> None:
    _, tables = load(out, "small-n")
    assert sum(row["starts"] for row in tables["minima"]) == 3
    objectives = [row["objective"] for row in tables["minima"]]
    assert objectives == sorted(objectives)
    assert all(row["objective"] >= 0.8914472 for row in tables["minima"])


def test_solvers_name_the_loose_run(out: Path) -> None:
    _, tables = load(out, "solvers")
    for verdict in tables["verdicts"][:2]:
        assert verdict["solver"] == "SCS, loose"
        assert verdict["residual"] in solvers.RESIDUALS
        assert verdict["residual"] in verdict["sentence"]
        assert "Trust own (SSNAL), " in verdict["sentence"]
    osqp = [row["state"] for row in tables["runs"] if row["solver"] == "OSQP"]
    assert osqp[0].startswith("does not apply")
    assert osqp[2] == "solved"


def test_agreeing_solvers_are_not_blamed() -> None:
    row = {"state": "solved", "objective": 1.0, "excess": 0.0, "solver": "a"}
    row |= dict.fromkeys(solvers.RESIDUALS, 1e-9)
    verdict = solvers._verdict("p", [row, {**row, "solver": "b"}], 1.0, 1e-4)
    assert verdict["solver"] == "none"
    wrong = solvers._verdict(
        "p", [row, {**row, "solver": "b", "feasibility": 0.1, "objective": 0.9}], 1.0, 1e-4
    )
    assert (wrong["solver"], wrong["residual"]) == ("b", "feasibility")


def test_the_optimal_network_of_the_program_has_its_value(out: Path) -> None:
    _, tables = load(out, "duality")
    best = tables["optimum"][0]
    assert best["primal"] == pytest.approx(best["dual"], rel=1e-8)
    assert best["narrowest"] == pytest.approx(best["primal"], rel=1e-8)
    assert {row["kind"] for row in tables["certificates"]} >= {"estimated", "patterns"}


def test_the_report_is_one_file_that_fetches_nothing(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("<svg") == sum(1 for _ in out.glob("*/*.png"))
    sections = [page.index(study(name).QUESTION.split(":")[0], page.index("</table>")) for name in STUDIES]
    assert sections == sorted(sections)
    assert "convexnn reproduce small-n --quick" in page
    assert "prefers-color-scheme: dark" in page


def test_resume_skips_finished_parts_and_remakes_pictures(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = study("small-n")

    def refuse(*arguments: Any) -> records.Tables:
        raise AssertionError("a finished part was run again")

    monkeypatch.setattr(module, "_starts", refuse)
    monkeypatch.setattr(module, "_optimum", refuse)
    picture = out / "small-n" / "objective_beta_0.1.png"
    before = picture.read_bytes()
    picture.unlink()
    result = invoke("small-n", "--out", out, "--resume")
    assert result.exit_code == 0, result.output
    assert picture.read_bytes() == before
    assert "0.8914472" in result.output


def test_resume_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = study("solvers")
    monkeypatch.setattr(module, "QUICK", module.QUICK | TINY["solvers"])
    original, ran = module._all_runs, []

    def interrupted(name: str, d: int, settings: Any) -> records.Tables:
        ran.append(name)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return original(name, d, settings)

    monkeypatch.setattr(module, "_all_runs", interrupted)
    first = invoke("solvers", "--out", tmp_path, "--quick")
    assert first.exit_code == 130
    assert "--resume" in first.stderr
    meta, tables = load(tmp_path, "solvers")
    assert list(meta["done"]) == ["ReLU"]
    with (tmp_path / "solvers" / "runs.csv").open("a", encoding="utf-8") as file:
        file.write("gated,gated,half written,solved,,,,,,,\n")
    assert load(tmp_path, "solvers")[1] == tables
    with pytest.raises(FileNotFoundError, match="no finished records"):
        pages.write_report(tmp_path)
    second = invoke("solvers", "--out", tmp_path, "--resume")
    assert second.exit_code == 0, second.output
    assert ran == ["ReLU", "gated", "gated", "ReLU, one input"]
    assert not [r for r in load(tmp_path, "solvers")[1]["runs"] if r["solver"] == "half written"]


def refused(result: Result, *words: str) -> None:
    """Exit code 2 and one sentence that holds `words`."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr


def test_a_second_run_refuses_records_in_the_way(out: Path) -> None:
    refused(invoke("solvers", "--out", out, "--quick"), "--resume")
    refused(invoke("solvers", "--out", out, "--resume", "--seed", 3), "seed 0")
    refused(invoke("nonsense", "--out", out), "Unknown study", "small-n")
    refused(invoke("solvers", "--out", out, "--seed", "-1"), "--seed")


@pytest.mark.parametrize("content", ["{", '{"study": "solvers"}', '{"study": 1, "settings": [], "done": {}}'])
def test_damaged_records_are_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "solvers").mkdir()
    (tmp_path / "solvers" / records.FILE).write_text(content, encoding="utf-8")
    refused(invoke("solvers", "--out", tmp_path, "--resume"), "damaged")


def test_the_data_folder_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVEXNN_DATA", raising=False)
    target = tmp_path / "out"
    refused(invoke("cifar10", "--out", target), "--data")
    refused(invoke("cifar10", "--out", target, "--data", tmp_path / "nowhere"), "nowhere")
    one = cifar_folder(tmp_path / "one", classes=(0,))
    refused(invoke("cifar10", "--out", target, "--data", one), "no train image")
    cut = cifar_folder(tmp_path / "cut")
    (cut / "test_batch.bin").write_bytes((cut / "test_batch.bin").read_bytes()[:-7])
    refused(invoke("cifar10", "--out", target, "--data", cut), "truncated")
    monkeypatch.setenv("CONVEXNN_DATA", str(tmp_path / "cut"))
    refused(invoke("cifar10", "--out", target), "cifar10")
    assert not target.exists()


def test_all_leaves_out_cifar10_without_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVEXNN_DATA", raising=False)
    monkeypatch.setattr(runner, "STUDIES", {"cifar10": "cifar10", "solvers": "solvers"})
    module, said = study("solvers"), []
    monkeypatch.setattr(module, "QUICK", module.QUICK | TINY["solvers"])
    runner.reproduce("all", tmp_path, quick=True, tell=said.append)
    assert "cifar10 is left out" in said[0]
    assert (tmp_path / "solvers" / records.FILE).exists()
    assert not (tmp_path / "cifar10").exists()


def test_cells_survive_a_file(tmp_path: Path) -> None:
    rows = [
        {"a": 1, "b": 0.1 + 0.2, "c": "text, with comma", "d": None},
        {"a": -3, "b": np.inf, "c": "", "d": True},
    ]
    tables: records.Tables = {}
    records.add_part(tables, "one", {"t": rows})
    meta = records.describe("x", {"seed": 0}, "") | {"done": {"one": 0.0}}
    columns = {"t": ("a", "b", "c", "d")}
    records.save(tmp_path, meta, tables, columns)
    back = records.load(tmp_path, columns)[1]["t"]
    assert [row["b"] for row in back] == [0.1 + 0.2, np.inf]
    assert back[0] == {"part": "one", **rows[0]}
    assert (back[1]["c"], back[1]["d"]) == (None, 1)
    with pytest.raises(ValueError, match="unexpected columns"):
        records.save(tmp_path, meta, {"t": [{"part": "one", "z": 1}]}, columns)
    assert not list(tmp_path.glob("*.part"))
    assert json.loads((tmp_path / records.FILE).read_text(encoding="utf-8"))["done"] == {"one": 0.0}


@pytest.mark.parametrize(
    ("value", "reference", "text"),
    [(1.5, 1.0, "50 % above"), (0.9, 1.0, "10 % below"), (1.0, 1.0, "equal"), (30.0, 1.0, "30 times")],
)
def test_over_says_which_side(value: float, reference: float, text: str) -> None:
    assert over(value, reference).startswith(text)


@pytest.mark.slow
def test_the_quick_run_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVEXNN_DATA", raising=False)
    result = invoke("all", "--quick", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.count("0.8914472") >= 3
    assert len(list(tmp_path.glob("*/record.json"))) == len(STUDIES) - 1
