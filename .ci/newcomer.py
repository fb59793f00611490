"""Write docs/newcomer.md: from an empty environment to a certified model, with all output and the seconds."""

import os
import platform
import pty
import subprocess
import tempfile
import textwrap
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "newcomer.md"
WIDTH = 90  # columns of the terminal: a page of the site holds no more
PROGRAM = """import pandas as pd
from convexnn import ConvexReLURegressor

table = pd.read_csv("patients.csv")
model = ConvexReLURegressor().fit(table.drop(columns="progression"), table["progression"])
print(model.certificate_)
"""
STEPS = [
    ("An empty environment", "python3 -m venv env && . env/bin/activate"),
    (
        "The package, with all it needs",
        "pip install --quiet --disable-pip-version-check -c {root}/constraints.txt {root}",
    ),
    ("Which version is it?", "convexnn --version"),
    (
        "A table of one's own: 442 patients, ten measurements, how the disease progressed",
        "head -4 patients.csv",
    ),
    ("Train", "convexnn fit patients.csv --target progression --test 0.2 --out model"),
    (
        "Prove it: a bound that is a proof, for at most ten seconds",
        "convexnn certify model patients.csv --certificate bounded --max-time 10",
    ),
    ("Predict", "convexnn predict model patients.csv --out predictions.csv && head -3 predictions.csv"),
    ("The same in Python", "python first.py"),
]
HEAD = """# A newcomer's log

From an empty environment to a certified model on a CSV file: each command, all it printed, and its seconds.
Made by `python .ci/newcomer.py` in an empty folder with an empty compilation cache.
Warnings of pip about its own index settings are left out.

Python {python}, {cores} cores ({load:.0f} other jobs were waiting for them). **{wall:.0f} s in all, of which
{cpu:.0f} s of processor time.**
"""


def run(command: str, folder: Path, environment: dict[str, str]) -> tuple[str, float, float]:
    """(output as a terminal shows it, seconds, seconds of processor time) of one command of the shell."""
    begin, before = perf_counter(), getrusage(RUSAGE_CHILDREN)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=environment, stdout=follower, stderr=follower, stdin=follower
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the end of a terminal
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    if process.wait():
        raise SystemExit(f"{command} failed:\n{b''.join(parts).decode()}")
    after = getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return shown(b"".join(parts).decode()), perf_counter() - begin, cpu


def shown(text: str) -> str:
    """What is left on the screen: the last form of a line; not the warnings of pip about its index."""
    lines = [line.rstrip("\r").split("\r")[-1].split("\x1b[K")[-1].rstrip() for line in text.split("\n")]
    kept = [line for line in lines if not line.startswith("WARNING: Location")]
    return "\n".join(folded(line) for line in kept).strip("\n")


def folded(line: str) -> str:
    """A line as the terminal folds it, between words."""
    return line if len(line) <= WIDTH else textwrap.fill(line, WIDTH)


def main(folder: Path) -> None:
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "progression"})
    frame.to_csv(folder / "patients.csv", index=False)
    (folder / "first.py").write_text(PROGRAM)
    kept = ("HOME", "LANG", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "SSL_CERT_FILE")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "PATH": f"{folder}/env/bin:/usr/local/bin:/usr/bin:/bin",
        "TERM": "dumb",
        "COLUMNS": str(WIDTH),
    }
    sections, wall, cpu = [], 0.0, 0.0
    load = os.getloadavg()[0]
    for title, command in STEPS:
        output, seconds, busy = run(command.format(root=ROOT), folder, environment)
        wall, cpu = wall + seconds, cpu + busy
        text = f"$ {command.format(root='convexnn')}\n{output}".replace(str(ROOT), "convexnn").rstrip()
        if command == "python first.py":
            text = f"$ cat first.py\n{PROGRAM}\n{text}"
        sections.append(
            f"## {title}\n\n```console\n{text}\n```\n\n{seconds:.1f} s ({busy:.1f} s of processor time).\n"
        )
        print(f"{seconds:6.1f} s  {busy:6.1f} s  {command}", flush=True)
    head = HEAD.format(python=platform.python_version(), cores=os.cpu_count(), load=load, wall=wall, cpu=cpu)
    PAGE.write_text("\n".join([head, *sections]), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as path:
        main(Path(path))
