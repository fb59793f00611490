r"""Certificates: how far a network is from the global optimum, recomputed by code that no solver owns.

For any ν the value D(tν) is a lower bound on the global optimum p* once tρ(ν) ≤ β and tρ(−ν) ≤ β, with
ρ(ν) = max_{‖u‖≤1} νᵀ(Xu)_+ (Pilanci & Ergen 2020, the dual of problem (1)). A certificate is therefore as
good as the bound on ρ, and says which kind that is.
"""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array
from convexnn.certificate_points import bound_at, dual_candidate
from convexnn.cones import Rows, prepare_rows
from convexnn.feature_penalty import divided
from convexnn.intercepts import balanced, centre_of, refuse_intercept, refuse_softmax
from convexnn.losses import LossLike, Weighted, check_problem, weigh
from convexnn.losses.softmax import is_softmax, softmax_targets
from convexnn.network import Network
from convexnn.patterns import Patterns
from convexnn.pricing.search import search
from convexnn.pricing.smooth import prepare_columns, verify_smoothly
from convexnn.pricing.zero import FEW_COLUMNS, MANY_ROWS
from convexnn.program import ConvexProgram
from convexnn.rigorous import prove

Kind = Literal["exact", "bounded", "estimated", "patterns"]
#: What a caller may ask for.
CertificateKind = Literal["auto", "exact", "bounded", "estimated"]

#: Starts that choose between candidate dual points, before the verification.
_TRIAL = 500
#: Share of the time for the dual point of a loss with kinks.
_KINK_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Certificate:
    """How far a network is from the global optimum.

    Attributes
    ----------
    primal : float
        Objective (1) of the network.
    lower_bound : float
        D(nu). A lower bound on the global optimum as far as `kind` says.
    gap, relative_gap : float
        primal − lower_bound, and (primal − lower_bound)/primal (0 where primal is 0).
    kind : {"exact", "bounded", "estimated", "patterns"}
        How ρ was bounded; ``str`` of the certificate says it in words.
    nu : (n,) or (n, c)
        The dual point, already scaled so that ρ(±nu) ≤ β; with a free intercept its entries sum to exactly 0.
    rho : float
        The bound used on max ρ(±nu).
    beta : float
    starts : int
        Ascents behind an ``estimated`` ρ, patterns behind ``patterns``.
    seconds : float
        Time taken; for a certificate that comes with a training run, the whole run.
    """

    primal: float
    lower_bound: float
    gap: float
    relative_gap: float
    kind: Kind
    nu: Array
    rho: float
    beta: float
    starts: int
    seconds: float

    def __str__(self) -> str:
        words = {
            "exact": "exact: the bound is proven, up to rounding.",
            "bounded": "bounded: the bound is proven; the true gap may be smaller.",
            "estimated": "estimated: strong evidence, NOT a proof; no start found a larger ρ.",
            "patterns": "patterns: compared with networks of these patterns only; NO bound on the optimum.",
        }
        effort = {
            "estimated": f", the largest of {self.starts:,} local maxima",
            "patterns": f", over {self.starts:,} patterns",
        }
        if self.kind == "patterns" and self.gap < 0:
            words["patterns"] = "patterns: this network is better than all of these; NO bound on the optimum."
        what = "bound over the patterns" if self.kind == "patterns" else "lower bound"
        relation = "≈" if self.kind == "estimated" else "≤"
        return (
            f"objective {self.primal:.8g}, {what} {self.lower_bound:.8g}, "
            f"relative gap {self.relative_gap:.2e} ({self.kind})\n"
            f"{words[self.kind]}\n"
            f"ρ(±ν) {relation} {self.rho:.8g} for β = {self.beta:.8g}{effort.get(self.kind, '')}; "
            f"{self.seconds:.2f} s."
        )


