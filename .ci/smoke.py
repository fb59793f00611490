"""Train, certify, save, load and use the commands of an installed convexnn; run by release_check.py."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import convexnn
from convexnn import ConvexReLURegressor, Network, beta_max, certify, train


def command(*words: str) -> str:
    """Output of `convexnn WORDS…`, from the environment that runs this file."""
    program = Path(sys.executable).parent / "convexnn"
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"convexnn {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def main(folder: Path) -> None:
    """Raise AssertionError if the package does not do what it should."""
    assert "site-packages" in convexnn.__file__, f"not the installed package: {convexnn.__file__}"
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((40, 2)), np.ones(40)])
    y = np.abs(X[:, 0]) - X[:, 1]
    result = train(X, y, beta=beta_max(X, y) / 20, tol=1e-3)
    assert result.certificate.relative_gap <= 1e-3, result.status
    result.network.save(folder / "network.safetensors")
    network = Network.load(folder / "network.safetensors")
    assert np.array_equal(network.predict(X), result.network.predict(X))
    again = certify(network, X, y, result.certificate.beta, certificate="exact")
    assert again.relative_gap <= 1e-3, again
    assert ConvexReLURegressor().fit(X[:, :2], y).score(X[:, :2], y) > 0.9

    np.savetxt(folder / "table.csv", np.column_stack([X[:, :2], y]), "%.6g", ",", header="a,b,y", comments="")
    assert command("--version").split() == ["convexnn", convexnn.__version__]
    said = command("fit", str(folder / "table.csv"), "--target", "y", "--out", str(folder / "model"))
    assert "relative gap" in said, said
    model, table = str(folder / "model"), str(folder / "table.csv")
    command("predict", model, table, "--out", str(folder / "predictions.csv"))
    assert len((folder / "predictions.csv").read_text().splitlines()) == 41
    command("certify", model, table)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as path:
        main(Path(path))
    print(f"convexnn {convexnn.__version__} from {Path(convexnn.__file__).parent} works.")
