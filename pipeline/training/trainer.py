"""The training loop: a network in, validation accuracies out; knows neither rows nor leases.

Everything random is drawn from (run seed, epoch, step), nothing from what went before: a
training that is interrupted after any step and resumed ends bit for bit where an unbroken one
ends (law 9), on a device of the same kind with the same libraries and number of threads.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config.search import TrainingConfig
from pipeline.data.datasets import ImageData
from pipeline.data.image_files import ImageFiles
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.networks.transfer import head_names
from pipeline.spaces.cells.network import CellNetwork, Heads
from pipeline.training.checkpoint import CorruptCheckpointError, check_numbers, check_progress
from pipeline.training.evaluation import autocast, evaluate
from pipeline.training.feeding import Batch, Feed, make_feed, steps_per_epoch
from pipeline.training.group import ALONE, Group
from pipeline.training.hooks import EpochResult, Hooks, TrainingResult
from pipeline.training.optimization import (
    freeze_body,
    make_average,
    make_optimizer,
    make_schedule,
)
from pipeline.training.seeds import seed_for

# The loss is looked at after so many steps on CUDA, where looking waits for the device.
CUDA_LOSS_CHECK = 50
# How the libraries word an allocation that failed; cuDNN and cuBLAS name a status.
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "out of memory", "STATUS_ALLOC_FAILED")


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a training is."""

    epoch: int  # complete ones
    step: int  # complete ones of the next epoch
    loss_sum: float  # of the next epoch, over images
    correct: int
    seconds: float  # spent on the next epoch so far
    waited: float  # of them for data
    accuracies: list[float]


def train(
    network: nn.Module,
    data: ImageData | ImageFiles,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    resume: dict[str, Any] | None,
    hooks: Hooks,
    test: bool = False,
    loaders: int = 0,
    group: Group = ALONE,
    is_hopeless: Callable[[Sequence[float]], bool] | None = None,
) -> TrainingResult:
    """Train a network from its initial weights, or from a checkpoint's.

    Args:
        test: whether to look at the test images, once, at the end.
        loaders: processes that decode image files ahead; changes no result.
        group: the processes that train this network together.
        is_hopeless: asked after each epoch but the last, with all accuracies so far; the
            training ends there if it is. In a group only the first process's is.

    The weights it comes with are the caller's to seed. Changes the process: its number of torch
    threads (a different number would be another result), torch's global random state, and on
    CUDA the choice of deterministic convolutions. Takes ``resume``'s tensors over.

    Raises:
        ChildError: the loss is not finite, or memory does not suffice.
        CorruptCheckpointError: ``resume`` does not fit; the network may hold parts of it.
        Whatever a hook raises; on LeaseReturnedError from ``on_step`` a checkpoint comes first.
    """
    torch.set_num_threads(config.threads)
    if device.type == "cuda":  # else cuDNN picks by timing, and adds in any order
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    with out_of_memory_is_an_answer():
        feed = make_feed(
            data,
            config,
            seed=seed,
            device=device,
            share=(group.rank, group.size),
            loaders=loaders,
        )
        training = Training(network, feed, config, seed, device, hooks, group)
        return training.run(resume, test=test, is_hopeless=is_hopeless)