def certify(
    network: Network,
    X: Array,
    y: Array,
    beta: float,
    loss: LossLike = "squared",
    max_time: float | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    intercept: bool = False,
    feature_penalty: ArrayLike | None = None,
    nu: Array | None = None,
    patterns: Patterns | None = None,
    certificate: CertificateKind = "auto",
    rtol: float = 1e-4,
    starts: int | None = None,
    seed: int = 0,
) -> Certificate:
    r"""(primal − D(tν))/primal for any network on the data X, y.

    The dual point is ν = −∇L(f) at the network's fit (for the hinge and the quantile loss: the subgradient
    that fits the neurons best), or the given `nu` if its bound is better.

    Parameters
    ----------
    network : Network
        Its `negative_slope` is that of all networks the bound is about.
    X : (n, d), y : (n,) or (n, c)
        The data of the objective, with the same columns as the network's U has rows. For ``"softmax"`` class
        labels 0, 1, … (n,) or probabilities (n, c).
    beta : float
    loss : str or SeparableLoss
        A name or an object of `convexnn.losses`.
    sample_weight : (n,), optional
        Weights ω ≥ 0 of the rows in L; 1 by default.
    intercept : bool
        Certify for the problem with a free output bias b₀: the bound then holds for every b₀, and 1ᵀν = 0.
        Needed for a network that has one. Not for the softmax.
    feature_penalty : (d,), optional
        w > 0 of the penalty (β/2) Σ_j (Σ_k w_k u_jk² + α_j²); 1 by default.
    max_time : float, optional
        Seconds; the verification then stops early and reports how many starts it made.
    nu : (n,), optional
        A dual point to try as well, such as a solver's; it is not trusted, only tried.
    patterns : Patterns, optional
        Certify among the networks of these patterns only (kind ``patterns``).
    certificate : {"auto", "exact", "bounded", "estimated"}
        The kind wanted. ``exact`` needs rank X ≤ 12 and grows steeply with the rank; if `max_time` ends it,
        the certificate is ``bounded`` and says so. ``bounded`` is proven at any rank (60 s unless `max_time`
        says otherwise). ``auto`` is exact where that is cheap (rank ≤ 7, at most 20,000 boxes), else
        ``estimated``.
    rtol : float
        How closely ``exact`` and ``bounded`` pin ρ down: ρ ≤ max(β, ρ)(1 + rtol).
    starts : int, optional
        Ascents of the verification; by default between 2,500 and 10,000, growing with the neurons. With
        several outputs: for each of them, from 1,000 on.
    seed : int

    Raises
    ------
    ValueError
        If the data, β, weights, shapes or the kind are not valid, or the rank is too high for ``exact``.

    Examples
    --------
    >>> from convexnn import Network, certify
    >>> from convexnn.data import five_points
    >>> data = five_points()
    >>> certificate = certify(Network.zero(2), data.X, data.y, beta=0.1)
    >>> certificate.kind, certificate.primal, certificate.lower_bound < 0.8914472
    ('exact', 2.5, True)
    """
    check_kind(certificate)
    _check_effort(max_time, rtol, starts, seed)
    if intercept:
        refuse_softmax(loss)
    else:
        refuse_intercept(network, "certify it with intercept=True, for the problem in which that is free")
    if feature_penalty is not None:
        X, root = divided(X, feature_penalty)
        if len(root) == network.n_features:
            network = replace(network, U=network.U * root[:, None])
    if is_softmax(loss) and network.alpha.ndim == 2:
        y = softmax_targets(y, network.alpha.shape[1])
    options: dict[str, Any] = {
        "patterns": patterns, "certificate": certificate, "rtol": rtol, "starts": starts, "seed": seed,
    }  # fmt: skip
    if sample_weight is None and not isinstance(loss, Weighted) and not intercept:
        return _certify(network, X, y, beta, loss, max_time, nu=nu, **options)
    X, y, beta = check_problem(X, y, beta, loss, any_loss=True)
    problem = weigh(X, y, loss, sample_weight, fold=not intercept)
    if nu is not None:
        nu = problem.reduce(_checked_nu(nu, y))
    targets = problem.y
    if intercept:
        centre = centre_of(problem.loss, targets)
        targets = targets - centre
        if np.shape(centre) == network.alpha.shape[1:]:
            network = replace(network, intercept=network.intercept - centre)
    if patterns is not None and problem.rows is not None:
        options["patterns"] = Patterns(patterns.masks[problem.rows], patterns.generators)
    options["intercept"] = intercept
    found = _certify(network, problem.X, targets, beta, problem.loss, max_time, nu=nu, **options)
    restored = problem.restore(found.nu)
    return replace(found, nu=balanced(restored) if intercept else restored)


def _certify(
    network: Network,
    X: Array,
    y: Array,
    beta: float,
    loss: LossLike,
    max_time: float | None,
    *,
    nu: Array | None,
    patterns: Patterns | None,
    certificate: CertificateKind,
    rtol: float,
    starts: int | None,
    seed: int,
    intercept: bool = False,
) -> Certificate:
    """`certify` without weights, or with those of a `Weighted` loss."""
    if network.alpha.ndim == 2:
        from convexnn.certificate_outputs import certify_outputs  # which imports this module

        options = {
            "nu": nu, "patterns": patterns, "certificate": certificate, "rtol": rtol, "intercept": intercept,
        }  # fmt: skip
        return certify_outputs(network, X, y, beta, loss, max_time, starts=starts, seed=seed, **options)
    begin = perf_counter()
    X, y, beta = check_problem(X, y, beta, loss, any_loss=True)
    if patterns is not None and certificate not in ("auto", "estimated"):
        raise ValueError(f'certificate="{certificate}" and patterns exclude each other: leave one out.')
    primal = network.objective(X, y, beta, loss)
    if not np.isfinite(primal):
        raise ValueError("The network's objective overflows: its weights are too large for these data.")
    share = np.inf if max_time is None else begin + _KINK_SHARE * max_time
    candidates = [dual_candidate(network, X, y, beta, loss, share, intercept)]
    if nu is not None:
        candidates.append(balanced(_checked_nu(nu, y)) if intercept else _checked_nu(nu, y))
    if patterns is not None:
        program = ConvexProgram(X, y, patterns, beta, loss, negative_slope=network.negative_slope)
        rhos = [program.rho(candidate) for candidate in candidates]
        bounds = [bound_at(c, y, beta, loss, r)[0] for c, r in zip(candidates, rhos, strict=True)]
        best = int(np.argmax(bounds))
        return make_certificate(
            primal, candidates[best], rhos[best], y, beta, loss, "patterns", len(patterns), begin
        )
    rows = prepare_rows(X, network.negative_slope)
    deadline = np.inf if max_time is None else begin + max_time
    starts = default_starts(network.n_neurons) if starts is None else starts
    rng = np.random.default_rng(seed)
    chosen, rho, done = candidates[0], 0.0, 0
    if len(candidates) > 1:
        trials = [
            _search_outputs(network, X, rows, c, min(_TRIAL, starts), rng, deadline) for c in candidates
        ]
        best = int(
            np.argmax([bound_at(c, y, beta, loss, t[0])[0] for c, t in zip(candidates, trials, strict=True)])
        )
        chosen, (rho, done) = candidates[best], trials[best]
    if certificate != "estimated":
        proof = prove(
            X, y, beta, loss, chosen, kind=certificate, primal=primal, rtol=rtol,
            max_time=None if max_time is None else max(0.01, deadline - perf_counter()),
            intercept=intercept, negative_slope=network.negative_slope,
        )  # fmt: skip
        if proof is not None:
            return make_certificate(primal, proof.nu, proof.rho, y, beta, loss, proof.kind, 0, begin)
    if done < starts:
        result = _search_outputs(network, X, rows, chosen, starts - done, rng, deadline)
        rho, done = max(rho, result[0]), done + result[1]
    return make_certificate(primal, chosen, rho, y, beta, loss, "estimated", done, begin)


