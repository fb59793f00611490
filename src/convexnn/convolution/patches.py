r"""Patches of signals and images: the matrices X_1, …, X_K (each n×h) of a convolutional layer.

A filter u of h weights answers X_k u at position k, so a convolution is K products with one u. Every
convolutional case of this package takes the patches as one array (K, n, h).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convexnn._types import Array
from convexnn.losses import check_problem

_AXES = {1: ("length",), 2: ("height", "width")}


def extract_patches(
    images: Array,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    circular: bool = False,
) -> Array:
    """X_k[i] = sample i under the kernel at position k, flattened (kernel rows, columns, channels).

    Parameters
    ----------
    images : (n, length[, channels]) or (n, height, width[, channels])
        Signals with a kernel of one number, images with a kernel of two. A 3 × 3 kernel is ``(3, 3)``: one
        number is never read as a square, because (n, a, b) could be either.
    kernel : int or (int,) for signals, (int, int) for images
        Pixels.
    stride : int or one for each axis
        Pixels between positions.
    padding : int or one for each axis
        Zeros added at both ends of the axis.
    circular : bool
        The kernel wraps round: every ``stride``-th pixel is a position. Padding must be 0.

    Returns
    -------
    (K, n, h) float64
        K positions in row-major order; h = kernel pixels × channels. For a bias append a column of ones.

    Raises
    ------
    ValueError
        If the number of axes is wrong, the kernel is larger than the (padded) sample, a stride would leave
        pixels out, or a value is not finite.
    """
    images = np.asarray(images, dtype=np.float64)
    size = (int(kernel),) if isinstance(kernel, int | np.integer) else tuple(int(k) for k in kernel)
    if len(size) not in _AXES:
        raise ValueError(f"kernel must be one number for signals or two for images; it is {kernel!r}.")
    if images.ndim not in (len(size) + 1, len(size) + 2) or not images.size:
        wanted = ", ".join(("n", *_AXES[len(size)]))
        raise ValueError(
            f"With a kernel of {len(size)} number(s) the data must be ({wanted}) or ({wanted}, channels) and "
            f"not empty; their shape is {images.shape}."
        )
    if not np.isfinite(images).all():
        raise ValueError("The images must be finite.")
    axes = _AXES[len(size)]
    strides, pads = _per_axis("stride", stride, axes, 1), _per_axis("padding", padding, axes, 0)
    if circular and any(pads):
        raise ValueError("A circular convolution wraps round: padding must be 0.")
    if images.ndim == len(size) + 1:
        images = images[..., None]
    images = np.pad(images, [(0, 0), *((p, p) for p in pads), (0, 0)])
    index = [
        _positions(name, full, k, s, circular)
        for name, full, k, s in zip(axes, images.shape[1:-1], size, strides, strict=True)
    ]
    if len(index) == 1:
        taken = images[:, index[0]]  # (n, positions, kernel, channels)
    else:
        rows, columns = index
        taken = images[:, rows[:, None, :, None], columns[None, :, None, :]]
    n, h = len(images), int(np.prod(size)) * images.shape[-1]
    return np.ascontiguousarray(taken.reshape(n, -1, h).transpose(1, 0, 2))


def _per_axis(what: str, value: int | Sequence[int], axes: tuple[str, ...], least: int) -> tuple[int, ...]:
    values = (int(value),) * len(axes) if isinstance(value, int | np.integer) else tuple(map(int, value))
    if len(values) != len(axes) or min(values) < least:
        raise ValueError(f"{what} must be a number ≥ {least}, or one for each of {axes}; it is {value!r}.")
    return values


def _positions(name: str, full: int, kernel: int, stride: int, circular: bool) -> np.ndarray:
    """Index (positions, kernel) of the pixels under the kernel along one axis."""
    if not 1 <= kernel <= full:
        raise ValueError(f"A kernel of {kernel} does not fit into a {name} of {full} (padding included).")
    room = full if circular else full - kernel
    if room % stride:
        raise ValueError(
            f"Stride {stride} with a kernel of {kernel} leaves {room % stride} of {full} pixels of the "
            f"{name} out: change the stride or the padding, or crop the data."
        )
    starts = np.arange(0, room if circular else room + 1, stride)
    return (starts[:, None] + np.arange(kernel)) % full


@dataclass(frozen=True)
class Checked:
    """Patches, targets and β after validation; `stack` is the (K n)×h matrix of all patches."""

    patches: Array
    y: Array
    beta: float

    @property
    def stack(self) -> Array:
        """Row k n + i is patch k of sample i."""
        K, n, h = self.patches.shape
        return self.patches.reshape(K * n, h)


def check_patches(patches: Array, y: Array, beta: float, loss: str) -> Checked:
    """Validate patches (K, n, h) with one target for each of the n samples.

    Raises
    ------
    ValueError
        If the shapes disagree, a value is not finite, β is not positive or a label is not ±1.
    """
    patches = np.ascontiguousarray(patches, dtype=np.float64)
    if patches.ndim != 3 or not patches.size:
        raise ValueError(
            f"patches must be a non-empty array (K, n, h), as extract_patches returns; shape {patches.shape}."
        )
    K, n, h = patches.shape
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (n,):
        raise ValueError(f"y must have one target for each of the {n} samples; its shape is {y.shape}.")
    _, y, beta = check_problem(patches.transpose(1, 0, 2).reshape(n, K * h), y, beta, loss)
    return Checked(patches, y, beta)


def check_limits(tol: float, max_time: float | None) -> None:
    """Raise ValueError unless tol is positive and max_time, if given, too."""
    if not tol > 0:
        raise ValueError(f"tol must be positive; it is {tol!r}.")
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be a positive number of seconds; it is {max_time!r}.")
