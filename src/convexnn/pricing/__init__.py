"""ρ(ν) = max over the unit ball of νᵀ(Xu)_+, on which every certificate rests."""

from convexnn.pricing.local import Maxima, beta_max, climb, fresh_starts, rho_estimate

__all__ = ["Maxima", "beta_max", "climb", "fresh_starts", "rho_estimate"]
