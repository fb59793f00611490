"""The gradient of problem (1) into preallocated arrays: what every step of `convexnn.descent` costs.

With M = 1[XU > 0], r = ∇L(f) and H = Xᵀ diag(r) M the gradient is H diag(α) + βU and diag(HᵀU) + βα: two
matrix products and one pass over the n×m array, which holds XU first and then M.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import expit

from convexnn._threads import single_blas
from convexnn.losses import LossLike, get_loss, get_separable

#: float32 or float64, whichever the run computes in.
Real = NDArray[Any]
#: Entries of XU held at a time: rows are taken in blocks, so memory does not grow with n·m.
BLOCK_ENTRIES = 1_000_000
#: Multiply-adds in XU (about half a millisecond) below which a second BLAS thread is not used: it gains
#: little there, and was seen to make a run 40 times longer when another process had the core.
SMALL_PRODUCT = 20_000_000


@dataclass(frozen=True)
class Buffers:
    """Parameters θ = (U, α, b₀) and gradient as flat vectors, views on them, and scratch arrays.

    b₀, an unpenalised intercept, is there (one entry) or not (none).
    """

    theta: Real
    grad: Real
    U: Real
    alpha: Real
    b: Real
    H: Real
    grad_alpha: Real
    grad_b: Real
    Z: Real
    f: Real
    X_scaled: Real
    partial: Real
    slope: Real  # s of the activation, a number of the dtype


def make_buffers(
    U: Real, alpha: Real, rows: int, dtype: str, intercept: float | None = None, negative_slope: float = 0.0
) -> Buffers:
    """Buffers that hold a copy of (U, α), and of b₀ if it is free, for at most `rows` rows at a time."""
    d, m = U.shape
    own = [] if intercept is None else [intercept]
    theta = np.concatenate([U.ravel(), alpha, own]).astype(dtype)
    grad = np.zeros_like(theta)
    block = min(rows, max(256, BLOCK_ENTRIES // m))
    return Buffers(
        theta=theta,
        grad=grad,
        U=theta[: d * m].reshape(d, m),
        alpha=theta[d * m : d * m + m],
        b=theta[d * m + m :],
        H=grad[: d * m].reshape(d, m),
        grad_alpha=grad[d * m : d * m + m],
        grad_b=grad[d * m + m :],
        Z=np.empty((block, m), dtype),
        f=np.empty(block, dtype),
        X_scaled=np.empty((block, d if d <= m else 0), dtype),
        partial=np.empty((d, m) if block < rows else (0, 0), dtype),
        slope=theta.dtype.type(negative_slope),
    )


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _mask_and_dot(Z: Real, alpha: Real, f: Real) -> None:
    """f ← Z_+ α and Z ← 1[Z > 0] in one pass (ten times faster than the separate NumPy calls)."""
    zero, one = alpha.dtype.type(0), alpha.dtype.type(1)
    for i in range(Z.shape[0]):
        total = zero
        for j in range(Z.shape[1]):
            z = Z[i, j]
            total += (z if z > zero else zero) * alpha[j]
            Z[i, j] = one if z > zero else zero
        f[i] = total


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _gain_and_dot(Z: Real, slope: Real, alpha: Real, f: Real) -> None:
    """f ← σ_s(Z) α and Z ← σ_s′(Z), which is 1 above 0 and s elsewhere."""
    zero, one = alpha.dtype.type(0), alpha.dtype.type(1)
    for i in range(Z.shape[0]):
        total = zero
        for j in range(Z.shape[1]):
            z = Z[i, j]
            gain = one if z > zero else slope
            total += z * gain * alpha[j]
            Z[i, j] = gain
        f[i] = total


@njit(cache=True)
def _finish_gradient(U: Real, alpha: Real, H: Real, grad_alpha: Real, beta: float) -> None:
    """grad_α ← Σ_k H_k∘U_k + βα, then H ← H diag(α) + βU."""
    for j in range(U.shape[1]):
        grad_alpha[j] = beta * alpha[j]
    for k in range(U.shape[0]):
        for j in range(U.shape[1]):
            grad_alpha[j] += H[k, j] * U[k, j]
            H[k, j] = H[k, j] * alpha[j] + beta * U[k, j]


@njit(cache=True, error_model="numpy")
def adam_update(
    theta: Real, g: Real, first: Real, second: Real, keep: Real, rate: float, root: float, eps: float
) -> None:
    """θ ← θ − rate·m/(√v/root + eps) after m, v have taken g in; keep = (1−β₁, β₂, 1−β₂)."""
    for k in range(theta.shape[0]):
        first[k] += (g[k] - first[k]) * keep[0]
        second[k] = second[k] * keep[1] + g[k] * g[k] * keep[2]
        theta[k] -= rate * first[k] / (np.sqrt(second[k]) / root + eps)


def _residual_in_place(f: Real, y: Real, loss: LossLike) -> None:
    """f ← ∇L(f); for the losses that every start uses, without temporaries."""
    if loss == "squared":
        f -= y
        return
    if loss not in ("logistic", "hinge", "squared_hinge"):
        f[:] = get_loss(loss).gradient(f, y)
        return
    f *= y
    if loss == "logistic":
        np.negative(f, out=f)
        expit(f, out=f)
    elif loss == "hinge":
        np.less(f, 1.0, out=f)
    else:
        np.subtract(1.0, f, out=f)
        np.maximum(f, 0.0, out=f)
    f *= y
    np.negative(f, out=f)


def fill_gradient(
    X: Real,
    y: Real,
    work: Buffers,
    loss: LossLike,
    beta: float,
    weight: float = 1.0,
    with_value: bool = False,
    sample_weight: Real | None = None,
) -> float:
    """Put ∇(weight·L + penalty) at θ into ``work.grad``; return weight·L if asked for (else 0).

    `sample_weight` (rows of X,) are the ω_i of L = Σ ω_i ℓ(f_i, y_i); the loss itself is without weights.
    """
    n, d = X.shape
    block, m = work.Z.shape
    value = 0.0
    work.grad_b[:] = 0.0
    for start in range(0, n, block):
        Xb, yb = X[start : start + block], y[start : start + block]
        own = None if sample_weight is None else sample_weight[start : start + block]
        Z, f = work.Z[: len(yb)], work.f[: len(yb)]
        np.matmul(Xb, work.U, out=Z)
        if work.slope:
            _gain_and_dot(Z, work.slope, work.alpha, f)
        else:
            _mask_and_dot(Z, work.alpha, f)
        if work.b.size:
            f += work.b[0]
        if with_value:
            value += weight * _value(f, yb, loss, own)
        _residual_in_place(f, yb, loss)
        if own is not None:
            f *= own
        if weight != 1.0:
            f *= weight
        if work.b.size:
            np.add(work.grad_b, f.sum(), out=work.grad_b)
        target = work.partial if start else work.H
        if d <= m:
            scaled = np.multiply(Xb, f[:, None], out=work.X_scaled[: len(yb)])
            np.matmul(scaled.T, Z, out=target)
        else:
            np.multiply(Z, f[:, None], out=Z)
            np.matmul(Xb.T, Z, out=target)
        if start:
            np.add(work.H, target, out=work.H)
    _finish_gradient(work.U, work.alpha, work.H, work.grad_alpha, work.theta.dtype.type(beta))
    return value


def _value(f: Real, y: Real, loss: LossLike, sample_weight: Real | None) -> float:
    if sample_weight is None:
        return get_loss(loss).value(f, y)
    return float(np.sum(sample_weight * get_separable(loss).each(f, y)))


def compile_kernels(dtype: str, negative_slope: float = 0.0) -> None:
    """Compile (or load) the kernels for one dtype, so that no clock of a run contains it."""
    work = make_buffers(np.zeros((1, 1)), np.zeros(1), 1, dtype, negative_slope=negative_slope)
    one = np.ones(1, dtype)
    fill_gradient(one[:, None], one, work, "squared", 1.0)
    small = np.zeros(3, dtype)
    adam_update(work.theta, work.grad, small, small, small, one[0], one[0], one[0])


def threads_for(rows: int, work: Buffers) -> AbstractContextManager[Any]:
    """A context with one BLAS thread if the products of a step over `rows` rows are small."""
    if rows * work.U.size > SMALL_PRODUCT:
        return nullcontext()
    return cast(AbstractContextManager[Any], single_blas())
