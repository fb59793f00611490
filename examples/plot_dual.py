"""
The dual touches β at the neurons
=================================

**Claim.** At the optimum the dual point ν stays between ±β in every direction, νᵀ(Xu)₊ ≤ β, and touches ±β
exactly in the directions of the neurons.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn.data import five_points
from convexnn.dual import solve_dual
from convexnn.theory_plots import plot_dual

X, y = five_points().X, five_points().y
beta = 0.1
dual = solve_dual(X, y, beta)
print(dual)

# %%
# For every neuron the value sign(α) νᵀ(Xu)₊/‖u‖ equals β:

U = dual.network.U / np.linalg.norm(dual.network.U, axis=0)
touch = np.sign(dual.network.alpha) * (dual.nu @ np.maximum(X @ U, 0.0))
print("values at the neurons, in units of β:", (touch / beta).round(6))

fig, ax = plt.subplots(layout="constrained")
plot_dual(X, dual.nu, beta, network=dual.network, ax=ax)
ax.set(xlabel="angle of u (degrees)", ylabel="νᵀ(Xu)₊ / β")
plt.show()
