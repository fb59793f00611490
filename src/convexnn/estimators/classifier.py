"""Classification to the global optimum."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from convexnn.estimators._progress import FitProgress, with_callbacks
from convexnn.estimators._rows import make_problem
from convexnn.estimators._shared import CertifiedClassifier, checked_classification, fit_network, set_labels
from convexnn.losses import LossLike

__all__ = ["ConvexReLUClassifier"]


class ConvexReLUClassifier(CertifiedClassifier):
    r"""min Σ ω_i ℓ(f(z_i), y_i) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²), globally, with a certificate.

    f(Z) = (Z U)₊ α with Z = [(X − mean)/scale, 1]/√(d+1), or [X, 1] without standardisation.

    * Two classes: y_i is −1 for ``classes_[0]`` and +1 for ``classes_[1]``, ℓ is a function of m = y f, and
      f > 0 predicts the second.
    * More classes: one output for each. The logistic loss is then the softmax cross-entropy
      log Σ_k exp f_k − f_y, which couples the outputs; the other losses take each class against the rest. The
      largest output wins.
    * Several labels a row (y an indicator matrix): one output for each label, each by itself.

    Parameters
    ----------
    beta : float or "auto", default "auto"
        Regularisation, positive; "auto" is β_max/100 for the training data. The loss is a sum over
        samples, so a fixed β weighs less the more rows there are.
    loss : {"logistic", "hinge", "squared_hinge", "squared"}, default "logistic"
        ℓ(m) = log(1 + e^{−m}), (1 − m)₊, ½(1 − m)₊² or ½(1 − m)². `predict_proba` is there for the first.
    tol : float, default 1e-3
        Relative duality gap at which training stops.
    max_time : float, optional
        Seconds after which training stops with the best network so far and a ConvergenceWarning.
    max_neurons : int, optional
        Most neurons the network may have.
    standardize : bool, default True
        Standardise the columns by the training rows (and their weights) and divide by √(d+1). False only
        appends the ones.
    penalize_intercept : bool, default True
        True: all biases are weights of the column of ones, and β counts them. False: f has an output bias b₀
        more, `intercept_`, one for each output, that β does not count, and the certificate is for that
        problem; biases inside the neurons stay as they are. Not for more than two classes with the
        logistic loss.
    feature_penalty : (d,) array, optional
        w_k > 0 for each column of X: the penalty is (β/2) Σ_j (Σ_k w_k u_jk² + ‖α_j‖₁²), with 1 for the bias.
    negative_slope : float, default 0.0
        s in [−1, 1): the activation is (z)₊ − s(−z)₊ in place of (z)₊. 0.01 is the usual leaky ReLU, −1 the
        absolute value.
    class_weight : dict, "balanced" or None, default None
        Weights of the classes, which multiply those of the rows. "balanced" gives all classes the same sum.
        Not for indicator matrices.
    warm_start : bool, default False
        Start from the network of the last `fit`, in place of a random one; the classes must be the same.
    random_state : int, RandomState instance or None, default 0
        Seed of the search. The optimum does not depend on it beyond `tol`.
    verbose : bool, default False
        Print one line an iteration. With scikit-learn 1.9 or newer ``set_callbacks`` takes its callbacks.

    Attributes
    ----------
    classes_ : (k,) array
        The labels, sorted; 0 … k−1 for an indicator matrix.
    multilabel_ : bool
        Whether y was an indicator matrix.
    network_ : Network
        The network in the coordinates of Z, not of X: ``network_.predict(scaler_.transform(X))``.
    scaler_ : Scaler or None
        Makes Z of X; None without standardisation.
    coefs_ : list of two arrays
        [U, alpha] of `network_`: (d+1, m) and (m,) or (m, k). The last row of U holds the biases.
    intercept_ : float or (c,) array
        The unpenalised b₀; 0 with ``penalize_intercept=True``.
    certificate_ : Certificate
        The gap to the global optimum and the kind of bound it rests on.
    beta_ : float
        The β used.
    loss_ : str
        Name of the loss trained: "softmax" for "logistic" with more than two classes.
    history_ : list of dict
        One row an iteration: seconds, iteration, primal, bound, neurons. The first may be those of the
        run of Adam that finds the start, with the bound 0.
    n_iter_ : int
        Rows of `history_`.
    status_ : Status
        Why training stopped; ``str(status_)`` is a sentence.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : (d,) array of str
        Their names, where X had names that are strings.

    Raises
    ------
    ValueError
        If an argument or the data are unfit, or y has one class only; one sentence.

    Notes
    -----
    Sparse X: with at least as many columns as rows it stays sparse, and the optimum is that of the dense X.
    With fewer columns training needs a dense copy, which is refused above one gigabyte.

    Ctrl-C: the fitted attributes are set to the best network so far, with its certificate, and then
    KeyboardInterrupt goes on, so that a grid search or a loop ends too. The estimator can be used after it.

    For the logistic loss with each of many classes against the rest use
    ``sklearn.multiclass.OneVsRestClassifier(ConvexReLUClassifier())``.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from convexnn.estimators import ConvexReLUClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = ConvexReLUClassifier().fit(X, y)
    >>> bool(model.score(X, y) > 0.97)
    True
    """

    def __init__(
        self,
        beta: float | Literal["auto"] = "auto",
        loss: LossLike = "logistic",
        tol: float = 1e-3,
        max_time: float | None = None,
        max_neurons: int | None = None,
        standardize: bool = True,
        penalize_intercept: bool = True,
        feature_penalty: ArrayLike | None = None,
        negative_slope: float = 0.0,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool = False,
    ) -> None:
        self.beta = beta
        self.loss = loss
        self.tol = tol
        self.max_time = max_time
        self.max_neurons = max_neurons
        self.standardize = standardize
        self.penalize_intercept = penalize_intercept
        self.feature_penalty = feature_penalty
        self.negative_slope = negative_slope
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ConvexReLUClassifier":
        """Train on X (n, d), dense, sparse or a frame, and labels y (n,) or (n, k); returns the estimator.

        `sample_weight` (n,) are weights ω ≥ 0 of the rows; they are not normalised.
        """
        rows, y, labels, weights = checked_classification(self, X, y, sample_weight)
        progress = FitProgress(self, rows, y, weights)
        problem = make_problem(rows, labels.targets, weights, self.standardize, self.feature_penalty)
        set_labels(self, labels)
        fit_network(
            self, problem, labels.loss, progress, beta=self.beta, max_neurons=self.max_neurons,
            max_time=self.max_time, warm_start=self.warm_start,
        )  # fmt: skip
        return self
