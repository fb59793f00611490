"""
Five points, solved exactly
===========================

**Claim.** Five points in the plane have ten activation patterns; over all ten the convex program gives the
best network of *any* width, with a proof.
"""

import matplotlib.pyplot as plt

from convexnn import ConvexProgram, Network, Patterns, certify, solve
from convexnn.data import five_points
from convexnn.theory_plots import plot_function

X, y = five_points().X, five_points().y
beta = 0.1

patterns = Patterns.enumerate(X)
solution = solve(ConvexProgram(X, y, patterns, beta), tol=1e-9)
network = Network.from_solution(solution).merged(X)
print(len(patterns), "patterns, optimum", round(solution.primal, 7))

# %%
# The certificate is computed from the data and the weights alone; it does not trust the solver.

certificate = certify(network, X, y, beta, nu=solution.nu, certificate="exact")
print(certificate)

# %%
# The optimal function is piecewise linear, with a kink for each neuron.

fig, ax = plt.subplots(layout="constrained")
plot_function(network, X, y, ax=ax)
ax.set(xlabel="x", ylabel="f(x)", title=f"Global optimum: {network.n_neurons} neurons")
plt.show()
