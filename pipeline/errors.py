"""Errors this project raises on purpose.

NasnetError
├── UserError              what somebody typed or configured cannot be; one line, exit code 2
│   ├── UnknownKeysError       keys that a configuration does not have (pipeline.io.refused_values)
│   └── InvalidGenotypeError   an architecture that cannot be built, or is not in the search space
├── ChildError             a child's training ended without an accuracy; carries its class
├── MachineError           the machine's fault, not the child's: the lease goes back
│   └── DataChangedError       the images here are not those that a search was made with
├── LeaseLostError         another worker holds the run now: stop, and write nothing
├── CorruptCheckpointError a checkpoint cannot be gone on from (pipeline.training.checkpoint)
├── PolicyStateError       a policy version cannot be read (pipeline.controllers)
└── LeaseReturnedError     the run is to be given back (SIGTERM, pause): checkpoint, then stop
"""

import enum
from typing import Any


class Failure(enum.StrEnum):
    """Why a run or an attempt did not end well, and whether that is an answer by default."""

    OOM = "oom"  # the device or the slot's memory limit was exceeded
    DIVERGED = "diverged"  # the loss is not finite
    INVALID = "invalid"  # the genotype cannot be built at this size
    TIMEOUT = "timeout"  # no training step for longer than allowed
    LOST = "lost"  # the worker died, again and again
    DATA = "data"  # the images could not be read
    ERROR = "error"  # anything else: a fault in the code

    @property
    def is_answer(self) -> bool:
        """Whether the child failed for what it is, so that the failure earns a reward."""
        return self in {Failure.OOM, Failure.DIVERGED, Failure.INVALID, Failure.TIMEOUT}

    @property
    def tries(self) -> int:
        """Attempts in a row, without a newer checkpoint, after which the class is final."""
        return {Failure.LOST: 5, Failure.TIMEOUT: 2, Failure.OOM: 2}.get(self, 1)


class NasnetError(Exception):
    """Base of every error this project raises on purpose."""


class UserError(NasnetError):
    """Something the user gave cannot be used; the message says what, where, and what to do."""


class InvalidGenotypeError(UserError):
    """The architecture breaks a rule of its kind or of the search space; names the block."""


class ChildError(NasnetError):
    """A child's training ended without an accuracy, for the reason in ``failure``."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class MachineError(NasnetError):
    """The machine cannot train now (disk full, data folder missing here, device gone)."""


class DataChangedError(MachineError):
    """The images on this machine are others than a search or a run was made with."""

    def __init__(self, message: str, found: dict[str, Any]) -> None:
        super().__init__(message)
        self.found = found  # pipeline.data.summary.DataSummary, as data


class LeaseLostError(NasnetError):
    """The run was taken away: somebody else holds it, or it has ended."""


class LeaseReturnedError(NasnetError):
    """The run has to be given back to the queue."""
