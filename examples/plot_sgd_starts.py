"""
SGD from many starts against the optimum
========================================

**Claim.** On five points SGD with ten neurons ends at different objectives from different starts; the
global optimum lies below all of them, and a wider network meets it more often.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn.data import five_points
from convexnn.descent import descend
from convexnn.dual import solve_dual

X, y = five_points().X, five_points().y
beta = 0.1
optimum = solve_dual(X, y, beta).value  # exact: all ten patterns


def run(neurons, seed):
    """The objective that SGD reaches."""
    return descend(X, y, beta, neurons=neurons, method="sgd", steps=4000, learning_rate=0.02,
                   init_scale=0.5, seed=seed).network.objective(X, y, beta)  # fmt: skip


widths, seeds = (4, 10, 50), range(15)
reached = {m: np.array([run(m, seed) for seed in seeds]) for m in widths}
for m, values in reached.items():
    hits = np.sum(values <= optimum * 1.01)
    print(f"{m:2d} neurons: {hits} of {len(values)} starts end within 1 % of the optimum {optimum:.6f}")

# %%

fig, ax = plt.subplots(layout="constrained")
for k, values in enumerate(reached.values()):
    ax.plot(k + np.linspace(-0.2, 0.2, len(values)), np.sort(values), "o", alpha=0.7)
ax.axhline(optimum, color="black", linestyle="--", label="global optimum (exact)")
ax.set_xticks(range(len(widths)), [f"{m} neurons" for m in widths])
ax.set(ylabel="objective (loss + penalty)", title="Where SGD ends, 15 starts for each width")
ax.legend()
plt.show()
