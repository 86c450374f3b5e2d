"""What a network is trained for: where its batches come from, its loss, and what is measured.

Images of which a network says the class are the first kind (``image_problem``). Another kind is
another class with these members; the loop, its steppers and the store know no more of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.config.training import TrainingConfig
from pipeline.networks.inputs import Inputs

Batch = tuple[Tensor, Tensor]  # inputs (N, ...) as a network takes them; targets (N, ...)
Metrics = Mapping[str, float]  # of one moment, by name
Curves = Mapping[str, Sequence[float]]  # by name, an epoch each


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is measured of a network."""

    name: str
    maximize: bool  # whether more of it is better


class BatchFeed(Protocol):
    """Where a training's batches come from. Passes are asked for in the order of a training."""

    images: int  # that train, in all shares together
    validation_images: int
    waited: float  # seconds spent waiting for data, so far

    def train(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """An epoch's batches, this process's share of each, from a step on."""

    def validation(self, epoch: int) -> Iterator[Batch]:
        """The validation images, after an epoch."""

    def test(self) -> Iterator[Batch]:
        """The test images, at the end."""


class Problem(Protocol):
    """What is trained for."""

    @property
    def inputs(self) -> Inputs:
        """What a network for it takes, and what it tells apart."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What ``measure`` gives; rewards and early stopping go by ``accuracy``."""

    def make_feed(
        self,
        config: TrainingConfig,
        *,
        seed: int,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        loaders: int = 0,
    ) -> BatchFeed:
        """The batches of one training.

        Args:
            share: (rank, number of the processes that share a batch).
            loaders: processes that decode ahead; changes no batch.
        """

    def loss(self, outputs: Tensor, targets: Tensor, config: TrainingConfig) -> Tensor:
        """What a step makes smaller: the mean over a batch."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How many of a batch are right."""

    def measure(
        self,
        network: nn.Module,
        batches: Iterable[Batch],
        device: torch.device,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Metrics:
        """All metrics over some batches; leaves the network in eval mode.

        ``on_batch`` is called after each batch.
        """
