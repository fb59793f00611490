r"""The optimisation behind `convexnn.pricing.spectral`: Adam on ν and the multipliers of growing sectors.

Minimises F(ν, ρ(ν)) with ρ smoothed twice: a log-barrier within a sector, weight 0.03ρ falling to 0 with the
square of what is left of the run, and log-sum-exp over the sectors, temperature 0.03ρ falling linearly.
Without that smoothing λ_max is non-smooth and Adam circles at a clearly larger value.
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import expit, logit

from convexnn._types import Array
from convexnn.losses import Loss
from convexnn.pricing._sectors import (
    Multipliers,
    Sectors,
    certified_maximum,
    gradients,
    make_multipliers,
    maximise,
    quadratic_forms,
    split_sectors,
)

#: Adam: rates of the multipliers in the order of their fields, of ν (times max|ν|) and of logit q.
RATES = (0.05, 0.05, 0.1, 0.05, 0.005, 0.005)
_NU_RATE = 0.005
LOGIT_RATE = 0.05
DECAY = (0.9, 0.99)
#: Smoothing of a sector's maximum and of the maximum over sectors at the start, relative to ρ.
_SMOOTH = 0.03
#: Cutting happens between these shares of the run, in this many rounds.
CUT_FROM, CUT_TO, ROUNDS = 0.05, 0.2, 10
#: A sector is cut only if it carries this share of the maximum.
_SHARE = 1e-3
#: Steps between two certified values.
CHECK = 50
#: Sectors times rows never exceed this.
_LARGEST = 2_000_000


class Objective(Protocol):
    """What is minimised, as a function of x (which sets ν) and ρ."""

    def nu(self, x: Array) -> Array:
        """ν, in its domain."""
        ...

    def slopes(self, nu: Array, rho: float) -> tuple[float, Array]:
        """Derivatives in ρ and (ρ held) in ν."""
        ...

    def chain(self, x: Array, d_nu: Array) -> Array:
        """Derivative in x of what has derivative d_nu in ν."""
        ...

    def clip(self, x: Array) -> None:
        """Bring x back into its domain, in place."""
        ...

    def finish(self, nu: Array, rho: float) -> tuple[float, float]:
        """(t, value to maximise at tν), for a proven ρ."""
        ...


class Fixed(NamedTuple):
    """ρ itself, at a given ν."""

    vector: Array

    def nu(self, x: Array) -> Array:
        return self.vector

    def slopes(self, nu: Array, rho: float) -> tuple[float, Array]:
        return 1.0, np.zeros_like(nu)

    def chain(self, x: Array, d_nu: Array) -> Array:
        return np.zeros_like(x)

    def clip(self, x: Array) -> None:
        return

    def finish(self, nu: Array, rho: float) -> tuple[float, float]:
        return 1.0, -rho


class Dual(NamedTuple):
    """−D(tν), t = min(1, β/ρ). x is ν (squared), logit q (logistic) or q ≥ 0 itself, q = yν."""

    loss: str
    function: Loss
    y: Array
    beta: float

    def start(self, nu0: Array) -> Array:
        q = self.y * nu0
        if self.loss == "squared":
            return nu0.copy()
        if self.loss == "logistic":
            return np.asarray(logit(np.clip(q, 1e-6, 1.0 - 1e-6)), dtype=np.float64)
        return np.clip(q, 0.0, 1.0 if self.loss == "hinge" else np.inf)

    def rate(self, start: Array) -> float:
        """Adam's rate for x."""
        if self.loss == "logistic":
            return LOGIT_RATE
        return _NU_RATE * max(1e-3, float(np.abs(start).max(initial=0.0)))

    def nu(self, x: Array) -> Array:
        if self.loss == "squared":
            return x.copy()
        return self.y * (expit(x) if self.loss == "logistic" else x)

    def slopes(self, nu: Array, rho: float) -> tuple[float, Array]:
        t = min(1.0, self.beta / rho) if rho > 0 else 1.0
        q = t * self.y * nu
        if self.loss == "squared":
            slope = self.y - t * nu
        elif self.loss == "logistic":
            slope = -self.y * logit(np.clip(q, 1e-15, 1.0 - 1e-15))
        else:
            slope = self.y * (1.0 - q) if self.loss == "squared_hinge" else self.y
        d_rho = max(0.0, float(nu @ slope)) * t / rho if t < 1 else 0.0
        return d_rho, -t * slope

    def chain(self, x: Array, d_nu: Array) -> Array:
        if self.loss == "squared":
            return d_nu
        inner = expit(x) * expit(-x) if self.loss == "logistic" else 1.0
        return d_nu * self.y * inner

    def clip(self, x: Array) -> None:
        if self.loss in ("hinge", "squared_hinge"):
            np.clip(x, 0.0, 1.0 if self.loss == "hinge" else np.inf, out=x)

    def finish(self, nu: Array, rho: float) -> tuple[float, float]:
        t = self.function.best_scale(nu, self.y, self.beta / rho if rho > 0 else np.inf)
        return t, self.function.dual_value(t * nu, self.y)


class Effort(NamedTuple):
    steps: int
    sectors: int
    max_time: float | None
    begin: float
    stretch: float = 1.0  # ρ(ν) ≤ stretch ρ̂(ν) + rest ‖ν‖
    rest: float = 0.0
    goal: float = np.inf

    def progress(self, step: int) -> float:
        """The share of the run behind us, in [0, 1]."""
        share = step / self.steps if self.steps else 1.0
        if self.max_time is not None:
            share = max(share, (perf_counter() - self.begin) / self.max_time if self.max_time > 0 else 1.0)
        return min(1.0, share)


