"""
A target far from zero
======================

**Claim.** With a penalised bias a shift of the target changes the fitted function, since the neurons that pay
for the constant carry a slope too. With a free intercept it changes the intercept and nothing else.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

from convexnn import train

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-2, 2, 80))
X = np.column_stack([x, np.ones(80)])
y = np.sin(2 * x) + 0.1 * rng.standard_normal(80)
beta = 3.0

fits = {}
for shift in (0.0, 30.0):
    for free in (False, True):
        result = train(X, y + shift, beta, intercept=free, tol=1e-4)
        c = result.certificate
        name = "free" if free else "penalised"
        fits[name, shift] = result.network.predict(X) - shift
        print(
            f"{name}, targets moved by {shift:g}: objective {c.primal:.4f}, "
            f"{c.kind} gap {c.relative_gap:.1e}, {result.network.n_neurons} neurons, "
            f"sum of ν {math.fsum(c.nu):.3g}"
        )

# %%

fig, axes = plt.subplots(1, 2, layout="constrained", sharey=True, figsize=(8, 3.5))
for ax, name in zip(axes, ("penalised", "free"), strict=True):
    ax.plot(x, y, ".", color="grey")
    ax.plot(x, fits[name, 0.0], label="targets as they are")
    ax.plot(x, fits[name, 30.0], "--", label="targets moved by 30, moved back")
    ax.set(xlabel="x", title=f"{name} intercept")
axes[0].set_ylabel("y")
axes[0].legend()
plt.show()
