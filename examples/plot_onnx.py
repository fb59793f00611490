"""
Export to ONNX
==============

**Claim.** A fitted estimator leaves as an ONNX graph that takes the raw columns, and ONNX Runtime gives the
same predictions up to float32.
"""

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import load_diabetes

from convexnn import ConvexReLURegressor
from convexnn.interop import to_onnx

X, y = load_diabetes(return_X_y=True)
model = ConvexReLURegressor(beta=10.0, tol=1e-2).fit(X, (y - y.mean()) / y.std())

graph = to_onnx(model).SerializeToString()
session = onnxruntime.InferenceSession(graph)
ours = model.predict(X)
(theirs,) = session.run(["variable"], {"X": X.astype(np.float32)})
difference = np.abs(theirs[:, 0] - ours).max()
print(
    f"{len(graph):,} bytes; largest difference {difference:.1e}, predictions of size {np.abs(ours).max():.2f}"
)

# %%

fig, ax = plt.subplots(layout="constrained")
ax.plot(ours, theirs[:, 0], ".")
ax.axline((0, 0), slope=1, color="black", linewidth=0.8)
ax.set(xlabel="convexnn (float64)", ylabel="ONNX Runtime (float32)", title="442 predictions, one line")
plt.show()
