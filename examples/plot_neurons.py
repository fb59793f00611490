"""
Look at the neurons
===================

**Claim.** The optimum needs few neurons, so the whole network can be looked at: a row a neuron, a column a
feature.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes

from convexnn import ConvexReLURegressor
from convexnn.displays import NeuronDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True)
model = ConvexReLURegressor(beta=12.0, tol=1e-2).fit(X, (y - y.mean()) / y.std())
network = model.network_.balanced()
print(network.n_neurons, "neurons;", model.certificate_)

# %%

fig, ax = plt.subplots(layout="constrained")
NeuronDisplay.from_estimator(model, max_neurons=8, ax=ax)
plt.show()
