"""
Choose β by cross-validation
============================

**Claim.** ``ConvexReLURegressorCV`` trains one warm-started path a fold and picks the β of the best mean
score.
"""

import matplotlib.pyplot as plt
import numpy as np

from convexnn import ConvexReLURegressorCV
from convexnn.path_plots import plot_scores

rng = np.random.default_rng(0)
X = rng.standard_normal((120, 3))
y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.3 * rng.standard_normal(120)
model = ConvexReLURegressorCV(n_betas=8, ratio=0.005, cv=4, tol=1e-2).fit(X, y)
print(
    f"β = {model.beta_:.4g}, mean R² {model.best_score_:.4f} over 4 folds, {model.network_.n_neurons} neurons"
)
print(model.certificate_)

# %%

fig, ax = plt.subplots(layout="constrained")
plot_scores(model.betas_, model.scores_, model.beta_, ax=ax)
ax.set_title("Cross-validated R² along the path")
plt.show()