class Training:
    """One training on its way."""

    def __init__(
        self,
        network: nn.Module,
        feed: Feed,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        hooks: Hooks,
        group: Group,
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        if config.freeze:
            freeze_body(self.network)
        # kept, since walking the modules of a small child costs a hundredth of its step
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.config = config
        self.seed = seed
        self.device = device
        self.hooks = hooks
        self.group = group
        self.feed = feed
        self.optimizer = make_optimizer(network, config)
        self.steps = steps_per_epoch(feed.images, config)
        self.schedule = make_schedule(self.optimizer, config, self.steps)
        self.average = make_average(self.network, config)
        # what gives gradients: with several processes their mean
        self.heads = group.wrap(_TrainingHeads(self.network), device)
        self.progress = Progress(
            epoch=0, step=0, loss_sum=0.0, correct=0, seconds=0.0, waited=0.0, accuracies=[]
        )
        self.images_trained = 0  # by this object
        self.images_scored = 0
        self.saved_at = time.monotonic()
        self._unread: list[tuple[int, int, Tensor, Tensor]] = []  # step, images, loss, correct

    @property
    def scored(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return self.network if self.average is None else self.average.module

    def run(
        self,
        resume: dict[str, Any] | None,
        *,
        test: bool,
        is_hopeless: Callable[[Sequence[float]], bool] | None,
    ) -> TrainingResult:
        """Train to the end, or until hopeless; look at the test images then, if asked to."""
        resume = self.group.share(resume)
        if resume is not None:
            self.load_state_dict(resume)
        progress = self.progress
        while progress.epoch < self.config.epochs:
            self._run_epoch()
            if progress.epoch == self.config.epochs:
                break
            if self.group.share(is_hopeless is not None and is_hopeless(progress.accuracies)):
                break
            if self._checkpoint_is_due():
                self._save()
        return TrainingResult(
            accuracies=progress.accuracies,
            images_trained=progress.epoch * self._images_per_epoch(),
            images_scored=progress.epoch * self.feed.validation_images,
            images_trained_here=self.images_trained,
            images_scored_here=self.images_scored,
            stopped=progress.epoch < self.config.epochs,
            waited_here=self.feed.waited,
            weights=self.scored.state_dict(),
            test_accuracy=self._score(self.feed.test()) if test else None,
        )

    def _images_per_epoch(self) -> int:
        return min(self.steps * self.config.batch_size, self.feed.images)

    def _run_epoch(self) -> None:
        progress = self.progress
        started = time.monotonic() - progress.seconds
        waited = progress.waited - self.feed.waited
        self._begin_training()
        for batch in self.feed.train(progress.epoch, progress.step):
            loss, correct = self._step(batch)
            images = min(self.config.batch_size, self.feed.images - self._images_before())
            self._unread.append((progress.step + 1, images, loss, correct))
            progress.step += 1
            self.images_trained += images
            if self.device.type == "cpu" or progress.step % CUDA_LOSS_CHECK == 0:
                self._read_losses()
            progress.seconds = time.monotonic() - started
            progress.waited = waited + self.feed.waited
            self._tell_step(images)
        self._read_losses()
        self._end_epoch(started, waited)

    def _images_before(self) -> int:
        return self.progress.step * self.config.batch_size

    def _begin_training(self) -> None:
        """What is frozen stays as in evaluation, its batch norms' statistics too."""
        self.network.train(not self.config.freeze)
        if self.config.freeze:
            for name in head_names(self.network):
                self.network.get_submodule(name).train()

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One step on some images; returns its mean loss and how many were right."""
        images, labels = batch
        self._seed_network()
        done = self.share_done()
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device):
            logits, auxiliary = self.heads(images, done)
            loss = self._loss(logits, labels)
            if auxiliary is not None:
                loss = loss + self.config.auxiliary_weight * self._loss(auxiliary, labels)
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip, foreach=True)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        correct = (logits.detach().argmax(1) == labels).sum()
        return self.group.mean(loss.detach()), self.group.total(correct)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)

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
        """Add up what the device has computed; stop at once where a loss is not finite.

        One by one, so that the sum does not depend on how often it is looked at.
        """
        progress = self.progress
        for step, images, loss, correct in self._unread:
            value = loss.item()
            if not math.isfinite(value):
                place = f"epoch {progress.epoch + 1}, step {step} of {self.steps}"
                raise ChildError(Failure.DIVERGED, f"the loss is {value} in {place}")
            progress.loss_sum += value * images
            progress.correct += int(correct.item())
        self._unread.clear()

    def _score(self, batches: Iterator[Batch]) -> float:
        """The accuracy on some images, the first process's; the others take part in nothing."""
        if self.group.rank:
            return 0.0
        with self._saving_when_returned():
            return evaluate(self.scored, batches, self.device, self.hooks.on_scored)

    def _end_epoch(self, started: float, waited: float) -> None:
        progress = self.progress
        images, scored = self._images_per_epoch(), self.feed.validation_images
        accuracy = self._score(self.feed.validation(progress.epoch))
        result = EpochResult(
            epoch=progress.epoch + 1,
            loss=progress.loss_sum / images,
            train_accuracy=progress.correct / images,
            accuracy=accuracy,
            learning_rate=self.learning_rate,
            seconds=time.monotonic() - started,
            waited=waited + self.feed.waited,
            images_trained=images,
            images_scored=scored,
        )
        self.images_scored += scored
        progress.accuracies.append(accuracy)
        progress.epoch += 1
        progress.step, progress.loss_sum, progress.correct = 0, 0.0, 0
        progress.seconds, progress.waited = 0.0, 0.0
        self.hooks.on_epoch(result)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def share_done(self) -> float:
        """The share (0 to 1) of all steps that come before the next."""
        done = self.progress.epoch * self.steps + self.progress.step
        return done / (self.config.epochs * self.steps)

    def _seed_network(self) -> None:
        """Seed what is random in the network itself: dropout, drop-path.

        Not by torch.manual_seed, which formats a stack trace for each device it may start later:
        0.1 ms, and more the deeper the caller.
        """
        progress, rank = self.progress, self.group.rank
        number = seed_for("network", self.seed, progress.epoch, progress.step, rank)
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(number)

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.config.checkpoint_seconds

    def _save(self) -> None:
        self._read_losses()  # a checkpoint of a diverged training helps nobody
        self.hooks.on_checkpoint(self.state_dict(), self.progress.epoch, self.progress.step)
        self.saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Weights, momentum and how far the training is; random numbers follow from that."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "progress": dataclasses.asdict(self.progress),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            CorruptCheckpointError: it is another network's, or another release's.
        """
        fresh = self.progress
        try:
            check_numbers(state)
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.progress = Progress(**state["progress"])
            check_progress(self.progress, fresh)
            self._check_state()
        except (AttributeError, KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CorruptCheckpointError(f"does not fit: {reason}") from error

    def _check_state(self) -> None:
        """What neither torch nor a dataclass checks by itself."""
        progress = self.progress
        for parameter, state in self.optimizer.state.items():
            momentum = state.get("momentum_buffer")
            if momentum is not None and momentum.shape != parameter.shape:
                raise ValueError("momentum of another shape than its weights")
        if not (0 <= progress.epoch <= self.config.epochs and 0 <= progress.step <= self.steps):
            raise ValueError(f"epoch {progress.epoch}, step {progress.step} is not of this run")
        if [type(accuracy) for accuracy in progress.accuracies] != [float] * progress.epoch:
            raise ValueError(f"accuracies {progress.accuracies}, {progress.epoch} epochs")


class _TrainingHeads(nn.Module):
    """A network's two heads as one module's forward, which is what is trained in parallel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, done: float) -> Heads:
        """What the network says; ours also hears how far its training is."""
        if isinstance(self.network, CellNetwork):
            return self.network.heads(images, done)
        return Heads(self.network(images), None)


@contextlib.contextmanager
def out_of_memory_is_an_answer() -> Iterator[None]:
    """Raise every way of running out of memory as the child's failure.

    Raises:
        ChildError: of class oom.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(phrase in str(error) for phrase in OUT_OF_MEMORY):
            raise
        raise ChildError(Failure.OOM, str(error) or "out of memory") from error
