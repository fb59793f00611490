"""Global training of long tables (kin40k, protein) beside tuned Adam.

``python benchmarks/many_rows.py [FOLDER] [NAME …]`` prints one Markdown table. FOLDER holds
``NAME/data.csv.gz`` (default: ``$CONVEXNN_DATA/uci``, else ``../shared/data/uci`` beside the repository).
Scaling: standardised columns, a column of ones, X/√d, standardised target; squared loss. Adam runs with as
many neurons as the table says and batches of 500; its rate is the best of the grid, and the time of the
other rates is left out. Objectives are recomputed from the returned weights; the gap is an estimate,
verified from fresh starts within the time shown. CPU seconds are those of all threads.
"""

import os
import sys
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from convexnn import Network
from convexnn.data import Scaler
from convexnn.descent import descend
from convexnn.pricing.smooth import rho_smoothly
from convexnn.training.loop import make_task
from convexnn.training.many_rows import train_many_rows

#: β_max/β: (tol, seconds of global training).
CASES = {10: (1e-3, 15.0), 100: (2e-3, 45.0), 1000: (1e-3, 150.0)}
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
EPOCHS, BATCH = 40, 500


def arguments() -> tuple[Path, list[str]]:
    """The data folder and the tables to run."""
    words = sys.argv[1:]
    base = os.environ.get("CONVEXNN_DATA")
    place = (Path(base) if base else Path(__file__).parents[2] / "shared" / "data") / "uci"
    if words and Path(words[0]).is_dir():
        place, words = Path(words[0]), words[1:]
    return place, words or ["kin40k", "protein"]


def load(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """X and y of a table whose last column is the target."""
    table = np.genfromtxt(file, delimiter=",")
    y = table[:, -1]
    return Scaler.fit(table[:, :-1]).transform(table[:, :-1]), (y - y.mean()) / y.std()


def adam(X, y, beta, neurons) -> tuple[Network, float, float, float]:
    """The best network over the grid of rates, with the wall and CPU seconds of its run alone."""
    steps, runs = EPOCHS * -(-len(y) // BATCH), []
    row = float(np.sqrt(np.mean(np.sum(X**2, axis=1))))
    for rate in RATES:
        wall, cpu = perf_counter(), process_time()
        net = descend(
            X / row, y, beta / row, neurons=neurons, steps=steps, batch_size=BATCH, learning_rate=rate,
            schedule="one-cycle", record_every=steps,
        ).network  # fmt: skip
        seconds = perf_counter() - wall, process_time() - cpu
        net = Network(net.U / np.sqrt(row), net.alpha / np.sqrt(row)).balanced()
        runs.append((net.objective(X, y, beta), net, rate, *seconds))
    _, net, rate, wall, cpu = min(runs, key=lambda run: run[0])
    return net, rate, wall, cpu


def main() -> None:
    """Print the table."""
    place, names = arguments()
    warm = np.random.default_rng(0).standard_normal((5000, 3))
    train_many_rows(
        make_task(warm, warm[:, 0], 100.0, "squared", 0.1, 5.0, 0, is_large=True), lambda best: None
    )
    print("| data | β_max/β | method | objective | estimated gap | starts | neurons | seconds | CPU |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        X, y = load(place / name / "data.csv.gz")
        top = rho_smoothly(X, y)
        for fraction, (tol, limit) in CASES.items():
            beta = top / fraction
            wall, cpu = perf_counter(), process_time()
            task = make_task(X, y, beta, "squared", tol, limit, 0, is_large=True)
            best, _ = train_many_rows(task, lambda best: None)
            wall, cpu = perf_counter() - wall, process_time() - cpu
            head, net = f"| {name} | {fraction} |", best.network(X)
            objective = net.objective(X, y, beta)
            print(
                f"{head} global | {objective:.2f} | {1 - best.bound / objective:.2e} | {best.starts:,} | "
                f"{net.n_neurons} | {wall:.1f} | {cpu:.1f} |", flush=True,
            )  # fmt: skip
            net, rate, wall, cpu = adam(X, y, beta, max(100, min(net.n_neurons, 500)))
            print(
                f"{head} Adam, rate {rate:g} | {net.objective(X, y, beta):.2f} | | | {net.n_neurons} | "
                f"{wall:.1f} | {cpu:.1f} |", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
