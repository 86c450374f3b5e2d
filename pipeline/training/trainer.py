"""The training loop: a network in, validation accuracies out; knows neither rows nor leases.

Everything random is drawn from (run seed, epoch, step), nothing from what went before: a
training that is interrupted after any step and resumed ends bit for bit where an unbroken one
ends (law 9), on a device of the same kind with the same libraries and number of threads.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config import TrainingConfig
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.training.augmentation import augment
from pipeline.training.checkpoint import CorruptCheckpointError
from pipeline.training.datasets import ImageData

EVALUATION_BATCH = 250
# The loss is looked at after so many steps on CUDA, where looking waits for the device.
CUDA_LOSS_CHECK = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch was like."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's images
    train_accuracy: float  # while it trained, augmented
    accuracy: float  # on the validation images, after it
    learning_rate: float  # of its last step
    seconds: float
    images_scored: int


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training that ended well gives."""

    accuracies: list[float]  # on the validation images, an epoch each
    images_trained: int  # that the result stands on, whoever trained them
    images_scored: int


class Hooks(Protocol):
    """What happens beside a training; any of them may raise to end it."""

    def on_step(self, images: int) -> None:
        """A step over so many images was taken."""

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch has ended."""

    def on_checkpoint(self, state: dict[str, Any], epoch: int, step: int) -> None:
        """A state to go on from: so many epochs, and steps of the next one, are done."""


@dataclass(slots=True)
class Progress:
    """How far a training is."""

    epoch: int = 0  # complete ones
    step: int = 0  # complete ones of the next epoch
    loss_sum: float = 0.0  # of the next epoch, over images
    correct: int = 0
    seconds: float = 0.0  # spent on the next epoch so far
    accuracies: list[float] = field(default_factory=list)


def train(
    network: nn.Module,
    data: ImageData,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    resume: dict[str, Any] | None,
    hooks: Hooks,
) -> TrainingResult:
    """Train a network from its initial weights, or from a checkpoint's.

    Sets the process's number of torch threads: a different number would be another result.

    Raises:
        ChildError: the loss is not finite, or memory does not suffice.
        CorruptCheckpointError: ``resume`` does not fit the network.
        Whatever a hook raises; on LeaseReturnedError from ``on_step`` a checkpoint comes first.
    """
    torch.set_num_threads(config.threads)
    with _out_of_memory_is_an_answer():
        return Training(network, data, config, seed, device, hooks).run(resume)


class Training:
    """One training on its way."""

    def __init__(
        self,
        network: nn.Module,
        data: ImageData,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        hooks: Hooks,
    ) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.config = config
        self.seed = seed
        self.device = device
        self.hooks = hooks
        self.images, self.labels = (part.to(device) for part in data.train)
        self.validation = data.validation[0].to(device), data.validation[1].to(device)
        self.normalize = Normalize(data, device)
        self.optimizer = make_optimizer(network, config)
        self.steps = steps_per_epoch(len(self.labels), config.batch_size)
        self.progress = Progress()
        self.saved_at = time.monotonic()

    def run(self, resume: dict[str, Any] | None) -> TrainingResult:
        """Train to the end."""
        if resume is not None:
            self.load_state_dict(resume)
        progress = self.progress
        while progress.epoch < self.config.epochs:
            self._run_epoch()
            if progress.epoch < self.config.epochs and self._checkpoint_is_due():
                self._save()
        return TrainingResult(
            accuracies=progress.accuracies,
            images_trained=progress.epoch * self._images_per_epoch(),
            images_scored=progress.epoch * len(self.validation[1]),
        )

    def _images_per_epoch(self) -> int:
        return min(self.steps * self.config.batch_size, len(self.labels))

    def _run_epoch(self) -> None:
        progress = self.progress
        started = time.monotonic() - progress.seconds
        order = torch.randperm(len(self.labels), generator=self._generator(progress.epoch, -1))
        order = order.to(self.device)
        losses: list[Tensor] = []
        corrects: list[Tensor] = []
        while progress.step < self.steps:
            first = progress.step * self.config.batch_size
            chosen = order[first : first + self.config.batch_size]
            loss, correct = self._step(chosen)
            losses.append(loss * len(chosen))
            corrects.append(correct)
            progress.step += 1
            if self._is_time_to_look():
                self._collect(losses, corrects)
            progress.seconds = time.monotonic() - started
            self._tell_step(len(chosen), losses, corrects)
        self._collect(losses, corrects)
        self._end_epoch(started)

    def _tell_step(self, images: int, losses: list[Tensor], corrects: list[Tensor]) -> None:
        """Let the hook speak; save before a run is given back, or when a checkpoint is due."""
        try:
            self.hooks.on_step(images)
        except LeaseReturnedError:
            self._collect(losses, corrects)
            self._save()
            raise
        if self.progress.step < self.steps and self._checkpoint_is_due():
            self._collect(losses, corrects)
            self._save()

    def _step(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """One step on some images; returns its mean loss and how many were right."""
        progress, config = self.progress, self.config
        generator = self._generator(progress.epoch, progress.step)
        torch.manual_seed(generator.initial_seed())  # of whatever is random in the network
        images = augment(self.images[chosen], config, generator)
        labels = self.labels[chosen]
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with _autocast(self.device):
            logits = self.network(self.normalize(images))
            loss = cross_entropy(logits, labels)
        loss.backward()
        if config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.grad_clip)
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _is_time_to_look(self) -> bool:
        return self.device.type == "cpu" or self.progress.step % CUDA_LOSS_CHECK == 0

    def _collect(self, losses: list[Tensor], corrects: list[Tensor]) -> None:
        """Add up what the device has computed; stop at once where a loss is not finite.

        One by one, so that the sum does not depend on how often it is looked at.
        """
        progress = self.progress
        for loss in torch.stack(losses).tolist() if losses else []:
            if not math.isfinite(loss):
                raise ChildError(
                    Failure.DIVERGED,
                    f"the loss is {loss} in epoch {progress.epoch + 1}, by step {progress.step}",
                )
            progress.loss_sum += loss
        progress.correct += sum(torch.stack(corrects).tolist()) if corrects else 0
        losses.clear()
        corrects.clear()

    def _end_epoch(self, started: float) -> None:
        progress = self.progress
        rate = self.learning_rate(progress.step - 1)
        accuracy = evaluate(self.network, self.validation, self.normalize)
        images = self._images_per_epoch()
        result = EpochResult(
            epoch=progress.epoch + 1,
            loss=progress.loss_sum / images,
            train_accuracy=progress.correct / images,
            accuracy=accuracy,
            learning_rate=rate,
            seconds=time.monotonic() - started,
            images_scored=len(self.validation[1]),
        )
        progress.accuracies.append(accuracy)
        progress.epoch += 1
        progress.step, progress.loss_sum, progress.correct, progress.seconds = 0, 0.0, 0, 0.0
        self.hooks.on_epoch(result)

    def learning_rate(self, step: int | None = None) -> float:
        """A single cosine period to zero over all steps (arXiv:1707.07012, appendix A.3)."""
        step = self.progress.step if step is None else step
        done = (self.progress.epoch * self.steps + step) / (self.config.epochs * self.steps)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _generator(self, epoch: int, step: int) -> torch.Generator:
        """The random numbers of a step (-1: the order of an epoch)."""
        text = f"{self.seed}:{epoch}:{step}".encode()
        number = int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
        return torch.Generator().manual_seed(number)

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.config.checkpoint_seconds

    def _save(self) -> None:
        progress = self.progress
        self.hooks.on_checkpoint(self.state_dict(), progress.epoch, progress.step)
        self.saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Weights, momentum and how far the training is; random numbers follow from that."""
        progress = self.progress
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": {name: getattr(progress, name) for name in Progress.__dataclass_fields__},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            CorruptCheckpointError: it is another network's, or another release's.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            for name in Progress.__dataclass_fields__:
                setattr(self.progress, name, state["progress"][name])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CorruptCheckpointError(f"does not fit: {str(error).splitlines()[0]}") from None
        self.progress.accuracies = list(self.progress.accuracies)


