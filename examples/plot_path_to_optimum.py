"""
A path from a bad minimum to the optimum
========================================

**Claim.** Once four neurons of weight zero are added, a path along which the objective never rises leads
from a bad local minimum to the global optimum.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn import Network
from convexnn.data import five_points
from convexnn.descent import descend
from convexnn.dual import solve_dual
from convexnn.landscape import is_stationary, path_to_optimum, refine
from convexnn.theory_plots import plot_path

X, y = five_points().X, five_points().y
beta = 0.1
optimum = solve_dual(X, y, beta).network

rest = descend(X, y, beta, neurons=5, method="lbfgs", steps=3000, seed=16).network
local = refine(rest, X, y, beta)
print("stationary:", is_stationary(local, X, y, beta))
print(f"local minimum {local.objective(X, y, beta):.6f}, global {optimum.objective(X, y, beta):.6f}")

# %%

wide = Network(np.pad(local.U, ((0, 0), (0, 4))), np.pad(local.alpha, (0, 4)))
path = path_to_optimum(wide, optimum, X, y, beta)
print("largest rise along the path:", f"{max(0.0, np.diff(path.objective).max()):.1e}")

fig, ax = plt.subplots(layout="constrained")
plot_path(path.objective, path.stages, optimum=optimum.objective(X, y, beta), ax=ax)
ax.set(xlabel="position along the path", ylabel="objective (loss + penalty)")
plt.show()
