"""
Three classes, one network
==========================

**Claim.** With more than two classes the softmax cross-entropy couples the outputs, and the whole network
still has one certificate.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_iris
from sklearn.inspection import DecisionBoundaryDisplay

from convexnn import ConvexReLUClassifier

X, y = load_iris(return_X_y=True)
X = X[:, 2:]  # length and width of the petal
model = ConvexReLUClassifier(beta=0.5, tol=1e-2).fit(X, y)
print(
    f"{model.network_.n_neurons} neurons for {len(model.classes_)} classes, accuracy {model.score(X, y):.3f}"
)
print(model.certificate_)

# %%

fig, ax = plt.subplots(layout="constrained")
DecisionBoundaryDisplay.from_estimator(model, X, response_method="predict", alpha=0.3, ax=ax)
ax.scatter(*X.T, c=y, edgecolor="black", s=18)
ax.set(xlabel="petal length (cm)", ylabel="petal width (cm)", title="Regions of the three classes")
plt.show()