class Normalize:
    """Bytes to floats of mean 0 and deviation 1 per channel, channels last."""

    def __init__(self, data: ImageData, device: torch.device) -> None:
        shape = (1, len(data.mean), 1, 1)
        scale = [1 / (255 * std) for std in data.std]
        shift = [-mean / std for mean, std in zip(data.mean, data.std, strict=True)]
        self.scale = torch.tensor(scale, device=device).view(shape)
        self.shift = torch.tensor(shift, device=device).view(shape)

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> float32."""
        floats = torch.addcmul(self.shift, images.float(), self.scale)
        return floats.contiguous(memory_format=torch.channels_last)


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.SGD:
    """SGD with momentum; weight decay on convolutions and linear weights (slim: arg scopes)."""
    decayed = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        momentum=config.momentum,
        foreach=True,
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps of an epoch: the last, smaller batch counts, unless it is a single image.

    Batch norm has no statistics of one image whose map is one pixel.
    """
    steps, rest = divmod(images, batch_size)
    return steps + (rest > 1)


def evaluate(network: nn.Module, part: tuple[Tensor, Tensor], normalize: Normalize) -> float:
    """The share of images (on the network's device) whose label is found."""
    network.eval()
    images, labels = part
    correct = torch.zeros((), dtype=torch.int64, device=labels.device)
    with torch.inference_mode(), _autocast(labels.device):
        for first in range(0, len(labels), EVALUATION_BATCH):
            logits = network(normalize(images[first : first + EVALUATION_BATCH]))
            correct += (logits.argmax(1) == labels[first : first + EVALUATION_BATCH]).sum()
    return correct.item() / len(labels)


def _autocast(device: torch.device) -> torch.autocast:
    """bfloat16 on CUDA; on a CPU it is slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@contextlib.contextmanager
def _out_of_memory_is_an_answer() -> Iterator[None]:
    """Raise every way of running out of memory as the child's failure.

    Raises:
        ChildError: of class oom.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ChildError(Failure.OOM, str(error) or "out of memory") from error
    except RuntimeError as error:
        if not _says_out_of_memory(str(error)):
            raise
        raise ChildError(Failure.OOM, str(error)) from error


def _says_out_of_memory(text: str) -> bool:
    phrases: Sequence[str] = ("can't allocate memory", "bad_alloc", "out of memory")
    return any(phrase in text for phrase in phrases)
