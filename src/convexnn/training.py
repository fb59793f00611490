"""Training (being written)."""

from dataclasses import dataclass
from typing import Any

from convexnn.certificate import Certificate
from convexnn.network import Network
from convexnn.status import Status


@dataclass(frozen=True)
class TrainResult:
    """network, certificate, history (dicts: seconds, iteration, primal, bound, neurons), status."""

    network: Network
    certificate: Certificate
    history: list[dict[str, Any]]
    status: Status
