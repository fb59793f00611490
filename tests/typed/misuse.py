"""Mistakes that mypy --strict finds for a user, one a line that ends in `# error`."""

import numpy as np

from convexnn import ConvexReLURegressor, train

X, y = np.ones((3, 1)), np.ones(3)
train(X, y, "0.1")  # error
train(X, y, 0.1, certificate="proven")  # error
train(X, y, 0.1, tolerance=1e-3)  # error
print(train(X, y, 0.1).network.weights)  # error
ConvexReLURegressor(alpha=1.0)  # error
