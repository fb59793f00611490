"""
The regularisation path
=======================

**Claim.** From β_max, where the best network is zero, neurons come in as β falls, and every point of the
path has its own certificate.
"""

import matplotlib.pyplot as plt

from convexnn import path
from convexnn.data import Scaler, load_diabetes
from convexnn.displays import PathDisplay

data = load_diabetes()
X = Scaler.fit(data.X).transform(data.X)
y = (data.y - data.y.mean()) / data.y.std()

result = path(X, y, n_betas=8, ratio=0.1, tol=1e-2)
for beta, certificate, neurons in zip(result.betas, result.certificates, result.neurons, strict=True):
    print(f"β = {beta:8.4f}: {neurons:3d} neurons, objective {certificate.primal:8.4f}, "
          f"{certificate.kind} gap {certificate.relative_gap:.1e}")  # fmt: skip

# %%

fig, ax = plt.subplots(layout="constrained")
PathDisplay.from_result(result, ax=ax)
plt.show()
