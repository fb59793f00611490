r"""ReLU convolutions with global average (or sum) pooling: the network, its program, bound and descent.

    min  L(f, y) + (β/2) Σ_j (‖u_j‖² + α_j²),   f = c Σ_k Σ_j (X_k u_j)_+ α_j,   c = 1/K (mean) or 1 (sum)

Patterns are those of the stacked patches: mask i has a part D_i^{(k)} for each position k, and the program is

    min  L(c Σ_i Σ_k D_i^{(k)} X_k (v_i − w_i), y) + β Σ_i (‖v_i‖ + ‖w_i‖),

with v_i, w_i in the cone of every patch. With S = c [I … I] (n×Kn) the network is S times a network on the
stack, so ρ(ν) = max_{‖u‖≤1} c Σ_k νᵀ(X_k u)_+ is the ρ of the stack at Sᵀν, and any search or bound for the
stack serves here (Ergen & Pilanci, ICLR 2021).
"""

from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array

from convexnn._types import Array, BoolArray, IntArray
from convexnn.certificate import Certificate, default_starts, make_certificate
from convexnn.cones import Rows, adjoint_blocks, prepare_rows, project_blocks
from convexnn.convolution.dual import Trial
from convexnn.convolution.patches import Checked, check_patches
from convexnn.losses import get_loss
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.pricing import rho_estimate
from convexnn.pricing.search import search
from convexnn.solvers.conjugates import make_conjugate
from convexnn.solvers.inner import Blocks, InnerPoint, InnerProblem, blocks_fit, make_blocks, newton_factor

Pooling = Literal["mean", "sum"]

#: Decimals to which unit rows must agree to be one row.
_DIGITS = 13
#: Entries of the largest temporary matrix.
_ENTRIES = 8_000_000


@dataclass(frozen=True)
class PooledCNN:
    """f = c Σ_k Σ_j (X_k u_j)_+ α_j, c = 1/K for ``mean``, 1 for ``sum``.

    Attributes
    ----------
    filters : (h, m)
        One filter u_j a column.
    outputs : (m,)
        α.
    pooling : {"mean", "sum"}
    """

    filters: Array
    outputs: Array
    pooling: Pooling = "mean"

    def predict(self, patches: Array) -> Array:
        """(n,) for patches (K, n, h)."""
        K, n, h = patches.shape
        f = Network(self.filters, self.outputs).predict(patches.reshape(K * n, h)).reshape(K, n)
        return np.asarray(f.mean(axis=0) if self.pooling == "mean" else f.sum(axis=0))

    def objective(self, patches: Array, y: Array, beta: float, loss: str = "squared") -> float:
        """L(f, y) + (β/2) Σ_j (‖u_j‖² + α_j²)."""
        penalty = Network(self.filters, self.outputs).penalty()
        return get_loss(loss).value(self.predict(patches), np.asarray(y, dtype=np.float64)) + beta * penalty


@dataclass(frozen=True)
class Stack:
    """The distinct directions of the stacked patches, with the pooling as a sparse matrix.

    Patches that are positive multiples of one another (in images most often equal, or blank) switch
    together, so one unit row stands for them: f = S (X U)_+ α and ρ are unchanged, with fewer rows and
    fewer ties.

    Attributes
    ----------
    X : (R, h)
        Unit rows.
    S : (n, R) sparse
        c times the lengths of the patches of each sample.
    first : (R,) int
        A row of the full Kn×h stack for each row of X.
    full : (int, int)
        Kn and h.
    """

    X: Array
    S: csr_array = field(repr=False)
    first: IntArray = field(repr=False)
    full: tuple[int, int]
    rows: Rows = field(repr=False)

    def pool(self, F: Array) -> Array:
        """S F for F with R numbers on its last axis."""
        return np.asarray((self.S @ F.T).T)

    def spread(self, nu: Array) -> Array:
        """Sᵀν, (R,)."""
        return np.asarray(nu @ self.S)


def make_stack(checked: Checked, pooling: str) -> Stack:
    """Stack of validated patches. Raises ValueError for an unknown pooling."""
    if pooling not in ("mean", "sum"):
        raise ValueError(f"pooling must be 'mean' or 'sum'; it is {pooling!r}.")
    K, n, _ = checked.patches.shape
    full = checked.stack
    norms = np.linalg.norm(full, axis=1)
    unit = full / np.where(norms > 0, norms, 1.0)[:, None]
    _, first, group = np.unique(unit.round(_DIGITS) + 0.0, axis=0, return_index=True, return_inverse=True)
    weights = norms * (1.0 / K if pooling == "mean" else 1.0)
    sample = np.tile(np.arange(n), K)
    S = csr_array((weights, (sample, group.ravel())), shape=(n, len(first)))
    X = np.ascontiguousarray(unit[first])
    return Stack(X, S, first, full.shape, prepare_rows(X))


