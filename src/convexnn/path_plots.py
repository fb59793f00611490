"""Pictures of a regularisation path."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convexnn.plots import (
    BLUE,
    BOUND_WORDS,
    DOTTED,
    GAP_WORDS,
    GREEN,
    SIZE,
    VERMILION,
    add_legend,
    apply_style,
    new_axes,
)
from convexnn.regularisation_path import PathResult

#: How far a kind is from a proof: the picture names the weakest on the path.
_STRENGTH = ("exact", "bounded", "estimated", "patterns")


def plot_path(result: PathResult, *, ax: Axes | None = None) -> Axes:
    """Neurons against β, and below it objective and gap, largest β on the left.

    Parameters
    ----------
    result : PathResult
        With at least one point.
    ax : Axes, optional
        Draw only the neurons, here.

    Returns
    -------
    Axes
        The axes of the neurons; ``ax.figure.axes`` holds all three.

    Raises
    ------
    ValueError
        If the path is empty.
    """
    if not len(result):
        raise ValueError("The path has no points: there is nothing to draw.")
    if ax is not None:
        return _draw_neurons(_beta_axis(apply_style(ax, "β", "neurons (number)")), result)
    figure = Figure(figsize=(SIZE[0], 2.1 * SIZE[1]), layout="constrained")
    figure.patch.set_alpha(0.0)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    kind = max((c.kind for c in result.certificates), key=_STRENGTH.index)
    _draw_neurons(apply_style(top, "", "neurons (number)"), result)
    _draw_objectives(apply_style(middle, "", "objective\n(loss + penalty)"), result, kind)
    _draw_gaps(
        _beta_axis(apply_style(bottom, "β", f"relative gap to the\n{BOUND_WORDS[kind]}")), result, kind
    )
    return top  # type: ignore[no-any-return]


def plot_scores(betas: np.ndarray, scores: np.ndarray, best: float, *, ax: Axes | None = None) -> Axes:
    """Cross-validation scores against β: thin lines for the folds, a thick one for their mean.

    Parameters
    ----------
    betas : (k,);  scores : (k, folds);  best : the β chosen.
    """
    ax = _beta_axis(ax or new_axes("β", "score on the left-out rows"))
    ax.plot(betas, scores, color=GREEN, linewidth=0.7, alpha=0.5)
    ax.plot(betas, scores.mean(axis=1), label=f"mean of {scores.shape[1]} folds", **DOTTED)
    ax.axvline(best, color=VERMILION, linewidth=1.4, linestyle="--", label=f"chosen: β = {best:.4g}")
    add_legend(ax)
    return ax


def _beta_axis(ax: Axes) -> Axes:
    """Logarithmic β, falling to the right as the path does."""
    ax.set_xscale("log")
    if not ax.xaxis_inverted():
        ax.invert_xaxis()
    return ax


def _draw_neurons(ax: Axes, result: PathResult) -> Axes:
    ax.plot(result.betas, result.neurons, **DOTTED)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    return ax


def _draw_objectives(ax: Axes, result: PathResult, kind: str) -> None:
    ax.plot(result.betas, result.objectives, label="objective", **DOTTED)
    if kind != "patterns":
        ax.plot(
            result.betas, result.lower_bounds, color=VERMILION, linewidth=1.4, linestyle="--",
            label=BOUND_WORDS[kind],
        )  # fmt: skip
    ax.set_ylim(bottom=0)
    add_legend(ax)


def _draw_gaps(ax: Axes, result: PathResult, kind: str) -> None:
    """Gaps of exactly zero, as at β_max, have no place on a logarithmic axis and are left out."""
    keep = result.relative_gaps > 0
    ax.plot(
        result.betas[keep], result.relative_gaps[keep], color=BLUE, linewidth=1.7, marker="o", markersize=3.5,
        label=GAP_WORDS[kind],
    )  # fmt: skip
    if keep.any():
        ax.set_yscale("log")
    add_legend(ax)
