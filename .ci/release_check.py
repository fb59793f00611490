"""Build wheel and source archive, look into both, install each into an empty environment and try it there.

The archives are left in dist/.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"


def build() -> tuple[Path, Path]:
    """(wheel, source archive), made anew in dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(DIST)], cwd=ROOT, check=True)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def look_into(wheel: Path, sdist: Path) -> None:
    """Raise SystemExit if a file is missing or one is there that should not be."""
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.namelist()
    with tarfile.open(sdist) as archive:
        source = [name.partition("/")[2] for name in archive.getnames()]
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    faults = [f"the wheel lacks {name}" for name in sorted((modules | {"convexnn/py.typed"}) - set(inside))]
    faults += [
        f"the wheel holds {name}"
        for name in inside
        if not (name.endswith(".py") or name == "convexnn/py.typed" or ".dist-info/" in name)
        or name.split("/")[0] not in ("convexnn", f"convexnn-{wheel.name.split('-')[1]}.dist-info")
    ]
    wanted = ["pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt"]
    wanted += [f"tests/{path.name}" for path in (ROOT / "tests").glob("*.py")]
    faults += [f"the source archive lacks {name}" for name in wanted if name not in source]
    unwanted = (".pyc", ".nbi", ".nbc", ".safetensors", ".bin")
    faults += [
        f"the source archive holds {name}"
        for name in source
        if name.endswith(unwanted) or name.startswith(("demo/", "docs/_build", "benchmarks/results"))
    ]
    if faults:
        raise SystemExit("\n".join(faults))


def try_out(archive: Path, folder: Path) -> None:
    """Install `archive` into an empty environment in `folder`, check its dependencies, run smoke.py."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-c", ROOT / "constraints.txt", archive], check=True, cwd=folder)
    subprocess.run([*pip, "check"], check=True, cwd=folder)
    subprocess.run([python, "-I", "-W", "error", ROOT / ".ci" / "smoke.py"], check=True, cwd=folder)


def main() -> None:
    begin = perf_counter()
    wheel, sdist = build()
    look_into(wheel, sdist)
    for archive in (wheel, sdist):
        with tempfile.TemporaryDirectory() as folder:
            try_out(archive, Path(folder) / "empty")
        print(
            f"{archive.name}: good, {archive.stat().st_size / 1024:.0f} KiB, {perf_counter() - begin:.0f} s."
        )


if __name__ == "__main__":
    main()