class CellPenalty:
    """Σ_b ‖v_b‖ over blocks in their cones, with the operator V ↦ S Σ_b s_b D_b X v_b."""

    def __init__(self, stack: Stack, blocks: Blocks) -> None:
        self.stack, self.blocks = stack, blocks

    @classmethod
    def of_masks(cls, stack: Stack, masks: BoolArray) -> "CellPenalty":
        """Both signs of every mask (R×P): P positive blocks, then P negative ones."""
        rows = np.ascontiguousarray(masks.T)
        P = len(rows)
        zero = np.zeros((2 * P, stack.X.shape[1]))
        return cls(stack, make_blocks(np.concatenate([rows, rows]), np.repeat([1.0, -1.0], P), zero))

    def zero(self) -> Array:
        return np.zeros((len(self.blocks), self.stack.X.shape[1]))

    def fit(self, centre: Array) -> Array:
        """S Σ_b s_b D_b X v_b, (n,)."""
        used = np.flatnonzero(centre.any(axis=1))
        b = self.blocks
        return self.stack.pool(blocks_fit(self.stack.X, b.masks[used], b.signs[used], centre[used]))

    def _projected(self, nu: Array, shift: Array, threshold: float) -> Array:
        b, rows = self.blocks, self.stack.rows
        G = adjoint_blocks(rows, b.masks, b.signs, self.stack.spread(nu), shift)
        return project_blocks(rows, b.masks, G, tight=b.tight, count=b.count, threshold=threshold)

    def rho(self, nu: Array) -> float:
        """max_b ‖Π_{K_b}(s_b Xᵀ D_b Sᵀν)‖ over these blocks only."""
        w = self._projected(nu, self.zero(), 0.0)
        return float(np.linalg.norm(w, axis=1).max(initial=0.0))

    def trial(self, nu: Array, centre: Array, beta: float, sigma: float) -> Trial:
        """Projections of v_b/σ + s_b XᵀD_bSᵀν, shortened by β, times σ."""
        w = self._projected(nu, centre / sigma, beta)
        norm = np.linalg.norm(w, axis=1)
        active = np.flatnonzero(norm > beta)
        excess = norm[active] - beta
        U = np.zeros_like(centre)
        U[active] = (sigma * excess / norm[active])[:, None] * w[active]
        return Trial(
            0.5 * sigma * float(np.sum(excess**2)),
            U,
            self.fit(U),
            sigma * float(excess.sum()),
            float(np.sum((U - centre) ** 2)),
            lambda: self._factor(nu, w, norm, active, beta),
        )

    def _factor(self, nu: Array, w: Array, norm: Array, active: IntArray, beta: float) -> Array:
        """Bᵀ of `convexnn.solvers.inner` for the stack, pooled, over a few blocks at a time."""
        X = self.stack.X
        problem = InnerProblem(X, self.stack.rows, make_conjugate("squared", nu), beta, 1.0)
        point = InnerPoint(nu, 0.0, nu, w, norm, active, w[active], nu)
        size = max(1, _ENTRIES // X.size)
        parts = [
            self.stack.pool(newton_factor(problem, self.blocks, replace(point, active=active[k : k + size])))
            for k in range(0, len(active), size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(nu)))


def network_of_blocks(v: Array, signs: Array, pooling: Pooling) -> PooledCNN:
    """(v/√‖v‖, s√‖v‖) of every block with mass; v is (B, h)."""
    norm = np.linalg.norm(v, axis=1)
    keep = norm > 0
    root = np.sqrt(norm[keep])
    return PooledCNN((v[keep] / root[:, None]).T, signs[keep] * root, pooling)


def program_value(stack: Stack, y: Array, beta: float, loss: str, net: Network) -> float:
    """The value of the program at the blocks of a network, with their masks in place of (·)_+."""
    if not net.n_neurons:
        return get_loss(loss).value(np.zeros_like(y), y)
    cells, v, w = net.to_solution(stack.X)
    centre = np.concatenate([v.T, w.T])
    fit = CellPenalty.of_masks(stack, cells.masks).fit(centre)
    return get_loss(loss).value(fit, y) + beta * float(np.linalg.norm(centre, axis=1).sum())


def pooled_patterns(patches: Array, count: int, *, rng: np.random.Generator | int | None = 0) -> Patterns:
    """The distinct patterns of the stacked patches among `count` Gaussian directions.

    Raises
    ------
    ValueError
        If `count` is not positive or the patches are not (K, n, h).
    """
    K, n, h = np.shape(patches)
    return Patterns.sample(np.reshape(patches, (K * n, h)), count, rng=rng)


def reduced_masks(stack: Stack, patterns: Patterns) -> BoolArray:
    """The masks (R×P) of patterns of the full stack, for the rows of `Stack.X`.

    Raises ValueError unless the patterns are those of the stack.
    """
    shape = (patterns.masks.shape[0], patterns.generators.shape[0])
    if shape != stack.full or not len(patterns):
        raise ValueError(
            f"The patterns must be of the {stack.full[0]}×{stack.full[1]} stack of patches, at least "
            f"one; they are {len(patterns)} patterns of a {shape[0]}×{shape[1]} matrix. See pooled_patterns."
        )
    return patterns.masks[stack.first]


def pooled_beta_max(
    patches: Array, y: Array, loss: str = "squared", *, pooling: Pooling = "mean", seed: int = 0
) -> float:
    """max ρ(±ν₀), ν₀ = −∇L(0): from this β on the zero network is optimal (an estimate from below)."""
    checked = check_patches(patches, y, 1.0, loss)
    stack = make_stack(checked, pooling)
    nu = -get_loss(loss).gradient(np.zeros_like(checked.y), checked.y)
    return rho_estimate(stack.X, stack.spread(nu), seed=seed)


def is_zero(stack: Stack, nu: Array, beta: float, seed: int) -> bool:
    """Whether β ≥ β_max = max ρ(±ν₀): a few starts usually refute it."""
    spread = stack.spread(nu)
    return all(rho_estimate(stack.X, spread, starts, seed) <= beta for starts in (100, 2000))


def certify_pooled(
    network: PooledCNN,
    patches: Array,
    y: Array,
    beta: float,
    loss: str = "squared",
    *,
    nu: Array | None = None,
    starts: int | None = None,
    seed: int = 0,
) -> Certificate:
    """(primal − D(tν))/primal for any ReLU network with global pooling, kind ``estimated``.

    Parameters
    ----------
    network : PooledCNN
    patches : (K, n, h), y : (n,)
    nu : (n,), optional
        A dual point to try beside ν = −∇L(f). For the hinge −∇L(f) is one subgradient of many, and a
        poor one at an optimum: pass the ν of a certificate of `train_pooled`.
    starts : int, optional
        Ascents for each dual point; by default 2,500 to 10,000, growing with the neurons.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is not valid.
    """
    begin = perf_counter()
    checked = check_patches(patches, y, beta, loss)
    stack, y = make_stack(checked, network.pooling), checked.y
    if network.filters.shape[0] != stack.X.shape[1]:
        raise ValueError(
            f"The patches have {stack.X.shape[1]} weights, the filters {network.filters.shape[0]}."
        )
    candidates = [-get_loss(loss).gradient(network.predict(checked.patches), y)]
    if nu is not None:
        candidates.append(np.asarray(nu, dtype=np.float64))
    wanted = default_starts(network.filters.shape[1]) if starts is None else starts
    primal = network.objective(checked.patches, y, checked.beta, loss)
    used = (network.outputs != 0) & network.filters.any(axis=0)
    certificates = []
    for candidate in candidates:
        found = search(
            stack.X, stack.rows, stack.spread(candidate), starts=wanted, rng=np.random.default_rng(seed),
            neurons=network.filters[:, used].T, neuron_signs=np.sign(network.outputs[used]),
        )  # fmt: skip
        certificates.append(
            make_certificate(
                primal, candidate, found.rho, y, checked.beta, loss, "estimated", found.starts, begin
            )
        )
    return max(certificates, key=lambda c: c.lower_bound)


def descend_pooled(
    patches: Array,
    y: Array,
    beta: float,
    *,
    loss: str = "squared",
    pooling: Pooling = "mean",
    neurons: int = 50,
    steps: int = 500,
    init_scale: float = 0.1,
    start: PooledCNN | None = None,
    seed: int = 0,
) -> PooledCNN:
    """L-BFGS on L(c Σ_k (X_k U)_+ α, y) + (β/2)(‖U‖² + ‖α‖²) itself, from one random start.

    The baseline, and the first step of `train_pooled`. It proves nothing.

    Parameters
    ----------
    neurons, init_scale, seed
        Start: standard normal weights times `init_scale`.
    steps : int
        L-BFGS iterations.
    start : PooledCNN, optional
        Start here instead.

    Raises
    ------
    ValueError
        If shapes, values, β or loss are not valid.
    """
    checked = check_patches(patches, y, beta, loss)
    stack = make_stack(checked, pooling)
    h = stack.X.shape[1]
    if start is None:
        theta = init_scale * np.random.default_rng(seed).standard_normal((h + 1) * neurons)
    else:
        theta = np.concatenate([start.filters.ravel(), start.outputs])
    m = len(theta) // (h + 1)

    def objective(theta: Array) -> tuple[float, Array]:
        return pooled_gradient(stack, checked.y, checked.beta, loss, theta)

    options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-12}
    theta = minimize(objective, theta, jac=True, method="L-BFGS-B", options=options).x
    return PooledCNN(theta[: h * m].reshape(h, m), theta[h * m :], pooling)


def pooled_gradient(stack: Stack, y: Array, beta: float, loss: str, theta: Array) -> tuple[float, Array]:
    """The objective and its gradient at θ = (U, α), flattened; a subgradient at kinks."""
    h = stack.X.shape[1]
    m = len(theta) // (h + 1)
    U, alpha = theta[: h * m].reshape(h, m), theta[h * m :]
    Z = stack.X @ U
    on: BoolArray = Z > 0
    Z *= on
    f = stack.pool(Z @ alpha)
    value = get_loss(loss).value(f, y) + 0.5 * beta * float(theta @ theta)
    r = stack.spread(get_loss(loss).gradient(f, y))
    grad_U = stack.X.T @ (on * r[:, None]) * alpha + beta * U
    grad_alpha = Z.T @ r + beta * alpha
    return value, np.concatenate([grad_U.ravel(), grad_alpha])
