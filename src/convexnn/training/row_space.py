r"""Training with more columns than rows, in the space that the rows span.

Let X = X V Vᵀ with orthonormal V (d×n). Neurons outside the span of V pay for a part that no sample sees, so
problem (1) on X and on XV (n×n) have the same optimum and the same dual points; U = V U' maps a network back.
"""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from convexnn._types import Array
from convexnn.certificate import CertificateKind, certify
from convexnn.losses import LossLike
from convexnn.status import Status

#: Share of the tolerance for training where a proof, which costs some of the gap, comes after.
_SHARE = 0.6
#: Up to this rank `certify` proves its bound unasked.
_CHEAP_RANK = 12


def row_basis(X: Array) -> Array:
    """Orthonormal V (d×n, n ≤ d) with X = XVVᵀ, each row up to rounding of its own length; principal axes.

    The QR factorisation of Xᵀ keeps short rows beside long ones; the SVD alone loses them.
    """
    Q, R = np.linalg.qr(X.T)
    return np.asarray(Q @ np.linalg.svd(R.T)[2].T)


def train_in_row_space(
    train: Callable[..., Any], X: Array, y: Array, beta: float, loss: LossLike, **options: Any
) -> Any:
    """What ``train(X V, y, …)`` finds, on the columns of X; a proof is made on X itself."""
    begin = perf_counter()
    kind: CertificateKind = options.pop("certificate")
    is_proof = kind in ("exact", "bounded") or (kind == "auto" and len(X) <= _CHEAP_RANK)
    tol = options.pop("tol")
    V = row_basis(X)
    warm_start = options.pop("warm_start")
    if warm_start is not None:
        warm_start = replace(warm_start, U=V.T @ warm_start.U)
    result = train(X @ V, y, beta, loss, tol=_SHARE * tol if is_proof else tol, warm_start=warm_start,
                   certificate="estimated", **options)  # fmt: skip
    network = replace(result.network, U=V @ result.network.U)
    found = result.certificate
    if is_proof:
        left = options["max_time"] and max(2.0, options["max_time"] - (perf_counter() - begin))
        data, rest = (network, X, y, beta, loss), {key: options[key] for key in ("seed", "intercept")}
        try:
            proof = certify(*data, left, nu=found.nu, certificate=kind, **rest)
        except KeyboardInterrupt:
            proof = certify(*data, nu=found.nu, certificate="estimated", starts=1, **rest)
        is_short = result.status is Status.CONVERGED and proof.relative_gap > tol
        status = Status.UNPROVEN if is_short else result.status
        return replace(result, network=network, certificate=proof, status=status)
    primal = network.objective(X, y, beta, loss)
    gap = primal - found.lower_bound
    relative = gap / primal if primal > 0 else 0.0
    certificate = replace(found, primal=primal, gap=gap, relative_gap=relative)
    return replace(result, network=network, certificate=certificate)
