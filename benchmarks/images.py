"""Global training of images (CIFAR-10, two classes) beside Adam on pixels and on rotated data.

``python benchmarks/images.py [FOLDER] [β …]`` prints one Markdown table. FOLDER holds the official binary
layout (default: ``$CONVEXNN_DATA/cifar10``, else ``../shared/data/cifar10`` beside the repository). Scaling:
standardised pixels, a column of ones, X/√3073; labels ±1, squared loss. Objectives are recomputed from the
returned weights on the original columns; the gap is an estimate, verified from fresh starts within the time
shown. CPU seconds are those of all threads.
"""

import os
import sys
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from convexnn import Network
from convexnn.certificate import make_certificate
from convexnn.data import Scaler, read_cifar10
from convexnn.descent import descend
from convexnn.training._wide_axes import principal_axes
from convexnn.training.loop import make_task
from convexnn.training.many_columns import train_many_columns

#: Seconds of global training at each β.
LIMITS = {30.0: 40.0, 10.0: 60.0, 3.0: 120.0, 1.0: 300.0}
EPOCHS, BATCH, RATE = 40, 500, 1e-2


def folder() -> Path:
    """The data folder named on the command line or by the environment, or the default."""
    if len(sys.argv) > 1 and not sys.argv[1].replace(".", "").isdigit():
        return Path(sys.argv[1])
    base = os.environ.get("CONVEXNN_DATA")
    return (Path(base) if base else Path(__file__).parents[2] / "shared" / "data") / "cifar10"


def adam(X, y, beta, neurons) -> Network:
    """40 epochs of mini-batch Adam with a one-cycle rate."""
    steps = EPOCHS * -(-len(y) // BATCH)
    options = {"batch_size": BATCH, "learning_rate": RATE, "schedule": "one-cycle"}
    return descend(X, y, beta, neurons=neurons, steps=steps, **options).network


def rotated_adam(X, y, beta, neurons) -> Network:
    """The same in principal axes; rotating is part of the time."""
    axes = principal_axes(X)
    network = adam(axes.X.astype(np.float64), y, beta, neurons)
    return Network(axes.back(network.U), network.alpha)


def global_training(X, y, beta, seconds):
    """The network, and its gap after the verification, which is part of the time."""
    best, _ = train_many_columns(
        make_task(X, y, beta, "squared", 1e-3, seconds, 0, is_large=True), lambda best: None
    )
    certificate = make_certificate(
        best.primal, best.nu, best.rho, y, beta, "squared", "estimated", best.starts, perf_counter()
    )
    return best.network(X), f"{certificate.relative_gap:.4f} ({certificate.starts:,} starts)"


def row(name, beta, network, gap, clocks, data) -> None:
    """One line of the table."""
    X, y, X_test, y_test = data
    accuracy = np.mean(np.sign(network.predict(X_test)) == y_test)
    print(
        f"| {beta:g} | {name} | {network.objective(X, y, beta):.1f} | {gap} | {network.n_neurons} "
        f"| {perf_counter() - clocks[0]:.0f} | {process_time() - clocks[1]:.0f} | {accuracy:.4f} |",
        flush=True,
    )


def main() -> None:
    """Every contestant at every β."""
    images, y = read_cifar10(folder())
    test_images, y_test = read_cifar10(folder(), split="test")
    scaler = Scaler.fit(images)
    data = scaler.transform(images), y, scaler.transform(test_images), y_test
    X = data[0]
    global_training(X[:400], y[:400], 10.0, 2.0)  # compile
    betas = [float(word) for word in sys.argv[1:] if word.replace(".", "").isdigit()] or list(LIMITS)
    print("| β | method | objective | estimated gap | neurons | seconds | CPU seconds | test accuracy |")
    print("|---|---|---|---|---|---|---|---|")
    for beta in betas:
        for name, function in (("Adam on pixels", adam), ("Adam on rotated data", rotated_adam)):
            clocks = perf_counter(), process_time()
            row(f"{name}, 128 neurons", beta, function(X, y, beta, 128), "", clocks, data)
        clocks = perf_counter(), process_time()
        network, gap = global_training(X, y, beta, LIMITS.get(beta, 120.0))
        row("global training", beta, network, gap, clocks, data)


if __name__ == "__main__":
    main()
