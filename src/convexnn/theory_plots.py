"""Pictures of the theory: cells, learned functions, the dual, optimal sets, paths, certificates.

Every function takes data, draws on `ax` (a new figure if it is None) and returns the matplotlib `Axes`; the
style is that of `convexnn.plots`. Nothing here solves anything: lines are drawn from the numbers handed in.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.spatial import ConvexHull, QhullError

from convexnn._types import Array
from convexnn.activation import require_relu
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.plots import (
    AXIS_NAMES,
    BLUE,
    BOUND_WORDS,
    CYCLE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    add_legend,
    columns,
    new_axes,
)

#: Cells whose patterns are written out, and rows to a written pattern.
_WRITTEN_CELLS, _WRITTEN_ROWS = 24, 12
_STAGES = {
    "align": ("align", ORANGE),
    "reduce": ("reduce", GREEN),
    "interpolate": ("interpolate", SKY),
}


def plot_arrangement(
    X: Array, patterns: Patterns, *, network: Network | None = None, ax: Axes | None = None
) -> Axes:
    """The cells of {x_iᵀu = 0} in the plane, each with its pattern 1[Xu ≥ 0] as a string of n digits.

    Parameters
    ----------
    X : (n, 2)
    patterns : Patterns
        Of X. Written out up to 24 cells and 12 rows; counted otherwise.
    network : Network, optional
        Its neurons are drawn as lines of length √(‖u‖|α|), the largest 1, red for α < 0.

    Raises
    ------
    ValueError
        If X has not two columns.
    """
    X = _plane(X)
    ax = ax or new_axes("u₁ (no unit)", "u₂ (no unit)", size=(5.2, 5.2))
    rows = X[X.any(axis=1)]
    kinks = np.sort(np.mod(np.arctan2(rows[:, 0], -rows[:, 1]), np.pi))
    kinks = kinks[np.diff(kinks, prepend=-1.0) > 1e-12]
    edges = np.concatenate([kinks, kinks + np.pi, kinks[:1] + 2 * np.pi]) if len(kinks) else np.zeros(0)
    for k, (a, b) in enumerate(pairwise(edges)):
        arc = np.linspace(a, b, 40)
        ax.fill(np.r_[0, np.cos(arc)], np.r_[0, np.sin(arc)], color=CYCLE[k % 3], alpha=0.18, linewidth=0)
    for angle in kinks:
        end = np.array([np.cos(angle), np.sin(angle)])
        ax.plot(*np.stack([-end, end], axis=1), color=INK, linewidth=1.0)
    _write_patterns(ax, edges, patterns)
    if network is not None:
        _draw_neurons(ax, network)
    ax.set_xlim(-1.45, 1.45)
    ax.set_ylim(-1.45, 1.45)
    ax.set_aspect("equal")
    ax.text(-1.4, -1.4, f"{len(patterns)} patterns of {len(X)} samples", color=INK, fontsize=10.5)
    return ax


def _plane(X: Array) -> Array:
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != 2:
        raise ValueError(f"This picture needs two columns; X has shape {X.shape}.")
    return X


def _write_patterns(ax: Axes, edges: Array, patterns: Patterns) -> None:
    n, count = patterns.masks.shape
    if count > _WRITTEN_CELLS or n > _WRITTEN_ROWS or len(edges) < 2:
        return
    angles = np.mod(np.arctan2(patterns.generators[1], patterns.generators[0]) - edges[0], 2 * np.pi)
    cells = np.searchsorted(edges - edges[0], angles, side="right") - 1
    for cell, mask in zip(cells, patterns.masks.T, strict=True):
        middle = 0.5 * (edges[cell] + edges[cell + 1])
        text = "".join("1" if on else "0" for on in mask)
        turn = np.degrees(middle)
        turn = turn if np.cos(middle) >= 0 else turn - 180.0
        ax.text(
            1.04 * np.cos(middle), 1.04 * np.sin(middle), text, color=INK, fontsize=9, rotation=turn,
            rotation_mode="anchor", va="center", ha="left" if np.cos(middle) >= 0 else "right",
        )  # fmt: skip


def _draw_neurons(ax: Axes, network: Network) -> None:
    mass = np.linalg.norm(network.U, axis=0) * np.abs(network.alpha)
    seen: set[float] = set()
    for u, alpha, size in zip(network.U.T, network.alpha, mass, strict=True):
        if size == 0:
            continue
        end = u / np.linalg.norm(u) * np.sqrt(size / mass.max())
        colour, name = (BLUE, "neurons, α > 0") if alpha > 0 else (VERMILION, "neurons, α < 0")
        label = None if np.sign(alpha) in seen else name
        seen.add(float(np.sign(alpha)))
        ax.plot([0, end[0]], [0, end[1]], color=colour, linewidth=2.4, label=label)
        ax.plot(*end, color=colour, marker="o", markersize=6)
    _legend_above(ax, 2)


def _legend_above(ax: Axes, ncols: int) -> None:
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=ncols, frameon=False, fontsize=10, labelcolor=INK
    )


def plot_function(
    network: Network, X: Array, y: Array, *, x_names: Sequence[str] = ("x₁", "x₂"), ax: Axes | None = None
) -> Axes:
    """The learned function over one or two features, with the data.

    Parameters
    ----------
    network : Network
        With one output.
    X : (n, d)
        One or two columns that vary; a column equal to a constant c on all rows is a bias and stays at c.
    y : (n,)

    Raises
    ------
    ValueError
        If more than two columns vary, or none.
    """
    X = np.asarray(X, dtype=np.float64)
    varies = np.flatnonzero(np.ptp(X, axis=0) > 0)
    if len(varies) not in (1, 2):
        raise ValueError(f"The function of one or two features can be drawn; {len(varies)} columns vary.")
    low, high = X[:, varies].min(axis=0), X[:, varies].max(axis=0)
    low, high = low - 0.12 * (high - low), high + 0.12 * (high - low)
    if len(varies) == 1:
        return _draw_line(network, X, y, int(varies[0]), (float(low[0]), float(high[0])), x_names[0], ax)
    ax = ax or new_axes(f"{x_names[0]} (unit of the data)", f"{x_names[1]} (unit of the data)")
    grids = np.meshgrid(*[np.linspace(a, b, 160) for a, b in zip(low, high, strict=True)])
    points = np.tile(X[0], (grids[0].size, 1))
    points[:, varies] = np.stack([g.ravel() for g in grids], axis=1)
    values = network.predict(points).reshape(grids[0].shape)
    top = max(float(np.abs(values).max()), float(np.abs(y).max()), 1e-300)
    levels = MaxNLocator(20, symmetric=True).tick_values(-top, top)
    surface = ax.contourf(*grids, values, levels=levels, cmap="RdBu_r", alpha=0.85)
    ax.contour(*grids, values, levels=[0.0], colors=[INK], linewidths=1.1)
    ax.scatter(
        X[:, varies[0]], X[:, varies[1]], c=y, cmap="RdBu_r", vmin=-top, vmax=top, edgecolors=INK,
        linewidths=0.9, s=36, label="data, in the colour of y",
    )  # fmt: skip
    bar = ax.figure.colorbar(surface, ax=ax, ticks=MaxNLocator(7))
    bar.set_label("f (unit of y); black line: f = 0", color=INK)
    bar.ax.tick_params(colors=INK)
    _legend_above(ax, 1)
    return ax


def _draw_line(
    network: Network, X: Array, y: Array, column: int, ends: tuple[float, float], name: str, ax: Axes | None
) -> Axes:
    """f over one feature, with a mark where a neuron has its kink."""
    ax = ax or new_axes(f"{name} (unit of the data)", "f (unit of y)")
    bias = X[0].copy()
    bias[column] = 0.0
    offsets = bias @ network.U
    slopes = network.U[column]
    bends = -offsets[slopes != 0] / slopes[slopes != 0]
    bends = np.unique(bends[(bends > ends[0]) & (bends < ends[1])])
    grid = np.unique(np.concatenate([np.linspace(*ends, 200), bends]))

    def at(x: Array) -> Array:
        points = np.tile(X[0], (len(x), 1))
        points[:, column] = x
        return network.predict(points)

    ax.plot(grid, at(grid), color=BLUE, linewidth=2.0, label="learned function")
    if len(bends):
        ax.plot(
            bends, at(bends), color=ORANGE, marker="s", markersize=7, linestyle="", label="kink of a neuron"
        )
    ax.plot(X[:, column], y, color=VERMILION, marker="o", markersize=5, linestyle="", label="data")
    add_legend(ax)
    return ax


def plot_dual(
    X: Array, nu: Array, beta: float, *, network: Network | None = None, ax: Axes | None = None
) -> Axes:
    """νᵀ(Xu)_+ over the unit circle u = (cos t, sin t), with the lines ±β between which a dual point stays.

    Parameters
    ----------
    X : (n, 2);  nu : (n,);  beta : float
    network : Network, optional
        Its neurons are marked; at an optimum they touch the line of their sign.

    Raises
    ------
    ValueError
        If X has not two columns, or the network's activation is not the ReLU.
    """
    X = _plane(X)
    if network is not None:
        require_relu(network, "A picture of νᵀ(Xu)₊")
    ax = ax or new_axes("angle of u (degrees)", "νᵀ(Xu)₊ (unit of β)")
    kinks = np.degrees(np.arctan2(X[:, 0], -X[:, 1]))
    kinks = np.mod(np.concatenate([kinks, kinks + 180.0]), 360.0)
    angles = np.unique(np.concatenate([np.linspace(0.0, 360.0, 721), kinks]))

    def height(t: Array) -> Array:
        U = np.stack([np.cos(np.radians(t)), np.sin(np.radians(t))])
        return np.asarray(nu @ np.maximum(X @ U, 0.0))

    for kink in np.unique(kinks):
        ax.axvline(kink, color=INK, linewidth=0.6, alpha=0.35, linestyle=":")
    ax.plot(angles, height(angles), color=BLUE, linewidth=1.9, label="νᵀ(Xu)₊")
    for level, name in ((beta, f"±β = ±{beta:.4g}"), (-beta, None)):
        ax.axhline(level, color=VERMILION, linewidth=1.4, linestyle="--", label=name)
    if network is not None:
        used = network.U.any(axis=0) & (network.alpha != 0)
        t = np.mod(np.degrees(np.arctan2(network.U[1, used], network.U[0, used])), 360.0)
        ax.plot(t, height(t), color=ORANGE, marker="o", markersize=7, linestyle="", label="neurons")
    ax.set_xlim(0.0, 360.0)
    ax.set_xticks(np.arange(0, 361, 60))
    _room_above(ax, 0.3)
    ax.legend(loc="upper center", ncols=3, frameon=False, fontsize=10, labelcolor=INK)
    return ax


def _room_above(ax: Axes, share: float) -> None:
    """Make the axis higher by a share, for a legend above the curves."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + share * (high - low))