class Best(NamedTuple):
    value: float
    nu: Array  # already scaled by t
    rho: float


@dataclass
class State:
    """Where the optimisation is: x, the multipliers, and Adam's averages of both."""

    sectors: Sectors
    x: Array
    rate: float  # of x
    multipliers: Multipliers
    means: list[Array]
    squares: list[Array]
    weights: Array  # (S,) average share of the maximum
    count: int = field(default=0)


def begin_state(X: Array, signs: Array, x: Array, rate: float, negative_slope: float = 0.0) -> State:
    sectors = Sectors(X, signs, np.zeros((len(signs), 0, X.shape[1])), negative_slope)
    multipliers = make_multipliers(sectors)
    zeros = [np.zeros_like(p) for p in (x, *multipliers)]
    weights = np.full(len(signs), 1.0 / len(signs))
    return State(sectors, x, rate, multipliers, zeros, [z.copy() for z in zeros], weights)


def run(state: State, objective: Objective, scale: float, effort: Effort) -> Best:
    """Minimise the objective; `scale` is the size of ρ. Returns the best certified point."""
    nu = objective.nu(state.x)
    best = Best(-np.inf, np.zeros_like(nu), 0.0)
    limit = max(len(state.weights), min(effort.sectors, _LARGEST // len(state.sectors.X)))
    start, rounds, step = len(state.weights), 0, 0
    while True:
        share = effort.progress(step)
        if step % CHECK == 0 or share >= 1.0:
            best = max(best, _certify(state, objective, scale, effort), key=lambda b: b.value)
            if share >= 1.0 or best.value >= effort.goal:
                return best
        due = ROUNDS * min(1.0, max(0.0, (share - CUT_FROM) / (CUT_TO - CUT_FROM)))
        if rounds < int(due) and limit > start:
            rounds += 1
            cut(state, objective, scale, start + -(-(limit - start) * rounds // ROUNDS))
        _step(state, objective, scale, share)
        step += 1


def _certify(state: State, objective: Objective, scale: float, effort: Effort) -> Best:
    """The proven value at the present ν."""
    nu = objective.nu(state.x)
    top = float(certified_maximum(state.sectors, nu, state.multipliers, scale).max())
    rho = effort.stretch * max(0.5 * top, 0.0) + effort.rest * float(np.linalg.norm(nu))
    rho *= 1.0 + 1e-12
    t, value = objective.finish(nu, rho)
    return Best(value, t * nu, t * rho)


def smoothing(scale: float, share: float) -> tuple[float, float]:
    """Barrier weight within a sector, and temperature over sectors."""
    return scale * (_SMOOTH * (1.0 - share) ** 2 + 1e-6), scale * (_SMOOTH * (1.0 - share) + 1e-5)


def cut(state: State, objective: Objective, scale: float, target: int) -> None:
    """Cut the heaviest sectors in two until there are `target`, or each was cut once."""
    order = np.argsort(-state.weights, kind="stable")[: max(0, target - len(state.weights))]
    used = state.sectors.cuts.any(axis=2).sum(axis=1)
    chosen = order[(state.weights[order] > _SHARE) & (used[order] < state.sectors.X.shape[1])]
    if not chosen.size:
        return
    forms = quadratic_forms(state.sectors, objective.nu(state.x), state.multipliers, scale)
    moments = maximise(forms, 0.1 * _SMOOTH * scale)
    parents = np.concatenate([np.arange(len(state.weights)), chosen])
    new, grow = split_sectors(state.sectors, moments, chosen)
    state.sectors = new
    state.multipliers = grow(state.multipliers)
    state.means[1:] = grow(Multipliers(*state.means[1:]))
    state.squares[1:] = grow(Multipliers(*state.squares[1:]))
    state.weights[chosen] *= 0.5
    state.weights = state.weights[parents]


def _step(state: State, objective: Objective, scale: float, share: float) -> None:
    """One step of Adam on x and the multipliers."""
    nu = objective.nu(state.x)
    barrier, temperature = smoothing(scale, share)
    moments = maximise(quadratic_forms(state.sectors, nu, state.multipliers, scale), barrier)
    values = 0.5 * moments.values
    top = float(values.max())
    weights = np.exp((values - top) / temperature)
    total = float(weights.sum())
    weights /= total
    state.weights = 0.98 * state.weights + 0.02 * weights
    d_rho, direct = objective.slopes(nu, top + temperature * float(np.log(total)))
    if d_rho > 0:
        d_multipliers, d_nu = gradients(
            state.sectors, nu, state.multipliers, scale, moments, 0.5 * d_rho * weights
        )
        parts = [objective.chain(state.x, d_nu + direct), *d_multipliers]
    else:
        parts = [objective.chain(state.x, direct)]
    state.count += 1
    rate = (1.0 - share) ** 1.5 * np.sqrt(1.0 - DECAY[1] ** state.count) / (1.0 - DECAY[0] ** state.count)
    for k, (target, part) in enumerate(zip((state.x, *state.multipliers), parts, strict=False)):
        mean, square = state.means[k], state.squares[k]
        mean += (1.0 - DECAY[0]) * (part - mean)
        square += (1.0 - DECAY[1]) * (part * part - square)
        own = state.rate if k == 0 else RATES[k - 1]
        target -= rate * own * mean / (np.sqrt(square) + 1e-100)
    objective.clip(state.x)
    np.maximum(state.multipliers.pair, 0.0, out=state.multipliers.pair)
