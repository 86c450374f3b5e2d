"""Weights that children share: a pass that trains them, and a child's score with them (ENAS).

arXiv:1802.03268, section 2.2. Everything random in a pass is drawn from (seed, pass, step), so
that a pass which is interrupted after any step and resumed ends as an unbroken one does (law 9).
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config.search import TrainingConfig
from pipeline.config.sharing import SharedConfig
from pipeline.data.datasets import ImageData
from pipeline.errors import ChildError, Failure, LeaseReturnedError
from pipeline.networks.batch_statistics import batch_statistics
from pipeline.spaces.cells.genotype import SearchedGenotype
from pipeline.training.checkpoint import CorruptCheckpointError, check_numbers, check_progress
from pipeline.training.evaluation import Normalize, autocast
from pipeline.training.feeding import Batch, MemoryFeed, steps_per_epoch
from pipeline.training.hooks import EpochResult, Hooks
from pipeline.training.optimization import make_optimizer, restarted_rate
from pipeline.training.seeds import generator_for, seed_for

# A pass of which more minibatches than this share gave no finite loss has diverged.
MOST_SKIPPED = 0.01


@dataclass(slots=True, kw_only=True)
class PassProgress:
    """How far a pass is."""

    step: int = 0  # minibatches that are done
    loss_sum: float = 0.0  # over images
    correct: int = 0
    images: int = 0  # of minibatches that were not skipped
    skipped: int = 0  # minibatches without a finite loss
    seconds: float = 0.0


class SharedPass:
    """One pass over the training images, each minibatch through a child of its own.

    Weights that a minibatch's child does not have get no gradient and stay as they are: neither
    momentum nor weight decay moves them.
    """

    def __init__(
        self,
        supernet: nn.Module,
        data: ImageData,
        config: TrainingConfig,
        *,
        number: int,
        seed: int,
        device: torch.device,
        hooks: Hooks,
    ) -> None:
        torch.set_num_threads(config.threads)
        self.supernet = supernet.to(device).to(memory_format=torch.channels_last)
        self.config = config
        self.number = number
        self.seed = seed
        self.device = device
        self.hooks = hooks
        self.feed = MemoryFeed(data, config, seed, device, (0, 1))
        self.steps = steps_per_epoch(self.feed.images, config)
        # kept, since walking the thousands of modules costs as much as a small step
        self.parameters = list(self.supernet.parameters())
        self.optimizer = make_optimizer(supernet, config)
        self.progress = PassProgress()
        self.saved_at = time.monotonic()

    def load_weights(self, weights: dict[str, Any]) -> None:
        """Go on from the weights of the pass before, or from a checkpoint of this one.

        Raises:
            CorruptCheckpointError: they are another network's.
        """
        try:
            self.supernet.load_state_dict(weights["network"])
            self.optimizer.load_state_dict(weights["optimizer"])
            if "progress" in weights:
                check_numbers(weights)
                self.progress = PassProgress(**weights["progress"])
                check_progress(self.progress, PassProgress())
            if not 0 <= self.progress.step <= self.steps:
                raise ValueError(f"step {self.progress.step} is not of this pass")
        except (AttributeError, KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CorruptCheckpointError(f"does not fit: {reason}") from error

    def weights(self) -> dict[str, Any]:
        """Weights and momentum: what the next pass begins with, and children are scored by."""
        return {
            "network": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def run(self, children: Sequence[SearchedGenotype]) -> None:
        """Train, from the step that was reached; child i is that of minibatch i.

        Raises:
            ChildError: too many minibatches gave no finite loss.
            Whatever a hook raises; on LeaseReturnedError from ``on_step`` a checkpoint is first.
        """
        self.supernet.train()
        started = time.monotonic() - self.progress.seconds
        for batch in self.feed.train(self.number, self.progress.step):
            self._step(batch, children[self.progress.step])
            self.progress.step += 1
            self.progress.seconds = time.monotonic() - started
            try:
                self.hooks.on_step(len(batch[1]))
            except LeaseReturnedError:
                self._save()
                raise
            if self._checkpoint_is_due():
                self._save()
        progress, images = self.progress, max(1, self.progress.images)
        self.hooks.on_epoch(
            EpochResult(
                epoch=self.number + 1,
                loss=progress.loss_sum / images,
                train_accuracy=progress.correct / images,
                accuracy=None,
                learning_rate=self._learning_rate(),
                seconds=progress.seconds,
                waited=self.feed.waited,
                images_trained=self.images,
                images_scored=0,
            )
        )

    @property
    def images(self) -> int:
        """Images of a whole pass."""
        return min(self.steps * self.config.batch_size, self.feed.images)

    def _learning_rate(self) -> float:
        """Of the step that is next."""
        return restarted_rate(self.config, self.number + self.progress.step / self.steps)

    def _step(self, batch: Batch, child: SearchedGenotype) -> None:
        images, labels = batch
        number = seed_for("network", self.seed, self.number, self.progress.step)
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(number)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device):
            logits = self.supernet(images, child)
            loss = cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            self._skip(value)
            return
        loss.backward()
        if self.config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip, foreach=True)
        self.optimizer.step()
        self.progress.loss_sum += value * len(labels)
        self.progress.correct += int((logits.detach().argmax(1) == labels).sum().item())
        self.progress.images += len(labels)

    def _skip(self, loss: float) -> None:
        """Leave a minibatch out, unless there were too many."""
        self.progress.skipped += 1
        if self.progress.skipped > MOST_SKIPPED * self.steps:
            place = f"pass {self.number + 1}, minibatch {self.progress.step + 1} of {self.steps}"
            raise ChildError(
                Failure.DIVERGED,
                f"the loss is {loss} in {place}, not finite for the "
                f"{self.progress.skipped}. time (of {self.steps} minibatches "
                f"{MOST_SKIPPED:.0%} may be)",
            )

    def _checkpoint_is_due(self) -> bool:
        late = time.monotonic() - self.saved_at >= self.config.checkpoint_seconds
        return late and self.progress.step < self.steps

    def _save(self) -> None:
        state = {**self.weights(), "progress": dataclasses.asdict(self.progress)}
        self.hooks.on_checkpoint(state, self.number, self.progress.step)
        self.saved_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class Place:
    """Which child of a search it is, as far as its validation images are drawn by that."""

    arm: str
    version: int
    k: int


class Scorer:
    """Scores children with shared weights, on validation images, without augmentation.

    A score says how the images of one minibatch, or of all, fare with weights that many children
    share. It is no accuracy of a trained network: by ``norm = "batch"`` even the prediction for
    one image leans on its neighbours.
    """

    def __init__(
        self,
        supernet: nn.Module,
        data: ImageData,
        config: SharedConfig,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.supernet = supernet.to(device).to(memory_format=torch.channels_last)
        self.config = config
        self.seed = seed
        self.device = device
        self.images, self.labels = (part.to(device) for part in data.validation)
        self._normalize = Normalize(data, device)

    def minibatch(self, place: Place) -> Tensor:
        """The numbers of the images a child is scored on: ``score_batch`` of them, at random."""
        generator = generator_for(f"score {place.arm}", self.seed, place.version, place.k)
        order = torch.randperm(len(self.labels), generator=generator)
        return order[: self.config.score_batch]

    def all_images(self) -> Tensor:
        """The numbers of all validation images."""
        return torch.arange(len(self.labels))

    def scores(self, asked: Iterable[tuple[SearchedGenotype, Tensor]]) -> Iterator[float | None]:
        """Of each child and its images, the share (0 to 1) of them whose label the child finds.

        None where its logits are not finite. Images go in parts of about ``score_batch``, as large
        as one another: batch norms use the statistics of a part, unless ``norm`` says otherwise.
        """
        with self._norms():  # once: a supernet has thousands of modules
            for child, chosen in asked:
                yield self.score(child, chosen)

    def score(self, child: SearchedGenotype, chosen: Tensor) -> float | None:
        """One of ``scores``, while batch norms are as they are there."""
        parts = math.ceil(len(chosen) / self.config.score_batch)
        correct = 0
        with torch.inference_mode(), autocast(self.device):
            for part in chosen.to(self.device).tensor_split(parts):
                logits = self.supernet(self._normalize(self.images[part]), child)
                if not bool(logits.isfinite().all()):
                    return None
                correct += int((logits.argmax(1) == self.labels[part]).sum().item())
        return correct / len(chosen)

    def _norms(self) -> contextlib.AbstractContextManager[object]:
        self.supernet.eval()
        if self.config.norm == "moving":
            return contextlib.nullcontext()
        return batch_statistics(self.supernet)
