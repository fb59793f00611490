"""The objective of `convexnn.pricing.spectral` for a free intercept: dual points with 1ᵀν = 0."""

from typing import NamedTuple

import numpy as np

from convexnn._types import Array
from convexnn.intercepts import balanced
from convexnn.pricing._bound_steps import Dual


class BalancedDual(NamedTuple):
    """`Dual` with ν replaced by `balanced` ν: its heavier sign is scaled down by κ = light sum/heavy sum."""

    inner: Dual

    def nu(self, x: Array) -> Array:
        return balanced(self.inner.nu(x))

    def slopes(self, nu: Array, rho: float) -> tuple[float, Array]:
        return self.inner.slopes(nu, rho)

    def chain(self, x: Array, d_nu: Array) -> Array:
        raw = self.inner.nu(x)
        up, down = float(raw[raw > 0].sum()), -float(raw[raw < 0].sum())
        if up == 0 or down == 0:
            return self.inner.chain(x, d_nu)
        side = 1.0 if up > down else -1.0
        heavy, light = side * raw > 0, side * raw < 0
        most, kappa = max(up, down), min(up, down) / max(up, down)
        pull = -side * float(d_nu[heavy] @ raw[heavy]) / most  # through κ
        out = np.where(heavy, kappa * (d_nu + pull), d_nu)
        out[light] += pull
        return self.inner.chain(x, out)

    def clip(self, x: Array) -> None:
        self.inner.clip(x)

    def finish(self, nu: Array, rho: float) -> tuple[float, float]:
        return self.inner.finish(nu, rho)
