r"""A penalty of its own for each feature: (β/2) Σ_j (Σ_k w_k u_jk² + α_j²), w_k > 0.

With X′ = X/√w and u′ = √w u (columns and entries one by one) Xu = X′u′ and Σ_k w_k u_k² = ‖u′‖²: it is
problem (1) on X′, with the same optimum, dual points and certificates. glmnet calls w the penalty factor.
"""

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array


def penalty_root(feature_penalty: ArrayLike, n_features: int) -> Array:
    """√w for w (d,).

    Raises
    ------
    ValueError
        Unless there is one positive finite number for each of the `n_features` features.
    """
    try:
        w = np.asarray(feature_penalty, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"feature_penalty must be real numbers; it is {feature_penalty!r}.") from None
    if w.shape != (n_features,):
        raise ValueError(
            f"feature_penalty must have one number for each of the {n_features} features; "
            f"its shape is {w.shape}."
        )
    wrong = ~(np.isfinite(w) & (w > 0))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise ValueError(
            f"feature_penalty must be positive and finite; feature_penalty[{k}] is {w[k]}. For a feature "
            "without influence drop its column; for one that is almost free take a small number."
        )
    return np.sqrt(w)


def divided(X: ArrayLike, feature_penalty: ArrayLike) -> tuple[Array, Array]:
    """(X/√w, √w) for X (n, d); ValueError as `penalty_root`, or if X is no matrix."""
    rows = np.asarray(X, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"X must be an n×d matrix; its shape is {rows.shape}.")
    root = penalty_root(feature_penalty, rows.shape[1])
    return np.ascontiguousarray(rows / root), root
