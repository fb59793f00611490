"""
Robust regression with the Huber loss
=====================================

**Claim.** With gross errors in a tenth of the targets the Huber loss keeps close to the true function where
the squared loss is pulled away, and both fits have certificates.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn import beta_max, train
from convexnn.losses import Huber

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-2, 2, 100))
X = np.column_stack([x, np.ones(100)])
truth = np.maximum(x, 0) - 0.5 * np.maximum(-x - 0.5, 0)
y = truth + 0.05 * rng.standard_normal(100)
bad = rng.choice(100, 10, replace=False)
y[bad] += 3.0

fits = {}
for name, loss in (("squared", "squared"), ("Huber, δ = 0.1", Huber(0.1))):
    result = train(X, y, beta_max(X, y, loss) / 30, loss=loss, tol=1e-3)
    fits[name] = result.network.predict(X)
    error = np.sqrt(np.mean((fits[name] - truth) ** 2))
    certificate = result.certificate
    print(
        f"{name}: distance from the truth {error:.3f}; {certificate.kind} gap {certificate.relative_gap:.1e}"
    )

# %%

fig, ax = plt.subplots(layout="constrained")
ax.plot(x, y, ".", color="grey", label="data, 10 of 100 with gross errors")
ax.plot(x, truth, color="black", linestyle=":", label="truth")
for name, fit in fits.items():
    ax.plot(x, fit, label=name)
ax.set(xlabel="x", ylabel="y")
ax.legend()
plt.show()
