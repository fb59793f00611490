"""Small real images: two digits of scikit-learn, 8×8 pixels."""

from typing import Any

import numpy as np

from convexnn._types import Array


def two_digits(count: int, classes: tuple[int, int] = (3, 8)) -> tuple[Array, Array]:
    """The first `count` images (count, 8, 8) of two digits, centred, in [−1, 1]; labels −1 and +1."""
    from sklearn.datasets import load_digits

    raw: Any = load_digits()
    chosen = np.flatnonzero(np.isin(raw.target, classes))[:count]
    images = raw.images[chosen] / 16.0
    return images - images.mean(axis=0), np.where(raw.target[chosen] == classes[1], 1.0, -1.0)
