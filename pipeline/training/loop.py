"""The training loop: epochs of steps, interrupted after any of them and resumed.

Everything random is drawn from (run seed, epoch, step), nothing from what went before. So a
training that was interrupted and resumed ends bit for bit where an unbroken one ends, on a device
of the same kind with the same libraries and number of threads.

What is trained is a ``Stepper``'s business: a network (``trainer``), or weights that many
children share (``shared_weights``).
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainingConfig
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.training.checkpoint import State, check_numbers, check_progress, must_fit
from pipeline.training.device import reads_loss
from pipeline.training.feeding import steps_per_epoch
from pipeline.training.group import ALONE, Group
from pipeline.training.hooks import EpochResult, Hooks
from pipeline.training.problem import Batch, BatchFeed, Metrics, Problem

Judge = Callable[[Sequence[float]], bool]  # of accuracies so far: whether to stop here


class Position(NamedTuple):
    """The place of a step: complete epochs before it, and complete steps of its own epoch."""

    epoch: int
    step: int


class Stepper(Protocol):
    """What is trained, and how one step of it goes."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    skippable: float
    """The share of an epoch's steps whose loss may not be finite; they move no weight."""

    @property
    def scored(self) -> nn.Module | None:
        """The network that is evaluated after each epoch; None: none is."""

    def begin_epoch(self) -> None:
        """Let modules know that training follows."""

    def step(self, batch: Batch, position: Position) -> tuple[Tensor, Tensor]:
        """Take one step; returns the mean loss and how many images were right, of all processes.

        What is random in it is seeded by its position.
        """

    def learning_rate(self, position: Position) -> float:
        """The learning rate of the step at a position, once all before it are done."""

    def state_dict(self) -> State:
        """Weights and all that moves them; random numbers follow from the position."""

    def load_state_dict(self, state: State) -> None:
        """Take over what ``state_dict`` gave."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a training is; part of a checkpoint."""

    epoch: int  # complete ones
    step: int = 0  # complete ones of the next epoch
    loss_sum: float = 0.0  # of the next epoch, over images
    correct: int = 0
    images: int = 0  # of its steps whose loss was finite
    skipped: int = 0  # of its steps: those whose loss was not
    seconds: float = 0.0  # spent on the next epoch so far
    waited: float = 0.0  # of them for data
    accuracies: list[float] = dataclasses.field(default_factory=list)


# What files of release 0.1 say of a training's progress, and of a pass's.
_TRAINING_0_1 = {"epoch", "step", "loss_sum", "correct", "seconds", "waited", "accuracies"}
_PASS_0_1 = {"step", "loss_sum", "correct", "images", "skipped", "seconds"}


