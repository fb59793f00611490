r"""Regularisation path: the global optimum at each of a falling sequence of β.

min over m, U, α of  L(Σ_j (X u_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²)  for β = β₁ > β₂ > … > β_k
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convexnn._types import Array, IntArray, Progress
from convexnn.certificate import Certificate, CertificateKind
from convexnn.losses import LossLike, check_problem
from convexnn.network import Network
from convexnn.pricing import beta_max
from convexnn.status import Status
from convexnn.training import TrainResult, train

__all__ = ["PathResult", "checked_betas", "default_betas", "path"]


@dataclass(frozen=True)
class PathResult:
    """Networks along a path of β, largest β first, each with its certificate.

    Attributes
    ----------
    betas : (k,)
        The β that were trained: all of them, or those before a limit.
    networks : tuple of Network
    certificates : tuple of Certificate
        Each says its gap and the kind of its bound.
    statuses : tuple of Status
        Why training ended at each β. Only the last can be one that was cut short.
    seconds : (k,)
        Time for each β.
    status : Status
        `CONVERGED` if every β was trained to the tolerance; else why not, as `str` says.
    """

    betas: Array
    networks: tuple[Network, ...]
    certificates: tuple[Certificate, ...]
    statuses: tuple[Status, ...]
    seconds: Array
    status: Status

    def __len__(self) -> int:
        return len(self.networks)

    @property
    def neurons(self) -> IntArray:
        """Neurons of each network, (k,)."""
        return np.array([net.n_neurons for net in self.networks], dtype=np.int64)

    @property
    def objectives(self) -> Array:
        """L + (β/2) Σ(‖u_j‖² + α_j²) of each network at its own β, (k,)."""
        return np.array([c.primal for c in self.certificates], dtype=np.float64)

    @property
    def lower_bounds(self) -> Array:
        """The certificates' lower bounds, of the kinds that `certificates` names, (k,)."""
        return np.array([c.lower_bound for c in self.certificates], dtype=np.float64)

    @property
    def relative_gaps(self) -> Array:
        """(objective − lower bound)/objective, (k,)."""
        return np.array([c.relative_gap for c in self.certificates], dtype=np.float64)

    def __str__(self) -> str:
        lines = [f"{'beta':>12} {'objective':>14} {'neurons':>8} {'rel. gap':>9}  kind       seconds"]
        for beta, net, c, seconds in zip(
            self.betas, self.networks, self.certificates, self.seconds, strict=True
        ):
            lines.append(
                f"{beta:12.6g} {c.primal:14.8g} {net.n_neurons:8d} {c.relative_gap:9.1e}  "
                f"{c.kind:<10} {seconds:7.2f}"
            )
        return "\n".join([*lines, f"{self.status}"])


