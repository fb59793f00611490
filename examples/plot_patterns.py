"""
Patterns and cells
==================

**Claim.** n rows in general position in the plane cut it into 2n cells, each with its own activation
pattern; in d dimensions there are at most 2 Σ_{k<d} C(n−1, k).
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn import Patterns
from convexnn.enumeration import count_patterns, pattern_bound
from convexnn.theory_plots import plot_arrangement

rng = np.random.default_rng(1)
for n, d in ((5, 2), (10, 3), (20, 4)):
    X = rng.standard_normal((n, d))
    print(f"{n} rows, {d} columns: {count_patterns(X)} patterns, bound {pattern_bound(n, d)[0]}")

# %%
# A neuron is linear in the data within a cell: (Xu)₊ = DXu. Each cell is named by its pattern, a digit a row.

angles = np.array([0.2, 0.9, 1.4, 2.1, 2.8])
X = np.column_stack([np.cos(angles), np.sin(angles)])
patterns = Patterns.enumerate(X)
fig, ax = plt.subplots(figsize=(5.2, 5.2), layout="constrained")
plot_arrangement(X, patterns, ax=ax)
ax.set(xlabel="u₁", ylabel="u₂")
plt.show()
