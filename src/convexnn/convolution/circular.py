r"""Circular linear convolutional networks with full-length filters: an ℓ1 norm after a DFT.

    min over u_j, α_j  L(X Σ_j u_j ∗ α_j, y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖²)     (∗ circular, u_j, α_j ∈ R^d)
      = min over z     L(X F z, y) + β' ‖z‖₁                                   (z complex)

with F the unnormalised DFT and β' = β, or F unitary and β' = β/√d (Ergen & Pilanci, ICLR 2021, circular
case). Dual: max −L*(−ν) subject to max_k |(F*Xᵀν)_k| ≤ β'. One filter attains the optimum:
conjugate-symmetrise z, w = Fz, ŵ = fft(w), fft(u) = √|ŵ|, fft(α) = ŵ/√|ŵ|. Images use the DFT of both axes.

A filter shorter than the signal is a constraint that the ℓ1 program does not know: its optimum is then only
a lower bound. Use the nuclear program, ``train_linear(extract_patches(images, kernel, circular=True), …)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convexnn._types import Array, IntArray, Progress
from convexnn.certificate import Certificate, make_certificate
from convexnn.convolution.dual import Trial, lower_bound, solve_dual
from convexnn.convolution.linear import rounded_up
from convexnn.convolution.patches import check_limits
from convexnn.convolution.result import ConvolutionResult, zero_result
from convexnn.losses import check_problem, get_loss

Norm = Literal["backward", "ortho"]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class CircularCNN:
    """f = Σ_k α_k Σ_j x_{k+j} u_j, indices modulo the shape: x·(u ∗ α).

    Attributes
    ----------
    filters : (d, 1)
        The filter u, flattened.
    outputs : (1, d)
        The output weights α, one a position.
    shape : tuple of int
        (length,) or (height, width), d numbers.
    """

    filters: Array
    outputs: Array
    shape: tuple[int, ...]

    @property
    def weights(self) -> Array:
        """u ∗ α, of length d: the linear map that the network computes."""
        u, alpha = self.filters.reshape(self.shape), self.outputs.reshape(self.shape)
        return np.asarray(np.fft.ifftn(np.fft.fftn(u) * np.fft.fftn(alpha)).real).ravel()

    def predict(self, images: Array) -> Array:
        """(n,) for images (n, *shape)."""
        images = np.asarray(images, dtype=np.float64)
        return np.asarray(images.reshape(len(images), -1) @ self.weights)

    def objective(self, images: Array, y: Array, beta: float, loss: str = "squared") -> float:
        """L(f, y) + (β/2) (‖u‖² + ‖α‖²)."""
        penalty = 0.5 * float(np.sum(self.filters**2) + np.sum(self.outputs**2))
        return get_loss(loss).value(self.predict(images), np.asarray(y, dtype=np.float64)) + beta * penalty


def circular_filters(z: Complex, norm: Norm = "backward") -> CircularCNN:
    """The network of a point z of the program min L(X F z, y) + β'‖z‖₁.

    Parameters
    ----------
    z : complex, (length,) or (height, width)
        Its conjugate-symmetric part is taken, which changes neither Re(Fz) nor raises ‖z‖₁.
    norm : {"backward", "ortho"}
        F unnormalised (β' = β) or unitary (β' = β/√d).
    """
    z = 0.5 * (z + np.conj(_mirrored(z)))
    w = np.fft.fftn(z, norm=norm).real
    spectrum = np.fft.fftn(w)
    root = np.sqrt(np.abs(spectrum))
    alpha = np.where(root > 0, spectrum / np.where(root > 0, root, 1.0), 0.0)
    u = np.fft.ifftn(root).real
    return CircularCNN(u.reshape(-1, 1), np.fft.ifftn(alpha).real.reshape(1, -1), z.shape)


def circular_beta_max(images: Array, y: Array, loss: str = "squared") -> float:
    """max_k |fft(Xᵀν₀)_k|, ν₀ = −∇L(0): at this β and above zero is optimal (hinge: ν₀ = y)."""
    X, y, _, shape = _check(images, y, 1.0, loss)
    return _largest(X, -get_loss(loss).gradient(np.zeros_like(y), y), shape)


def train_circular(
    images: Array,
    y: Array,
    beta: float,
    *,
    kernel: int | Sequence[int] | None = None,
    loss: str = "squared",
    tol: float = 1e-6,
    max_time: float | None = None,
    progress: Progress | None = None,
) -> ConvolutionResult[CircularCNN]:
    """min L(X F z, y) + β ‖z‖₁ with F the unnormalised DFT, and its filter, to a proven gap.

    Parameters
    ----------
    images : (n, length) or (n, height, width)
        One channel.
    y : (n,)
        Real for the squared loss, ±1 for the others.
    beta : float
        Positive; of the training problem, (β/2)(‖u‖² + ‖α‖²).
    kernel : int or tuple, optional
        Must be the full size of a sample, the default.
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
        If the kernel is shorter than a sample, or shapes, values, β, loss or limits are not valid.
    """
    begin = perf_counter()
    X, y, beta, shape = _check(images, y, beta, loss)
    check_limits(tol, max_time)
    _check_kernel(kernel, shape)
    if beta >= circular_beta_max(images, y, loss):
        d = X.shape[1]
        zero = CircularCNN(np.zeros((d, 1)), np.zeros((1, d)), shape)
        value = get_loss(loss).value(np.zeros_like(y), y)
        certificate = certify_circular(zero, images, y, beta, loss)
        return zero_result(zero, value, certificate, begin)
    penalty = _Spectrum(X, shape)
    solved = solve_dual(
        penalty, y, beta, loss, parts=penalty.groups, tol=tol, max_time=max_time, progress=progress
    )
    z = penalty.program_point(solved.centre)
    network = circular_filters(z)
    fit = X @ np.fft.fftn(z).real.ravel()
    value = get_loss(loss).value(fit, y) + beta * float(np.abs(z).sum())
    certificate = _certificate(network, X, y, beta, loss, [solved.nu], begin)
    return ConvolutionResult(network, certificate.primal, value, certificate, solved.history, solved.status)


def certify_circular(
    network: CircularCNN, images: Array, y: Array, beta: float, loss: str = "squared", nu: Array | None = None
) -> Certificate:
    """(primal − D(tν))/primal for any circular linear network, ρ(ν) = max_k |fft(Xᵀν)_k|.

    Parameters
    ----------
    network : CircularCNN
    images : (n, length) or (n, height, width), y : (n,)
    nu : (n,), optional
        A dual point to try beside ν = −∇L(f); see `certify_linear` for the hinge.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is not valid.
    """
    begin = perf_counter()
    X, y, beta, shape = _check(images, y, beta, loss)
    if network.shape != shape:
        raise ValueError(f"The network is for samples of shape {network.shape}; the images have {shape}.")
    candidates = [-get_loss(loss).gradient(network.predict(X), y)]
    if nu is not None:
        candidates.append(np.asarray(nu, dtype=np.float64))
    return _certificate(network, X, y, beta, loss, candidates, begin)


def _certificate(
    network: CircularCNN, X: Array, y: Array, beta: float, loss: str, candidates: list[Array], begin: float
) -> Certificate:
    rhos = [_rho_bound(X, nu, network.shape) for nu in candidates]
    bounds = [lower_bound(nu, y, beta, loss, rho) for nu, rho in zip(candidates, rhos, strict=True)]
    best = int(np.argmax(bounds))
    primal = network.objective(X, y, beta, loss)
    return make_certificate(primal, candidates[best], rhos[best], y, beta, loss, "exact", 0, begin)


def _largest(X: Array, nu: Array, shape: tuple[int, ...]) -> float:
    """max_k |fft(Xᵀν)_k|."""
    return float(np.abs(np.fft.fftn((nu @ X).reshape(shape))).max())


def _rho_bound(X: Array, nu: Array, shape: tuple[int, ...]) -> float:
    """max_k |fft(Xᵀν)_k|, plus a bound on the rounding of Xᵀν and of the FFT, outwards."""
    g = nu @ X
    eps = np.finfo(np.float64).eps
    product = len(nu) * eps * float((np.abs(nu) @ np.abs(X)).sum())
    transform = 8.0 * eps * np.log2(2.0 * g.size) * float(np.sqrt(g.size) * np.linalg.norm(g))
    return rounded_up(_largest(X, nu, shape) + product + transform)


def _check(images: Array, y: Array, beta: float, loss: str) -> tuple[Array, Array, float, tuple[int, ...]]:
    images = np.asarray(images, dtype=np.float64)
    if images.ndim not in (2, 3):
        raise ValueError(
            f"Circular networks take (n, length) or (n, height, width); the shape is {images.shape}. For "
            "channels use train_linear(extract_patches(images, kernel, circular=True), …)."
        )
    X, y, beta = check_problem(images.reshape(len(images), -1), y, beta, loss)
    if y.ndim != 1:
        raise ValueError(f"y must be (n,); its shape is {y.shape}.")
    return X, y, beta, images.shape[1:]


def _check_kernel(kernel: int | Sequence[int] | None, shape: tuple[int, ...]) -> None:
    if kernel is None:
        return
    size = (int(kernel),) if isinstance(kernel, int | np.integer) else tuple(int(k) for k in kernel)
    if size != shape:
        raise ValueError(
            f"For a kernel {size} in samples of shape {shape} the ℓ1 program is only a lower bound: it needs "
            "filters of full length. For the exact program use "
            "train_linear(extract_patches(images, kernel, circular=True), y, beta)."
        )


def _mirrored(z: Any) -> Any:
    """z at the negated frequencies."""
    return np.roll(np.flip(z), 1, axis=tuple(range(z.ndim)))


class _Spectrum:
    """Σ_g ω_g‖c_g‖ over the real coordinates of the unitary DFT of the weights w, f = Xw.

    A frequency and its conjugate are one group (√2 Re ŵ_k, √2 Im ŵ_k) with ω = √(2/d); a real frequency
    (zero, Nyquist) is a group (ŵ_k, 0) with ω = 1/√d. Then Σ ω_g‖c_g‖ = ‖fft(w)‖₁/d = ‖z‖₁ for w = Fz.
    The centre holds c_g ω_g, so that every group has threshold β.
    """

    def __init__(self, X: Array, shape: tuple[int, ...]) -> None:
        n, d = X.shape
        place = np.arange(d)
        partner = _mirrored(place.reshape(shape)).ravel()
        self._index: IntArray = np.flatnonzero(place <= partner)
        single = partner[self._index] == self._index
        spectrum = np.fft.fftn(X.reshape(n, *shape), axes=tuple(range(1, len(shape) + 1)))
        spectrum = spectrum.reshape(n, d)[:, self._index] / np.sqrt(d)
        parts = np.stack([spectrum.real, np.where(single, 0.0, spectrum.imag)], -1)
        pairs = np.where(single, 1.0, np.sqrt(2.0))[:, None] * parts
        self._weight = np.where(single, 1.0, np.sqrt(2.0)) / np.sqrt(d)
        self._partner = partner[self._index]
        self._single = single
        self._A = pairs / self._weight[:, None]  # (n, G, 2), acts on c_g ω_g
        self._X, self._shape = X, shape

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._index)

    def zero(self) -> Array:
        return np.zeros((self.groups, 2))

    def rho(self, nu: Array) -> float:
        return _rho_bound(self._X, nu, self._shape)

    def program_point(self, centre: Array) -> Complex:
        """z with Fz the weights of the centre, F the unnormalised DFT; conjugate-symmetric."""
        value = (centre[:, 0] + 1j * centre[:, 1]) / self._weight / np.where(self._single, 1.0, np.sqrt(2.0))
        spectrum = np.zeros(int(np.prod(self._shape)), dtype=np.complex128)
        spectrum[self._partner] = np.conj(value)
        spectrum[self._index] = value
        weights_hat = spectrum.reshape(self._shape) * np.sqrt(spectrum.size)  # fft(w), unnormalised
        # w = F z means z = F⁻¹ w = F⁻¹F⁻¹ fft(w): fft(w) mirrored, over d.
        return np.asarray(_mirrored(weights_hat) / spectrum.size)

    def trial(self, nu: Array, centre: Array, beta: float, sigma: float) -> Trial:
        """Group soft thresholding of V/σ + A*ν at β, times σ."""
        m = centre / sigma + np.tensordot(nu, self._A, axes=1)
        norm = np.linalg.norm(m, axis=1)
        active = np.flatnonzero(norm > beta)
        excess = norm[active] - beta
        U = np.zeros_like(centre)
        U[active] = (sigma * excess / norm[active])[:, None] * m[active]
        return Trial(
            0.5 * sigma * float(np.sum(excess**2)),
            U,
            np.tensordot(self._A[:, active], U[active], axes=2),
            sigma * float(excess.sum()),
            float(np.sum((U - centre) ** 2)),
            lambda: self._factor(m[active] / norm[active][:, None], 1.0 - beta / norm[active], active),
        )

    def _factor(self, unit: Array, share: Array, active: IntArray) -> Array:
        """Bᵀ: each group's columns times √a I + (1 − √a) ĉĉᵀ, a = 1 − β/‖c‖."""
        A = self._A[:, active]
        along = np.einsum("ngc,gc->ng", A, unit)
        root = np.sqrt(share)
        B = A * root[:, None] + ((1.0 - root) * along)[:, :, None] * unit
        return np.ascontiguousarray(B.reshape(len(A), -1).T)
