r"""x"""
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
_RATES = Multipliers(0.05, 0.05, 0.1, 0.05, 0.005, 0.005)
_NU_RATE = 0.005
_DECAY = (0.9, 0.99)
_CHECK = 50
_SMOOTH = 0.01
_SOFT = 0.01
EVENTS = 10
LAST = 0.6
POW = 1.5

class Reduced(NamedTuple):
    X: Array
    rows: Array
    scale: float
    rest: float

def reduce_rows(X):
    rows = np.flatnonzero(X.any(axis=1))
    kept = X[rows]
    scale = np.abs(kept).max()
    kept = kept / scale
    _, values, basis = np.linalg.svd(kept, full_matrices=False)
    r = max(1, int((values > 1e-13 * values[0] * max(kept.shape)).sum()))
    V = basis[:r].T
    reduced = kept @ V
    rest = np.linalg.norm(kept - reduced @ V.T) 
    return Reduced(reduced / values[0], rows, scale * values[0], 1.01 * rest / values[0] + 1e-300)

def split(sectors, m, moments, chosen):
    S, K, r = sectors.cuts.shape
    used = np.array([np.count_nonzero(sectors.cuts[s].any(1)) for s in range(S)])
    grow = int(max(used[chosen]) + 1 > K)
    cuts = np.concatenate([sectors.cuts, np.zeros((S, grow, r))], 1)
    parents = np.concatenate([np.arange(S), chosen])
    cuts = cuts[parents]
    for j, s in enumerate(chosen):
        A = cuts[s][: used[s]]
        P = np.eye(r) - A.T @ A
        a = np.linalg.eigh(P @ moments.second[s] @ P)[1][:, -1]
        a = P @ a; a /= np.linalg.norm(a)
        cuts[s, used[s]] = a
        cuts[S + j, used[s]] = -a
    return Sectors(sectors.X, sectors.nu_signs[parents], cuts), parents, grow

def pad(p, K, parents, grow, kax):
    p = p[parents]
    for ax in kax:
        w = [(0, 0)] * p.ndim; w[ax] = (0, grow); p = np.pad(p, w)
    return p
KAX = ((), (1,), (), (1,), (1,), (1, 2))

def spectral_dual(X, y, beta, loss, nu0, *, primal=None, steps=3000, max_time=None, tol=None, verbose=False, S_max=24, first=0.1):
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
    x_rate = (10 if loss == "logistic" else 1) * _NU_RATE
    sectors = Sectors(red.X, np.array([1.0, -1.0]), np.zeros((2, 0, r)))
    m = make_multipliers(sectors)
    best = (-np.inf, None, None)
    params = [x, *m]
    M1 = [np.zeros_like(p) for p in params]; M2 = [np.zeros_like(p) for p in params]
    count = 0; f = 0.0; wavg = np.ones(2) / 2; ev = 0
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
            if verbose and step%200==0: print(step, len(wavg), sectors.cuts.shape[1], D * uu, (primal - best[0] * uu) / primal, rho, '%.1f' % (perf_counter() - begin)); print(np.round(np.sort(wavg)[::-1],3))
            if tol is not None and primal is not None and primal - best[0] * uu <= tol * primal: break
        if f >= 1: break
        nu = nu_of(params[0]); m = Multipliers(*params[1:])
        mom = maximise(quadratic_forms(sectors, nu, m, b), b * (_SMOOTH * (1 - f) ** 2 + 1e-6))
        v = mom.values / 2; soft = _SOFT * b * (1 - f) + 1e-5 * b
        top = v.max(); w = np.exp((v - top) / soft); rho = top + soft * np.log(w.sum()); w /= w.sum()
        wavg = 0.98 * wavg + 0.02 * w
        if ev < EVENTS and S_max > 2 and f >= first + (LAST - first) * ev / EVENTS:
            ev += 1
            K = sectors.cuts.shape[1]
            used = sectors.cuts.any(2).sum(1)
            target = int(np.ceil(2 + (S_max - 2) * ev / EVENTS))
            k = min(len(w), max(0, target - len(w)))
            chosen = np.argsort(-wavg, kind="stable")[:k]
            chosen = chosen[(used[chosen] < r) & (wavg[chosen] > 1e-3)]
            if len(chosen):
                sectors, parents, grow = split(sectors, m, mom, chosen)
                for L in (params, M1, M2):
                    for j in range(6): L[1 + j] = pad(L[1 + j], K, parents, grow, KAX[j])
                wavg = wavg[parents]; wavg[chosen] /= 2; wavg[len(w):] /= 2
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
        lr = (1 - f) ** POW
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
