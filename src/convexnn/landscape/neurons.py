r"""Networks of one function on the data: splitting, permuting and pruning neurons.

A balanced network is f = Σ_k a_k c_k with a_k = ‖u_k‖|α_k| ≥ 0 and c_k = sign(α_k) (X u_k/‖u_k‖)_+, and its
penalty is β Σ a_k. So a linear dependence of the columns c_k moves mass between neurons at no change of f.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from convexnn._types import Array, IntArray
from convexnn.activation import activate
from convexnn.network import Network
from convexnn.patterns import KINK

#: Columns of length one count as dependent when a singular value is at or below this part of the largest.
DEPENDENT = 1e-10


class Parts(NamedTuple):
    """A balanced network as masses on unit directions; zero neurons are left out."""

    directions: Array  # (d, m), unit columns
    signs: Array  # (m,), ±1
    masses: Array  # (m,), ‖u‖|α|
    negative_slope: float = 0.0


def take_apart(network: Network) -> Parts:
    """Directions, signs and masses of the balanced network; raises ValueError for several outputs."""
    if network.alpha.ndim != 1:
        raise ValueError(f"This is defined for one output; the network has {network.alpha.shape[1]}.")
    net = network.balanced()
    length = np.linalg.norm(net.U, axis=0)
    return Parts(net.U / length, np.sign(net.alpha), length * np.abs(net.alpha), net.negative_slope)


def put_together(parts: Parts, masses: Array) -> Network:
    """The balanced network of other masses on the same directions; a mass of 0 gives a zero neuron."""
    root = np.sqrt(masses)
    return Network(parts.directions * root, parts.signs * root, negative_slope=parts.negative_slope)


def columns_of(parts: Parts, X: Array) -> Array:
    """c_k = sign(α_k) (X u_k/‖u_k‖)_+, of shape (n, m)."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != parts.directions.shape[0]:
        raise ValueError(f"X must be n×{parts.directions.shape[0]} for this network; its shape is {X.shape}.")
    return np.asarray(activate(X @ parts.directions, parts.negative_slope) * parts.signs)


def null_space(A: Array, tol: float) -> Array:
    """An orthonormal basis of {b : A b = 0}, singular values ≤ tol·(largest) counting as 0."""
    if not A.shape[1]:
        return np.zeros((0, 0))
    _, s, Vt = np.linalg.svd(A, full_matrices=True)
    rank = int((s > tol * s[0]).sum()) if s.size and s[0] > 0 else 0
    return np.ascontiguousarray(Vt[rank:].T)


def reduction(columns: Array, masses: Array, tol: float = DEPENDENT) -> list[Array]:
    """Masses after each step a ← a − tδ with Σ δ_k c_k = 0, Σ δ_k ≥ 0, t = min{a_k/δ_k : δ_k > 0}.

    Starts with `masses` and ends where the columns of positive mass are independent. Σ a_k c_k is kept, Σ a_k
    never rises. With b_k = δ_k/a_k this is w_k ← w_k(1 − b_k/b_{k*}), k* = argmax b_k.
    """
    masses = np.array(masses, dtype=np.float64)
    states = [masses.copy()]
    while True:
        active = np.flatnonzero(masses > 0)
        size = np.linalg.norm(columns[:, active], axis=0)
        size = np.where(size > 0, size, 1.0)
        basis = null_space(columns[:, active] / size, tol)
        if not basis.shape[1]:
            return states
        a = masses[active]
        while basis.shape[1]:
            a, basis = _remove_one(a, basis, size)
            masses[active] = a
            states.append(masses.copy())


def _remove_one(a: Array, basis: Array, size: Array) -> tuple[Array, Array]:
    """Bring one mass to 0 along the null space, and the null space that leaves it at 0."""
    price = basis.T @ (1.0 / size)  # of Σ δ for each basis vector: the steepest descent of the penalty
    steep = np.linalg.norm(price) > 1e-9 * np.linalg.norm(1.0 / size)
    step = basis @ price if steep else basis[:, 0]
    delta = step / size
    if delta.sum() < 0 or not (delta > 0).any():
        delta = -delta
    rising = np.flatnonzero(delta > 1e-12 * np.abs(delta).max())
    ratios = a[rising] / delta[rising]
    k = int(rising[np.argmin(ratios)])
    a = np.maximum(a - ratios.min() * delta, 0.0)
    a[k] = 0.0
    row = basis[k] / np.linalg.norm(basis[k])
    mirror = row.copy()  # the Householder reflection that takes this row to the first coordinate
    mirror[0] += 1.0 if row[0] >= 0 else -1.0
    mirror /= np.linalg.norm(mirror)
    return a, (basis - 2.0 * np.outer(basis @ mirror, mirror))[:, 1:]


