"""
Gated ReLU: the program without cones
=====================================

**Claim.** With fixed gates the cones go away and the program is a group lasso. It is quicker, its optimum
is a lower value over the same patterns, but it is another kind of network: its value is no certificate for
a ReLU network.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn import ConvexProgram, Patterns, solve

rng = np.random.default_rng(0)
X = np.column_stack([rng.standard_normal((100, 4)), np.ones(100)])
y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1]
patterns = Patterns.sample(X, 60, rng=0)

betas = np.geomspace(10.0, 0.3, 6)
relu = [solve(ConvexProgram(X, y, patterns, beta), tol=1e-4).primal for beta in betas]
gated = [solve(ConvexProgram(X, y, patterns, beta, gated=True), "fista", tol=1e-4).primal for beta in betas]
for beta, with_cones, free in zip(betas, relu, gated, strict=True):
    print(f"β = {beta:6.3f}: with cones {with_cones:8.4f}, gated {free:8.4f}, ratio {with_cones / free:.2f}")

# %%

fig, ax = plt.subplots(layout="constrained")
ax.semilogx(betas, relu, "o-", label="ReLU (cones)")
ax.semilogx(betas, gated, "s--", label="gated ReLU (no cones)")
ax.set(xlabel="β", ylabel="optimum over the same 60 patterns")
ax.legend()
plt.show()
