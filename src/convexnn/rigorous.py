r"""Proven bounds for certificates: which method for which data, and what it proves.

* Few patterns: all of them. Else, up to rank 12, branch and bound (a sweep for rank ≤ 2). Each gives
  ρ ≤ max(β, ρ)(1 + ε): kind ``exact``; branch and bound cut short still gives a bound: kind ``bounded``.
* any rank: the semidefinite bound: kind ``bounded``. For the losses of `convexnn.losses.LOSSES`, without
  weights, ν is moved to where that bound is best; for the others it stays.
"""

from contextlib import suppress
from time import perf_counter
from typing import Literal, NamedTuple

import numpy as np

from convexnn._types import Array
from convexnn.enumeration import pattern_bound
from convexnn.losses import LOSSES, LossLike, get_loss
from convexnn.patterns import Patterns
from convexnn.pricing.branch_and_bound import MAX_RANK, rho_bounds
from convexnn.pricing.spectral import spectral_bound, spectral_dual
from convexnn.program import ConvexProgram

#: Up to this many patterns (by the bound), enumerating them all is quicker than branch and bound.
_FEW_PATTERNS = 2000
#: The closest that branch and bound pins ρ down.
_LEAST_RTOL = 1e-8
#: Smallest singular value, as a share of the largest, at which enumeration is trusted with a proof.
_WELL_CONDITIONED = 1e-6
#: Outward inflation of ρ from complete enumeration: ten times the tolerance of the projections.
_PROJECTION = 1e-10
#: `certificate="auto"`: highest rank, boxes, and boxes × rows of an attempt at an exact certificate.
_AUTO_RANK, _AUTO_NODES, _AUTO_WORK = 7, 20_000, 20_000_000


class Proof(NamedTuple):
    """A dual point with a proven bound on max ρ(±ν)."""

    nu: Array
    rho: float
    kind: Literal["exact", "bounded"]


def exact_proof(
    X: Array, nu: Array, beta: float, *, rtol: float, max_time: float | None, max_nodes: int | None = None,
    negative_slope: float = 0.0,
) -> Proof:  # fmt: skip
    """ρ(±ν) ≤ max(β, ρ)(1 + rtol) for one output; kind ``bounded`` if a limit came first.

    Raises
    ------
    ValueError
        If the rank of X is above 12.
    """
    rank = rank_up_to(X, MAX_RANK)
    if rank > MAX_RANK:
        raise ValueError(
            f"An exact certificate needs X of rank at most {MAX_RANK}; it has more: "
            'ask for certificate="bounded" or "estimated".'
        )
    if rank > 2 and pattern_bound(len(X), rank)[0] <= _FEW_PATTERNS and _is_well_conditioned(X, rank):
        with suppress(ArithmeticError):  # a cell too thin to be told from rounding: branch and bound then
            everything = ConvexProgram(X, nu, Patterns.enumerate(X), beta, negative_slope=negative_slope)
            return Proof(nu, everything.rho(nu) * (1.0 + _PROJECTION), "exact")
    bound = rho_bounds(
        X, nu, threshold=beta, rtol=max(rtol, _LEAST_RTOL), max_time=max_time, max_nodes=max_nodes,
        negative_slope=negative_slope,
    )  # fmt: skip
    return Proof(nu, bound.upper, "exact" if bound.finished else "bounded")


def rank_up_to(X: Array, limit: int) -> int:
    """The rank of X, or limit + 1 if that is less: a wide X is projected on limit + 1 random directions."""
    if X.shape[1] > limit + 1:
        X = X @ np.random.default_rng(0).standard_normal((X.shape[1], limit + 1))
    return int(np.linalg.matrix_rank(X))


def _is_well_conditioned(X: Array, rank: int) -> bool:
    singular = np.linalg.svd(X, compute_uv=False)
    return bool(singular[rank - 1] > _WELL_CONDITIONED * singular[0])


def bounded_proof(
    X: Array, y: Array, beta: float, loss: LossLike, nu: Array, *, primal: float, rtol: float,
    max_time: float, intercept: bool = False, negative_slope: float = 0.0,
) -> Proof:  # fmt: skip
    """The better of branch and bound (half the time, where the rank allows) and the semidefinite bound."""
    begin = perf_counter()
    proofs: list[Proof] = []
    if rank_up_to(X, MAX_RANK) <= MAX_RANK:
        slope = negative_slope
        proofs.append(exact_proof(X, nu, beta, rtol=rtol, max_time=0.5 * max_time, negative_slope=slope))
        if proofs[0].kind == "exact":
            return proofs[0]
    left = max(0.1, max_time - (perf_counter() - begin))
    if isinstance(loss, str) and loss in LOSSES and not (intercept and not X.any(axis=1).all()):
        moved, rho = spectral_dual(
            X, y, beta, loss, nu, primal=primal, tol=rtol, max_time=left, negative_slope=negative_slope,
            intercept=intercept,
        )  # fmt: skip
        proofs.append(Proof(moved, rho, "bounded"))
    else:
        rho = max(
            spectral_bound(X, sign * nu, max_time=0.5 * left, negative_slope=negative_slope)
            for sign in (1.0, -1.0)
        )
        proofs.append(Proof(nu, rho, "bounded"))
    return max(proofs, key=lambda proof: _value(proof, y, beta, loss))


def prove(
    X: Array, y: Array, beta: float, loss: LossLike, nu: Array, *, kind: str, primal: float, rtol: float,
    max_time: float | None, intercept: bool = False, negative_slope: float = 0.0,
) -> Proof | None:  # fmt: skip
    """The proof that a certificate of this kind asks for, over every output; None if ``auto`` gives up.

    With a free intercept the given ν has 1ᵀν = 0, and so has the ν of the proof.
    ``auto`` tries for an exact one while that is cheap: rank at most 7 and 20,000 boxes.
    """
    columns = nu.reshape(len(nu), -1).T
    targets = y.reshape(len(y), -1).T
    if kind == "auto" and rank_up_to(X, _AUTO_RANK) > _AUTO_RANK:
        return None
    proofs = []
    for column, target in zip(columns, targets, strict=True):
        column = np.ascontiguousarray(column)
        if kind == "bounded":
            share = (60.0 if max_time is None else max_time) / len(columns)
            goal = np.ascontiguousarray(target)
            one = bounded_proof(
                X, goal, beta, loss, column, primal=primal, rtol=rtol, max_time=share, intercept=intercept,
                negative_slope=negative_slope,
            )  # fmt: skip
            proofs.append(one)
            continue
        limit = min(_AUTO_NODES, 1 + _AUTO_WORK // len(X)) if kind == "auto" else None
        proof = exact_proof(
            X, column, beta, rtol=rtol, max_time=max_time, max_nodes=limit, negative_slope=negative_slope
        )
        if kind == "auto" and proof.kind != "exact":
            return None
        proofs.append(proof)
    kinds = {proof.kind for proof in proofs}
    moved = np.stack([proof.nu for proof in proofs], axis=1).reshape(nu.shape)
    return Proof(moved, max(proof.rho for proof in proofs), "exact" if kinds == {"exact"} else "bounded")


def _value(proof: Proof, y: Array, beta: float, loss: LossLike) -> float:
    function = get_loss(loss)
    t = function.best_scale(proof.nu, y, beta / proof.rho if proof.rho > 0 else np.inf)
    return function.dual_value(t * proof.nu, y)