def split(network: Network, neuron: int, shares: Sequence[float] | Array) -> Network:
    """Replace (u, α) by (√γ_1 u, √γ_1 α), …, (√γ_k u, √γ_k α), Σ γ = 1: same function, same objective.

    Parameters
    ----------
    network : Network
    neuron : int
        Column of U, from 0.
    shares : (k,)
        The γ, each ≥ 0, adding up to 1 within 1e-9 (then scaled to 1). The pieces take the neuron's place.

    Raises
    ------
    ValueError
        If there is no such neuron, or the shares are not of that kind.

    Source: Wang, Lacotte & Pilanci (2022): splitting and permutation are the only freedom once the convex
    optimum is fixed.
    """
    gamma = np.asarray(shares, dtype=np.float64)
    width = network.U.shape[1]
    if not 0 <= neuron < width:
        raise ValueError(f"There is no neuron {neuron}: the network has {width}, counted from 0.")
    if gamma.ndim != 1 or not gamma.size or not (gamma >= 0).all() or abs(gamma.sum() - 1.0) > 1e-9:
        raise ValueError(f"The shares must be non-negative and add up to 1; they are {gamma.tolist()}.")
    factor = np.ones(width - 1 + len(gamma))
    factor[neuron : neuron + len(gamma)] = np.sqrt(gamma / gamma.sum())
    source = np.r_[0:neuron, np.full(len(gamma), neuron), neuron + 1 : width]
    return replace(network, U=network.U[:, source] * factor, alpha=(network.alpha[source].T * factor).T)


def permute(network: Network, order: Sequence[int] | IntArray) -> Network:
    """Neuron j of the result is neuron order[j]: same function, same objective.

    Raises
    ------
    ValueError
        If `order` is not a permutation of 0 … m − 1.
    """
    chosen = np.asarray(order, dtype=np.int64)
    width = network.U.shape[1]
    if chosen.shape != (width,) or not np.array_equal(np.sort(chosen), np.arange(width)):
        raise ValueError(f"The order must be a permutation of 0 to {width - 1}; it is {chosen.tolist()}.")
    return replace(network, U=network.U[:, chosen], alpha=network.alpha[chosen])


def prune(network: Network, X: Array) -> Network:
    """w_k ← w_k(1 − b_k/b_{k*}) while Σ b_k s_k(X w_k)_+ = 0 has a solution b ≠ 0, k* = argmax b_k.

    The sign of b is that with Σ b_k‖w_k‖ ≥ 0, so the objective never rises, and at a global optimum it stays.
    The result is irreducible: its columns (X u_k)_+ are independent (singular values of the columns of length
    one above 1e-10 of the largest), so at most rank((X u_k)_+) ≤ n neurons remain. It is balanced, and
    f(X) is kept to about 1e-10; f elsewhere may change.

    Parameters
    ----------
    network : Network
        With one output.
    X : (n, d)

    Raises
    ------
    ValueError
        If the network has several outputs, or X other columns.

    Source: Mishkin & Pilanci (2023), the pruning procedure; the choice of sign is ours, for networks that
    are not optima.
    """
    parts = take_apart(network)
    pruned = put_together(parts, reduction(columns_of(parts, X), parts.masses)[-1]).balanced()
    return replace(pruned, intercept=network.intercept)


def is_minimal(network: Network, X: Array, tol: float = 1e-9, kink: float = KINK) -> bool:
    """‖u_j‖ = |α_j| for all j, and no two neurons of one sign with the same sign(X u) ∈ {+, 0, −}^n.

    Neurons with both weights zero are ignored.

    Parameters
    ----------
    network : Network
        With one output.
    X : (n, d)
    tol : float
        |‖u‖ − |α|| ≤ tol·max(‖u‖, |α|) counts as equal.
    kink : float
        |x_iᵀu| ≤ kink·‖x_i‖‖u‖ counts as 0.

    Raises
    ------
    ValueError
        If the network has several outputs, or X other columns.

    Source: Wang, Lacotte & Pilanci (2022), definition of a minimal network.
    """
    if network.alpha.ndim != 1:
        raise ValueError(f"This is defined for one output; the network has {network.alpha.shape[1]}.")
    length, weight = np.linalg.norm(network.U, axis=0), np.abs(network.alpha)
    if (np.abs(length - weight) > tol * np.maximum(length, weight)).any():
        return False
    used = length > 0
    cells = trichotomies(X, network.U[:, used], kink)
    if network.negative_slope == -1.0:  # u and −u are one neuron
        cells = cells * np.sign(np.sin(1.0 + np.arange(len(cells))) @ cells) + 0.0
    keys = np.vstack([cells, np.sign(network.alpha[used])])
    return bool(np.unique(keys, axis=1).shape[1] == keys.shape[1])


def trichotomies(X: Array, U: Array, kink: float) -> Array:
    """sign(XU) ∈ {−1, 0, 1}, of shape (n, m); |x_iᵀu| ≤ kink·‖x_i‖‖u‖ counts as 0."""
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[1] != U.shape[0]:
        raise ValueError(f"X must be n×{U.shape[0]} for this network; its shape is {X.shape}.")
    Z = X @ U
    limit = kink * np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(U, axis=0)
    return np.asarray(np.where(np.abs(Z) <= limit, 0.0, np.sign(Z)))
