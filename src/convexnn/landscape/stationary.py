r"""Clarke stationary points of problem (1), and the convex program each of them solves.

With ν = −∇L(f), θ is stationary iff for every neuron νᵀ(Xu)_+ = β α and β u ∈ α ∂(νᵀ(Xu)_+), where
∂ = conv{XᵀDν : D the pattern of a full cell whose closure contains u}. Where the rows with x_iᵀu = 0 are
independent this is Σ_{x_iᵀu>0} ν_i x_i + Σ_{x_iᵀu=0} δ_i ν_i x_i with any δ ∈ [0, 1].
"""

import numpy as np
from scipy.optimize import lsq_linear, nnls

from convexnn._types import Array
from convexnn.activation import require_relu
from convexnn.enumeration import enumerate_patterns
from convexnn.intercepts import refuse_intercept
from convexnn.landscape.neurons import trichotomies
from convexnn.landscape.newton import newton
from convexnn.losses import check_problem, get_loss
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.program import ConvexProgram

#: |x_iᵀu| ≤ ON_KINK·‖x_i‖‖u‖ counts as 0 unless told otherwise.
ON_KINK = 1e-9
#: Cells around one neuron that are listed where the rows on its kinks are dependent.
_MOST_CELLS = 20_000


def stationarity(
    network: Network, X: Array, y: Array, beta: float, loss: str = "squared", kink: float = ON_KINK
) -> float:
    r"""max_j dist(0, ∂_j P(θ)) / (β max_j ‖θ_j‖), ∂ the Clarke subdifferential, θ_j = (u_j, α_j).

    Parameters
    ----------
    network : Network
        With one output. A neuron with both weights 0 satisfies the condition.
    X : (n, d);  y : (n,);  beta : float
    loss : str
        Differentiable at the fit: the hinge only while no row has y f = 1.
    kink : float
        |x_iᵀu| ≤ kink·‖x_i‖‖u‖ counts as 0. A descent comes to rest near kinks, not on them: see `refine`.

    Returns
    -------
    float
        0 exactly at a stationary point. No unit.

    Raises
    ------
    ValueError
        If the data are not valid, the hinge is not differentiable at the fit, or a neuron lies on dependent
        kinks with more than 20,000 cells around it.
    """
    X, y, beta = _check(network, X, y, beta, loss)
    f = network.predict(X)
    if loss == "hinge" and (np.abs(1.0 - y * f) <= 1e-9).any():
        raise ValueError(
            "A row lies on the margin y f = 1, where the hinge has no gradient: use the squared hinge."
        )
    nu = -get_loss(loss).gradient(f, y)
    size = float(np.sqrt(np.max(np.sum(network.U**2, axis=0) + network.alpha**2, initial=0.0)))
    if size == 0:
        return 0.0
    cells = trichotomies(X, network.U, kink)
    worst = 0.0
    for u, alpha, cell in zip(network.U.T, network.alpha, cells.T, strict=True):
        outer = beta * alpha - nu @ np.maximum(X @ u, 0.0)
        goal = beta * u - alpha * (X[cell > 0].T @ nu[cell > 0])
        inner = _distance(alpha * nu[cell == 0], X[cell == 0], goal)
        worst = max(worst, float(np.hypot(outer, inner)))
    return worst / (beta * size)


def is_stationary(
    network: Network,
    X: Array,
    y: Array,
    beta: float,
    loss: str = "squared",
    tol: float = 1e-6,
    kink: float = ON_KINK,
) -> bool:
    """Whether 0 ∈ ∂P(θ), the Clarke subdifferential, to `tol`: `stationarity` ≤ tol; raises as it does."""
    return stationarity(network, X, y, beta, loss, kink) <= tol


def _check(network: Network, X: Array, y: Array, beta: float, loss: str) -> tuple[Array, Array, float]:
    require_relu(network, "A test of stationarity")
    X, y, beta = check_problem(X, y, beta, loss)
    refuse_intercept(network, "points of problem (1) are looked at here, where a constant is penalised")
    if network.alpha.ndim != 1 or y.ndim != 1 or network.n_features != X.shape[1]:
        raise ValueError(
            f"One output and {X.shape[1]} features are needed; alpha has shape {network.alpha.shape}, y "
            f"{y.shape}, and the network takes {network.n_features} features."
        )
    return X, y, beta


