"""
The hidden layer as features
============================

**Claim.** ``ReLUFeatures`` hands the learned neurons to another model: ridge regression on them explains
what it cannot explain on the raw columns.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from convexnn import ConvexReLURegressor, ReLUFeatures

rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, (400, 4))
y = np.abs(X[:, 0] - X[:, 1]) + 0.5 * X[:, 2] + 0.2 * rng.standard_normal(400)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

raw = Ridge().fit(X_train, y_train)
learned = make_pipeline(ReLUFeatures(ConvexReLURegressor(beta=10.0, tol=1e-2)), Ridge()).fit(X_train, y_train)
features = learned[0]
count = features.estimator_.network_.n_neurons
print(f"ridge on 4 raw columns: test R² {raw.score(X_test, y_test):.3f}")
print(f"ridge on {count} learned features: test R² {learned.score(X_test, y_test):.3f}")
print(features.estimator_.certificate_)

# %%

fig, ax = plt.subplots(layout="constrained")
ax.plot(y_test, raw.predict(X_test), ".", label="ridge on raw columns")
ax.plot(y_test, learned.predict(X_test), ".", label="ridge on learned features")
ax.axline((0, 0), slope=1, color="black", linewidth=0.8)
ax.set(xlabel="target (test rows)", ylabel="prediction")
ax.legend()
plt.show()
