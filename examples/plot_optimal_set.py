"""
All the optima at once
======================

**Claim.** The global optima form a polytope. For eight points on a circle with equal targets it is an
octagon's worth of networks, all of one objective.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn import ConvexProgram, Patterns
from convexnn.landscape import optimal_network, optimal_set, sample_optima, vertices
from convexnn.theory_plots import plot_optimal_set

t = np.arange(8) * np.pi / 4
X, y, beta = np.column_stack([np.cos(t), np.sin(t)]), np.ones(8), 0.3

optima = optimal_set(ConvexProgram(X, y, Patterns.enumerate(X), beta))
print(optima.reason)

# %%

samples = sample_optima(optima, 300)
objectives = [optimal_network(optima, a).objective(X, y, beta) for a in samples.T]
print(f"300 optima; their objectives differ by {np.ptp(objectives):.1e} at {optima.objective:.6f}")

fig, ax = plt.subplots(layout="constrained")
plot_optimal_set(vertices(optima), samples=samples, ax=ax)
plt.show()
