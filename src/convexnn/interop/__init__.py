r"""Networks of other libraries as points of problem (1), their penalties as β, and their certificates.

A hidden layer (X W₁ + b₁)_+ is (X̃ U)_+ with X̃ = [X, 1] and U = [W₁; b₁]. An output bias c is one more neuron
on the column of ones, u = √|c| e_ones with α = sign(c)√|c|: the same function, at the penalty β|c|, the least
that one neuron for a constant costs. So the model becomes a network of problem (1),

    L(Σ_j (X̃ u_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²),   L a sum over samples (½ Σ(f − y)² if squared),

and `certify` says how far it is from the optimum of THAT problem, where biases are penalised like weights. A
library that leaves biases free minimises less: its own optimum may lie below the certified bound. With
``penalize_intercept=False`` the output bias is free here too (`Network.intercept`), and the bound is for that
problem; biases of the hidden layer stay penalised.

What the penalties of the libraries are in these units (n samples):

======================================================  ======================================
scikit-learn MLP, ``alpha``, lbfgs                      β = alpha (biases free)
scikit-learn MLP, ``alpha``, sgd or adam, batches of B  β = alpha·n/B (biases free)
torch, ``weight_decay``, MSE, mean | sum                β = weight_decay·n/2 | weight_decay/2
torch, ``weight_decay``, logistic, mean | sum           β = weight_decay·n | weight_decay
======================================================  ======================================

Those of torch hold for SGD and Adam on all parameters, biases included, and full batches (or mean reductions
over batches of size B, with n kept, not B). The decay of AdamW is not a penalty and has no β.

The other way: `to_torch`, `to_onnx` and `to_sklearn` take a `Network`, or a fitted estimator with the columns
that its `predict` takes; `register_skl2onnx` lets skl2onnx convert a Pipeline with our estimators in it.
"""

from convexnn.interop.betas import sklearn_beta, torch_beta
from convexnn.interop.certificates import ModelCertificate, certify_model, certify_module
from convexnn.interop.foreign import Foreign, from_arrays
from convexnn.interop.onnx import OPSET, from_onnx, to_onnx
from convexnn.interop.skl2onnx import register_skl2onnx
from convexnn.interop.sklearn import from_sklearn, to_sklearn
from convexnn.interop.torch import from_torch, to_torch

__all__ = [
    "OPSET",
    "Foreign",
    "ModelCertificate",
    "certify_model",
    "certify_module",
    "from_arrays",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "register_skl2onnx",
    "sklearn_beta",
    "to_onnx",
    "to_sklearn",
    "to_torch",
    "torch_beta",
]
