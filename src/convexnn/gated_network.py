"""The gated network itself: its function, its file, and its form in other libraries."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convexnn._files import write_file
from convexnn._types import Array

__all__ = ["GatedNetwork"]

_FORMAT = "convexnn-gated-1"


@dataclass(frozen=True, eq=False)
class GatedNetwork:
    """f(z) = Σ_i 1[zᵀg_i ≥ 0] zᵀw_i.

    Attributes
    ----------
    G : (p, m)
        One column a gate.
    W : (p, m) or (p, m, c)
        Weights behind the gates, for one output or c.
    """

    G: Array
    W: Array

    @property
    def n_features(self) -> int:
        """Rows of G: the columns that `predict` expects."""
        return int(self.G.shape[0])

    @property
    def n_neurons(self) -> int:
        """Gates with a weight that is not zero."""
        return int(np.count_nonzero(self.W.any(axis=0) if self.W.ndim == 2 else self.W.any(axis=(0, 2))))

    def predict(self, Z: Array) -> Array:
        """Σ_i 1[zᵀg_i ≥ 0] zᵀw_i, (n,) or (n, c)."""
        out = np.empty((len(Z), *self.W.shape[2:]))
        step = max(1, 4_000_000 // max(1, self.W[0].size))
        for start in range(0, len(Z), step):
            rows = Z[start : start + step]
            values = np.tensordot(rows, self.W, axes=1)
            out[start : start + step] = np.einsum("nm,nm...->n...", rows @ self.G >= 0, values)
        return out

    def to_torch(self, *, dtype: Any = None) -> Any:
        """A torch module, (n, p) → (n, c), float32 unless `dtype` says otherwise; its gates are float64."""
        from convexnn.interop import to_torch

        return to_torch(self, dtype=dtype)

    def to_onnx(self, *, target_opset: int | None = None) -> Any:
        """An ONNX model, ``X`` [None, p] to ``variable`` [None, c]; see `convexnn.interop.to_onnx`."""
        from convexnn.interop import OPSET, to_onnx

        return to_onnx(self, target_opset=target_opset or OPSET)

    def save(self, path: str | Path) -> Path:
        """Write G and W as one safetensors file, atomically; returns its path."""
        from safetensors.numpy import save

        tensors = {"G": np.ascontiguousarray(self.G), "W": np.ascontiguousarray(self.W)}
        return write_file(Path(path), save(tensors, metadata={"format": _FORMAT}))

    @classmethod
    def load(cls, path: str | Path) -> "GatedNetwork":
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is damaged or another; one sentence.
        """
        from safetensors import SafetensorError, safe_open

        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"There is no model at {file}.")
        try:
            with safe_open(str(file), framework="numpy") as tensors:
                if (tensors.metadata() or {}).get("format") != _FORMAT:
                    raise ValueError(f"its header lacks {_FORMAT!r}")
                network = cls(tensors.get_tensor("G"), tensors.get_tensor("W"))
        except (SafetensorError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise ValueError(f"{file} cannot be read as a gated network ({reason}).") from error
        if network.G.ndim != 2 or network.W.ndim not in (2, 3) or network.W.shape[:2] != network.G.shape:
            raise ValueError(f"{file} is damaged: its gates and its weights do not fit together.")
        return network
