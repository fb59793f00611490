"""What every convolutional `train_*` function returns."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from convexnn._types import Array
from convexnn.certificate import Certificate
from convexnn.status import Status


class _Weights(Protocol):
    """A convolutional network: its filters and what comes after them."""

    @property
    def filters(self) -> Array: ...
    @property
    def outputs(self) -> Array: ...


N = TypeVar("N", bound=_Weights)


@dataclass(frozen=True)
class ConvolutionResult(Generic[N]):
    """A trained convolutional network and its distance from the optimum.

    Attributes
    ----------
    network : SeparableCNN, LinearCNN, CircularCNN or PooledCNN
        Real filters and output weights.
    objective : float
        Of the non-convex training problem, recomputed from the filters.
    program_value : float
        Of the convex program at the point that the filters were made from: equal up to rounding.
    certificate : Certificate
        Lower bound, gap and kind.
    history : list of dict
        Rows with the keys seconds, iteration, primal, bound.
    status : Status
        Why training ended.
    """

    network: N
    objective: float
    program_value: float
    certificate: Certificate
    history: list[dict[str, Any]]
    status: Status

    @property
    def filters(self) -> Array:
        """The filters of the network, one a column."""
        return self.network.filters

    @property
    def outputs(self) -> Array:
        """The output weights of the network, one row (or number) for each filter."""
        return self.network.outputs


def zero_result(network: N, value: float, certificate: Certificate, begin: float) -> ConvolutionResult[N]:
    """The zero network, of objective `value`, at β ≥ β_max; `begin` is when the run started."""
    row = {
        "seconds": perf_counter() - begin,
        "iteration": 0,
        "primal": value,
        "bound": certificate.lower_bound,
    }
    return ConvolutionResult(network, value, value, certificate, [row], Status.ZERO)
