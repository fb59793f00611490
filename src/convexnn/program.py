r"""The convex program over a set of activation patterns (Pilanci & Ergen, ICML 2020, Theorem 1).

    min  L(Σ_i D_i X (v_i − w_i), y) + β Σ_i (‖v_i‖ + ‖w_i‖)   s.t.  v_i, w_i ∈ K_i

D_i = diag(d_i), K_i = {u : (2D_i − I) X u ≥ 0}. With every pattern its optimum is that of the training
problem; with some of them it is an upper bound. The gated form leaves the cones out. For another activation
than the ReLU, of slope s below 0, D_i is diag(d_i + s(1 − d_i)) in the objective. The operator
[D_1 X … D_P X] is never formed: products run over blocks of patterns.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convexnn._threads import OutOfTime
from convexnn._types import Array, BoolArray, IntArray
from convexnn.activation import checked_slope, gains
from convexnn.cones import Rows, adjoint_blocks, prepare_rows, project_blocks
from convexnn.losses import LossLike, SeparableLoss, check_problem, get_separable, plain
from convexnn.patterns import Patterns

#: Entries of the largest temporary matrix of a product.
_BLOCK = 4_000_000
#: Blocks looked at together by a search that can end early.
_FEW = 32


@dataclass(frozen=True, eq=False)
class ConvexProgram:
    """Program (2) of the theory: data, patterns, β and loss.

    Parameters
    ----------
    X : (n, d)
    y : (n,)
        Targets as the loss takes them: real, labels ±1, or counts.
    patterns : Patterns
        The P patterns; their cones are the constraints.
    beta : float
        Positive; multiplies Σ‖v_i‖ + ‖w_i‖ as written.
    loss : str or SeparableLoss
        A name or an object of `convexnn.losses`, such as ``Huber(0.5)`` or ``Weighted(Logistic(), weights)``.
    gated : bool
        Leave the cones out (gated ReLU).
    negative_slope : float
        s of the activation σ_s(z) = (z)_+ − s(−z)_+; 0 is the ReLU.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, β ≤ 0, or a target is not one of the loss's.

    Examples
    --------
    >>> from convexnn import ConvexProgram, Patterns, solve
    >>> from convexnn.data import five_points
    >>> data = five_points()
    >>> program = ConvexProgram(data.X, data.y, Patterns.enumerate(data.X), beta=0.1)
    >>> round(solve(program, tol=1e-9).primal, 6)
    0.891447
    """

    X: Array
    y: Array
    patterns: Patterns
    beta: float
    loss: LossLike = "squared"
    gated: bool = False
    negative_slope: float = field(default=0.0, kw_only=True)
    _rows: Rows = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        X, y, beta = check_problem(self.X, self.y, self.beta, self.loss, any_loss=True)
        if y.ndim != 1:
            raise ValueError(f"A convex program has one output; y has shape {y.shape}.")
        if self.patterns.masks.shape[0] != X.shape[0] or self.patterns.generators.shape[0] != X.shape[1]:
            raise ValueError(
                f"The patterns are of a matrix {self.patterns.masks.shape[0]}×"
                f"{self.patterns.generators.shape[0]}; X is {X.shape[0]}×{X.shape[1]}."
            )
        if not len(self.patterns):
            raise ValueError("A program needs at least one pattern.")
        self._check_cells(X)
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "y", y)
        object.__setattr__(self, "beta", beta)
        object.__setattr__(self, "loss", plain(self.loss))
        object.__setattr__(self, "negative_slope", checked_slope(self.negative_slope))
        object.__setattr__(self, "_rows", prepare_rows(X, self.negative_slope))

    def _check_cells(self, X: Array) -> None:
        """Every generator must lie in the cell of its mask, up to rounding."""
        Z = X @ self.patterns.generators
        size = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(self.patterns.generators, axis=0)
        wrong = (np.abs(Z) > 1e-9 * size) & ((Z > 0) != self.patterns.masks)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(f"The patterns are not of this X: pattern {column} disagrees on row {row}.")

    @property
    def loss_function(self) -> SeparableLoss:
        """The loss as an object."""
        return get_separable(self.loss)

    def predict(self, v: Array, w: Array) -> Array:
        """Σ_i D_i X (v_i − w_i), of shape (n,); v and w are d×P."""
        difference = v - w
        used = np.flatnonzero(difference.any(axis=0))
        out = np.zeros(len(self.X))
        for chunk in self._chunks(used):
            out += np.einsum("ij,ij->i", self.X @ difference[:, chunk], self._diagonals(chunk))
        return out

    def adjoint(self, r: Array) -> Array:
        """The d×P matrix with columns XᵀD_i r."""
        out = np.empty_like(self.patterns.generators)
        for chunk in self._chunks(np.arange(len(self.patterns))):
            out[:, chunk] = self.X.T @ (self._diagonals(chunk) * r[:, None])
        return out

    def _diagonals(self, chunk: IntArray) -> Any:
        """The diagonals of some D_i, n×k."""
        return gains(self.patterns.masks[:, chunk], self.negative_slope)

    def primal(self, v: Array, w: Array) -> float:
        """L(F(v, w), y) + β Σ (‖v_i‖ + ‖w_i‖). The cones are checked by `violation`."""
        size = float(np.linalg.norm(v, axis=0).sum() + np.linalg.norm(w, axis=0).sum())
        return self.loss_function.value(self.predict(v, w), self.y) + self.beta * size

    def violation(self, v: Array, w: Array) -> float:
        """max over rows and blocks of (−(2d_i − 1) x_iᵀv/‖x_i‖)₊: a distance to the cones; 0 if gated."""
        if self.gated:
            return 0.0
        worst = 0.0
        for block in (v, w):
            for chunk in self._chunks(np.flatnonzero(block.any(axis=0))):
                z = self._rows.unit @ block[:, chunk]
                worst = max(worst, float(np.max(np.where(self.patterns.masks[:, chunk], -z, z), initial=0.0)))
        return worst

    def rho(self, nu: Array, threshold: float = 0.0) -> float:
        """max_i ‖Π_{K_i}(±XᵀD_iν)‖ over the patterns (no Π if gated), or `threshold` if that is larger."""
        masks: BoolArray = np.ascontiguousarray(self.patterns.masks.T)
        G = adjoint_blocks(
            self._rows, masks, np.ones(len(masks)), nu, np.zeros((len(masks), self.X.shape[1]))
        )
        largest = threshold
        for sign in (1.0, -1.0):
            tight: IntArray = np.zeros(G.shape, dtype=np.int64)
            W = project_blocks(
                self._rows, masks, sign * G, tight=tight, count=np.zeros(len(G), dtype=np.int64),
                threshold=largest, gated=self.gated,
            )  # fmt: skip
            largest = max(largest, float(np.linalg.norm(W, axis=1).max()))
        return largest

    def dual(self, nu: Array) -> tuple[float, Array]:
        """D(tν) and tν for the t ≥ 0 that maximises it under ρ(±tν) ≤ β over the patterns.

        A lower bound on the optimum of this program: on p* only if the patterns are complete.
        """
        rho = self.rho(nu)
        scale = self.loss_function.best_scale(nu, self.y, self.beta / rho if rho > 0 else np.inf)
        return self.loss_function.dual_value(scale * nu, self.y), scale * nu

    @property
    def beta_max(self) -> float:
        """The smallest β at which zero is optimal: ρ(±ν₀) over the patterns, ν₀ = −∇L(0)."""
        return self.rho(-self.loss_function.gradient(np.zeros_like(self.y), self.y))

    def zero_is_optimal(self, deadline: float = np.inf) -> bool:
        """Whether β ≥ `beta_max` (within 1e-12): looks at blocks only until one exceeds β.

        False if that is not known at the deadline (on the clock of `time.perf_counter`).
        """
        nu = -self.loss_function.gradient(np.zeros_like(self.y), self.y)
        limit = self.beta * (1.0 + 1e-12)
        for chunk in np.split(np.arange(len(self.patterns)), range(_FEW, len(self.patterns), _FEW)):
            masks: BoolArray = np.ascontiguousarray(self.patterns.masks[:, chunk].T)
            shift = np.zeros((len(chunk), self.X.shape[1]))
            for sign in (1.0, -1.0):
                G = adjoint_blocks(self._rows, masks, np.full(len(chunk), sign), nu, shift)
                tight: IntArray = np.zeros(G.shape, dtype=np.int64)
                try:
                    W = project_blocks(
                        self._rows, masks, G, tight=tight, count=np.zeros(len(G), dtype=np.int64),
                        threshold=limit, gated=self.gated, deadline=deadline,
                    )  # fmt: skip
                except OutOfTime:
                    return False
                if (np.linalg.norm(W, axis=1) > limit).any():
                    return False
        return True

    def _chunks(self, columns: IntArray) -> list[IntArray]:
        size = max(1, _BLOCK // len(self.X))
        return [columns[start : start + size] for start in range(0, len(columns), size)]
