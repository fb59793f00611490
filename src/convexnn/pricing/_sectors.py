r"""Quadratic upper bounds of νᵀ(Xu)_+ on the sectors of the sphere, and their gradients.

Let z = x_iᵀu and let a sector be the u with v = Au ≥ 0, where the K rows of A are orthonormal (K = 0: the
sphere). On it, for any ℓ > 0, any b ∈ R^K, and any δ, γ with ‖γ₋‖ ≤ δ ≤ 1 − ‖γ₊‖,

    2(z)_+ ≤ z (1 + bᵀv) + (1 + |b|ᵀv)²/(2ℓ) + ½ℓz²        2(z)_+ ≥ 2(δ + γᵀv) z.

First: 2(z)_+ = z + |z|, z bᵀv + |z| |b|ᵀv ≥ 0, and |z|(1 + |b|ᵀv) is at most the last two terms together.
Second: ‖v‖ ≤ 1, so δ + γᵀv ∈ [0, 1]. With weights ν_i > 0 on the first and ν_i < 0 on the second, plus

    0 ≤ 2 Σ_k v_k (‖ω_k‖ − ω_kᵀu) + 2 Σ_{k<l} π_kl v_k v_l        (any ω_k; π ≥ 0)

we get 2νᵀ(Xu)_+ ≤ N₀₀ + 2nᵀu + uᵀNu, an r×r quadratic form whose maximum over ‖u‖ = 1 is one eigenvalue
decomposition and one root: min over τ > λ_max(N) of N₀₀ + τ + nᵀ(τI − N)⁻¹n.

For νᵀσ_s(Xu) = (1 − s)νᵀ(Xu)_+ + s(Xᵀν)ᵀu (`convexnn.activation`) the weights are (1 − s)ν and n has the term
sXᵀν more.

K = 0 is the inequality ρ² ≤ (Σy) λ_max(Σ a_ia_iᵀ/y_i) with y_i = ν_i/(2ℓ_i) and the best y_0: the Shor
relaxation of ρ, in which the moments U ⪰ ūūᵀ, tr U = 1 replace (uuᵀ, u). Every further sector tightens it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from convexnn._types import Array, IntArray

_TINY = 1e-100
_EPS = float(np.finfo(np.float64).eps)


class Sectors(NamedTuple):
    """The rows, and the S pairs (sign of ν, sector)."""

    X: Array  # (n, r) no row is zero
    nu_signs: Array  # (S,) ±1: the form bounds ±νᵀ(Xu)_+
    cuts: Array  # (S, K, r) A; a row of zeros does not cut
    negative_slope: float = 0.0  # s of the activation

    @property
    def norms(self) -> Array:
        """Lengths of the rows (n,)."""
        return np.asarray(np.linalg.norm(self.X, axis=1))


class Multipliers(NamedTuple):
    """Free parameters, one set for each sector; `pair` must be ≥ 0 above the diagonal, the rest is not read.

    δ = (σ(theta) + ‖g₋‖)/T and γ = g/T with T = 1 + ‖g₊‖ + ‖g₋‖.
    """

    log_ell: Array  # (S, n) log ℓ
    tilt: Array  # (S, K, n) b
    theta: Array  # (S, n)
    gate: Array  # (S, K, n) g
    ball: Array  # (S, K, r) ω/scale
    pair: Array  # (S, K, K) π/scale


class Forms(NamedTuple):
    """The quadratic forms N₀₀ + 2nᵀu + uᵀNu."""

    constant: Array  # (S,)
    linear: Array  # (S, r)
    matrix: Array  # (S, r, r)


class Moments(NamedTuple):
    """Values of the (smoothed) maxima and their gradients in the forms: d value/dN = U, d value/dn = 2ū."""

    values: Array  # (S,)
    mean: Array  # (S, r) ū
    second: Array  # (S, r, r) U
    tau: Array  # (S,)


def make_multipliers(sectors: Sectors) -> Multipliers:
    """ℓ_i = √r/‖x_i‖ (rows must not be zero), δ = ½, everything else 0."""
    n, r = sectors.X.shape
    S, K = sectors.cuts.shape[:2]
    log_ell = np.tile(0.5 * np.log(r) - np.log(np.maximum(sectors.norms, 1e-30)), (S, 1))
    zero = np.zeros((S, K, n))
    return Multipliers(log_ell, zero, np.zeros((S, n)), zero.copy(), np.zeros((S, K, r)), np.zeros((S, K, K)))


def split_sectors(
    sectors: Sectors, moments: Moments, chosen: IntArray
) -> tuple[Sectors, Callable[[Multipliers], Multipliers]]:
    """Cut each sector in `chosen` (fewer than r cuts so far) across the top eigenvector of its U.

    The second halves come last. Also returns how to carry multipliers over: both halves keep their parent's.
    """
    S, K, r = sectors.cuts.shape
    used = sectors.cuts.any(axis=2).sum(axis=1)
    more = int(used[chosen].max() + 1 > K)
    parents = np.concatenate([np.arange(S), chosen])
    cuts = np.pad(sectors.cuts, ((0, 0), (0, more), (0, 0)))[parents]
    for j, k in enumerate(chosen):
        A = cuts[k, : used[k]]
        outside = np.eye(r) - A.T @ A
        a = outside @ np.linalg.eigh(outside @ moments.second[k] @ outside)[1][:, -1]
        a = outside @ (a / np.linalg.norm(a))
        cuts[k, used[k]] = a / np.linalg.norm(a)
        cuts[S + j, used[k]] = -cuts[k, used[k]]

    def carry(m: Multipliers) -> Multipliers:
        new = [part[parents] for part in m]
        pads = ((), (1,), (), (1,), (1,), (1, 2))
        return Multipliers(
            *(
                np.pad(part, [(0, more if axis in axes else 0) for axis in range(part.ndim)])
                for part, axes in zip(new, pads, strict=True)
            )
        )

    return sectors._replace(nu_signs=sectors.nu_signs[parents], cuts=cuts), carry


class _Gate(NamedTuple):
    delta: Array  # (S, n)
    gamma: Array  # (S, K, n)
    total: Array  # (S, n) T
    above: Array  # (S, n) ‖g₊‖
    below: Array  # (S, n) ‖g₋‖


def _gate(m: Multipliers) -> _Gate:
    above = _length(np.maximum(m.gate, 0.0), 1)
    below = _length(np.minimum(m.gate, 0.0), 1)
    total = 1.0 + above + below
    return _Gate((expit(m.theta) + below) / total, m.gate / total[:, None], total, above, below)


def _length(a: Array, axis: int = -1) -> Array:
    """Euclidean length along an axis."""
    return np.asarray(np.sqrt((a * a).sum(axis=axis)))


def quadratic_forms(sectors: Sectors, nu: Array, m: Multipliers, scale: float) -> Forms:
    """The forms of ν (n,); `scale` multiplies ω and π."""
    X, sign, A, slope = sectors
    S, K, r = A.shape
    gate = _gate(m)
    signed = (1.0 - slope) * (sign[:, None] * nu)
    positive, negative = np.maximum(signed, 0.0), np.maximum(-signed, 0.0)
    ell = np.exp(m.log_ell)
    share = positive / (2.0 * ell)
    matrix = np.empty((S, r, r))
    for k in range(S):
        matrix[k] = (X * (0.5 * positive[k] * ell[k])[:, None]).T @ X
    linear = (0.5 * positive - negative * gate.delta) @ X
    if slope != 0.0:
        linear += slope * sign[:, None] * (nu @ X)
    if K:
        size = np.abs(m.tilt)
        coefficient = 0.5 * positive[:, None] * m.tilt - negative[:, None] * gate.gamma
        cross = (coefficient.reshape(S * K, -1) @ X).reshape(S, K, r) - scale * m.ball
        upper = np.triu(m.pair, 1)
        inner = (size * share[:, None]) @ np.swapaxes(size, 1, 2) + scale * (upper + np.swapaxes(upper, 1, 2))
        cross += 0.5 * inner @ A
        whole = np.swapaxes(A, 1, 2) @ cross
        matrix += whole + np.swapaxes(whole, 1, 2)
        along = np.einsum("si,ski->sk", share, size) + scale * _length(m.ball)
        linear += np.einsum("sk,skj->sj", along, A)
    return Forms(share.sum(axis=1), linear, matrix)


def maximise(forms: Forms, mu: float) -> Moments:
    """min over τ of N₀₀ + τ + nᵀ(τI − N)⁻¹n − μ log det(τI − N): the maximum over ‖u‖ = 1 as μ → 0.

    The moments satisfy tr U = 1, U ⪰ ūūᵀ; U has rank one at μ = 0 and is smooth in N for μ > 0.
    """
    r = forms.linear.shape[1]
    values, vectors = np.linalg.eigh(forms.matrix)
    c = np.einsum("sij,si->sj", vectors, forms.linear)
    c2 = c * c
    depth = values[:, -1:] - values  # distances below the largest eigenvalue
    size = np.sqrt(c2.sum(axis=1))
    # x = τ − λ_max; 1 − Σ c²/(x + depth)² − μ Σ 1/(x + depth) is concave and rises: Newton from the left
    floor = 1e-14 * (size + np.abs(values).max(axis=1)) + _TINY
    x = np.maximum(np.maximum(np.abs(c[:, -1]), mu), floor)
    for _ in range(60):
        inverse = 1.0 / (x[:, None] + depth)
        excess = np.einsum("sj,sj,sj->s", c2, inverse, inverse) + mu * inverse.sum(axis=1) - 1.0
        rate = 2.0 * np.einsum("sj,sj->s", c2, inverse**3) + mu * np.einsum("sj,sj->s", inverse, inverse)
        step = np.maximum(excess, 0.0) / np.maximum(rate, _TINY)
        x = x + step
        if np.all(step <= 1e-10 * x):
            break
    inverse = 1.0 / (x[:, None] + depth)
    mean = np.einsum("sij,sj->si", vectors, c * inverse)
    second = np.einsum("si,sj->sij", mean, mean)
    tau = values[:, -1] + x
    total = forms.constant + tau + np.einsum("sj,sj->s", c2, inverse)
    if mu > 0:
        second += (vectors * (mu * inverse)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        total = total + mu * (np.log(inverse * mu * r).sum(axis=1))
    return Moments(total, mean, second, tau)


def gradients(
    sectors: Sectors, nu: Array, m: Multipliers, scale: float, moments: Moments, weights: Array
) -> tuple[Multipliers, Array]:
    """Gradient of Σ_s weights_s value_s in the multipliers, and in ν (n,)."""
    X, sign, A, slope = sectors
    S = len(A)
    n = len(X)
    gate = _gate(m)
    signed = (1.0 - slope) * (sign[:, None] * nu)
    positive = np.maximum(signed, 0.0) * weights[:, None]
    negative = np.maximum(-signed, 0.0) * weights[:, None]
    inverse = np.exp(-m.log_ell)
    moved = A @ moments.second  # E[v u]
    z, zz = moments.mean @ X.T, np.empty((S, n))
    for k in range(S):
        zz[k] = np.einsum("ij,ij->i", X @ moments.second[k], X)
    zv = moved @ X.T
    size = np.abs(m.tilt)
    v = np.einsum("skj,sj->sk", A, moments.mean)
    vv = moved @ np.swapaxes(A, 1, 2)
    lifted = vv @ size + v[..., None]  # E[(1 + |b|ᵀv) v]
    square = 1.0 + (size * (lifted + v[..., None])).sum(axis=1)
    half, curved = 0.5 * inverse * square, 0.5 * zz / inverse
    over = z + (m.tilt * zv).sum(axis=1) + half + curved
    under = 2.0 * (gate.delta * z + (gate.gamma * zv).sum(axis=1))
    d_signed = np.where(signed > 0, over, under)
    if slope != 0.0:
        d_signed = (1.0 - slope) * d_signed + 2.0 * slope * z
    d_nu = (d_signed * (weights * sign)[:, None]).sum(axis=0)
    d_tilt = positive[:, None] * (zv + np.sign(m.tilt) * lifted * inverse[:, None])
    theta, d_gate = _gate_gradient(m, gate, -2.0 * negative * z, -2.0 * negative[:, None] * zv)
    lengths = np.maximum(_length(m.ball), _TINY)[..., None]
    weight = 2.0 * scale * weights[:, None, None]
    d_ball = weight * (v[..., None] * m.ball / lengths - moved)
    d_pair = weight * np.triu(vv, 1)
    return Multipliers(positive * (curved - half), d_tilt, theta, d_gate, d_ball, d_pair), d_nu


def _gate_gradient(m: Multipliers, gate: _Gate, d_delta: Array, d_gamma: Array) -> tuple[Array, Array]:
    """Chain rule from (δ, γ) to (theta, g)."""
    p = expit(m.theta)
    d_total = -(d_delta * gate.delta + (d_gamma * gate.gamma).sum(axis=1)) / gate.total
    rise = np.maximum(m.gate, 0.0) * (d_total / np.maximum(gate.above, _TINY))[:, None]
    fall = np.minimum(m.gate, 0.0)
    fall = fall * ((d_total + d_delta / gate.total) / np.maximum(gate.below, _TINY))[:, None]
    return d_delta * p * (1.0 - p) / gate.total, d_gamma / gate.total[:, None] + rise + fall


def certified_maximum(sectors: Sectors, nu: Array, m: Multipliers, scale: float) -> Array:
    """Upper bounds (S,) of 2(±ν)ᵀ(Xu)_+ over each sector of the unit sphere, rounding included.

    With τ_1, τ from the maximisation, E = diag(τ_1, τI) − [N₀₀ nᵀ; n N] has λ_min(E) ≥ −ε, and the form is at
    most τ_1 + τ + 2ε on the sphere. ε counts the computed eigenvalue, n + 10r roundings of every product that
    enters the form, and 10r roundings of the eigenvalue.
    """
    n, r = sectors.X.shape
    forms = quadratic_forms(sectors, nu, m, scale)
    tau = maximise(forms, 0.0).tau
    values, vectors = np.linalg.eigh(forms.matrix)
    c = np.einsum("sij,si->sj", vectors, forms.linear)
    tau_1 = forms.constant + np.einsum("sj,sj->s", c * c, 1.0 / (tau[:, None] - values))
    whole = np.empty((len(tau), r + 1, r + 1))
    whole[:, 0, 0] = tau_1 - forms.constant
    whole[:, 0, 1:] = whole[:, 1:, 0] = -forms.linear
    whole[:, 1:, 1:] = tau[:, None, None] * np.eye(r) - forms.matrix
    lowest = np.linalg.eigvalsh(whole)[:, 0]
    rounding = _EPS * (
        (n + 10 * r) * _magnitude(sectors, nu, m, scale)
        + 10 * r * (np.linalg.norm(whole, axis=(1, 2)) + np.abs(tau) + np.abs(tau_1))
    )
    return np.asarray(tau_1 + tau + 2.0 * (np.maximum(-lowest, 0.0) + rounding))


def _magnitude(sectors: Sectors, nu: Array, m: Multipliers, scale: float) -> Array:
    """Sum of the lengths of all terms of the forms (S,): an upper bound of what roundings are relative to."""
    gate = _gate(m)
    size, x, slope = np.abs(nu), sectors.norms, sectors.negative_slope
    ell, tilt = np.exp(m.log_ell), _length(m.tilt, 1)
    over = (1.0 + tilt) * x + (1.0 + tilt) ** 2 / (2.0 * ell) + 0.5 * ell * x**2
    under = 2.0 * (gate.delta + _length(gate.gamma, 1)) * x
    other = _length(m.ball).sum(axis=1) + np.abs(m.pair).sum(axis=(1, 2))
    signed = sectors.nu_signs[:, None] * nu
    terms = (1.0 - slope) * np.where(signed > 0, over, under) + 2.0 * abs(slope) * x
    return np.asarray((terms * size).sum(axis=1) + 4.0 * scale * other)
