"""A gated network as a torch module. Importing this module imports torch."""

import torch


class GatedReLU(torch.nn.Module):
    """f(x)_c = Σ_j 1[(x − shift)ᵀg_j + h_j ≥ 0] ((x − shift)ᵀV_jc + v_jc), (n, d) → (n, c).

    The gates and the shift are buffers and stay float64, so that they open as in float64; V and v are
    parameters.

    Parameters
    ----------
    gates : (d, m);  gate_bias : (m,) or None
    values : (d, m, c);  value_bias : (m, c) or None
    shift : (d,) or None
        All float64.
    dtype : torch.dtype
        Of the parameters and the output.
    """

    gates: torch.Tensor
    gate_bias: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        gates: torch.Tensor,
        gate_bias: torch.Tensor | None,
        values: torch.Tensor,
        value_bias: torch.Tensor | None,
        shift: torch.Tensor | None,
        *,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        d, m, c = values.shape
        zeros = torch.zeros
        self.register_buffer("gates", gates)
        self.register_buffer("gate_bias", zeros(m, dtype=torch.float64) if gate_bias is None else gate_bias)
        self.register_buffer("shift", zeros(d, dtype=torch.float64) if shift is None else shift)
        self.values = torch.nn.Parameter(values.to(dtype))
        bias = zeros(m, c, dtype=torch.float64) if value_bias is None else value_bias
        self.value_bias = torch.nn.Parameter(bias.to(dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) → (n, c), of the parameters' type."""
        moved = x.to(self.shift.dtype) - self.shift
        is_open = (moved @ self.gates + self.gate_bias >= 0).to(self.values.dtype)
        values = torch.tensordot(moved.to(self.values.dtype), self.values, dims=1) + self.value_bias
        return torch.einsum("nm,nmc->nc", is_open, values)
