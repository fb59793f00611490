"""
Minimum-norm interpolation
==========================

**Claim.** As β → 0 the ratio p*(β)/β goes to the least penalty of a network that passes through all points,
and ``interpolate`` finds that network directly.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn.data import five_points
from convexnn.dual import solve_dual
from convexnn.interpolation import interpolate

X, y = five_points().X, five_points().y
least = interpolate(X, y)
print(least)

# %%
# The ratio lies between R* − (β/2)‖ν‖² and R*, and meets R* in the limit.

betas = np.geomspace(0.3, 1e-3, 8)
ratios = [solve_dual(X, y, beta).value / beta for beta in betas]
for beta, ratio in zip(betas, ratios, strict=True):
    print(f"β = {beta:.4f}: p*/β = {ratio:.5f}")

fig, ax = plt.subplots(layout="constrained")
ax.semilogx(betas, ratios, "o-", label="p*(β)/β")
ax.axhline(least.cost, color="black", linestyle="--", label="R*, the cost of the interpolating network")
ax.set(xlabel="β", ylabel="penalty")
ax.legend()
plt.show()
