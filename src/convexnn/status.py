"""Why a run ended, as sentences."""

from enum import Enum


class Status(Enum):
    """The reason a solver or a training run stopped; ``str(status)`` is a sentence."""

    CONVERGED = "The relative gap reached the tolerance."
    UNPROVEN = "The estimated gap reached the tolerance; the proven gap of the certificate is larger."
    ZERO = "beta is at or above beta_max: no neuron pays for its penalty, as far as the certificate tells."
    ZERO_HERE = "beta is at or above the beta_max of these patterns: zero is best among their networks."
    TIME_LIMIT = "The time limit was reached: this is the best point so far."
    ITERATION_LIMIT = "The iteration limit was reached: this is the best point so far."
    WIDTH_LIMIT = "The width limit cut neurons that the optimum needs: the certificate shows the cost."
    INTERRUPTED = "The run was interrupted: this is the best point so far."
    STALLED = "No further progress was possible in floating point: this is the best point so far."
    FAILED = "The solver reported a failure: the point may be far from optimal."

    def __str__(self) -> str:
        return self.value
