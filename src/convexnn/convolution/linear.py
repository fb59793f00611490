r"""Linear convolutional networks: a nuclear norm.

    min over u_j, α_j  L(Σ_j Σ_k X_k u_j α_jk, y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖²)
      = min over Z     L(Σ_k X_k z_k, y) + β ‖[z_1 … z_K]‖_*                        (h×K)

as soon as there are min(h, K) filters (Ergen & Pilanci, ICLR 2021, linear architectures). Dual:
max −L*(−ν) subject to σ_max([X_1ᵀν … X_Kᵀν]) ≤ β, which an SVD checks exactly. Back: Z = Σ σ p qᵀ gives the
filters u = √σ p with output weights α = √σ q.
"""

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from convexnn._types import Array, Progress
from convexnn.certificate import Certificate, make_certificate
from convexnn.convolution.dual import Trial, lower_bound, solve_dual
from convexnn.convolution.patches import check_limits, check_patches
from convexnn.convolution.result import ConvolutionResult, zero_result
from convexnn.losses import get_loss

#: Singular values below this share of the largest are rounding.
_NEGLIGIBLE = 1e-13
_OUTWARD = 1e-12


@dataclass(frozen=True)
class LinearCNN:
    """f = Σ_j Σ_k X_k u_j α_jk.

    Attributes
    ----------
    filters : (h, m)
        One filter u_j a column.
    outputs : (m, K)
        α_jk, one weight for each filter and position.
    """

    filters: Array
    outputs: Array

    def predict(self, patches: Array) -> Array:
        """(n,) for patches (K, n, h)."""
        return linear_fit(patches, self.filters @ self.outputs)

    def objective(self, patches: Array, y: Array, beta: float, loss: str = "squared") -> float:
        """L(f, y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖²)."""
        penalty = 0.5 * float(np.sum(self.filters**2) + np.sum(self.outputs**2))
        return get_loss(loss).value(self.predict(patches), np.asarray(y, dtype=np.float64)) + beta * penalty


def linear_fit(patches: Array, Z: Array) -> Array:
    """Σ_k X_k z_k, (n,), for patches (K, n, h) and Z (h, K)."""
    return np.asarray(np.einsum("knh,hk->n", patches, Z, optimize=True))


def linear_filters(Z: Array) -> LinearCNN:
    """Z = Σ σ p qᵀ ↦ filters √σ p and output weights √σ q: the penalty becomes ‖Z‖_*."""
    P, s, Qt = np.linalg.svd(Z, full_matrices=False)
    keep = s > _NEGLIGIBLE * max(float(s.max(initial=0.0)), 1e-300)
    root = np.sqrt(s[keep])
    return LinearCNN(P[:, keep] * root, root[:, None] * Qt[keep])


def nuclear_norm(Z: Array) -> float:
    """The sum of the singular values."""
    return float(np.linalg.svd(Z, compute_uv=False).sum())


def linear_beta_max(patches: Array, y: Array, loss: str = "squared") -> float:
    """σ_max([X_1ᵀν₀ … X_Kᵀν₀]), ν₀ = −∇L(0): at this β and above Z = 0 is optimal (hinge: ν₀ = y)."""
    checked = check_patches(patches, y, 1.0, loss)
    nu = -get_loss(loss).gradient(np.zeros_like(checked.y), checked.y)
    return float(np.linalg.norm(_adjoint(checked.patches, nu), 2))


def train_linear(
    patches: Array,
    y: Array,
    beta: float,
    *,
    loss: str = "squared",
    tol: float = 1e-6,
    max_time: float | None = None,
    progress: Progress | None = None,
) -> ConvolutionResult[LinearCNN]:
    """min L(Σ_k X_k z_k, y) + β ‖[z_1 … z_K]‖_*, and its filters, to a proven gap.

    Parameters
    ----------
    patches : (K, n, h)
        As `extract_patches` returns; circular patches give a circular network with short filters.
    y : (n,)
        Real for the squared loss, ±1 for the others.
    beta : float
        Positive; multiplies the nuclear norm as written. Nothing is divided by n.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
    tol : float
        Relative gap at which to stop.
    max_time : float, optional
        Seconds; then the best point so far is returned, with its certificate.
    progress : callable, optional
        Receives each row of the history.

    Returns
    -------
    ConvolutionResult
        Certificate of kind ``exact``.

    Raises
    ------
    ValueError
        If shapes, values, β, loss or limits are not valid.
    """
    begin = perf_counter()
    checked = check_patches(patches, y, beta, loss)
    check_limits(tol, max_time)
    patches, y, beta = checked.patches, checked.y, checked.beta
    K, _, h = patches.shape
    zero = LinearCNN(np.zeros((h, 0)), np.zeros((0, K)))
    if beta >= linear_beta_max(patches, y, loss):
        value = get_loss(loss).value(np.zeros_like(y), y)
        certificate = certify_linear(zero, patches, y, beta, loss)
        return zero_result(zero, value, certificate, begin)
    solved = solve_dual(
        _Nuclear(patches), y, beta, loss, parts=min(h, K), tol=tol, max_time=max_time, progress=progress
    )
    Z = solved.centre
    network = linear_filters(Z)
    value = get_loss(loss).value(linear_fit(patches, Z), y) + beta * nuclear_norm(Z)
    certificate = _certificate(network, patches, y, beta, loss, [solved.nu], begin)
    return ConvolutionResult(network, certificate.primal, value, certificate, solved.history, solved.status)


