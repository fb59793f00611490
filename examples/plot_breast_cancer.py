"""
A classifier with a certificate
===============================

**Claim.** ``ConvexReLUClassifier`` takes the place of ``MLPClassifier``: no learning rate and no number of
neurons, and after the fit it says how far it is from the global optimum.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from convexnn import ConvexReLUClassifier
from convexnn.displays import CertificateDisplay

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

model = ConvexReLUClassifier(beta="auto", tol=1e-2).fit(X_train, y_train)
print(f"{model.network_.n_neurons} neurons, test accuracy {model.score(X_test, y_test):.4f}")
print(model.certificate_)

# %%
# The band between the objective and the lower bound is what better training could gain at most.

fig, ax = plt.subplots(layout="constrained")
CertificateDisplay.from_estimator(model, ax=ax)
plt.show()
