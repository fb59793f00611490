r"""Two-layer ReLU networks and the maps to and from the convex program.

f(X) = (X U)_+ α with U d×m and α of shape (m,) or (m, c). A bias is a column of ones in X.

* Convex → network: a block v ≠ 0 becomes (v/√‖v‖, √‖v‖), a block w ≠ 0 becomes (w/√‖w‖, −√‖w‖).
* Network → convex: v = |α| u in the block of its sign and of a full-dimensional cell whose closure
  contains u. The fit is kept and the objective never rises; it is equal iff ‖u‖ = |α| for every neuron.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from convexnn._files import write_file
from convexnn._types import Array
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
    """f(X) = (X U)_+ α.

    Parameters
    ----------
    U : (d, m)
        One column a neuron.
    alpha : (m,) or (m, c)
        Output weights; (m, c) for c outputs.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "U", np.array(self.U, dtype=np.float64, order="C"))
        object.__setattr__(self, "alpha", np.array(self.alpha, dtype=np.float64, order="C"))
        if self.U.ndim != 2 or self.alpha.ndim not in (1, 2) or self.alpha.shape[0] != self.U.shape[1]:
            raise ValueError(
                "U must be d×m and alpha (m,) or (m, c) with the same m; "
                f"they are {self.U.shape} and {self.alpha.shape}."
            )
        if not (np.isfinite(self.U).all() and np.isfinite(self.alpha).all()):
            raise ValueError("The weights of a network must be finite.")

    @property
    def n_features(self) -> int:
        """Rows of U: the columns that `predict` expects."""
        return int(self.U.shape[0])

    @property
    def n_neurons(self) -> int:
        """Neurons whose two weights are both non-zero."""
        return int(np.count_nonzero(_amplitude(self) > 0))

    def predict(self, X: Array) -> Array:
        """(X U)_+ α, of shape (n,) or (n, c).

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
            np.maximum(Z, 0.0, out=Z)
            out[start : start + rows] = Z @ self.alpha
        return out

    def penalty(self) -> float:
        """½ Σ_j (‖u_j‖² + ‖α_j‖₁²), what β multiplies; α_j² for one output."""
        return 0.5 * float(np.sum(self.U**2) + np.sum(_output_norm(self.alpha) ** 2))

    def objective(self, X: Array, y: Array, beta: float, loss: LossLike = "squared") -> float:
        """L((XU)_+α, y) + (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²)."""
        f = self.predict(X)
        y = softmax_targets(y, f.shape[-1]) if is_softmax(loss) and f.ndim == 2 else np.asarray(y, float)
        if f.shape != y.shape:
            raise ValueError(f"The network's output has shape {f.shape}, y has {y.shape}.")
        return get_loss(loss).value(f, y) + beta * self.penalty()

    @classmethod
    def zero(cls, n_features: int, n_outputs: int | None = None) -> "Network":
        """The network without neurons: f = 0. `n_outputs` None means one output of shape (n,)."""
        return cls(np.zeros((n_features, 0)), np.zeros((0,) if n_outputs is None else (0, n_outputs)))

    @classmethod
    def from_solution(cls, solution: _Blocks) -> "Network":
        """The balanced network of program blocks v, w (each d×P), with the objective of the program."""
        V = np.concatenate([solution.v, solution.w], axis=1)
        sign = np.repeat([1.0, -1.0], [solution.v.shape[1], solution.w.shape[1]])
        norm = np.linalg.norm(V, axis=0)
        keep = norm > 0
        root = np.sqrt(norm[keep])
        return cls(V[:, keep] / root, sign[keep] * root)

    def to_solution(self, X: Array) -> tuple[Patterns, Array, Array]:
        """Patterns of the neurons with the blocks (v, w), each d×P, of program (2).

        Neurons of one cell and sign are added. Raises ValueError for several outputs.
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
        return Network(U * scale, (alpha.T / scale).T)

    def outputs(self) -> list["Network"]:
        """One balanced network of one output for each column of α; their penalties never exceed ours."""
        columns = self.alpha[:, None] if self.alpha.ndim == 1 else self.alpha
        return [Network(self.U, column).balanced() for column in columns.T]

    @classmethod
    def join(cls, networks: Sequence["Network"]) -> "Network":
        """The network with α (m, c) whose output k is the k-th of c networks of one output."""
        sizes = [net.U.shape[1] for net in networks]
        alpha = np.zeros((sum(sizes), len(networks)))
        for k, (net, stop) in enumerate(zip(networks, np.cumsum(sizes), strict=True)):
            alpha[stop - sizes[k] : stop, k] = net.alpha
        return cls(np.concatenate([net.U for net in networks], axis=1), alpha)

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
            groups = _merge_compatible(X, row_norms, V)
            merged.extend(groups)
            signs.extend([sign] * len(groups))
        if not merged:
            return Network.zero(self.n_features)
        V = np.stack(merged, axis=1)
        norm = np.linalg.norm(V, axis=0)
        root = np.sqrt(np.where(norm > 0, norm, 1.0))
        return Network(V / root, np.array(signs) * np.where(norm > 0, root, 0.0)).balanced()

    def _require_one_output(self, what: str) -> None:
        if self.alpha.ndim != 1:
            raise ValueError(f"{what} is defined for one output; this network has {self.alpha.shape[1]}.")

    def to_torch(self, *, dtype: Any = None) -> Any:
        """``Sequential(Linear, ReLU, Linear)`` without biases; see `convexnn.interop.to_torch`."""
        from convexnn.interop import to_torch

        return to_torch(self, dtype=dtype)

    @classmethod
    def from_torch(cls, module: Any) -> "Network":
        """The inverse of `to_torch`; a module with biases becomes a network on [X, 1]."""
        from convexnn.interop.foreign import network_from_arrays
        from convexnn.interop.torch import torch_arrays

        network = network_from_arrays(*torch_arrays(module))[0]
        return cls(network.U, network.alpha[:, 0] if network.alpha.shape[1] == 1 else network.alpha)

    def to_sklearn(self) -> Any:
        """A fitted MLPRegressor with the same `predict`; see `convexnn.interop.to_sklearn`."""
        from convexnn.interop import to_sklearn

        return to_sklearn(self)

    @classmethod
    def from_sklearn(cls, model: Any) -> "Network":
        """The network, on [X, 1], of a fitted MLP with one hidden layer; see `convexnn.interop`."""
        from convexnn.interop import from_sklearn

        return from_sklearn(model).network

    def to_onnx(self, *, target_opset: int | None = None) -> Any:
        """An ONNX model, ``X`` [None, d] to ``variable`` [None, c]; see `convexnn.interop.to_onnx`."""
        from convexnn.interop import OPSET, to_onnx

        return to_onnx(self, target_opset=target_opset or OPSET)

    @classmethod
    def from_onnx(cls, source: Any) -> "Network":
        """The network of an ONNX model or file, on [X, 1] if it has biases; see `convexnn.interop`."""
        from convexnn.interop import from_onnx

        return from_onnx(source).network

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
        header = {"format": _FORMAT, "metadata": text, "sha256": _digest(self.U, self.alpha, text)}
        data = save({"U": self.U, "alpha": self.alpha}, metadata=header)
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
                network = Network(tensors.get_tensor("U"), tensors.get_tensor("alpha"))
                metadata = json.loads(header["metadata"])
                if header["sha256"] != _digest(network.U, network.alpha, header["metadata"]):
                    raise ValueError("its checksum is wrong")
                if not isinstance(metadata, dict):
                    raise ValueError("its metadata are not a JSON object")
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # JSON's errors are ValueErrors
        reason = str(error).rstrip(".")
        raise ValueError(f"{file} is damaged and cannot be read as a network ({reason}).") from error
    if foreign:
        raise ValueError(f"{file} is not a convexnn network: its header lacks {_FORMAT!r}.")
    return network, metadata