def _distance(weights: Array, rows: Array, goal: Array) -> float:
    """Distance of `goal` from conv{Σ d_i weights_i rows_i : d a pattern of `rows`}."""
    used = rows.any(axis=1) & (weights != 0)
    rows, weights = rows[used], weights[used]
    if not len(rows):
        return float(np.linalg.norm(goal))
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    if np.linalg.matrix_rank(unit, tol=1e-9) == len(rows):
        A = (weights[:, None] * rows).T
        scale = np.linalg.norm(A, axis=0).max()
        delta = lsq_linear(A / scale, goal / scale, bounds=(0.0, 1.0), tol=1e-14).x
        return float(np.linalg.norm(A @ delta - goal))
    masks = enumerate_patterns(rows, _MOST_CELLS).masks
    return _distance_to_hull((weights[:, None] * rows).T @ masks, goal)


def _distance_to_hull(corners: Array, goal: Array) -> float:
    """min over λ ≥ 0, Σλ = 1 of ‖Cλ − g‖: non-negative least squares with a row of ones, then normalised."""
    P = corners - goal[:, None]
    scale = max(float(np.abs(P).max()), 1e-300)
    lam = nnls(np.vstack([P / scale, np.ones(P.shape[1])]), np.r_[np.zeros(len(P)), 1.0])[0]
    return float(np.linalg.norm(P @ lam) / lam.sum())


def refine(
    network: Network, X: Array, y: Array, beta: float, loss: str = "squared", kink: float = 1e-4
) -> Network:
    r"""The stationary point near a network that came to rest: Newton's method, with its kinks put in place.

    Rows with |x_iᵀu| ≤ kink·‖x_i‖‖u‖ are held at 0, neurons with ‖u‖|α| below 1e-6 of the largest dropped.
    No descent: the objective may rise a little. Check the outcome with `is_stationary`.

    Raises
    ------
    ValueError
        If the data or shapes are not valid.
    """
    X, y, beta = _check(network, X, y, beta, loss)
    net = network.balanced()
    mass = net.alpha**2
    keep = mass > 1e-6 * mass.max(initial=0.0)
    if not keep.any():
        return Network.zero(X.shape[1])
    signs, w = np.sign(net.alpha[keep]), net.U[:, keep] * np.abs(net.alpha[keep])
    nu = -get_loss(loss).gradient(network.predict(X), y)
    w = newton(X, y, beta, loss, signs, w, trichotomies(X, w, kink), nu).w
    root = np.sqrt(np.linalg.norm(w, axis=0))
    return Network(w / root, signs * root)


def own_program(
    network: Network, X: Array, y: Array, beta: float, loss: str = "squared", kink: float = ON_KINK
) -> ConvexProgram:
    r"""min L(Σ_t D_tX(v_t − w_t), y) + β Σ_t(‖v_t‖ + ‖w_t‖), v_t, w_t in the closed trichotomies of θ.

    A trichotomy is {u : sign(Xu) = t}, t ∈ {+, 0, −}^n: rows with t_i = 0 are equations. If θ is Clarke
    stationary, it is a global optimum of this program.

    The program is written for the rows of X twice, with 2β: the two copies of a row with t_i = 0 have
    opposite masks, whose cones together say x_iᵀu = 0. **Its value is therefore twice the objective (1)**;
    its blocks are those of the network.

    Parameters
    ----------
    network : Network
        With one output and at least one neuron of non-zero weights; others are left out.
    X : (n, d);  y : (n,);  beta : float;  loss : str
    kink : float
        As in `stationarity`.

    Raises
    ------
    ValueError
        If the data or shapes are not valid, or there is no neuron.

    Source: Wang, Lacotte & Pilanci (2022), the theorem on Clarke stationary points.
    """
    X, y, beta = _check(network, X, y, beta, loss)
    net = network.balanced()
    if not net.U.shape[1]:
        raise ValueError("The network has no neurons, so it has no program of its own.")
    cells, first = np.unique(trichotomies(X, net.U, kink), axis=1, return_index=True)
    patterns = Patterns(np.vstack([cells >= 0, cells > 0]), net.U[:, first])
    return ConvexProgram(np.vstack([X, X]), np.concatenate([y, y]), patterns, 2.0 * beta, loss)
