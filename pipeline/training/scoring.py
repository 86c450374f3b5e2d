"""Children scored with weights that they share (ENAS, arXiv:1802.03268, section 2.2)."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.sharing import SharedConfig
from pipeline.data.datasets import ImageData
from pipeline.networks.batch_statistics import batch_statistics
from pipeline.spaces.base import Genotype
from pipeline.training.device import autocast, placed
from pipeline.training.evaluation import Normalize
from pipeline.training.seeds import generator_for


@dataclass(frozen=True, slots=True)
class ProposalKey:
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
        self.supernet = placed(supernet, device)
        self.config = config
        self.seed = seed
        self.device = device
        self.images, self.labels = (part.to(device) for part in data.validation)
        self._normalize = Normalize(data, device)

    def minibatch(self, key: ProposalKey) -> Tensor:
        """The numbers of the images a child is scored on: ``score_batch`` of them, at random."""
        generator = generator_for(f"score {key.arm}", self.seed, key.version, key.k)
        order = torch.randperm(len(self.labels), generator=generator)
        return order[: self.config.score_batch]

    def all_images(self) -> Tensor:
        """The numbers of all validation images."""
        return torch.arange(len(self.labels))

    def scores(self, asked: Iterable[tuple[Genotype, Tensor]]) -> Iterator[float | None]:
        """Of each child and its images, the share (0 to 1) of them whose label the child finds.

        None where its logits are not finite. Images go in parts of about ``score_batch``, as large
        as one another: batch norms use the statistics of a part, unless ``norm`` says otherwise.
        """
        with self._norms():  # once: a supernet has thousands of modules
            for child, chosen in asked:
                yield self.score(child, chosen)

    def score(self, child: Genotype, chosen: Tensor) -> float | None:
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
