r"""Displays in scikit-learn's manner: plain results first, a picture when `plot` is called.

`PathDisplay` shows neurons, objective and gap against β, `CertificateDisplay` the history of one training
down to its lower bound, `NeuronDisplay` the weights of the largest neurons by the names of the columns. Each
has ``from_estimator``, ``plot(ax=None)`` and, once drawn, ``ax_`` and ``figure_``. A bound is always named by
its kind (exact, bounded, estimated, patterns). matplotlib is imported by `plot` only.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array
from convexnn.certificate import Certificate
from convexnn.network import Network
from convexnn.regularisation_path import PathResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CertificateDisplay", "NeuronDisplay", "PathDisplay"]


class PathDisplay:
    """Neurons, objective and relative gap of the networks along a path of β.

    Parameters
    ----------
    result : PathResult
        What `convexnn.path` returned.
    scores : (k, folds) array, optional
        Cross-validation scores at `score_betas`, drawn below the rest.
    score_betas : (k,) array, optional
    best_beta : float, optional
        The β chosen by cross-validation, marked in every picture.

    Attributes
    ----------
    ax_ : Axes
        The axes of the neurons.
    axes_ : list of Axes
        All of them, from top to bottom.
    figure_ : Figure
    """

    ax_: "Axes"
    axes_: "list[Axes]"
    figure_: "Figure | Any"

    def __init__(
        self,
        result: PathResult,
        *,
        scores: Array | None = None,
        score_betas: Array | None = None,
        best_beta: float | None = None,
    ) -> None:
        self.result = result
        self.scores = scores
        self.score_betas = score_betas
        self.best_beta = best_beta

    @classmethod
    def from_result(cls, result: PathResult, *, ax: "Axes | None" = None) -> "PathDisplay":
        """Draw what `convexnn.path` returned."""
        return cls(result).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        max_time: float | None = None,
        ax: "Axes | None" = None,
    ) -> "PathDisplay":
        """Train the path on (X, y), with the estimator's columns, loss, tolerance and β, and draw it.

        Parameters
        ----------
        estimator : fitted ConvexReLURegressorCV, ConvexReLUClassifierCV or one without CV
            A CV estimator gives its ``betas_``, ``scores_`` and ``beta_``; any other takes the default β.
        X : (n, d), y : (n,)
            Usually the rows that the estimator was fitted on.
        max_time : float, optional
            Seconds for the path.
        ax : Axes, optional
            Draw only the neurons, here.

        Raises
        ------
        ValueError
            If the estimator is not fitted, has several outputs, or y has labels other than its two.
        """
        from convexnn.regularisation_path import path

        network = _fitted(estimator, "PathDisplay").network_
        if network.alpha.ndim != 1:
            raise ValueError("PathDisplay takes an estimator of one output or two classes.")
        own = estimator.feature_penalty
        result = path(
            _design(estimator, X), _targets(estimator, y), getattr(estimator, "betas_", None),
            loss=estimator.loss_ if hasattr(estimator, "classes_") else estimator.loss, tol=estimator.tol,
            max_time=max_time, intercept=not estimator.penalize_intercept,
            feature_penalty=None if own is None else [*own, 1.0],  # the last column is the bias
            negative_slope=estimator.negative_slope,
        )  # fmt: skip
        scores = getattr(estimator, "scores_", None)
        chosen = None if scores is None else float(estimator.beta_)
        betas = None if scores is None else estimator.betas_
        return cls(result, scores=scores, score_betas=betas, best_beta=chosen).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> "PathDisplay":
        """Draw all pictures in a new figure, or only the neurons in `ax`; returns the display."""
        from convexnn.path_plots import plot_path, plot_scores
        from convexnn.plots import VERMILION, add_legend

        self.ax_ = plot_path(self.result, ax=ax)
        self.figure_ = self.ax_.figure
        self.axes_ = list(self.figure_.axes) if ax is None else [self.ax_]
        if self.best_beta is not None:
            for one in self.axes_:
                one.axvline(self.best_beta, color=VERMILION, linewidth=1.2, linestyle=":")
            self.ax_.lines[-1].set_label(f"chosen: β = {self.best_beta:.4g}")
            add_legend(self.ax_)
        if self.scores is not None and self.score_betas is not None and ax is None:
            self.axes_.append(_axes_below(self.figure_, self.axes_))
            best = float(self.best_beta or self.score_betas[0])
            plot_scores(self.score_betas, self.scores, best, ax=self.axes_[-1])
        return self


def _axes_below(figure: Any, axes: "list[Axes]") -> "Axes":
    """One more axes below those of a figure with one column."""
    from convexnn.plots import apply_style

    rows = len(axes) + 1
    grid = figure.add_gridspec(rows, 1)
    for k, one in enumerate(axes):
        one.set_subplotspec(grid[k])
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height * rows / len(axes))
    new: Axes = figure.add_subplot(grid[rows - 1])
    return apply_style(new, "β", "score on the\nleft-out rows")


class CertificateDisplay:
    """Objective of a training, round by round, and the band down to the lower bound of its certificate.

    Parameters
    ----------
    certificate : Certificate
    history : sequence of mappings, optional
        Rows with ``seconds``, ``iteration`` and ``primal``; without it two bars are drawn.

    Attributes
    ----------
    primal, lower_bound, relative_gap : float
    kind : {"exact", "bounded", "estimated", "patterns"}
        What the lower bound rests on.
    ax_, figure_
        Set by `plot`.
    """

    ax_: "Axes"
    figure_: "Figure | Any"

    def __init__(self, certificate: Certificate, history: Sequence[Mapping[str, Any]] = ()) -> None:
        self.certificate = certificate
        self.history = list(history)
        self.primal = certificate.primal
        self.lower_bound = certificate.lower_bound
        self.relative_gap = certificate.relative_gap
        self.kind = certificate.kind

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | None" = None) -> "CertificateDisplay":
        """Draw the history and the certificate of a fitted estimator."""
        _fitted(estimator, "CertificateDisplay")
        return cls(estimator.certificate_, estimator.history_).plot(ax)

    @classmethod
    def from_certificate(cls, certificate: Certificate, *, ax: "Axes | None" = None) -> "CertificateDisplay":
        """Draw what `convexnn.certify` returned."""
        return cls(certificate).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> "CertificateDisplay":
        """Draw in `ax`, or in a new figure; returns the display."""
        from convexnn.plots import AXIS_NAMES, GAP_WORDS, INK, apply_style, new_axes, plot_training

        bound = None if self.kind == "patterns" else self.lower_bound
        labels = (AXIS_NAMES["seconds"] if self.history else "", "objective (loss + penalty)")
        ax = new_axes(*labels) if ax is None else apply_style(ax, *labels)
        if self.history:
            plot_training(self.history, primal=self.primal, bound=bound, kind=self.kind, ax=ax)
        else:
            _draw_bars(ax, self.primal, bound, self.kind)
        title = f"{GAP_WORDS[self.kind]}: {self.relative_gap:.2g} of the objective"
        ax.set_title(title, fontsize=11.5, color=INK)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _draw_bars(ax: "Axes", primal: float, bound: float | None, kind: str) -> None:
    from convexnn.plots import BLUE, BOUND_WORDS, VERMILION

    bars = [("objective", primal, BLUE)] + ([] if bound is None else [(BOUND_WORDS[kind], bound, VERMILION)])
    for name, value, colour in bars:
        ax.bar([f"{name}\n{value:.6g}"], [value], color=colour, alpha=0.8, width=0.6)


class NeuronDisplay:
    """Weights of the largest neurons, a row a neuron and a column a feature, with the neurons' α.

    A neuron's size is ‖u_j‖·‖α_j‖₁, its share of the penalty; a cell shows ‖α_j‖₁ u_j, so that colours
    compare over the whole picture. If the estimator standardises, weights belong to standardised columns.

    Parameters
    ----------
    weights : (k, f) array
        ‖α_j‖₁ u_j of the neurons and columns shown, largest neuron first.
    alpha : (k,) or (k, c) array
        Output weights of these neurons, scaled so that ‖u_j‖ = ‖α_j‖₁.
    feature_names : f names
    n_neurons, n_features : int
        Of the whole network.

    Attributes
    ----------
    sizes : (k,) array
        ‖u_j‖·‖α_j‖₁.
    ax_, figure_
        Set by `plot`.
    """

    ax_: "Axes"
    figure_: "Figure | Any"

    def __init__(
        self,
        weights: Array,
        alpha: Array,
        feature_names: Sequence[str],
        *,
        n_neurons: int,
        n_features: int,
    ) -> None:
        self.weights = weights
        self.alpha = alpha
        self.feature_names = list(feature_names)
        self.n_neurons = n_neurons
        self.n_features = n_features
        self.sizes = _norm1(alpha) ** 2

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, max_neurons: int = 10, max_features: int = 20, ax: "Axes | None" = None
    ) -> "NeuronDisplay":
        """Draw the `max_neurons` largest neurons of a fitted estimator.

        Where there are more than `max_features` columns, those with the largest weights are shown. The last
        column is the bias.
        """
        network = _fitted(estimator, "NeuronDisplay").network_
        names = getattr(estimator, "feature_names_in_", None)
        known = [f"x{k}" for k in range(network.n_features - 1)] if names is None else [str(n) for n in names]
        return cls.from_network(
            network, [*known, "bias"], max_neurons=max_neurons, max_features=max_features, ax=ax
        )

    @classmethod
    def from_network(
        cls,
        network: Network,
        feature_names: Sequence[str] | None = None,
        *,
        max_neurons: int = 10,
        max_features: int = 20,
        ax: "Axes | None" = None,
    ) -> "NeuronDisplay":
        """Draw the `max_neurons` largest neurons of a network; names default to x0, x1, …"""
        names = list(feature_names or [f"x{k}" for k in range(network.n_features)])
        if len(names) != network.n_features:
            raise ValueError(
                f"The network has {network.n_features} columns, but {len(names)} names are given."
            )
        if max_neurons < 1 or max_features < 1:
            raise ValueError(
                f"max_neurons and max_features must be ≥ 1; they are {max_neurons} and {max_features}."
            )
        net = network.balanced()  # ‖u_j‖ = ‖α_j‖₁
        size = _norm1(net.alpha)
        order = np.argsort(-size, kind="stable")[:max_neurons]
        weights = (net.U * size).T[order]
        shown = np.sort(np.argsort(-np.abs(weights).sum(axis=0), kind="stable")[:max_features])
        return cls(
            weights[:, shown], net.alpha[order], [names[k] for k in shown],
            n_neurons=net.n_neurons, n_features=net.n_features,
        ).plot(ax)  # fmt: skip

    def plot(self, ax: "Axes | None" = None) -> "NeuronDisplay":
        """Draw in `ax`, or in a new figure; returns the display."""
        from convexnn.plots import INK, apply_style, new_axes

        rows, width = self.weights.shape
        size = (max(4.0, 1.9 + 0.42 * width), max(2.6, 1.7 + 0.34 * rows))
        label = "neurons, largest first"
        ax = new_axes("", label, size=size) if ax is None else apply_style(ax, "", label)
        ax.grid(False)
        top = float(np.abs(self.weights).max(initial=0.0)) or 1.0
        options: dict[str, Any] = {
            "cmap": "PuOr",
            "vmin": -top,
            "vmax": top,
            "aspect": "auto",
            "interpolation": "nearest",
        }
        image = ax.imshow(self.weights if rows else np.zeros((1, width)), **options)
        ax.set_xticks(range(width), self.feature_names, rotation=90)
        ax.set_yticks(range(rows), [_alpha_words(row) for row in self.alpha])
        bar = ax.figure.colorbar(image, ax=ax)
        bar.set_label("|α| u", color=INK)
        bar.ax.tick_params(colors=INK)
        ax.set_title(_counts(rows, self.n_neurons, width, self.n_features), fontsize=10.5, color=INK)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _norm1(alpha: Array) -> Array:
    """‖α_j‖₁ for each neuron."""
    size: Array = np.abs(alpha) if alpha.ndim == 1 else np.abs(alpha).sum(axis=1)
    return size


def _alpha_words(alpha: Array) -> str:
    """α of one neuron, or the output of largest |α| where there are several."""
    if np.ndim(alpha) == 0:
        return f"α = {alpha:+.3g}"
    k = int(np.argmax(np.abs(alpha)))
    return f"α[{k}] = {alpha[k]:+.3g}"


def _counts(rows: int, neurons: int, width: int, features: int) -> str:
    part = f"{rows} of {neurons} neurons" if rows < neurons else f"all {neurons} neurons"
    return part if width == features else f"{part}, {width} of {features} columns"


def _fitted(estimator: Any, what: str) -> Any:
    """The estimator; ValueError if it is not one of ours, or not fitted."""
    if isinstance(getattr(estimator, "network_", None), Network):
        return estimator
    name = type(estimator).__name__
    if hasattr(estimator, "n_gates") and hasattr(estimator, "network_"):
        raise ValueError(f"{what} shows ReLU networks; a {name} has gates.")
    if isinstance(getattr(getattr(estimator, "estimator_", None), "network_", None), Network):
        raise ValueError(f"{what} takes the estimator_ of a {name}, not the {name} itself.")
    if type(estimator).__module__.startswith("convexnn."):
        raise ValueError(f"This {name} is not fitted yet: call fit first.")
    raise ValueError(f"{what} takes a fitted estimator of this package, not a {name}.")


def _design(estimator: Any, X: ArrayLike) -> Array:
    """Z, the network's input for rows of X."""
    rows = np.asarray(X, dtype=np.float64)
    if estimator.scaler_ is not None:
        scaled: Array = estimator.scaler_.transform(rows)
        return scaled
    return np.column_stack([rows, np.ones(len(rows))])


def _targets(estimator: Any, y: ArrayLike) -> Array:
    """y as floats, or −1 and +1 for the two classes."""
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return np.asarray(y, dtype=np.float64)
    labels = np.asarray(y)
    if not np.isin(labels, classes).all():
        raise ValueError(f"y has labels other than the estimator's, {np.asarray(classes).tolist()}.")
    return np.where(labels == classes[1], 1.0, -1.0)