class Loop:
    """One training on its way."""

    def __init__(
        self,
        stepper: Stepper,
        problem: Problem,
        feed: BatchFeed,
        config: TrainingConfig,
        epochs: range,
        device: torch.device,
        hooks: Hooks,
        group: Group = ALONE,
    ) -> None:
        self.stepper = stepper
        self.problem = problem
        self.feed = feed
        self.config = config
        self.epochs = epochs
        self.device = device
        self.hooks = hooks
        self.group = group
        self.steps = steps_per_epoch(feed.images, config)
        self.progress = Progress(epoch=epochs.start)
        self.images_trained = 0  # by this object
        self.images_scored = 0
        self.metrics: Metrics = {}  # of the last epoch that this object scored
        self._saved_at = time.monotonic()
        self._unread: list[tuple[int, int, Tensor, Tensor]] = []  # step, images, loss, correct

    def run(self, resume: State | None, is_hopeless: Judge | None = None) -> None:
        """Train to the end, or until hopeless.

        Raises:
            ChildError: too many losses were not finite.
            CorruptCheckpointError: ``resume`` does not fit; the network may hold parts of it.
            Whatever a hook raises; on LeaseReturnedError a checkpoint comes first.
        """
        resume = self.group.share(resume)
        if resume is not None:
            self.load_state_dict(resume)
        progress = self.progress
        while progress.epoch < self.epochs.stop:
            self._run_epoch()
            if progress.epoch == self.epochs.stop:
                break
            if self.group.share(is_hopeless is not None and is_hopeless(progress.accuracies)):
                break
            if self._checkpoint_is_due():
                self._save()

    @property
    def images_per_epoch(self) -> int:
        """Images of all steps of an epoch."""
        return self._images_of(self.steps)

    def _images_of(self, steps: int) -> int:
        return min(steps * self.config.batch_size, self.feed.images)

    def _run_epoch(self) -> None:
        progress = self.progress
        started = time.monotonic() - progress.seconds
        waited = progress.waited - self.feed.waited
        self.stepper.begin_epoch()
        for batch in self.feed.train(progress.epoch, progress.step):
            loss, correct = self.stepper.step(batch, Position(progress.epoch, progress.step))
            images = self._images_of(progress.step + 1) - self._images_of(progress.step)
            self._unread.append((progress.step + 1, images, loss, correct))
            progress.step += 1
            self.images_trained += images
            if reads_loss(self.device, progress.step):
                self._read_losses()
            progress.seconds = time.monotonic() - started
            progress.waited = waited + self.feed.waited
            self._tell_step(images)
        self._read_losses()
        self._end_epoch(started, waited)

    def _tell_step(self, images: int) -> None:
        """Let the hook speak; save when a checkpoint is due."""
        with self._saving_when_returned():
            self.hooks.on_step(images)
        if self.progress.step < self.steps and self._checkpoint_is_due():
            self._save()

    @contextlib.contextmanager
    def _saving_when_returned(self) -> Iterator[None]:
        """Save before a run is given back."""
        try:
            yield
        except LeaseReturnedError:
            self._save()
            raise

    def _read_losses(self) -> None:
        """Add up what the device has computed; stop where too many losses are not finite.

        One by one, so that the sum does not depend on how often it is looked at.
        """
        progress = self.progress
        for step, images, loss, correct in self._unread:
            value = loss.item()
            if not math.isfinite(value):
                self._skip(value, step)
                continue
            progress.loss_sum += value * images
            progress.correct += int(correct.item())
            progress.images += images
        self._unread.clear()

    def _skip(self, loss: float, step: int) -> None:
        """Count a step whose loss is not finite.

        Raises:
            ChildError: there were too many of them, of class diverged.
        """
        progress, skippable = self.progress, self.stepper.skippable
        progress.skipped += 1
        if progress.skipped <= skippable * self.steps:
            return
        message = f"the loss is {loss} in epoch {progress.epoch + 1}, step {step} of {self.steps}"
        if skippable:
            message += f", of which {skippable:.0%} may be so; {progress.skipped} are"
        raise ChildError(Failure.DIVERGED, message)

    def measure(self, batches: Iterator[Batch]) -> Metrics | None:
        """The metrics on some images; None where nothing is scored.

        Of several processes the first alone scores; the others get zeros.
        """
        if self.stepper.scored is None:
            return None
        if self.group.rank:
            return {metric.name: 0.0 for metric in self.problem.metrics}
        scored, on_batch = self.stepper.scored, self.hooks.on_scored
        with self._saving_when_returned():
            return self.problem.measure(scored, batches, self.device, on_batch)

    def _end_epoch(self, started: float, waited: float) -> None:
        progress = self.progress
        metrics = self.measure(self.feed.validation(progress.epoch))
        accuracy = None if metrics is None else metrics["accuracy"]
        scored = 0 if metrics is None else self.feed.validation_images
        images = max(1, progress.images)
        result = EpochResult(
            epoch=progress.epoch + 1,
            loss=progress.loss_sum / images,
            train_accuracy=progress.correct / images,
            accuracy=accuracy,
            learning_rate=self.stepper.learning_rate(Position(progress.epoch, progress.step)),
            seconds=time.monotonic() - started,
            waited=waited + self.feed.waited,
            images_trained=self.images_per_epoch,
            images_scored=scored,
        )
        self.images_scored += scored
        if metrics is not None:
            self.metrics = metrics
            progress.accuracies.append(metrics["accuracy"])
        progress.epoch += 1
        progress.step, progress.loss_sum, progress.correct = 0, 0.0, 0
        progress.images, progress.skipped = 0, 0
        progress.seconds, progress.waited = 0.0, 0.0
        self.hooks.on_epoch(result)

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.config.checkpoint_seconds

    def _save(self) -> None:
        self._read_losses()  # a checkpoint of a diverged training helps nobody
        self.hooks.on_checkpoint(self.state_dict(), self.progress.epoch, self.progress.step)
        self._saved_at = time.monotonic()

    def state_dict(self) -> State:
        """What the stepper holds, and how far it is."""
        return {**self.stepper.state_dict(), "progress": dataclasses.asdict(self.progress)}

    def load_state_dict(self, state: State) -> None:
        """Go on from a checkpoint.

        Raises:
            CorruptCheckpointError: it is another network's, or no state of this training.
        """
        fresh = self.progress
        with must_fit():
            check_numbers(state)
            self.stepper.load_state_dict(state)
            self.progress = Progress(**self._lifted(state["progress"]))
            check_progress(self.progress, fresh)
            self._check_state()

    def _lifted(self, stored: State) -> State:
        """How far a checkpoint is, whatever release wrote it."""
        if set(stored) == _TRAINING_0_1:
            return {**stored, "images": self._images_of(stored["step"]), "skipped": 0}
        if set(stored) == _PASS_0_1:
            return {**stored, "epoch": self.epochs.start, "waited": 0.0, "accuracies": []}
        missing = {field.name for field in dataclasses.fields(Progress)} - set(stored)
        if missing:
            raise ValueError(f"progress without {', '.join(sorted(missing))}")
        return stored

    def _check_state(self) -> None:
        """What neither torch nor a dataclass checks by itself."""
        progress, epochs = self.progress, self.epochs
        for parameter, state in self.stepper.optimizer.state.items():
            momentum = state.get("momentum_buffer")
            if momentum is not None and momentum.shape != parameter.shape:
                raise ValueError("momentum of another shape than its weights")
        within = epochs.start <= progress.epoch <= epochs.stop
        if not (within and 0 <= progress.step <= self.steps):
            raise ValueError(f"epoch {progress.epoch}, step {progress.step} is not of this run")
        complete = progress.epoch - epochs.start
        if [type(accuracy) for accuracy in progress.accuracies] != [float] * complete:
            raise ValueError(f"accuracies {progress.accuracies}, {complete} epochs")
