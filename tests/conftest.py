"""Shared fixtures. One BLAS thread a worker: several workers share the cores."""

import os
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="session")
def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Breast cancer with standardised columns, a column of ones, divided by √31, and labels ±1."""
    from sklearn.datasets import load_breast_cancer

    raw = load_breast_cancer()
    X = (raw.data - raw.data.mean(axis=0)) / raw.data.std(axis=0)
    X = np.hstack([X, np.ones((len(X), 1))]) / np.sqrt(31)
    return X, 2.0 * raw.target - 1.0


@pytest.fixture(scope="session")
def five_points() -> tuple[np.ndarray, np.ndarray]:
    """x = −2 … 2 with a column of ones, and targets (1, −1, 1, 1, −1)."""
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    return np.stack([x, np.ones(5)], axis=1), np.array([1.0, -1.0, 1.0, 1.0, -1.0])


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of external data sets; tests that need it are skipped where it is absent."""
    candidates = [os.environ.get("CONVEXNN_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for folder in candidates:
        if folder is not None and Path(folder).is_dir():
            return Path(folder)
    pytest.skip("the external data folder is absent (set CONVEXNN_DATA to it)")
