"""Every table of RESULTS.md: ``python benchmarks/run.py [NAME …] [--again] [--write]``.

Each table is one command of its own; its output is kept in ``benchmarks/results/NAME.md`` with the machine
and the versions, so that a run can go on where it stopped (``--again`` measures anew). RESULTS.md is then
written from those files alone.
"""

import argparse
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
TABLES = {
    "training": ("Global training beside Adam (breast cancer, squared loss)", "foundations.py training"),
    "solvers": ("A sampled program: ssnal beside Clarabel (breast cancer)", "foundations.py solvers"),
    "enumeration": ("Exact enumeration of patterns", "enumeration.py"),
    "certificates": ("Proven certificates by branch and bound, ranks 3 to 8", "certificates.py"),
    "spectral": ("Proven certificates at rank 31 (breast cancer)", "spectral.py --max-time 15"),
    "ablations": ("What each part of global training buys", "ablations.py"),
    "many_rows": ("Many rows: kin40k and protein", "many_rows.py"),
    "images": ("Images: CIFAR-10, two classes", "images.py"),
    "convolution": ("Convolutional cases beside CVXPY and descent", "convolution.py"),
}
#: Pages in ``results/`` that commands of their own write: ``python -m benchmarks.peers``.
OTHER_PAGES = ("peers",)


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def measure(name: str) -> None:
    """Run one table and keep its output."""
    title, command = TABLES[name]
    run = subprocess.run([sys.executable, *command.split()], cwd=HERE, capture_output=True, text=True)
    if run.returncode:  # a data folder or an extra is missing: the script's last line says which
        print(f"{name} is left out: {run.stderr.rstrip().splitlines()[-1]}", flush=True)
        return
    done = run.stdout.rstrip()
    body = done if done.lstrip().startswith("|") else f"```\n{done}\n```"
    packages = ", ".join(f"{name} {version(name)}" for name in ("convexnn", "numpy", "scipy", "numba"))
    where = f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}"
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.md").write_text(
        f"## {title}\n\n`python benchmarks/{command}`\n\n{body}\n\n{where}.\n"
    )


def main() -> None:
    """Measure what is missing, then write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TABLES))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--write", action="store_true", help="measure nothing, only write RESULTS.md")
    options = parser.parse_args()
    if options.write:
        write_results()
        return
    for name in options.names:
        if options.again or not (HERE / "results" / f"{name}.md").exists():
            print(f"measuring {name} …", flush=True)
            measure(name)
        write_results()


def write_results() -> None:
    """RESULTS.md from the tables that there are."""
    pages = (HERE / "results" / f"{name}.md" for name in (*TABLES, *OTHER_PAGES))
    parts = [path.read_text() for path in pages if path.exists()]
    head = "# Measured figures\n\nWritten by `python benchmarks/run.py` (or `make bench`).\n"
    (HERE / "RESULTS.md").write_text("\n".join([head, *parts]))


if __name__ == "__main__":
    main()
