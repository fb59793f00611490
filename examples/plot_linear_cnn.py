"""
A linear CNN is a nuclear norm
==============================

**Claim.** Weight decay on a linear convolutional network is a nuclear norm on the matrix of its filters:
the rank of the solution is the number of filters worth having, and an SVD proves the optimum.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from convexnn.convolution import extract_patches, linear_beta_max, train_linear
from convexnn.theory_plots import plot_spectrum

digits = load_digits()
chosen = (digits.target == 3) | (digits.target == 8)
images = digits.images[chosen][:100] / 16
y = 2.0 * (digits.target[chosen][:100] == 8) - 1

patches = extract_patches(images, (4, 4), stride=2)
beta = linear_beta_max(patches, y) / 30
result = train_linear(patches, y, beta)
print(result.certificate)
print("filters:", result.filters.shape[1], "of at most", min(patches.shape[2], patches.shape[0]))

# %%

fig, ax = plt.subplots(layout="constrained")
plot_spectrum(result.filters @ result.outputs, ax=ax)
ax.set(xlabel="index", ylabel="singular value")
ax.set_title(f"{np.linalg.matrix_rank(result.filters @ result.outputs, tol=1e-8)} filters at the optimum")
plt.show()
