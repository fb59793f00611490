r"""scikit-learn estimators: min Σ ω_i ℓ(f(z_i), y_i) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²) to global optimality.

z_i are the rows of [(X − mean)/scale, 1]/√(d+1) (see `convexnn.data.Scaler`): X standardised with a column of
ones, so the bias is a weight like any other. The loss is a sum over samples, so β counts against all of it:
with twice the rows, the same β regularises half as much. ``beta="auto"`` is β_max/100, where β_max is the
smallest β whose optimum is the zero network; it scales with the data and so keeps the strength of
regularisation.

`ConvexReLURegressor`, `ConvexReLUClassifier`; with cross-validated β `ConvexReLURegressorCV`,
`ConvexReLUClassifierCV`; without cones, over sampled gates, `GatedReLURegressor`, `GatedReLUClassifier`; the
hidden layer as features `ReLUFeatures`.
"""

from convexnn.estimators._shared import AUTO_DIVISOR
from convexnn.estimators.classifier import ConvexReLUClassifier
from convexnn.estimators.cross_validated import ConvexReLUClassifierCV, ConvexReLURegressorCV
from convexnn.estimators.features import ReLUFeatures
from convexnn.estimators.gated import GatedNetwork, GatedReLUClassifier, GatedReLURegressor
from convexnn.estimators.regressor import ConvexReLURegressor

__all__ = [
    "AUTO_DIVISOR",
    "ConvexReLUClassifier",
    "ConvexReLUClassifierCV",
    "ConvexReLURegressor",
    "ConvexReLURegressorCV",
    "GatedNetwork",
    "GatedReLUClassifier",
    "GatedReLURegressor",
    "ReLUFeatures",
]
