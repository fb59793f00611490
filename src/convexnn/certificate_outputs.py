r"""Certificates for several outputs.

With the penalty (β/2) Σ_j (‖u_j‖² + ‖α_j‖₁²) the dual constraint is ρ(±ν_k) ≤ β for every output k, and a
network with one output a neuron attains the optimum. A separable loss decouples: the bound is the sum of the
bounds of its outputs, each with its own multiple of ν_k. Softmax cross-entropy couples the outputs: ν is
scaled by one t, with t ρ(±ν_k) ≤ β for every k, and D(tν) = Σ_i S(Y_i − tν_i).
"""

from time import perf_counter
from typing import Any, cast

import numpy as np

from convexnn._types import Array
from convexnn.certificate import (
    Certificate,
    CertificateKind,
    Kind,
    certify,
    make_certificate,
)
from convexnn.cones import Rows, prepare_rows
from convexnn.losses import LossLike, check_problem, get_loss
from convexnn.losses.softmax import Softmax, is_softmax
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.pricing.branch_and_bound import MAX_RANK
from convexnn.pricing.search import search
from convexnn.pricing.spectral_softmax import spectral_softmax
from convexnn.program import ConvexProgram
from convexnn.rigorous import Proof, prove, rank_up_to

#: Starts for each output that choose between candidate dual points.
_TRIAL = 200
#: Starts for an output whose turn comes after the deadline.
_HASTY = 50
#: Seconds for a proof without a time limit.
_PROOF_SECONDS = 60.0


def starts_of_output(neurons: int) -> int:
    """Ascents of a verification for one of several outputs: 30 a neuron, between 1,000 and 10,000."""
    return max(1000, min(10_000, 30 * neurons))


def worst_kind(kinds: set[str]) -> Kind:
    """What a sum of bounds of these kinds is: the weakest of them."""
    order: tuple[Kind, ...] = ("patterns", "estimated", "bounded", "exact")
    return next(kind for kind in order if kind in kinds)


def certify_outputs(
    network: Network, X: Array, Y: Array, beta: float, loss: LossLike, max_time: float | None, **options: Any
) -> Certificate:
    """`certify` for Y (n, c): a sum over outputs for separable losses, one bound for softmax.

    Parameters
    ----------
    network : Network
        With α of shape (m, c).
    **options
        Those of `certify`: nu, patterns, certificate, rtol, starts, seed. `starts` are for each output.
    """
    X, Y, beta = check_problem(X, Y, beta, loss, any_loss=True)
    intercept = options.pop("intercept", False)
    primal = network.objective(X, Y, beta, loss)
    if not np.isfinite(primal):
        raise ValueError("The network's objective overflows: its weights are too large for these data.")
    nu = options.pop("nu", None)
    if nu is not None:
        nu = np.asarray(nu, dtype=np.float64)
        if nu.shape != Y.shape:
            raise ValueError(f"nu must have the shape of y, {Y.shape}; its shape is {nu.shape}.")
        if not np.isfinite(nu).all():
            raise ValueError("nu must be finite.")
    if is_softmax(loss):
        return _certify_softmax(network, X, Y, beta, loss, max_time, nu, primal, **options)
    return _certify_separable(network, X, Y, beta, loss, max_time, nu, primal, intercept=intercept, **options)


def _certify_separable(
    network: Network, X: Array, Y: Array, beta: float, loss: LossLike, max_time: float | None,
    nu: Array | None, primal: float, **options: Any,
) -> Certificate:  # fmt: skip
    begin = perf_counter()
    share = None if max_time is None else max_time / Y.shape[1]
    starts = options.pop("starts", None)
    parts = [
        certify(
            part, X, np.ascontiguousarray(Y[:, k]), beta, loss, share, nu=None if nu is None else nu[:, k],
            starts=starts_of_output(part.n_neurons) if starts is None else starts, **options,
        )
        for k, part in enumerate(network.outputs())
    ]  # fmt: skip
    return join_certificates(parts, primal, begin)


def join_certificates(parts: list[Certificate], primal: float, begin: float) -> Certificate:
    """The certificate of several outputs from one for each: bounds add up, the kind is the weakest."""
    bound = sum(part.lower_bound for part in parts)
    kind = worst_kind({part.kind for part in parts})
    starts = [part.starts for part in parts]
    return Certificate(
        primal, bound, primal - bound, (primal - bound) / primal if primal > 0 else 0.0, kind,
        np.stack([part.nu for part in parts], axis=1), max(part.rho for part in parts), parts[0].beta,
        max(starts) if kind == "patterns" else sum(starts), perf_counter() - begin,
    )  # fmt: skip


