"""ρ(ν) = max over the unit ball of νᵀ(Xu)_+, on which every certificate rests."""

from convexnn.pricing.local import Maxima, climb, fresh_starts, rho_estimate
from convexnn.pricing.zero import beta_max

__all__ = ["Maxima", "beta_max", "climb", "fresh_starts", "rho_estimate"]