def path(
    X: Array,
    y: Array,
    betas: ArrayLike | None = None,
    *,
    n_betas: int = 10,
    ratio: float = 1e-2,
    loss: LossLike = "squared",
    sample_weight: ArrayLike | None = None,
    intercept: bool = False,
    feature_penalty: ArrayLike | None = None,
    negative_slope: float = 0.0,
    tol: float = 1e-3,
    max_time: float | None = None,
    seed: int = 0,
    certificate: CertificateKind = "auto",
    progress: Progress | None = None,
) -> PathResult:
    r"""min of L(Σ_j (Xu_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²) for each β, from the largest down.

    Each β starts from the network of the one before, whose objective can only fall with β; each gets the
    certificate that `train` would give it alone.

    Parameters
    ----------
    X : (n, d)
        Rows are samples; a bias is a column of ones.
    y : (n,)
        Targets as the loss takes them: real, labels ±1, or counts.
    betas : (k,), optional
        Positive, in any order; trained in falling order, each value once. By default `n_betas` values from
        β_max, where the optimum is the zero network, to `ratio` · β_max, evenly spaced in log β.
    n_betas : int
    ratio : float
        Between 0 and 1.
    loss : str or SeparableLoss
        A name or an object of `convexnn.losses`.
    sample_weight : (n,), optional
        Weights ω ≥ 0 of the rows in L; 1 by default.
    intercept, feature_penalty, negative_slope
        As in `train`.
    tol : float
        Relative gap at which to stop, at every β.
    max_time : float, optional
        Seconds for the whole path. The β under way is then cut short and comes back too, with its certificate
        and `Status.TIME_LIMIT`; the β after it are missing.
    seed : int
        Same inputs and seed, same result.
    certificate : {"auto", "exact", "bounded", "estimated"}
        As in `train`.
    progress : callable, optional
        Receives a dict for each β: seconds, beta, primal, bound, relative_gap, kind, neurons, status.

    Returns
    -------
    PathResult
        Also on Ctrl-C: the points so far, with the one under way where it has a certificate.

    Raises
    ------
    ValueError
        If the data, the betas, loss, weights, tol or limits are not valid.

    Examples
    --------
    >>> from convexnn import path
    >>> from convexnn.data import five_points
    >>> data = five_points()
    >>> result = path(data.X, data.y, betas=[2.0, 0.5, 0.1])
    >>> bool((result.objectives[1:] < result.objectives[:-1]).all())
    True
    """
    begin = perf_counter()
    if max_time is not None and not max_time > 0:
        raise ValueError(f"max_time must be a positive number of seconds; it is {max_time!r}.")
    X, y, _ = check_problem(X, y, 1.0, loss, any_loss=True)
    points: list[tuple[float, TrainResult, float]] = []
    status: Status | None = None
    try:
        if betas is None:
            options: dict[str, Any] = {
                "intercept": intercept, "feature_penalty": feature_penalty, "negative_slope": negative_slope,
            }  # fmt: skip
            wanted = default_betas(X, y, n_betas, ratio, loss, seed, sample_weight, **options)
        else:
            wanted = checked_betas(betas)
        for beta in wanted:
            start = perf_counter()
            left = None if max_time is None else max_time - (start - begin)
            if left is not None and left <= 0 and points:
                status = Status.TIME_LIMIT
                break
            result = train(
                X, y, float(beta), loss=loss, sample_weight=sample_weight, tol=tol, seed=seed,
                certificate=certificate, intercept=intercept, feature_penalty=feature_penalty,
                max_time=None if left is None else max(left, 1e-3), warm_start=_warm(points),
                negative_slope=negative_slope,
            )  # fmt: skip
            points.append((float(beta), result, perf_counter() - start))
            if progress is not None:
                progress(_row(points[-1], perf_counter() - begin))
            if result.status in (Status.TIME_LIMIT, Status.INTERRUPTED):
                status = result.status
                break
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return PathResult(
        np.array([beta for beta, _, _ in points]),
        tuple(result.network for _, result, _ in points),
        tuple(result.certificate for _, result, _ in points),
        tuple(result.status for _, result, _ in points),
        np.array([seconds for _, _, seconds in points]),
        status or _worst([result.status for _, result, _ in points]),
    )


def _worst(statuses: list[Status]) -> Status:
    """The first that is not a success, else `CONVERGED`."""
    return next((s for s in statuses if s not in (Status.CONVERGED, Status.ZERO)), Status.CONVERGED)


def default_betas(
    X: Array,
    y: Array,
    n_betas: int,
    ratio: float,
    loss: LossLike,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    intercept: bool = False,
    feature_penalty: ArrayLike | None = None,
    negative_slope: float = 0.0,
) -> Array:
    """β_max · ratio^{k/(n_betas − 1)}, k = 0 … n_betas − 1; from 1 down where β_max is 0.

    Raises
    ------
    ValueError
        If n_betas < 1 or ratio is not between 0 and 1.
    """
    if n_betas < 1:
        raise ValueError(f"n_betas must be at least 1; it is {n_betas!r}.")
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must be between 0 and 1; it is {ratio!r}.")
    top = beta_max(
        X, y, loss, sample_weight=sample_weight, seed=seed, intercept=intercept,
        feature_penalty=feature_penalty, negative_slope=negative_slope,
    )  # fmt: skip
    top = top if top > 0 else 1.0
    return np.geomspace(top, ratio * top, n_betas)


def checked_betas(betas: ArrayLike) -> Array:
    """Distinct values in falling order; ValueError unless all are positive and finite."""
    values = np.asarray(betas, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"betas must be a list of numbers, not empty; its shape is {values.shape}.")
    if not (np.isfinite(values).all() and np.all(values > 0)):
        raise ValueError("betas must be positive and finite.")
    return np.asarray(np.unique(values)[::-1])


def _warm(points: list[tuple[float, TrainResult, float]]) -> Network | None:
    """The last network, unless it is zero: then a short run of Adam starts better."""
    if not points or not points[-1][1].network.n_neurons:
        return None
    return points[-1][1].network


def _row(point: tuple[float, TrainResult, float], seconds: float) -> dict[str, object]:
    beta, result, _ = point
    c = result.certificate
    return {
        "seconds": seconds, "beta": beta, "primal": c.primal, "bound": c.lower_bound,
        "relative_gap": c.relative_gap, "kind": c.kind, "neurons": result.network.n_neurons,
        "status": result.status,
    }  # fmt: skip
