"""What a training tells while it runs and when it ends, and who hears it."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pipeline.training.checkpoint import State
from pipeline.training.problem import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch was like; of all its steps, also those taken before an interruption."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's images
    train_accuracy: float  # 0 to 1, while it trained, augmented
    accuracy: float | None  # 0 to 1, on the validation images, after it; of a child alone
    learning_rate: float  # when it ended: of the step that follows
    seconds: float
    waited: float  # seconds of them spent waiting for data
    images_trained: int
    images_scored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a training that ended well gives."""

    accuracies: list[float]  # 0 to 1, on the validation images, an epoch each
    images_trained: int  # that the result stands on, whoever trained them
    images_scored: int
    images_trained_here: int  # by this call alone, since it resumed
    images_scored_here: int
    stopped: bool  # before its last epoch, since it was hopeless
    waited_here: float  # seconds this call spent waiting for data
    weights: dict[str, Tensor]  # those that were scored: the moving average's, if there is one
    metrics: Metrics  # on the validation images, after the last epoch; empty if not scored here
    test_metrics: Metrics | None  # None where the test images were not to be touched


class Hooks(Protocol):
    """What happens beside a training; any of them may raise to end it."""

    def on_step(self, images: int) -> None:
        """A step over this number of images was taken."""

    def on_scored(self) -> None:
        """A batch was scored."""

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch has ended."""

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        """A state to go on from, after ``epoch`` epochs and ``step`` steps of the next one.

        Its tensors are the training's own and change with the next step: write, do not keep.
        """


class NoHooks:
    """Hooks that hear nothing: of a training that nobody follows."""

    def on_step(self, images: int) -> None:
        """See ``Hooks``."""

    def on_scored(self) -> None:
        """See ``Hooks``."""

    def on_epoch(self, result: EpochResult) -> None:
        """See ``Hooks``."""

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        """See ``Hooks``."""
