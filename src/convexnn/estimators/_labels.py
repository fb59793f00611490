"""Labels as targets of a loss, and outputs of a network as labels and probabilities."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from convexnn._types import Array
from convexnn.losses import LossLike, Weighted, get_loss, plain

#: Losses of a classifier; ``"softmax"`` is what ``"logistic"`` means for more than two classes.
CLASSIFIER_LOSSES = ("logistic", "hinge", "squared_hinge", "squared", "softmax")


class Labels(NamedTuple):
    """Targets of labels.

    Attributes
    ----------
    classes : (k,)
        Sorted labels, or 0 … k−1 for the columns of an indicator matrix.
    targets : (n,) of ±1, or (n, k)
        ±1 for each class against the rest, or one-hot for the softmax.
    loss : str or loss object
        The loss to train.
    multilabel : bool
    """

    classes: NDArray[Any]
    targets: Array
    loss: LossLike
    multilabel: bool


def regression_loss(loss: LossLike) -> LossLike:
    """The loss of a regression, by name if its parameters are the default; ValueError for others."""
    found = get_loss(loss)
    if isinstance(found, Weighted):
        raise ValueError("Give weights as sample_weight to fit, not as a weighted loss.")
    if found.is_classification:
        raise ValueError(
            f"The {found.name} loss is for classes; a regression takes loss='squared', 'huber', 'quantile', "
            "'squared_epsilon_insensitive' or 'poisson'."
        )
    return plain(loss)


def classifier_loss(loss: LossLike) -> LossLike:
    """The loss of a classifier; ValueError for others."""
    found = get_loss(loss)
    if isinstance(found, Weighted):
        raise ValueError("Give weights as sample_weight to fit, not as a weighted loss.")
    if found.name not in CLASSIFIER_LOSSES:
        raise ValueError(f"A classifier takes the losses {', '.join(CLASSIFIER_LOSSES)}, not {found.name}.")
    return found.name


def loss_name(loss: LossLike) -> str:
    """The name of a loss given by name or as an object."""
    return loss if isinstance(loss, str) else loss.name


def encode_labels(y: Any, loss: LossLike, weights: Array | None, *, coupled: bool = True) -> Labels:
    """Targets of labels (n,) or of an indicator matrix (n, k).

    Parameters
    ----------
    y : (n,) or (n, k)
        As `validate_data` returns it.
    weights : (n,), optional
        Labels that occur on rows of weight zero only are no classes.
    coupled : bool
        Whether the logistic loss with more than two classes means the softmax; else one against the rest.

    Raises
    ------
    ValueError
        If y is continuous, has one class only, or several outputs that are no indicators.
    """
    loss = classifier_loss(loss)
    single = "logistic" if loss == "softmax" else loss  # of one output by itself
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    if kind == "multilabel-indicator":
        if loss == "softmax":
            raise ValueError("The softmax loss is for one label a row; an indicator matrix takes 'logistic'.")
        Y = np.asarray(y.toarray() if sparse.issparse(y) else y)
        return Labels(np.arange(Y.shape[1]), np.where(Y > 0, 1.0, -1.0), loss, True)
    if kind not in ("binary", "multiclass"):
        raise ValueError(f"y must be one label a row, or an indicator matrix of 0 and 1; it is {kind}.")
    labels = column_or_1d(y, warn=True)
    classes = np.unique(labels if weights is None else labels[weights > 0])
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes[0]!r}: there is nothing to classify.")
    if len(classes) == 2:
        return Labels(classes, np.where(labels == classes[1], 1.0, -1.0), single, False)
    one_hot = (labels[:, None] == classes).astype(np.float64)
    if single == "logistic" and coupled:
        return Labels(classes, one_hot, "softmax", False)
    return Labels(classes, 2.0 * one_hot - 1.0, single, False)


def apply_class_weight(class_weight: Any, y: Any, weights: Array | None) -> Array | None:
    """Weights of rows times those of their classes; ``"balanced"`` is Σω/(k·Σω of the class)."""
    if class_weight is None:
        return weights
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError("class_weight is for one label a row; for an indicator matrix use sample_weight.")
    labels = column_or_1d(y)
    own = np.ones(len(labels)) if weights is None else weights
    classes, index = np.unique(labels, return_inverse=True)
    if isinstance(class_weight, str) and class_weight == "balanced":
        mass = np.bincount(index, weights=own)
        present = mass > 0
        factor = np.zeros(len(classes))
        factor[present] = own.sum() / (present.sum() * mass[present])
    else:
        factor = compute_class_weight(class_weight, classes=classes, y=labels)
    return np.asarray(own * factor[index])


def decode_labels(scores: Array, classes: NDArray[Any], multilabel: bool) -> NDArray[Any]:
    """Labels (n,), or indicators (n, k), of outputs."""
    if multilabel:
        return (scores > 0).astype(np.int64)
    index = (scores > 0).astype(np.intp) if scores.ndim == 1 else np.argmax(scores, axis=1)
    chosen: NDArray[Any] = classes[index]
    return chosen


def probabilities(scores: Array, loss: str, multilabel: bool) -> Array:
    """(n, k) probabilities of outputs: σ, softmax, or σ scaled to sum one for one against the rest."""
    if scores.ndim == 1:
        return np.asarray(expit(np.column_stack([-scores, scores])))
    if loss == "softmax":
        return np.asarray(softmax(scores, axis=1))
    own = expit(scores)
    if multilabel:
        return np.asarray(own)
    total = own.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, own / np.where(total > 0, total, 1.0), 1.0 / scores.shape[1]))
