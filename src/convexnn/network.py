r"""Two-layer ReLU networks and the maps to and from the convex program.

f(X) = (X U)_+ α + b₀ with U d×m and α of shape (m,) or (m, c). A bias is a column of ones in X and is
penalised like any weight; b₀ is free and 0 unless asked for (`convexnn.intercepts`).

* Convex → network: a block v ≠ 0 becomes (v/√‖v‖, √‖v‖), a block w ≠ 0 becomes (w/√‖w‖, −√‖w‖).
* Network → convex: v = |α| u in the block of its sign and of a full-dimensional cell whose closure
  contains u. The fit is kept and the objective never rises; it is equal iff ‖u‖ = |α| for every neuron.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from convexnn._files import write_file
from convexnn._types import Array
from convexnn.activation import activate, checked_slope
from convexnn.losses import LossLike, get_loss
from convexnn.losses.softmax import is_softmax, softmax_targets
from convexnn.patterns import KINK, Patterns

FILE_NAME = "model.safetensors"
_FORMAT = "convexnn-network-1"


class _Blocks(Protocol):
    """Anything with the blocks v and w of program (2), each d×P: a `Solution`, for one."""

    @property
    def v(self) -> Array: ...
    @property
    def w(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class Network:
    """f(X) = (X U)_+ α + b₀.

    Parameters
    ----------
    U : (d, m)
        One column a neuron.
    alpha : (m,) or (m, c)
        Output weights; (m, c) for c outputs.
    intercept : float or (c,)
        b₀, which no penalty counts; 0 by default.
    negative_slope : float
        s in [−1, 1): the activation is σ_s(z) = (z)_+ − s(−z)_+ in place of (z)_+, slope s below 0. 0 is the
        ReLU, 0.01 the usual leaky ReLU, −1 the absolute value.

    Raises
    ------
    ValueError
        If the shapes disagree or a weight is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import Network
    >>> absolute = Network(np.array([[1.0, -1.0]]), np.array([1.0, 1.0]))  # |x| = (x)_+ + (−x)_+
    >>> absolute.predict(np.array([[-2.0], [3.0]]))
    array([2., 3.])
    """

    U: Array
    alpha: Array
    intercept: float | Array = field(default=0.0, kw_only=True)
    negative_slope: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "U", np.array(self.U, dtype=np.float64, order="C"))
        object.__setattr__(self, "alpha", np.array(self.alpha, dtype=np.float64, order="C"))
        if self.U.ndim != 2 or self.alpha.ndim not in (1, 2) or self.alpha.shape[0] != self.U.shape[1]:
            raise ValueError(
                "U must be d×m and alpha (m,) or (m, c) with the same m; "
                f"they are {self.U.shape} and {self.alpha.shape}."
            )
        object.__setattr__(self, "intercept", _checked_intercept(self.intercept, self.alpha))
        object.__setattr__(self, "negative_slope", checked_slope(self.negative_slope))
        if not (np.isfinite(self.U).all() and np.isfinite(self.alpha).all()):
            raise ValueError("The weights of a network must be finite.")

    @property
    def n_features(self) -> int:
        """Rows of U: the columns that `predict` expects."""
        return int(self.U.shape[0])

    @property
    def has_intercept(self) -> bool:
        """Whether b₀ ≠ 0."""
        return bool(np.any(self.intercept))

    @property
    def n_neurons(self) -> int:
        """Neurons whose two weights are both non-zero."""
        return int(np.count_nonzero(_amplitude(self) > 0))

    def predict(self, X: Array) -> Array:
        """(X U)_+ α + b₀, of shape (n,) or (n, c).

        Raises
        ------
        ValueError
            If X is not n×d with the d of U.
        """
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"X must be n×{self.n_features} for this network; its shape is {X.shape}.")
        out = np.empty((X.shape[0], *self.alpha.shape[1:]))
        rows = max(1, 8_000_000 // max(1, self.U.shape[1]))
        for start in range(0, X.shape[0], rows):
            Z = X[start : start + rows] @ self.U
            out[start : start + rows] = activate(Z, self.negative_slope) @ self.alpha
        return out + self.intercept if self.has_intercept else out

    def penalty(self) -> float:
        """½ Σ_j (‖u_j‖² + ‖α_j‖₁²), what β multiplies; α_j² for one output, and nothing for b₀."""
        return 0.5 * float(np.sum(self.U**2) + np.sum(_output_norm(self.alpha) ** 2))

    def objective(self, X: Array, y: Array, beta: float, loss: LossLike = "squared") -> float:
        """L((XU)_+α + b₀, y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²)."""
        f = self.predict(X)
        y = softmax_targets(y, f.shape[-1]) if is_softmax(loss) and f.ndim == 2 else np.asarray(y, float)
        if f.shape != y.shape:
            raise ValueError(f"The network's output has shape {f.shape}, y has {y.shape}.")
        return get_loss(loss).value(f, y) + beta * self.penalty()

    @classmethod
    def zero(cls, n_features: int, n_outputs: int | None = None, *, negative_slope: float = 0.0) -> "Network":
        """The network without neurons: f = 0. `n_outputs` None means one output of shape (n,)."""
        alpha = np.zeros((0,) if n_outputs is None else (0, n_outputs))
        return cls(np.zeros((n_features, 0)), alpha, negative_slope=negative_slope)

    @classmethod
    def from_solution(cls, solution: _Blocks, *, negative_slope: float = 0.0) -> "Network":
        """The balanced network of program blocks v, w (each d×P), with the objective of the program.

        `negative_slope` is that of the program.
        """
        V = np.concatenate([solution.v, solution.w], axis=1)
        sign = np.repeat([1.0, -1.0], [solution.v.shape[1], solution.w.shape[1]])
        norm = np.linalg.norm(V, axis=0)
        keep = norm > 0
        root = np.sqrt(norm[keep])
        return cls(V[:, keep] / root, sign[keep] * root, negative_slope=negative_slope)

    def to_solution(self, X: Array) -> tuple[Patterns, Array, Array]:
        """Patterns of the neurons with the blocks (v, w), each d×P, of program (2).

        Neurons of one cell and sign are added; b₀ is no block. Raises ValueError for several outputs.
        """
        self._require_one_output("to_solution")
        net = self.balanced()
        cells, cell_of = Patterns.locate(X, net.U)
        v = np.zeros((net.n_features, len(cells)))
        w = np.zeros_like(v)
        for j, k in enumerate(cell_of):
            block = v if net.alpha[j] > 0 else w
            block[:, k] += abs(net.alpha[j]) * net.U[:, j]
        return cells, v, w

    def balanced(self) -> "Network":
        """The same function with ‖u_j‖ = ‖α_j‖₁ and without zero neurons; the penalty never rises."""
        keep = _amplitude(self) > 0
        U, alpha = self.U[:, keep], self.alpha[keep]
        scale = np.sqrt(_output_norm(alpha) / np.linalg.norm(U, axis=0))
        return replace(self, U=U * scale, alpha=(alpha.T / scale).T)

    def outputs(self) -> list["Network"]:
        """One balanced network of one output for each column of α; their penalties never exceed ours."""
        columns = self.alpha[:, None] if self.alpha.ndim == 1 else self.alpha
        values = np.atleast_1d(self.intercept)
        return [
            replace(self, alpha=column, intercept=float(b)).balanced()
            for column, b in zip(columns.T, values, strict=True)
        ]

    @classmethod
    def join(cls, networks: Sequence["Network"]) -> "Network":
        """The network with α (m, c) whose output k is the k-th of c networks of one output."""
        sizes = [net.U.shape[1] for net in networks]
        alpha = np.zeros((sum(sizes), len(networks)))
        for k, (net, stop) in enumerate(zip(networks, np.cumsum(sizes), strict=True)):
            alpha[stop - sizes[k] : stop, k] = net.alpha
        intercepts = np.array([float(net.intercept) for net in networks])
        slopes = {net.negative_slope for net in networks}
        if len(slopes) > 1:
            raise ValueError(f"Only networks of one activation join; these have slopes {sorted(slopes)}.")
        U = np.concatenate([net.U for net in networks], axis=1)
        return cls(U, alpha, intercept=intercepts, negative_slope=slopes.pop())

    def merged(self, X: Array) -> "Network":
        """Add up neurons of one sign that share a closed cell of X; the fit on X is kept.

        Two neurons share a closed cell when no row has x_iᵀu > 0 > x_iᵀu'. The result is balanced and
        its objective never rises. With several outputs each is merged by itself.
        """
        if self.alpha.ndim == 2:
            return Network.join([output.merged(X) for output in self.outputs()])
        net = self.balanced()
        X = np.asarray(X, dtype=np.float64)
        row_norms = np.linalg.norm(X, axis=1)[:, None]
        merged: list[Array] = []
        signs: list[float] = []
        for sign in (1.0, -1.0):
            V = (net.U * np.abs(net.alpha))[:, np.sign(net.alpha) == sign]
            groups = _merge_compatible(X, row_norms, V, is_even=net.negative_slope == -1.0)
            merged.extend(groups)
            signs.extend([sign] * len(groups))
        if not merged:
            return replace(net, U=np.zeros((self.n_features, 0)), alpha=np.zeros(0))
        V = np.stack(merged, axis=1)
        norm = np.linalg.norm(V, axis=0)
        root = np.sqrt(np.where(norm > 0, norm, 1.0))
        alpha = np.array(signs) * np.where(norm > 0, root, 0.0)
        return replace(net, U=V / root, alpha=alpha).balanced()

    def _require_one_output(self, what: str) -> None:
        if self.alpha.ndim != 1:
            raise ValueError(f"{what} is defined for one output; this network has {self.alpha.shape[1]}.")

    def to_torch(self, *, dtype: Any = None) -> Any:
        """``Sequential(Linear, ReLU, Linear)``, with b₀ as its only bias; see `convexnn.interop.to_torch`."""
        from convexnn.interop import to_torch

        return to_torch(self, dtype=dtype)

    @classmethod
    def from_torch(cls, module: Any, *, penalize_intercept: bool = True) -> "Network":
        """The network, on [X, 1] if it has penalised biases, of a torch module.

        With ``penalize_intercept=False`` the bias of the last layer is b₀: the inverse of `to_torch`.
        """
        from convexnn.interop.foreign import network_from_arrays
        from convexnn.interop.torch import torch_arrays

        network = network_from_arrays(*torch_arrays(module), penalize_intercept=penalize_intercept)[0]
        return replace(network, alpha=network.alpha[:, 0]) if network.alpha.shape[1] == 1 else network

    def to_sklearn(self) -> Any:
        """A fitted MLPRegressor with the same `predict`; see `convexnn.interop.to_sklearn`."""
        from convexnn.interop import to_sklearn

        return to_sklearn(self)

    @classmethod
    def from_sklearn(cls, model: Any, *, penalize_intercept: bool = True) -> "Network":
        """The network, on [X, 1], of a fitted MLP with one hidden layer; see `convexnn.interop`."""
        from convexnn.interop import from_sklearn

        return from_sklearn(model, penalize_intercept=penalize_intercept).network

    def to_onnx(self, *, target_opset: int | None = None) -> Any:
        """An ONNX model, ``X`` [None, d] to ``variable`` [None, c]; see `convexnn.interop.to_onnx`."""
        from convexnn.interop import OPSET, to_onnx

        return to_onnx(self, target_opset=target_opset or OPSET)

    @classmethod
    def from_onnx(cls, source: Any, *, penalize_intercept: bool = True) -> "Network":
        """The network of an ONNX model or file, on [X, 1] if it has biases; see `convexnn.interop`."""
        from convexnn.interop import from_onnx

        return from_onnx(source, penalize_intercept=penalize_intercept).network

    def save(self, path: str | Path, metadata: Mapping[str, Any] | None = None) -> Path:
        """Write the weights (safetensors) and a JSON header, atomically; returns the file's path.

        Parameters
        ----------
        path : str or Path
            A file ending in ``.safetensors``, or a folder, which then holds ``model.safetensors``.
        metadata : mapping, optional
            Anything JSON can hold; `load_metadata` gives it back.
        """
        from safetensors.numpy import save

        text = json.dumps(dict(metadata or {}))
        header = {"format": _FORMAT, "metadata": text, "sha256": _digest(self, text)}
        tensors = {"U": self.U, "alpha": self.alpha}
        if self.has_intercept:
            tensors["intercept"] = np.array(self.intercept)
        if self.negative_slope != 0.0:
            tensors["negative_slope"] = np.array(self.negative_slope)
        data = save(tensors, metadata=header)
        return write_file(_model_file(Path(path)), data)

    @classmethod
    def load(cls, path: str | Path) -> "Network":
        """Read a network from a file, or from the folder that holds ``model.safetensors``.

        No code in the file is run. Raises FileNotFoundError, or ValueError with one sentence if the file
        is damaged or not a convexnn network.
        """
        return _read(Path(path))[0]


def load_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that `Network.save` was given; raises as `Network.load` does."""
    return _read(Path(path))[1]