def certify_linear(
    network: LinearCNN, patches: Array, y: Array, beta: float, loss: str = "squared", nu: Array | None = None
) -> Certificate:
    """(primal − D(tν))/primal for any linear convolutional network, ρ(ν) = σ_max([X_kᵀν]_k) by SVD.

    Parameters
    ----------
    network : LinearCNN
    patches : (K, n, h), y : (n,)
    nu : (n,), optional
        A dual point to try beside ν = −∇L(f). For the hinge −∇L(f) is one subgradient of many, and a
        poor one at an optimum: pass the ν of a certificate of `train_linear`.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is not valid.
    """
    begin = perf_counter()
    checked = check_patches(patches, y, beta, loss)
    patches, y = checked.patches, checked.y
    K, _, h = patches.shape
    if network.filters.shape[:1] != (h,) or network.outputs.shape != (network.filters.shape[1], K):
        raise ValueError(
            f"The patches need filters ({h}, m) and outputs (m, {K}); they are {network.filters.shape} and "
            f"{network.outputs.shape}."
        )
    candidates = [-get_loss(loss).gradient(network.predict(patches), y)]
    if nu is not None:
        candidates.append(np.asarray(nu, dtype=np.float64))
    return _certificate(network, patches, y, checked.beta, loss, candidates, begin)


def _certificate(
    network: LinearCNN, patches: Array, y: Array, beta: float, loss: str, candidates: list[Array],
    begin: float,
) -> Certificate:  # fmt: skip
    """The certificate of the best of some dual points, with a ρ rounded outwards."""
    rhos = [rounded_up(spectral_norm_bound(patches, nu)) for nu in candidates]
    bounds = [lower_bound(nu, y, beta, loss, rho) for nu, rho in zip(candidates, rhos, strict=True)]
    best = int(np.argmax(bounds))
    primal = network.objective(patches, y, beta, loss)
    return make_certificate(primal, candidates[best], rhos[best], y, beta, loss, "exact", 0, begin)


def rounded_up(rho: float) -> float:
    """ρ, outwards by 1e-12 relative."""
    return rho * (1.0 + _OUTWARD)


def spectral_norm_bound(patches: Array, nu: Array) -> float:
    """σ_max([X_1ᵀν … X_Kᵀν]) plus a bound on the rounding of the products X_kᵀν."""
    rounding = len(nu) * np.finfo(np.float64).eps * np.linalg.norm(_adjoint(np.abs(patches), np.abs(nu)))
    return float(np.linalg.norm(_adjoint(patches, nu), 2) + rounding)


def _adjoint(patches: Array, nu: Array) -> Array:
    """[X_1ᵀν … X_Kᵀν], (h, K)."""
    return np.asarray((nu @ patches).T)


class _Nuclear:
    """The nuclear norm of Z with the operator Z ↦ Σ_k X_k z_k; Z is held with its short side first."""

    def __init__(self, patches: Array) -> None:
        K, n, h = patches.shape
        self._patches = patches
        self._transposed = h > K
        order = (1, 0, 2) if self._transposed else (1, 2, 0)
        self._A = np.ascontiguousarray(patches.transpose(order))  # (n, short, long)
        self._flat = self._A.reshape(n, -1)
        self._shape = (h, K)

    def zero(self) -> Array:
        return np.zeros(self._shape)

    def rho(self, nu: Array) -> float:
        return rounded_up(spectral_norm_bound(self._patches, nu))

    def trial(self, nu: Array, centre: Array, beta: float, sigma: float) -> Trial:
        """Singular value thresholding of V/σ + [X_kᵀν]_k at β, times σ."""
        V = centre.T if self._transposed else centre
        P, s, Qt = np.linalg.svd(V / sigma + (nu @ self._flat).reshape(V.shape), full_matrices=False)
        rank = int(np.count_nonzero(s > beta))
        excess = s[:rank] - beta
        U = (P[:, :rank] * (sigma * excess)) @ Qt[:rank]
        return Trial(
            0.5 * sigma * float(np.sum(excess**2)),
            np.ascontiguousarray(U.T) if self._transposed else U,
            self._flat @ U.ravel(),
            sigma * float(excess.sum()),
            float(np.sum((U - V) ** 2)),
            lambda: self._factor(P, s, Qt, rank, beta),
        )

    def _factor(self, P: Array, s: Array, Qt: Array, rank: int, beta: float) -> Array:
        """Bᵀ with BBᵀ = A D A*, D the derivative of the thresholding x ↦ (x − β)₊ of singular values.

        In the basis (P, Q): the symmetric part of entry (a, b) has weight (f_a − f_b)/(s_a − s_b), the
        antisymmetric part (f_a + f_b)/(s_a + s_b), and the part outside Q weight f_a/s_a, f = (s − β)₊.
        """
        n = len(self._A)
        r = rank
        if r == 0:
            return np.zeros((0, n))
        f = np.maximum(s - beta, 0.0)
        left = np.matmul(P.T, self._A)  # (n, short, long)
        inside = np.matmul(left, Qt.T)  # (n, short, short)
        outside = left[:, :r] - inside[:, :r] @ Qt
        a, b = np.nonzero(np.triu(np.ones((r, len(s)), dtype=bool), 1))
        upper, lower = inside[:, a, b], inside[:, b, a]
        both = b < r
        difference = np.where(both, 1.0, s[a] - s[b])
        even = np.where(both, 1.0, f[a] / np.where(difference > 0, difference, 1.0))
        odd = (f[a] + f[b]) / (s[a] + s[b])
        diagonal = inside[:, np.arange(r), np.arange(r)]
        parts = [
            diagonal,
            (upper + lower) * np.sqrt(0.5 * even),
            (upper - lower) * np.sqrt(0.5 * odd),
            (outside * np.sqrt(f[:r] / s[:r])[:, None]).reshape(n, -1),
        ]
        return np.ascontiguousarray(np.concatenate(parts, axis=1).T)
