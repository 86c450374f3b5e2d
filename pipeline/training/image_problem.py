"""The problem of images: a network says of which class each one is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config.training import TrainingConfig
from pipeline.data.datasets import ImageData
from pipeline.data.image_files import ImageFiles
from pipeline.networks.inputs import Inputs
from pipeline.training.evaluation import evaluate
from pipeline.training.feeding import make_feed
from pipeline.training.problem import Batch, BatchFeed, Metric, Metrics


@dataclass(frozen=True, slots=True, eq=False)
class ImageProblem:
    """See ``Problem``. A network gives logits (N, classes); targets are labels (N,)."""

    data: ImageData | ImageFiles

    @property
    def inputs(self) -> Inputs:
        """See ``Problem``."""
        return self.data.inputs

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The share (0 to 1) of images whose class is found, and the mean cross-entropy."""
        return Metric("accuracy", maximize=True), Metric("loss", maximize=False)

    def make_feed(
        self,
        config: TrainingConfig,
        *,
        seed: int,
        device: torch.device,
        share: tuple[int, int] = (0, 1),
        loaders: int = 0,
    ) -> BatchFeed:
        """See ``Problem``."""
        return make_feed(self.data, config, seed=seed, device=device, share=share, loaders=loaders)

    def loss(self, outputs: Tensor, targets: Tensor, config: TrainingConfig) -> Tensor:
        """See ``Problem``: the cross-entropy, with labels smoothed as configured."""
        return cross_entropy(outputs, targets, label_smoothing=config.label_smoothing)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See ``Problem``."""
        return (outputs.detach().argmax(1) == targets).sum()

    def measure(
        self,
        network: nn.Module,
        batches: Iterable[Batch],
        device: torch.device,
        on_batch: Callable[[], None] = lambda: None,
    ) -> Metrics:
        """See ``Problem``."""
        return evaluate(network, batches, device, on_batch)
