"""The comparison with peers: the referee against other code; tables and pictures of a few records."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from convexnn import ConvexProgram, Network, Patterns, solve
from convexnn.interop import from_arrays

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.peers import pictures, records, referee, summary, tables  # noqa: E402
from benchmarks.peers.methods.sklearn_mlp import on_ones  # noqa: E402
from benchmarks.peers.plan import jobs, name_of  # noqa: E402


def data(n: int = 30, d: int = 3) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((n, d - 1)), np.full(n, 0.5)])
    return X, rng.standard_normal(n), rng


def test_objective_of_a_network() -> None:
    X, y, rng = data()
    network = Network(rng.standard_normal((3, 7)), rng.standard_normal(7))
    value = referee.objective(X, y, network.U, network.alpha, 0.3)
    assert value == pytest.approx(network.objective(X, y, 0.3), rel=1e-13)
    assert referee.objective(X, y, np.full((3, 1), 1e200), np.ones(1), 0.3) == math.inf


def test_objective_and_bound_of_a_program_agree_with_cvxpy() -> None:
    pytest.importorskip("clarabel")
    X, y, _ = data()
    for gated in (False, True):
        program = ConvexProgram(X, y, Patterns.sample(X, 6, rng=0), 0.5, gated=gated)
        ours, reference = solve(program, tol=1e-9), solve(program, "cvxpy", tol=1e-7)
        value, violation = referee.program_value(program, ours.v, ours.w)
        assert value == pytest.approx(reference.primal, rel=1e-6)
        assert violation < 1e-9
        bound = referee.program_bound(program, ours.v, ours.w, None)
        assert value * (1 - 1e-4) < bound <= value * (1 + 1e-12)


def test_blocks_outside_their_cones_are_seen_and_moved_in() -> None:
    X, y, rng = data()
    program = ConvexProgram(X, y, Patterns.sample(X, 4, rng=0), 0.5)
    v = rng.standard_normal(program.patterns.generators.shape)
    value, violation = referee.program_value(program, v, np.zeros_like(v))
    assert violation > 0.01
    assert value >= solve(program, tol=1e-8).primal * (1 - 1e-8)


def test_free_biases_go_to_the_column_of_ones() -> None:
    X, _, rng = data()
    foreign = from_arrays(rng.standard_normal((3, 5)), rng.standard_normal(5), rng.standard_normal(5), -0.7)
    np.testing.assert_allclose(on_ones(foreign.network, X).predict(X), foreign.predict(X), rtol=1e-10)


def test_time_to_a_target() -> None:
    curve = [(0.1, 5.0), (0.2, 3.0), (0.3, 4.0)]
    assert referee.time_to(curve, 4.0) == 0.2
    assert referee.time_to(curve, 1.0) == math.inf


def row(method: str, seconds: float, objective: float, **more: object) -> dict[str, object]:
    """A record of one run of training, with a curve of two points."""
    setting = "tol 0.001" if method == "convexnn" else "rate 0.1"
    base = {
        "job": f"{method} {more}", "table": "training", "data": "toy", "n": 30, "d": 3, "fraction": 10.0,
        "beta": 1.0, "method": method, "setting": setting, "seed": 0, "chosen": True, "status": "converged",
        "seconds": seconds, "objective": objective, "neurons": 5, "peak_mib": 100.0, "base_mib": 90.0,
        "cap": 60.0, "machine": "here", "versions": "now", "command": "this",
        "curve": [(seconds / 2, 2 * objective), (seconds, objective)],
    }  # fmt: skip
    return base | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        row("convexnn", 1.0, 10.0, lower_bound=9.99, bound_kind="estimated", starts=2500),
        row("own Adam", 3.0, 10.005),
        row("own Adam", 7.0, 10.0001, setting="rate 0.01"),
        row("convexnn", 2.0, 5.0, fraction=100.0, lower_bound=4.9, bound_kind="exact", starts=0),
        row("own Adam", 1.0, 6.0, fraction=100.0),
        row("torch SGD", 1.0, 6.0) | {"status": "skipped", "objective": None, "note": "It is left out."},
    ]
    program = {"table": "programs", "patterns": 20, "violation": 0.0, "bound_kind": "patterns", "fraction": 9}
    for gated in (False, True):
        rows += [
            row(m, s, 8.0, lower_bound=7.9, gated=gated, **program) for m, s in (("ssnal", 0.1), ("SCS", 4.0))
        ]
    rows += [
        row("convexnn", n / 100, 9.0, table="scaling", data=f"planted n={n} d=10 neurons=10")
        for n in (100, 200, 400)
    ]
    records.append(tmp_path, rows[:3])
    records.append(tmp_path, rows[3:])
    return tmp_path


def test_records_survive_the_file_and_a_torn_last_line(folder: Path) -> None:
    before = records.read(folder)
    first = summary.measured(before, "training")[0]
    assert first["curve"] == [(0.5, 20.0), (1.0, 10.0)]
    assert first["chosen"] is True
    assert first["violation"] is None
    with (folder / "training.csv").open("a") as file:
        file.write("torn,training,toy")
    assert records.read(folder) == before


def test_tables_from_records(folder: Path) -> None:
    rows = records.read(folder)
    training = summary.measured(rows, "training")
    quick = summary.speed(training, ("toy", 10.0), *summary.ADAMS)
    assert quick is not None
    assert (quick.seconds, quick.whole, quick.tuning) == (3.0, 3.0, 7.0)
    text = tables.write(rows, folder / "peers.md", "../pictures/peers")
    assert "convexnn is faster on 2 of 2 pairs (100%); its worst time over Adam's is 0.33." in text
    assert "| toy | 30×3 | 100 | 5 | 2.0e-02 (exact) | 2 | 2 | never |" in text
    assert "n (d = 10, 10 neurons) | 100: 1 s (5), 200: 2 s (5), 400: 4 s (5) | 1.00 |" in text
    assert "| toy | 1 | 20 | SCS, rate 0.1 | 8 | 1.2e-02 |" in text
    assert "* It is left out." in text
    assert (folder / "peers.md").read_text() == text


def test_pictures_from_records(folder: Path) -> None:
    paths = pictures.draw(records.read(folder), folder / "pictures")
    assert [path.stem for path in paths] == ["ratio", "profile", "curves", "programs", "scaling"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_names_of_jobs_are_distinct() -> None:
    for options in ((True, False), (False, True)):
        names = [name_of(job) for job in jobs(*options)]
        assert len(set(names)) == len(names)