def _certify_softmax(
    network: Network, X: Array, Y: Array, beta: float, loss: LossLike, max_time: float | None,
    nu: Array | None, primal: float, *, patterns: Patterns | None = None,
    certificate: CertificateKind = "auto", rtol: float = 1e-4, starts: int | None = None, seed: int = 0,
) -> Certificate:  # fmt: skip
    begin = perf_counter()
    deadline = np.inf if max_time is None else begin + max_time
    candidates = [-get_loss(loss).gradient(network.predict(X), Y)] + ([] if nu is None else [nu])
    if patterns is not None:
        if certificate not in ("auto", "estimated"):
            raise ValueError(f'certificate="{certificate}" and patterns exclude each other: leave one out.')
        slope = network.negative_slope
        rhos = [_pattern_rho(X, candidate, beta, patterns, slope) for candidate in candidates]
        made = [
            make_certificate(primal, candidate, rho, Y, beta, loss, "patterns", len(patterns), begin)
            for candidate, rho in zip(candidates, rhos, strict=True)
        ]
        return max(made, key=lambda one: one.lower_bound)
    rows, rng = prepare_rows(X, network.negative_slope), np.random.default_rng(seed)
    rho, done, chosen = 0.0, 0, candidates[0]
    if len(candidates) > 1:
        few = _TRIAL if starts is None else min(_TRIAL, starts)
        trials = [_search(network, X, rows, one, few, rng, deadline) for one in candidates]
        bounds = [
            make_certificate(primal, one, trial[0], Y, beta, loss, "estimated", 0, begin).lower_bound
            for one, trial in zip(candidates, trials, strict=True)
        ]
        chosen, (rho, done) = candidates[int(np.argmax(bounds))], trials[int(np.argmax(bounds))]
    if certificate != "estimated":
        proof = prove_softmax(
            X, Y, beta, loss, chosen, certificate, primal, rtol,
            None if max_time is None else max(0.01, deadline - perf_counter()), network.negative_slope,
        )  # fmt: skip
        if proof is not None:
            return make_certificate(primal, proof.nu, proof.rho, Y, beta, loss, proof.kind, 0, begin)
    more = _search(network, X, rows, chosen, starts, rng, deadline)
    return make_certificate(
        primal, chosen, max(rho, more[0]), Y, beta, loss, "estimated", done + more[1], begin
    )


def prove_softmax(
    X: Array, Y: Array, beta: float, loss: LossLike, nu: Array, kind: str, primal: float, rtol: float,
    max_time: float | None, negative_slope: float = 0.0,
) -> Proof | None:  # fmt: skip
    """A proven bound on max_k max ρ(±ν_k) for the kind asked for; None if ``auto`` gives up.

    ``bounded`` is the better of branch and bound at ν (half the time, where the rank allows) and the sector
    bound at a ν moved to where that bound is best.
    """
    begin = perf_counter()
    seconds = _PROOF_SECONDS if max_time is None else max_time
    proofs: list[Proof] = []
    if kind != "bounded" or rank_up_to(X, MAX_RANK) <= MAX_RANK:
        limit = 0.5 * seconds if kind == "bounded" else max_time
        exact = _prove_columns(X, Y, beta, loss, nu, kind, primal, rtol, limit, negative_slope)
        if kind != "bounded" or exact is None or exact.kind == "exact":
            return exact
        proofs.append(exact)
    left = max(0.1, seconds - (perf_counter() - begin))
    function = cast(Softmax, get_loss(loss))
    moved, rho = spectral_softmax(
        X, Y, beta, function, nu, primal=primal, tol=rtol, max_time=left, negative_slope=negative_slope
    )
    proofs.append(Proof(moved, rho, "bounded"))

    def value(proof: Proof) -> float:
        t = function.best_scale(proof.nu, Y, beta / proof.rho if proof.rho > 0 else np.inf)
        return function.dual_value(t * proof.nu, Y)

    return max(proofs, key=value)


def _prove_columns(
    X: Array, Y: Array, beta: float, loss: LossLike, nu: Array, kind: str, primal: float, rtol: float,
    max_time: float | None, negative_slope: float,
) -> Proof | None:  # fmt: skip
    """ρ(±ν_k) of each column of a fixed ν, ``exact`` unless the time ended; None if ``auto`` gives up."""
    share = None if max_time is None else max_time / nu.shape[1]
    proofs: list[Proof] = []
    for column, target in zip(np.ascontiguousarray(nu.T), np.ascontiguousarray(Y.T), strict=True):
        proof = prove(
            X, target, beta, loss, column, kind="auto" if kind == "auto" else "exact", primal=primal,
            rtol=rtol, max_time=share, negative_slope=negative_slope,
        )  # fmt: skip
        if proof is None:
            return None
        proofs.append(proof)
    kinds = {proof.kind for proof in proofs}
    return Proof(nu, max(proof.rho for proof in proofs), "exact" if kinds == {"exact"} else "bounded")


def _pattern_rho(X: Array, nu: Array, beta: float, patterns: Patterns, negative_slope: float) -> float:
    """max_k max ρ(±ν_k) over the given patterns."""
    return max(
        ConvexProgram(X, column, patterns, beta, negative_slope=negative_slope).rho(column)
        for column in np.ascontiguousarray(nu.T)
    )


def _search(
    network: Network, X: Array, rows: Rows, nu: Array, starts: int | None, rng: np.random.Generator,
    deadline: float,
) -> tuple[float, int]:  # fmt: skip
    """The largest local maximum over all columns of ν, and the ascents made."""
    rho, done = 0.0, 0
    for column, part in zip(np.ascontiguousarray(nu.T), network.outputs(), strict=True):
        wanted = starts_of_output(part.n_neurons) if starts is None else starts
        if perf_counter() > deadline:
            wanted = min(wanted, _HASTY)
        outcome = search(
            X, rows, column, starts=wanted, rng=rng, neurons=part.U.T, neuron_signs=np.sign(part.alpha),
            deadline=deadline,
        )  # fmt: skip
        rho, done = max(rho, outcome.rho), done + outcome.starts
    return rho, done
