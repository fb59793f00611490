r"""Separable ReLU layers: one network for every patch, a loss for every patch.

    min  Σ_k L(f_k, y_k) + (β/2) Σ_j (‖u_j‖² + α_j²),   f_k = Σ_j (X_k u_j)_+ α_j

is the training problem of the package on the stacked patches [X_1; …; X_K], so its patterns, its dual and
its certificate are those of the stack (Ergen & Pilanci, ICLR 2021).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from convexnn._types import Array
from convexnn.activation import require_relu
from convexnn.certificate import Certificate, certify
from convexnn.convolution.patches import check_patches
from convexnn.convolution.result import ConvolutionResult
from convexnn.intercepts import refuse_intercept
from convexnn.network import Network
from convexnn.pricing import beta_max
from convexnn.program import ConvexProgram
from convexnn.training import train


@dataclass(frozen=True)
class SeparableCNN:
    """f_k = Σ_j (X_k u_j)_+ α_j, the same filters at every position.

    Attributes
    ----------
    filters : (h, m)
        One filter u_j a column.
    outputs : (m,)
        α.
    """

    filters: Array
    outputs: Array

    def predict(self, patches: Array) -> Array:
        """(K, n): f_k at every patch of `patches` (K, n, h)."""
        K, n, h = patches.shape
        return Network(self.filters, self.outputs).predict(patches.reshape(K * n, h)).reshape(K, n)

    def predict_sample(self, patches: Array, how: Literal["mean", "sum"] = "mean") -> Array:
        """(n,): the mean or the sum of the K predictions of each sample."""
        f = self.predict(patches)
        return np.asarray(f.mean(axis=0) if how == "mean" else f.sum(axis=0))

    def objective(self, patches: Array, y: Array, beta: float, loss: str = "squared") -> float:
        """Σ_k L(f_k, y_k) + (β/2) Σ_j (‖u_j‖² + α_j²); y is (n,) or (K, n)."""
        X, targets = _stacked(patches, y, beta, loss)
        return Network(self.filters, self.outputs).objective(X, targets, beta, loss)


def train_separable(
    patches: Array, y: Array, beta: float, *, loss: str = "squared", tol: float = 1e-3, **options: Any
) -> ConvolutionResult[SeparableCNN]:
    """min Σ_k L(Σ_j (X_k u_j)_+ α_j, y_k) + (β/2) Σ_j (‖u_j‖² + α_j²), globally.

    Parameters
    ----------
    patches : (K, n, h)
        As `extract_patches` returns.
    y : (n,) or (K, n)
        One target a sample, which each of its patches then has, or one a patch. ±1 except for the squared
        loss.
    beta : float
        Positive. The loss is a sum over the K n patches: K times that of one patch.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
    tol : float
        Relative gap at which to stop.
    **options
        Further arguments of `convexnn.train`: max_time, max_neurons, seed, warm_start, progress.

    Returns
    -------
    ConvolutionResult
        With the certificate of `convexnn.train` on the stack (kind ``estimated``).

    Raises
    ------
    ValueError
        If shapes, values, β, loss or limits are not valid.
    """
    X, targets = _stacked(patches, y, beta, loss)
    trained = train(X, targets, beta, loss=loss, tol=tol, **options)
    net = trained.network
    require_relu(net, "A separable convolution")
    refuse_intercept(net, "a separable convolution has none")
    return ConvolutionResult(
        SeparableCNN(net.U, net.alpha),
        net.objective(X, targets, beta, loss),
        _program_value(net, X, targets, beta, loss),
        trained.certificate,
        trained.history,
        trained.status,
    )


def certify_separable(
    network: SeparableCNN, patches: Array, y: Array, beta: float, loss: str = "squared", **options: Any
) -> Certificate:
    """`convexnn.certify` on the stacked patches, for any separable network; `options` are passed on."""
    X, targets = _stacked(patches, y, beta, loss)
    return certify(Network(network.filters, network.outputs), X, targets, beta, loss, **options)


def separable_beta_max(patches: Array, y: Array, loss: str = "squared", *, seed: int = 0) -> float:
    """max ρ(±ν₀) on the stack, ν₀ = −∇L(0): from this β on the zero network is optimal (an estimate)."""
    X, targets = _stacked(patches, y, 1.0, loss)
    return beta_max(X, targets, loss, seed=seed)


def _stacked(patches: Array, y: Array, beta: float, loss: str) -> tuple[Array, Array]:
    y = np.asarray(y, dtype=np.float64)
    patches = np.asarray(patches, dtype=np.float64)
    if y.ndim == 2 and y.shape == patches.shape[:2]:
        checked = [check_patches(patches[k : k + 1], y[k], beta, loss) for k in range(len(y))]
        return np.concatenate([c.stack for c in checked]), y.ravel()
    checked_once = check_patches(patches, y, beta, loss)
    return checked_once.stack, np.tile(checked_once.y, len(patches))


def _program_value(net: Network, X: Array, y: Array, beta: float, loss: str) -> float:
    """The value of program (2) at the blocks of the network, with its masks in place of (·)_+."""
    if not net.n_neurons:
        return net.objective(X, y, beta, loss)
    cells, v, w = net.to_solution(X)
    return ConvexProgram(X, y, cells, beta, loss).primal(v, w)
