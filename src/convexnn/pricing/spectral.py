r"""Rigorous upper bounds of ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+ at any rank, and dual points made for them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from convexnn._types import Array
from convexnn.losses import check_problem, get_loss
from convexnn.pricing._sectors import (
    Multipliers,
    Sectors,
    certified_maximum,
    gradients,
    make_multipliers,
    maximise,
    quadratic_forms,
)

#: Learning rates of the multipliers, in the order of their fields.
_RATES = Multipliers(0.05, 0.05, 0.1, 0.05, 0.005, 0.005)
_NU_RATE = 0.01
_DECAY = (0.9, 0.99)
_FIRST = 0.2
_CHECK = 50
_SMOOTH = 0.003
_SOFT = 0.01
_CUTS = 2


class Reduced(NamedTuple):
    """X = σ X̂ Vᵀ + R with rows that are zero left out."""

    X: Array  # (n', r) X̂, of spectral norm one
    rows: Array  # (n',) indices of the rows kept
    scale: float  # σ
    rest: float  # bound on the Frobenius norm of R/σ


def reduce_rows(X):
    rows = np.flatnonzero(X.any(axis=1))
    kept = X[rows]
    if not rows.size:
        return Reduced(np.zeros((0, 1)), rows, 1.0, 0.0)
    scale = np.abs(kept).max()
    kept = kept / scale
    _, values, basis = np.linalg.svd(kept, full_matrices=False)
    r = max(1, int((values > 1e-13 * values[0] * max(kept.shape)).sum()))
    V = basis[:r].T
    reduced = kept @ V
    rest = np.linalg.norm(kept - reduced @ V.T) 
    return Reduced(reduced / values[0], rows, scale * values[0], 1.01 * rest / values[0] + 1e-300)


@dataclass
class Goal:
    nu_of: Callable
    chain: Callable  # (x, nu, rho, d_rho/d_nu) -> (value to minimise, gradient in x, d value/d rho)


def spectral_dual(X, y, beta, loss, nu0, *, primal=None, steps=3000, max_time=None, tol=None, seed=0, verbose=False, cuts=_CUTS, first=_FIRST):
    begin = perf_counter()
    X, y, beta = check_problem(X, y, beta, loss)
    red = reduce_rows(X)
    n, r = red.X.shape
    unit = np.abs(y).max() if loss == "squared" else 1.0
    yk = y[red.rows] / unit
    b = beta / unit / red.scale
    nu = nu0[red.rows] / unit
    fun = get_loss(loss)
    if loss == "logistic":
        x = logit(np.clip(yk * nu, 1e-6, 1 - 1e-6))
        nu_of = lambda x: yk * expit(x)
        def dchain(x, g): q = expit(x); return g * yk * q * (1 - q)
    elif loss == "squared":
        x = nu.copy(); nu_of = lambda x: x; dchain = lambda x, g: g
    else:
        x = yk * nu; nu_of = lambda x: yk * x; dchain = lambda x, g: g * yk
    def slope(nu):
        q = yk * nu
        if loss == "squared": return yk - nu
        if loss == "logistic":
            q = np.clip(q, 1e-15, 1 - 1e-15); return yk * np.log((1 - q) / q)
        if loss == "hinge": return yk
        return yk * (1 - q)
    x_rate = 0.1 if loss == "logistic" else _NU_RATE
    K = 0
    sectors = Sectors(red.X, np.array([1.0, -1.0]), np.zeros((2, 0)))
    m = make_multipliers(sectors)
    best = (-np.inf, None, None)
    params = [x, *m]
    M1 = [np.zeros_like(p) for p in params]; M2 = [np.zeros_like(p) for p in params]
    it0 = 0; count = 0; f = 0.0
    def check(params):
        nonlocal best
        nu = nu_of(params[0]); 
        rho = max(0.0, certified_maximum(sectors, nu, Multipliers(*params[1:]), b).max() / 2) * (1 + 1e-12) + np.linalg.norm(nu) * red.rest
        t = fun.best_scale(nu, yk, b / rho if rho > 0 else np.inf)
        D = fun.dual_value(t * nu, yk)
        if D > best[0]: best = (D, nu.copy(), rho)
        return D, rho
    uu = unit**2
    for step in range(steps + 1):
        f = step / steps
        if max_time is not None: f = max(f, (perf_counter() - begin) / max_time)
        if step % _CHECK == 0 or f >= 1:
            D, rho = check(params)
            if verbose and step%200==0: print(step, D * uu, (primal - best[0] * uu) / primal, rho, '%.1f' % (perf_counter() - begin))
            if tol is not None and primal is not None and primal - best[0] * uu <= tol * primal: break
        if f >= 1: break
        nu = nu_of(params[0]); m = Multipliers(*params[1:])
        mom = maximise(quadratic_forms(sectors, nu, m, b), b * (_SMOOTH * (1 - f) ** 2 + 1e-6))
        v = mom.values / 2; soft = _SOFT * b * (1 - f) + 1e-5 * b
        top = v.max(); w = np.exp((v - top) / soft); rho = top + soft * np.log(w.sum()); w /= w.sum()
        if verbose and step % 200 == 0 and K: print(np.round(np.sort(w)[::-1],3), np.round(np.sort(v)[::-1]/v.max(),3))
        if K == 0 and f >= first and cuts:
            U = (mom.second * w[:, None, None]).sum(0)
            _, V = np.linalg.eigh(U); V = V[:, ::-1]
            K = min(cuts, r)
            corners = np.array(list(product((1.0, -1.0), repeat=K)))
            sectors = Sectors(sectors.X @ V, np.repeat([1.0, -1.0], len(corners)), np.tile(corners, (2, 1)))
            red = red._replace(rest=red.rest + 1e-14 * n)
            new = make_multipliers(sectors)
            new = new._replace(log_ell=np.repeat(m.log_ell, len(corners), 0), theta=np.repeat(m.theta, len(corners), 0))
            def rep(M): 
                q = [np.zeros_like(p) for p in new]; q[0] = np.repeat(M[1], len(corners), 0); q[2] = np.repeat(M[3], len(corners), 0); return [M[0]] + q
            M1, M2 = rep(M1), rep(M2)
            params = [params[0], *new]
            continue
        t = min(1.0, b / rho) if rho > 0 else 1.0
        g = slope(t * nu)
        dm, dnu = gradients(sectors, nu, m, b, mom, w / 2)
        if t < 1:
            q = (nu @ g) * t / rho
            dnu = q * dnu - t * g
            dm = [q * a for a in dm]
        else:
            dnu = -t * g; dm = [0 * a for a in dm]
        grads = [dchain(params[0], dnu), *dm]
        lr = (1 - f) ** 1.5
        count += 1
        c1, c2 = 1 - _DECAY[0] ** count, 1 - _DECAY[1] ** count
        for p, a, s1, s2, rate in zip(params, grads, M1, M2, [x_rate, *_RATES]):
            s1 *= _DECAY[0]; s1 += (1 - _DECAY[0]) * a
            s2 *= _DECAY[1]; s2 += (1 - _DECAY[1]) * a * a
            p -= lr * rate / c1 * s1 / (np.sqrt(s2 / c2) + 1e-30)
        if loss == "hinge": np.clip(params[0], 0, 1, out=params[0])
        if loss == "squared_hinge": np.maximum(params[0], 0, out=params[0])
        np.maximum(params[-1], 0, out=params[-1])
    return best, (primal - best[0] * uu) / primal
