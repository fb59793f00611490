"""The learned hidden layer as features for other models."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._types import Array
from convexnn.estimators._rows import hidden_layer
from convexnn.estimators.classifier import ConvexReLUClassifier
from convexnn.estimators.regressor import ConvexReLURegressor
from convexnn.network import Network

__all__ = ["ReLUFeatures"]


class ReLUFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""(Z U)_+ of a network trained to the global optimum: its hidden layer as features.

    Parameters
    ----------
    estimator : estimator, optional
        `ConvexReLURegressor`, `ConvexReLUClassifier` or one with CV; a clone is fitted. By default a
        regressor for continuous targets and a classifier for labels, as scikit-learn's `type_of_target`
        tells them apart: whole numbers are labels. ``sklearn.frozen.FrozenEstimator(model)`` takes a model
        that is fitted already.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one, with `certificate_`, `network_` and `beta_`.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : (d,) array of str
        Their names, where X had names that are strings.

    Raises
    ------
    ValueError
        If the estimator is of another kind, or an argument or the data are unfit; one sentence.

    Notes
    -----
    ``transform(X) @ estimator_.network_.alpha + estimator_.intercept_`` is the network's output.
    `get_feature_names_out` gives ``relufeatures0``, …, and `set_output` works as in scikit-learn. Sparse X is
    as in the estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from convexnn.estimators import ConvexReLURegressor, ReLUFeatures
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(ReLUFeatures(ConvexReLURegressor(tol=1e-2)), Ridge()).fit(X, y)
    >>> model[0].transform(X).shape[1] == model[0].estimator_.network_.n_neurons
    True
    """

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ReLUFeatures":
        """Fit the estimator on X (n, d) and its targets; returns the transformer."""
        rows, targets = validate_data(self, X, y, dtype=np.float64, accept_sparse="csr", multi_output=True)
        estimator = self.estimator
        if estimator is None:
            continuous = type_of_target(targets, input_name="y").startswith("continuous")
            estimator = ConvexReLURegressor() if continuous else ConvexReLUClassifier()
        options = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator_ = clone(estimator).fit(rows, targets, **options)
        if not isinstance(getattr(self.estimator_, "network_", None), Network):
            raise ValueError(
                "ReLUFeatures takes a ConvexReLURegressor or ConvexReLUClassifier, with or without CV, not a "
                f"{type(estimator).__name__}."
            )
        return self

    @property
    def _n_features_out(self) -> int:
        return int(self.estimator_.network_.U.shape[1])

    def transform(self, X: Any) -> Array:
        """(Z U)_+, of shape (n, m), one column a neuron."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, accept_sparse="csr", reset=False)
        return hidden_layer(self.estimator_.network_, self.estimator_.scaler_, rows)
