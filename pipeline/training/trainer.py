"""The training loop: a network in, validation accuracies out; knows neither rows nor leases.

Everything random is drawn from (run seed, epoch, step), nothing from what went before: a
training that is interrupted after any step and resumed ends bit for bit where an unbroken one
ends (law 9), on a device of the same kind with the same libraries and number of threads.
"""

import contextlib
import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config import TrainingConfig
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.networks import CellNetwork, Heads
from pipeline.training.augmentation import augment
from pipeline.training.checkpoint import CorruptCheckpointError
from pipeline.training.datasets import ImageData
from pipeline.training.evaluation import Normalize, autocast, evaluate

# The loss is looked at after so many steps on CUDA, where looking waits for the device.
CUDA_LOSS_CHECK = 50
# How the libraries word an allocation that failed; cuDNN and cuBLAS name a status.
OUT_OF_MEMORY = ("can't allocate memory", "bad_alloc", "out of memory", "STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch was like; of all its steps, also those taken before an interruption."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's images
    train_accuracy: float  # 0 to 1, while it trained, augmented
    accuracy: float  # 0 to 1, on the validation images, after it
    learning_rate: float  # of its last step
    seconds: float
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


class Hooks(Protocol):
    """What happens beside a training; any of them may raise to end it."""

    def on_step(self, images: int) -> None:
        """A step over so many images was taken."""

    def on_epoch(self, result: EpochResult) -> None:
        """An epoch has ended."""

    def on_checkpoint(self, state: dict[str, Any], epoch: int, step: int) -> None:
        """A state to go on from: so many epochs, and steps of the next one, are done.

        Its tensors are the training's own and change with the next step: write, do not keep.
        """


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a training is."""

    epoch: int  # complete ones
    step: int  # complete ones of the next epoch
    loss_sum: float  # of the next epoch, over images
    correct: int
    seconds: float  # spent on the next epoch so far
    accuracies: list[float]


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
        # kept, since walking the modules of a small child costs a hundredth of its step
        self.parameters = list(network.parameters())
        self.config = config
        self.seed = seed
        self.device = device
        self.hooks = hooks
        self.images, self.labels = (part.to(device) for part in data.train)
        self.validation = data.validation[0].to(device), data.validation[1].to(device)
        self.normalize = Normalize(data, device)
        self.optimizer = make_optimizer(network, config)
        self.steps = steps_per_epoch(len(self.labels), config.batch_size)
        self.progress = Progress(
            epoch=0, step=0, loss_sum=0.0, correct=0, seconds=0.0, accuracies=[]
        )
        self.images_trained = 0  # by this object
        self.images_scored = 0
        self.saved_at = time.monotonic()
        self._unread: list[tuple[int, int, Tensor, Tensor]] = []  # step, images, loss, correct

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
            images_trained_here=self.images_trained,
            images_scored_here=self.images_scored,
        )

    def _images_per_epoch(self) -> int:
        return min(self.steps * self.config.batch_size, len(self.labels))

    def _run_epoch(self) -> None:
        progress = self.progress
        started = time.monotonic() - progress.seconds
        order = torch.randperm(len(self.labels), generator=self._generator("order"))
        batches = order.to(self.device).split(self.config.batch_size)
        self.network.train()
        while progress.step < self.steps:
            chosen = batches[progress.step]
            loss, correct = self._step(chosen)
            self._unread.append((progress.step + 1, len(chosen), loss, correct))
            progress.step += 1
            self.images_trained += len(chosen)
            if self.device.type == "cpu" or progress.step % CUDA_LOSS_CHECK == 0:
                self._read_losses()
            progress.seconds = time.monotonic() - started
            self._tell_step(len(chosen))
        self._read_losses()
        self._end_epoch(started)

    def _step(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """One step on some images; returns its mean loss and how many were right."""
        images = augment(self.images[chosen], self.config, self._generator("augment"))
        labels = self.labels[chosen]
        self._seed_network()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        done = self.share_done()
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device):
            logits, auxiliary = self._heads(self.normalize(images), done)
            loss = cross_entropy(logits, labels)
            if auxiliary is not None:
                loss = loss + self.config.auxiliary_weight * cross_entropy(auxiliary, labels)
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip, foreach=True)
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _heads(self, images: Tensor, done: float) -> Heads:
        """What the network says; ours also hears how far its training is."""
        if isinstance(self.network, CellNetwork):
            return self.network.heads(images, done)
        return Heads(self.network(images), None)

    def _tell_step(self, images: int) -> None:
        """Let the hook speak; save before a run is given back, or when a checkpoint is due."""
        try:
            self.hooks.on_step(images)
        except LeaseReturnedError:
            self._save()
            raise
        if self.progress.step < self.steps and self._checkpoint_is_due():
            self._save()

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

    def _end_epoch(self, started: float) -> None:
        progress = self.progress
        images, scored = self._images_per_epoch(), len(self.validation[1])
        accuracy = evaluate(self.network, *self.validation, self.normalize)
        result = EpochResult(
            epoch=progress.epoch + 1,
            loss=progress.loss_sum / images,
            train_accuracy=progress.correct / images,
            accuracy=accuracy,
            learning_rate=self.learning_rate(progress.step - 1),
            seconds=time.monotonic() - started,
            images_trained=images,
            images_scored=scored,
        )
        self.images_scored += scored
        progress.accuracies.append(accuracy)
        progress.epoch += 1
        progress.step, progress.loss_sum, progress.correct, progress.seconds = 0, 0.0, 0, 0.0
        self.hooks.on_epoch(result)

    def learning_rate(self, step: int | None = None) -> float:
        """A single cosine period to zero over all steps (arXiv:1707.07012, appendix A.3)."""
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.share_done(step)))

    def share_done(self, step: int | None = None) -> float:
        """The share (0 to 1) of all steps that come before a step of this epoch."""
        step = self.progress.step if step is None else step
        return (self.progress.epoch * self.steps + step) / (self.config.epochs * self.steps)

    def _number(self, purpose: str) -> int:
        """A seed for one purpose in this step: equal ones would correlate dropout with crops."""
        text = f"{purpose}:{self.seed}:{self.progress.epoch}:{self.progress.step}"
        if purpose == "order":  # of the epoch, wherever in it a training goes on
            text = f"{purpose}:{self.seed}:{self.progress.epoch}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(self._number(purpose))

    def _seed_network(self) -> None:
        """Seed what is random in the network itself: dropout, drop-path.

        Not by torch.manual_seed, which formats a stack trace for each device it may start later:
        0.1 ms, and more the deeper the caller.
        """
        number = self._number("network")
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
            "progress": dataclasses.asdict(self.progress),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            CorruptCheckpointError: it is another network's, or another release's.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
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
        if len(progress.accuracies) != progress.epoch:
            raise ValueError(f"{len(progress.accuracies)} accuracies, {progress.epoch} epochs")


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.SGD:
    """SGD with momentum; weight decay on convolution and linear weights (slim: arg scopes).

    Batch norm's weights and all biases, the parameters of one dimension, do not decay.
    """
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
