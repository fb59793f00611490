r"""Convolutional networks trained to the global optimum: four cases, each with its gap and its filters.

==============================  =======================================================  ===================
case                            convex program                                           certificate
==============================  =======================================================  ===================
`train_separable`               program (2) on the stacked patches                       estimated
`train_linear`                  L(Σ_k X_k z_k, y) + β ‖[z_1 … z_K]‖_*                    exact
`train_circular`                L(X F z, y) + β ‖z‖₁, F the unnormalised DFT             exact
`train_pooled`                  patterns of the stack, averaged (or summed) over k       estimated, patterns
==============================  =======================================================  ===================

>>> import numpy as np
>>> from convexnn.convolution import extract_patches, train_linear
>>> signals = np.random.default_rng(0).standard_normal((30, 10))
>>> target = signals[:, :8].sum(axis=1) - signals[:, 2:].sum(axis=1)
>>> result = train_linear(extract_patches(signals, 3), target, beta=1.0)
>>> result.filters.shape, result.certificate.kind, result.certificate.relative_gap < 1e-6
((3, 2), 'exact', True)

Source: Ergen & Pilanci, ICLR 2021, "Implicit convex regularizers of CNN architectures".
"""

from convexnn.convolution.circular import (
    CircularCNN,
    certify_circular,
    circular_beta_max,
    circular_filters,
    train_circular,
)
from convexnn.convolution.linear import (
    LinearCNN,
    certify_linear,
    linear_beta_max,
    linear_filters,
    train_linear,
)
from convexnn.convolution.patches import extract_patches
from convexnn.convolution.pooling import (
    PooledCNN,
    certify_pooled,
    descend_pooled,
    pooled_beta_max,
    pooled_patterns,
)
from convexnn.convolution.pooling_train import train_pooled
from convexnn.convolution.result import ConvolutionResult
from convexnn.convolution.separable import (
    SeparableCNN,
    certify_separable,
    separable_beta_max,
    train_separable,
)

__all__ = [
    "CircularCNN",
    "ConvolutionResult",
    "LinearCNN",
    "PooledCNN",
    "SeparableCNN",
    "certify_circular",
    "certify_linear",
    "certify_pooled",
    "certify_separable",
    "circular_beta_max",
    "circular_filters",
    "descend_pooled",
    "extract_patches",
    "linear_beta_max",
    "linear_filters",
    "pooled_beta_max",
    "pooled_patterns",
    "separable_beta_max",
    "train_circular",
    "train_linear",
    "train_pooled",
    "train_separable",
]
