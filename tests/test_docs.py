"""The README, the docs, the gallery and the docstrings: their code runs, their links and names exist."""

import ast
import doctest
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import convexnn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from make_pictures import BLOCK, all_pages, run_blocks  # noqa: E402

PAGES = [ROOT / "README.md", *all_pages()]
WITH_BLOCKS = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
SOURCE = ROOT / "src"
WITH_DOCTESTS = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def name_of(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_local_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http", "mailto"))]
    assert not [link for link in local if not source_of(page.parent / link).exists()]


def source_of(target: Path) -> Path:
    """The file behind a link; pages of the gallery are written from the examples."""
    if target.parent.name != "auto_examples":
        return target
    return ROOT / "examples" / ("GALLERY_HEADER.rst" if target.stem == "index" else f"{target.stem}.py")


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^[\w/]+$", index, re.MULTILINE))
    pages = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in all_pages()}
    assert pages - {"index"} <= listed


def test_reference_holds_every_public_name() -> None:
    text = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    for module in ("convexnn", "convexnn.displays", "convexnn.dual", "convexnn.landscape", "convexnn.data"):
        missing = [
            n for n in import_module(module).__all__ if not re.search(rf"^   {n}$", text, re.MULTILINE)
        ]
        assert not missing, module


@pytest.mark.parametrize("module", WITH_DOCTESTS)
def test_doctests(module: str) -> None:
    outcome = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS)
    assert outcome.attempted
    assert not outcome.failed


def test_doctests_are_found() -> None:
    assert {"convexnn.training", "convexnn.certificate"} <= set(WITH_DOCTESTS)
    assert convexnn.__all__


def test_gallery_has_one_claim_an_example() -> None:
    assert len(EXAMPLES) >= 12
    for example in EXAMPLES:
        tree = ast.parse(example.read_text(encoding="utf-8"))
        assert (ast.get_docstring(tree) or "").count("**Claim.**") == 1, example.name
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert calls.count("plt.show") == 1, f"{example.name}: one picture"
        assert "print" in calls, f"{example.name}: it prints its number"


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not list(tmp_path.iterdir())