def plot_optimal_set(
    vertices: Array,
    *,
    samples: Array | None = None,
    neurons: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The polytope of optimal amplitudes: its shadow on two amplitudes, or on its two longest directions.

    Parameters
    ----------
    vertices : (M, V)
        As `convexnn.landscape.vertices` gives them; a single column is a point.
    samples : (M, S), optional
        Optima inside, drawn as dots.
    neurons : (i, j), optional
        The two amplitudes of the axes; without it the principal axes of the vertices.
    """
    middle = vertices.mean(axis=1, keepdims=True)
    if neurons is None:
        axes = np.linalg.svd(vertices - middle, full_matrices=True)[0][:, :2]
        names = [f"{k} principal direction of a (unit of a)" for k in ("first", "second")]
    else:
        axes, middle = np.eye(len(vertices))[:, list(neurons)], np.zeros_like(middle)
        names = [f"amplitude a of neuron {k} (unit of a)" for k in neurons]
    ax = ax or new_axes(*names, size=(5.2, 4.6))
    shadow = (axes.T @ (vertices - middle)).T
    outline = _outline(shadow)
    ax.fill(*outline.T, facecolor=SKY, alpha=0.3, edgecolor=BLUE, linewidth=1.6, label="global optima")
    if samples is not None:
        inside = axes.T @ (samples - middle)
        ax.plot(
            *inside, color=GREEN, marker=".", markersize=4, linestyle="", alpha=0.7, label="sampled optima"
        )
    ax.plot(*shadow.T, color=VERMILION, marker="o", markersize=6, linestyle="", label="vertices")
    ax.set_aspect("equal", adjustable="datalim")
    _legend_above(ax, 3)
    return ax


def _outline(points: Array) -> Array:
    """The convex hull of points in the plane, in order; their two ends if they lie on a line."""
    spread = points - points.mean(axis=0)
    if np.linalg.matrix_rank(spread, tol=1e-9 * max(float(np.abs(points).max()), 1e-300)) == 2:
        try:
            return np.asarray(points[ConvexHull(points).vertices])
        except QhullError:
            pass
    along = spread @ np.linalg.svd(spread, full_matrices=True)[2][0]
    return np.asarray(points[[int(along.argmin()), int(along.argmax())]])


def plot_path(
    objective: Array, stages: Sequence[str], *, optimum: float | None = None, ax: Axes | None = None
) -> Axes:
    """Objective along a path of networks, its stages shaded.

    Parameters
    ----------
    objective : (k,)
    stages : (k,)
        ``align``, ``reduce`` or ``interpolate``, as in `convexnn.landscape.ObjectivePath`.
    optimum : float, optional
        Objective of the network that the path leads to, a dashed line.
    """
    ax = ax or new_axes("point of the path (number)", "objective (loss + penalty)")
    for stage, (name, colour) in _STAGES.items():
        at = [k for k, s in enumerate(stages) if s == stage]
        if at:
            ax.axvspan(max(at[0] - 1, 0), at[-1], color=colour, alpha=0.2, linewidth=0, label=name)
    ax.plot(objective, color=BLUE, linewidth=2.0)
    if optimum is not None:
        label = f"end point: {optimum:.6g}"
        ax.axhline(optimum, color=VERMILION, linewidth=1.3, linestyle="--", label=label)
    ax.set_xlim(0, max(len(objective) - 1, 1))
    _legend_above(ax, 4)
    return ax


def plot_closing(
    history: Sequence[Mapping[str, Any]], *, kind: str, x: str = "seconds", ax: Axes | None = None
) -> Axes:
    """A certificate closing: best objective and best lower bound so far, the gap between them shaded.

    Parameters
    ----------
    history : list of dict
        Rows with the columns `x`, ``primal`` and ``bound``, as in a training history.
    kind : str
        Kind of the bounds, said in words. Bounds of an ``estimated`` history are neither proofs nor verified
        on the way.
    """
    ax = ax or new_axes(AXIS_NAMES[x], "objective (loss + penalty)")
    at, primal = columns(history, x, "primal")
    when, bound = columns(history, x, "bound")
    if not at.size:
        return ax
    primal = np.minimum.accumulate(primal)
    ax.step(
        at,
        primal,
        where="post",
        color=BLUE,
        marker="o",
        markersize=4,
        label=f"best objective: {primal[-1]:.6g}",
    )
    if when.size and kind != "patterns":
        bound = np.maximum.accumulate(bound)
        label = f"{BOUND_WORDS[kind]}: {bound[-1]:.6g}"
        ax.step(when, bound, where="post", color=VERMILION, marker="o", markersize=4, label=label)
        grid = np.unique(np.concatenate([at, when]))
        grid = grid[(grid >= when[0]) & (grid >= at[0])]
        upper = primal[np.searchsorted(at, grid, side="right") - 1]
        lower = bound[np.searchsorted(when, grid, side="right") - 1]
        ax.fill_between(grid, lower, upper, step="post", color=PURPLE, alpha=0.25, linewidth=0, label="gap")
    add_legend(ax)
    return ax


def plot_spectrum(Z: Array, *, ax: Axes | None = None) -> Axes:
    """Singular values of Z = [z_1 … z_K] of a linear CNN (h×K): its rank is the number of filters."""
    ax = ax or new_axes("singular value (number)", "size (loss/β)")
    values = np.linalg.svd(Z, compute_uv=False)
    rank = int(np.count_nonzero(values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)))
    at = np.arange(1, len(values) + 1)
    ax.bar(
        at, values, color=[BLUE if k <= rank else PURPLE for k in at], label=f"rank {rank}: {rank} filters"
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(ax)
    return ax