def _read(path: Path) -> tuple[Network, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    file = _model_file(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no model at {file}.")
    try:
        with safe_open(str(file), framework="numpy") as tensors:
            header = tensors.metadata() or {}
            foreign = header.get("format") != _FORMAT
            if not foreign:
                arrays = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
                more = {name: arrays[name] for name in ("intercept", "negative_slope") if name in arrays}
                network = Network(arrays["U"], arrays["alpha"], **more)
                metadata = json.loads(header["metadata"])
                if header["sha256"] != _digest(network, header["metadata"]):
                    raise ValueError("its checksum is wrong")
                if not isinstance(metadata, dict):
                    raise ValueError("its metadata are not a JSON object")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # JSON's errors are ValueErrors
        reason = str(error).rstrip(".")
        raise ValueError(f"{file} is damaged and cannot be read as a network ({reason}).") from error
    if foreign:
        raise ValueError(f"{file} is not a convexnn network: its header lacks {_FORMAT!r}.")
    return network, metadata


def _digest(network: Network, metadata: str) -> str:
    """SHA-256 over shapes, weights (b₀ and s where they are not 0) and metadata."""
    U, alpha = network.U, network.alpha
    shapes = f"{U.shape} {alpha.shape}".encode()
    own = np.asarray(network.intercept).tobytes() if network.has_intercept else b""
    own += b"" if network.negative_slope == 0.0 else np.asarray(network.negative_slope).tobytes()
    return sha256(shapes + U.tobytes() + alpha.tobytes() + own + metadata.encode()).hexdigest()


def _checked_intercept(intercept: float | Array, alpha: Array) -> float | Array:
    """b₀ as a float for one output, (c,) for c; ValueError for another shape, or if it is not finite."""
    values = np.array(intercept, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("The intercept of a network must be finite.")
    if alpha.ndim == 1 and values.size == 1:
        return float(values.reshape(()))
    if alpha.ndim == 2 and values.shape in ((), alpha.shape[1:]):
        return np.ascontiguousarray(np.broadcast_to(values, alpha.shape[1:]))
    raise ValueError(
        f"The intercept must be a number for one output, (c,) for c; alpha has shape {alpha.shape}, the "
        f"intercept {values.shape}."
    )


def _model_file(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def _output_norm(alpha: Array) -> Array:
    """‖α_j‖₁ for each neuron."""
    magnitude = np.abs(alpha)
    return magnitude if alpha.ndim == 1 else magnitude.sum(axis=1)


def _amplitude(network: Network) -> Array:
    """‖u_j‖ ‖α_j‖₁ for each neuron."""
    return np.asarray(np.linalg.norm(network.U, axis=0) * _output_norm(network.alpha))


def _merge_compatible(X: Array, row_norms: Array, V: Array, *, is_even: bool = False) -> list[Array]:
    """Greedily add the columns of V that agree in sign on every row of X; if `is_even`, v or −v may."""
    Z = X @ V
    kink = KINK * row_norms * np.linalg.norm(V, axis=0)
    up = (kink < Z).astype(np.float32)
    down = (-kink > Z).astype(np.float32)
    sums: list[Array] = []
    group_up = np.zeros((0, X.shape[0]), dtype=np.float32)
    group_down = np.zeros_like(group_up)
    for j in range(V.shape[1]):
        conflicts = group_up @ down[:, j] + group_down @ up[:, j]
        free = np.flatnonzero(conflicts == 0)
        v = V[:, j]
        if is_even and not free.size:
            free = np.flatnonzero(group_up @ up[:, j] + group_down @ down[:, j] == 0)
            if free.size:
                v, up[:, j], down[:, j] = -v, down[:, j].copy(), up[:, j].copy()
        if free.size:
            k = int(free[0])
            sums[k] = sums[k] + v
            np.maximum(group_up[k], up[:, j], out=group_up[k])
            np.maximum(group_down[k], down[:, j], out=group_down[k])
        else:
            sums.append(V[:, j].copy())
            group_up = np.vstack([group_up, up[:, j]])
            group_down = np.vstack([group_down, down[:, j]])
    return sums