def _checked_nu(nu: Array, y: Array) -> Array:
    nu = np.asarray(nu, dtype=np.float64)
    if nu.shape != y.shape:
        raise ValueError(f"nu must have the shape of y, {y.shape}; its shape is {nu.shape}.")
    if not np.isfinite(nu).all():
        raise ValueError("nu must be finite.")
    return nu


def check_kind(certificate: str) -> None:
    """Raise ValueError if this is no `CertificateKind`."""
    if certificate not in get_args(CertificateKind):
        raise ValueError(f"certificate must be auto, exact, bounded or estimated; it is {certificate!r}.")


def _check_effort(max_time: float | None, rtol: float, starts: int | None, seed: int) -> None:
    if max_time is not None and not max_time >= 0:
        raise ValueError(f"max_time must be a number of seconds that is not negative; it is {max_time!r}.")
    if not 0 < rtol < 1:
        raise ValueError(f"rtol must lie between 0 and 1; it is {rtol!r}.")
    if starts is not None and starts < 1:
        raise ValueError(f"starts must be at least 1; it is {starts!r}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative; it is {seed!r}.")


def default_starts(neurons: int) -> int:
    """Ascents of a verification: 30 a neuron, between 2,500 and 10,000."""
    return max(2500, min(10_000, 30 * neurons))


def make_certificate(
    primal: float,
    nu: Array,
    rho: float,
    y: Array,
    beta: float,
    loss: LossLike,
    kind: Kind,
    starts: int,
    begin: float,
) -> Certificate:
    """Scale ν to t ν with tρ ≤ β, maximise D(tν) and put the certificate together."""
    bound, t = bound_at(nu, y, beta, loss, rho)
    bound = max(bound, 0.0)  # every loss here is non-negative: D(0) = 0
    gap = primal - bound
    relative = gap / primal if primal > 0 else 0.0
    return Certificate(
        primal, bound, gap, relative, kind, t * nu, t * rho, beta, starts, perf_counter() - begin
    )


def _search_outputs(
    network: Network, X: Array, rows: Rows, nu: Array, starts: int, rng: np.random.Generator, deadline: float
) -> tuple[float, int]:
    """The largest ρ found over every output's column of ν, and the ascents made."""
    alpha = network.alpha[:, None] if network.alpha.ndim == 1 else network.alpha
    columns = nu.reshape(len(nu), -1).T
    results = []
    for k, column in enumerate(columns):
        used = (alpha[:, k] != 0) & network.U.any(axis=0)
        share = max(1, starts // len(columns))
        neurons, signs = network.U[:, used].T, np.sign(alpha[used, k])
        results.append(_search_one(X, rows, column, share, rng, neurons, signs, deadline))
    return max(rho for rho, _ in results), sum(done for _, done in results)


def _search_one(
    X: Array,
    rows: Rows,
    nu: Array,
    starts: int,
    rng: np.random.Generator,
    neurons: Array,
    signs: Array,
    deadline: float,
) -> tuple[float, int]:
    """(ρ, ascents) for one output: exact ascents, or smoothed ones, the best made exact, if rows are many."""
    nu = np.ascontiguousarray(nu)
    if len(X) > MANY_ROWS and X.shape[1] <= FEW_COLUMNS and rows.negative_slope == 0.0:
        found = verify_smoothly(
            X, prepare_columns(X), nu, neurons, signs, starts=starts, rng=rng, deadline=deadline
        )
        return found.rho, found.starts
    result = search(
        X, rows, nu, starts=starts, rng=rng, neurons=neurons, neuron_signs=signs, deadline=deadline
    )
    return result.rho, result.starts
