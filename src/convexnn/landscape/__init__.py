r"""The landscape of problem (1): its global optima, its stationary points and the paths between them.

    P(θ) = L(Σ_j (X u_j)_+ α_j, y) + (β/2) Σ_j (‖u_j‖² + α_j²)

* `optimal_set`: all optima over a pattern set, a polytope; `vertices`, `sample_optima`, `optimal_network`.
* `split`, `permute`, `prune`, `is_minimal`: networks of one function.
* `stationarity`, `is_stationary`, `refine`, `own_program`: Clarke stationary points.
* `path_to_optimum`: a way down from any wide network.

Source: Wang, Lacotte & Pilanci (ICLR 2022); Mishkin & Pilanci (ICML 2023).
"""

from convexnn.landscape.neurons import is_minimal, permute, prune, split
from convexnn.landscape.optima import OptimalSet, optimal_network, optimal_set, sample_optima, vertices
from convexnn.landscape.path import ObjectivePath, path_to_optimum
from convexnn.landscape.stationary import is_stationary, own_program, refine, stationarity

__all__ = [
    "ObjectivePath",
    "OptimalSet",
    "is_minimal",
    "is_stationary",
    "optimal_network",
    "optimal_set",
    "own_program",
    "path_to_optimum",
    "permute",
    "prune",
    "refine",
    "sample_optima",
    "split",
    "stationarity",
    "vertices",
]