def _digest(U: Array, alpha: Array, metadata: str) -> str:
    """SHA-256 over shapes, weights and metadata."""
    shapes = f"{U.shape} {alpha.shape}".encode()
    return sha256(shapes + U.tobytes() + alpha.tobytes() + metadata.encode()).hexdigest()


def _model_file(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def _output_norm(alpha: Array) -> Array:
    """‖α_j‖₁ for each neuron."""
    magnitude = np.abs(alpha)
    return magnitude if alpha.ndim == 1 else magnitude.sum(axis=1)


def _amplitude(network: Network) -> Array:
    """‖u_j‖ ‖α_j‖₁ for each neuron."""
    return np.asarray(np.linalg.norm(network.U, axis=0) * _output_norm(network.alpha))


def _merge_compatible(X: Array, row_norms: Array, V: Array) -> list[Array]:
    """Greedily add the columns of V that agree in sign on every row of X."""
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
        if free.size:
            k = int(free[0])
            sums[k] = sums[k] + V[:, j]
            np.maximum(group_up[k], up[:, j], out=group_up[k])
            np.maximum(group_down[k], down[:, j], out=group_down[k])
        else:
            sums.append(V[:, j].copy())
            group_up = np.vstack([group_up, up[:, j]])
            group_down = np.vstack([group_down, down[:, j]])
    return sums
