"""
How good is this scikit-learn MLP?
==================================

**Claim.** An ``MLPRegressor`` can be certified as it is: three lines say how much better training could
gain at most.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPRegressor

from convexnn.interop import certify_model

rng = np.random.default_rng(0)
X = rng.standard_normal((80, 3))
y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1]

model = MLPRegressor(hidden_layer_sizes=20, alpha=1.0, solver="lbfgs", max_iter=2000, random_state=0).fit(
    X, y
)
result = certify_model(model, X, y, tighten=True)
print(result)

# %%
# The bound is for the problem in which biases are penalised as all other weights;
# :doc:`/certify_others` says what that means for scikit-learn's own objective.

certificate = result.certificate
fig, ax = plt.subplots(layout="constrained")
names = ["this MLP", "convexnn\n(same problem)", f"{certificate.kind}\nlower bound"]
values = [certificate.primal, result.reached, certificate.lower_bound]
bars = ax.bar(names, values, color=["tab:blue", "tab:green", "tab:orange"])
ax.bar_label(bars, fmt="%.3f")
ax.set(ylabel="objective (loss + penalty)", title=f"Gap {certificate.relative_gap:.1%} ({certificate.kind})")
plt.show()
