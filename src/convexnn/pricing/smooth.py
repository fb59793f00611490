r"""Local maxima of νᵀ(Xu)_+ on the unit sphere over many rows, through smoothed ReLUs of falling width.

    h_b(u) = Σ_i ν_i φ_b(x_iᵀu),  φ_b(z) = z p + b p(1 − p),  p = clip(z/2b + ½, 0, 1)

Exact ascent (`convexnn.pricing.local`) stops at every kink, and the kinks grow with n: at 40,000 rows a
start takes a tenth of a second or more. Here a start takes a few fixed-point steps u ← ∇h_b/‖∇h_b‖, then
Newton steps on the sphere, first with wide kinks, then with narrow ones; each width is relative to the
standard deviation of Xu. Values are those of the true h, in float64, so each is a lower bound on ρ. Like
any local search this gives evidence, never a proof.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convexnn._threads import run_in_threads
from convexnn._types import Array, IntArray
from convexnn.cones import prepare_rows
from convexnn.pricing._smooth_kernels import price_range, values_range
from convexnn.pricing.search import climb_signed

#: (relative width, Newton steps) of a search in the training loop, and of a verification.
LOOP = ((0.15, 8), (0.06, 5))
FINE = (*LOOP, (0.024, 5), (0.009, 4))
VERIFY = ((0.3, 4), (0.15, 10), (0.06, 8), (0.024, 8), (0.009, 8))
_FIXED_POINT_STEPS = 4
_LONGEST_STEP = 0.5
_ARRIVED = 1e-4
_SAME = 3e-4  # directions that round to the same multiple of this are one maximum
_CHUNK = 500
_EXACT = 8  # best maxima of a verification that exact ascent polishes


class Columns(NamedTuple):
    """X prepared for the compiled sums: d×n in both precisions, and XᵀX/n with its factor."""

    fine: Array  # (d, n) float64
    coarse: NDArray[np.float32]  # (d, n)
    moment: Array  # (d, d) XᵀX/n
    whitener: Array  # (d, d): Gaussian @ whitener has Xu of about unit size in every direction

    @property
    def rows(self) -> int:
        """n."""
        return int(self.fine.shape[1])


class Peaks(NamedTuple):
    """Local maxima of s νᵀ(Xu)_+, one a row."""

    values: Array  # (S,)
    directions: Array  # (S, d), unit vectors
    signs: Array  # (S,)

    def take(self, index: IntArray | NDArray[np.bool_]) -> "Peaks":
        """Some of them."""
        return Peaks(self.values[index], self.directions[index], self.signs[index])


def prepare_columns(X: Array) -> Columns:
    """Columns of X (n×d)."""
    fine = np.ascontiguousarray(X.T)
    moment = X.T @ X / len(X)
    eigenvalues, Q = np.linalg.eigh(moment)
    floor = np.sqrt(np.maximum(eigenvalues, max(1e-6 * eigenvalues[-1], 1e-300)))
    whitener = Q.T / floor[:, None]
    whitener *= np.sqrt(len(Q)) / np.linalg.norm(whitener)
    return Columns(fine, fine.astype(np.float32), moment, whitener)


def spread(columns: Columns, U: Array) -> Array:
    """√(uᵀ(XᵀX/n)u) for each row u of U: the size of Xu, which widths are relative to."""
    square: Array = np.einsum("ij,jk,ik->i", U, columns.moment, U)
    return np.asarray(np.sqrt(np.maximum(square, 1e-30)))


def exact_values(columns: Columns, nu: Array, U: Array) -> Array:
    """νᵀ(Xu)_+ in float64 for each row u of U (S×d)."""
    values = np.zeros(len(U))
    run_in_threads(values_range, len(U), columns.fine, nu, np.ascontiguousarray(U), values)
    return values


class _Model(NamedTuple):
    """Smoothed sums at unit vectors: value, gradient and (or zeros) curvature of s h_b."""

    value: Array
    gradient: Array
    curvature: Array


def _model(
    columns: Columns, nu: NDArray[np.float32], U: Array, signs: Array, b: Array, curved: bool = True
) -> _Model:
    S, d = U.shape
    G, W, H = np.zeros((S, d)), np.zeros(S), np.zeros((S, d, d) if curved else (S, 1, 1))
    run_in_threads(
        price_range, S, columns.coarse, nu, U.astype(np.float32), b.astype(np.float32), curved, G, W, H
    )
    G *= signs[:, None]
    if curved:
        H += np.swapaxes(np.tril(H, -1), 1, 2)
        H *= (0.5 * signs / b)[:, None, None]
    return _Model(np.einsum("ij,ij->i", G, U) + b * signs * W, G, H)


def climb_smoothly(
    columns: Columns,
    nu: Array,
    starts: Array,
    signs: Array,
    schedule: tuple[tuple[float, int], ...],
    cut: float = 0.0,
) -> Peaks:
    """The maximum of s νᵀ(Xu)_+ that smoothed ascent reaches from each start.

    Parameters
    ----------
    columns : Columns, nu : (n,), starts : (S, d), signs : (S,)
    schedule : ((relative width, Newton steps), …)
    cut : float
        Starts whose smoothed value after a width is below 0.75, 0.93, 0.97 … of `cut` stop there. 0: none do.

    Starts that have met after a width go on as one; each of the others keeps the value it had reached.
    """
    coarse = nu.astype(np.float32)
    U = starts / np.maximum(np.linalg.norm(starts, axis=1, keepdims=True), 1e-300)
    for _ in range(_FIXED_POINT_STEPS):
        G = _model(columns, coarse, U, signs, schedule[0][0] * spread(columns, U), curved=False).gradient
        size = np.linalg.norm(G, axis=1, keepdims=True)
        U = np.where(size > 0, G / np.maximum(size, 1e-300), U)
    alive = np.arange(len(U))
    for stage, (width, steps) in enumerate(schedule):
        value = _newton(columns, coarse, U, signs, alive, width, steps)
        if cut > 0.0:
            alive = alive[value > (0.75, 0.93, 0.97, 0.985, 0.99)[min(stage, 4)] * cut]
        if not len(alive):
            break
        alive = _apart(U, signs, alive)
    return Peaks(signs * exact_values(columns, nu, U), U, signs)


def _apart(U: Array, signs: Array, alive: IntArray) -> IntArray:
    """One of `alive` for each maximum they have reached: the others would only follow it."""
    key = np.column_stack([np.round(U[alive] / _SAME), signs[alive]])
    first = np.unique(key, axis=0, return_index=True)[1]
    return alive[np.sort(first)]


def _newton(
    columns: Columns,
    nu: NDArray[np.float32],
    U: Array,
    signs: Array,
    alive: IntArray,
    width: float,
    steps: int,
) -> Array:
    """Newton ascent of s h_b on the sphere for the rows `alive` of U, in place; returns their values.

    The step solves (gᵀu − tangential curvature) p = tangential gradient with eigenvalues made positive; a
    step that lowers h_b is taken back and the next one is at most a quarter as long.
    """
    u, s = U[alive], signs[alive]
    b = width * spread(columns, u)
    now = _model(columns, nu, u, s, b)
    radius = np.full(len(u), _LONGEST_STEP)
    going = np.arange(len(u))
    for _ in range(steps):
        p, length = _step(now, u, going, radius)
        going, p = going[length > _ARRIVED], p[length > _ARRIVED]
        if not len(going):
            break
        trial = u[going] + p
        trial /= np.linalg.norm(trial, axis=1, keepdims=True)
        new = _model(columns, nu, trial, s[going], b[going])
        better = new.value > now.value[going] * (1.0 - 1e-7)
        kept = going[better]
        u[kept] = trial[better]
        for old, fresh in zip(now, new, strict=True):
            old[kept] = fresh[better]
        radius[going[~better]] = 0.25 * np.linalg.norm(p[~better], axis=1)
    U[alive] = u
    return now.value


def _step(now: _Model, u: Array, going: IntArray, radius: Array) -> tuple[Array, Array]:
    g, at = now.gradient[going], u[going]
    along = np.einsum("ij,ij->i", g, at)
    tangent = g - along[:, None] * at
    project = np.eye(u.shape[1]) - at[:, :, None] * at[:, None, :]
    A = along[:, None, None] * np.eye(u.shape[1]) - project @ now.curvature[going] @ project
    eigenvalues, Q = np.linalg.eigh(A)
    floor = 0.05 * np.maximum(np.abs(along), 1e-300)
    positive = np.maximum(np.abs(eigenvalues), floor[:, None])
    p = np.einsum("ijk,ik->ij", Q, np.einsum("ijk,ij->ik", Q, tangent) / positive)
    length = np.linalg.norm(p, axis=1)
    scale = np.minimum(1.0, radius[going] / np.maximum(length, 1e-300))
    return p * scale[:, None], length * scale


def fresh_directions(
    columns: Columns, neurons: Array, neuron_signs: Array, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """`count` starts and their signs: near the neurons and their mirrors, Gaussians, rows and thin neurons.

    Three quarters of the noise is drawn in whitened coordinates. A thin start is active on few rows: a
    random direction whose last column (the bias, where that is a column of ones) is moved until a fraction
    f of the rows remains, log-uniform in 5e-4 … 0.3.
    """
    d, n = columns.fine.shape
    m = len(neurons)
    near, thin, rows = (int(0.7 * count) if m else 0), int(0.12 * count), int(0.06 * count)
    signs = rng.choice([-1.0, 1.0], size=count)
    starts: Array = rng.standard_normal((count, d)) / np.sqrt(d)
    white = rng.random(count) < 0.75
    starts[white] = starts[white] @ columns.whitener
    starts[white] *= (rng.chisquare(d, int(white.sum())) / d)[:, None] ** 0.5 / np.linalg.norm(
        starts[white], axis=1, keepdims=True
    )
    if near:
        mirror, width = np.array([(1, 0.3), (1, 1.0), (-1, 0.3), (1, 0.6)]).T
        kind, pick = np.arange(near) % 4, rng.integers(m, size=near)
        units = neurons[pick] / np.linalg.norm(neurons[pick], axis=1, keepdims=True)
        starts[:near] = mirror[kind][:, None] * units + width[kind][:, None] * starts[:near]
        signs[:near] = neuron_signs[pick]
    part = slice(near, near + thin)
    starts[part] = _thin(columns, starts[part], rng)
    part = slice(near + thin, near + thin + rows)
    picked = columns.fine[:, rng.integers(n, size=rows)].T
    length = np.maximum(np.linalg.norm(picked, axis=1, keepdims=True), 1e-300)
    starts[part] = 0.1 * starts[part] + rng.choice([-1.0, 1.0], size=(rows, 1)) * picked / length
    return starts, signs


def _thin(columns: Columns, U: Array, rng: np.random.Generator) -> Array:
    """U with the last column moved so that a small share of (a sample of) the rows is active."""
    sample = columns.fine[:, rng.integers(columns.rows, size=min(columns.rows, 4000))]
    last = sample[-1]
    if np.ptp(last) > 1e-9 * np.abs(last).max() or not last.any():
        return U
    share = np.exp(rng.uniform(np.log(5e-4), np.log(0.3), size=len(U)))
    Z = np.sort(U[:, :-1] @ sample[:-1], axis=1)
    index = np.minimum(((1.0 - share) * Z.shape[1]).astype(int), Z.shape[1] - 1)
    out = U.copy()
    out[:, -1] = -Z[np.arange(len(U)), index] / last[0]
    return out


def around(peaks: Peaks, columns: Columns, rng: np.random.Generator, top: int = 60) -> tuple[Array, Array]:
    """Starts around the best distinct peaks: violators cluster."""
    best = separate(peaks, top)
    u = best.directions
    parts = [u + width * rng.standard_normal(u.shape) / np.sqrt(u.shape[1]) for width in (0.2, 0.4, 0.7)]
    parts.append(-u + 0.1 * rng.standard_normal(u.shape) / np.sqrt(u.shape[1]))
    return np.concatenate(parts), np.tile(best.signs, len(parts))


def separate(peaks: Peaks, limit: int, cosine: float = 0.995) -> Peaks:
    """Up to `limit` peaks by value; one too close to a better one of its sign is skipped."""
    order = np.argsort(-peaks.values, kind="stable")
    chosen = np.empty((limit, peaks.directions.shape[1]))
    taken: list[int] = []
    for k in order:
        if len(taken) >= limit:
            break
        u = peaks.directions[k]
        same = peaks.signs[taken] == peaks.signs[k]
        if not np.any((chosen[: len(taken)] @ u > cosine) & same):
            chosen[len(taken)] = u
            taken.append(int(k))
    return peaks.take(np.array(taken, dtype=np.int64))


def join(parts: list[Peaks]) -> Peaks:
    """Several results as one."""
    return Peaks(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class Verified(NamedTuple):
    """Outcome of `verify_smoothly`."""

    rho: float  # largest value found
    starts: int
    peaks: Peaks  # those above `keep_above`


def verify_smoothly(
    X: Array,
    columns: Columns,
    nu: Array,
    neurons: Array,
    neuron_signs: Array,
    *,
    starts: int,
    rng: np.random.Generator,
    stop_above: float = np.inf,
    keep_above: float = np.inf,
    deadline: float = np.inf,
) -> Verified:
    """max over both signs of the local maxima of ±νᵀ(Xu)_+ from fresh starts, five widths, the best exactly.

    Ends early at the first chunk with a value above `stop_above` (after a hop around the best of it), or
    once `perf_counter` passes `deadline` (at least one chunk is done).
    """
    rho, done = 0.0, 0
    kept: list[Peaks] = []
    while done < starts:
        U, signs = fresh_directions(columns, neurons, neuron_signs, min(_CHUNK, starts - done), rng)
        found = climb_smoothly(columns, nu, U, signs, VERIFY)
        done += len(U)
        if found.values.max() > min(rho, stop_above):
            U, signs = around(found, columns, rng, 20)
            found = join([found, climb_smoothly(columns, nu, U, signs, VERIFY)])
            done += len(U)
        rho = max(rho, float(found.values.max()))
        kept.append(found)
        if rho > stop_above or perf_counter() > deadline:
            break
    everything = join(kept)
    if perf_counter() < deadline:
        best = separate(everything, _EXACT)
        exact = climb_signed(prepare_rows(X), nu, best.directions, best.signs)
        rho = max(rho, float(exact.maxima.values.max()))
        everything = join([everything, Peaks(exact.maxima.values, exact.maxima.directions, exact.signs)])
    return Verified(rho, done, everything.take(everything.values > keep_above))


def rho_smoothly(X: Array, nu: Array, starts: int = 1000, seed: int = 0) -> float:
    """The largest of many local maxima of ±νᵀ(Xu)_+ on the unit ball: a lower bound on max ρ(±ν)."""
    none = np.zeros((0, X.shape[1]))
    rng = np.random.default_rng(seed)
    return verify_smoothly(X, prepare_columns(X), nu, none, np.zeros(0), starts=starts, rng=rng).rho
