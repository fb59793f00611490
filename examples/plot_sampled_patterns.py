"""
Sampled patterns are not enough
===============================

**Claim.** The convex program over sampled patterns, solved to optimality, stays far above the global
optimum, also with many patterns. Training generates the few patterns that matter.
"""

import matplotlib.pyplot as plt

from convexnn import ConvexProgram, Patterns, beta_max, solve, train
from convexnn.data import Scaler, load_diabetes

data = load_diabetes()
X = Scaler.fit(data.X[:200]).transform(data.X[:200])
y = (data.y[:200] - data.y[:200].mean()) / data.y[:200].std()
beta = beta_max(X, y) / 50

counts = (10, 50, 200, 1000)
sampled = []
for count in counts:
    solution = solve(ConvexProgram(X, y, Patterns.sample(X, count, rng=0), beta), tol=1e-4)
    sampled.append(solution.primal)
    print(f"{count:5d} sampled patterns: optimum {solution.primal:.4f}")
result = train(X, y, beta, tol=1e-3)
print(f"generated patterns: {result.certificate.primal:.4f} with {result.network.n_neurons} neurons")
print(result.certificate)

# %%

fig, ax = plt.subplots(layout="constrained")
ax.semilogx(counts, sampled, "o-", label="optimum over sampled patterns")
ax.axhline(result.certificate.primal, color="tab:green", label="convexnn.train")
ax.axhline(result.certificate.lower_bound, color="black", linestyle="--",
           label=f"{result.certificate.kind} lower bound on every network")  # fmt: skip
ax.set(xlabel="patterns drawn", ylabel="objective (loss + penalty)")
ax.legend()
plt.show()
