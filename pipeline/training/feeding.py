"""Batches for a training, in an order that depends on its seed alone, and how long they took."""

import itertools
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.config.training import TrainingConfig
from pipeline.data import image_files
from pipeline.data.datasets import ImageData
from pipeline.data.image_files import ImageFiles, Item, Unreadable
from pipeline.data.image_trees import ImageFile
from pipeline.errors import ChildError, Failure, MachineError
from pipeline.training.augmentation import augment, cut_out_alone
from pipeline.training.evaluation import EVALUATION_BATCH, Normalize
from pipeline.training.problem import Batch, BatchFeed
from pipeline.training.seeds import generator_for, seed_for


def make_feed(
    data: ImageData | ImageFiles,
    config: TrainingConfig,
    *,
    seed: int,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    loaders: int = 0,
) -> BatchFeed:
    """The feed of a data set: images (N, C, H, W) normalised, channels last; labels (N,).

    ``share`` is (rank, number of processes that share a batch).
    """
    if isinstance(data, ImageData):
        return MemoryFeed(data, config, seed, device, share)
    return FileFeed(data, config, seed, device, share, loaders)


def steps_per_epoch(images: int, config: TrainingConfig) -> int:
    """Steps of an epoch: the last, smaller batch counts, unless a device gets a single image.

    Batch norm has no statistics of one image whose map is one pixel.
    """
    steps, rest = divmod(images, config.batch_size)
    return steps + (rest // config.devices > 1)


def batches_of_epoch(images: int, config: TrainingConfig, seed: int, epoch: int) -> list[Tensor]:
    """The numbers of an epoch's images, a batch each."""
    order = torch.randperm(images, generator=generator_for("order", seed, epoch))
    return list(order.split(config.batch_size))[: steps_per_epoch(images, config)]


class MemoryFeed:
    """Images that lie on the device, augmented a batch at a time.

    torchvision's transforms would treat all images of a batch alike.
    """

    def __init__(
        self,
        data: ImageData,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        share: tuple[int, int],
    ) -> None:
        self.config, self.seed, self.share = config, seed, share
        self._train = _on(data.train, device)
        self._validation = _on(data.validation, device)
        self._test = data.test
        self._device = device
        self._normalize = Normalize(data, device)
        self.images, self.validation_images = len(data.train[1]), len(data.validation[1])
        self.waited = 0.0

    def train(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """See ``BatchFeed``."""
        batches = batches_of_epoch(self.images, self.config, self.seed, epoch)
        for step, chosen in enumerate(batches[first_step:], first_step):
            started = time.perf_counter()
            batch = self._augmented(chosen.to(self._device), epoch, step)
            self.waited += time.perf_counter() - started
            yield batch

    def _augmented(self, chosen: Tensor, epoch: int, step: int) -> Batch:
        images, labels = self._train
        generator = generator_for("augment", self.seed, epoch, step)
        augmented = augment(images[chosen], self.config, generator)
        rank, world = self.share
        ours = labels[chosen].tensor_split(world)[rank]
        return augmented.share(rank, world).normalized(self._normalize), ours

    def validation(self, epoch: int) -> Iterator[Batch]:
        """See ``BatchFeed``."""
        return self._plain(self._validation)

    def test(self) -> Iterator[Batch]:
        """See ``BatchFeed``."""
        return self._plain(_on(self._test, self._device))

    def _plain(self, part: tuple[Tensor, Tensor]) -> Iterator[Batch]:
        images, labels = (tensor.split(EVALUATION_BATCH) for tensor in part)
        for some_images, some_labels in zip(images, labels, strict=True):
            yield self._normalize(some_images), some_labels


def _on(part: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    return part[0].to(device), part[1].to(device)


Stream = Iterator[Tensor | Unreadable]  # of batches, as loader processes give them


class FileFeed:
    """Images decoded by loader processes, one stream for the whole training.

    The stream runs on from an epoch to its validation and to the next epoch, so that loaders are
    never idle at a border. It begins where the training does.
    """

    def __init__(
        self,
        data: ImageFiles,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        share: tuple[int, int],
        loaders: int,
    ) -> None:
        self.config, self.seed, self.share = config, seed, share
        self._data, self._device, self._loaders = data, device, loaders
        self._normalize = Normalize(data, device)
        self.images, self.validation_images = len(data.train[1]), len(data.validation[1])
        self.waited = 0.0
        self._stream: Stream | None = None
        self._asked: Iterator[list[Item]] = iter(())  # what the stream is of

    def train(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """See ``BatchFeed``."""
        stream = self._running(epoch, first_step)
        for _ in range(first_step, steps_per_epoch(self.images, self.config)):
            yield self._next(stream)

    def validation(self, epoch: int) -> Iterator[Batch]:
        """See ``BatchFeed``."""
        # it begins here where it was resumed between an epoch's last step and its end
        last = steps_per_epoch(self.images, self.config)
        stream = self._running(epoch, last)
        for _ in _chunks(self._data.validation):
            yield self._next(stream)

    def test(self) -> Iterator[Batch]:
        """See ``BatchFeed``."""
        stream = self._start(_chunks(self._data.test))
        for _ in _chunks(self._data.test):
            yield self._next(stream)

    def _plan(self, epoch: int, first_step: int) -> Iterator[list[Item]]:
        for number in range(epoch, self.config.epochs):
            yield from self._epoch(number, first_step if number == epoch else 0)
            if self.share[0] == 0:  # the first of several processes evaluates
                yield from _chunks(self._data.validation)

    def _epoch(self, epoch: int, first_step: int) -> Iterator[list[Item]]:
        files, labels = self._data.train
        rank, world = self.share
        for chosen in batches_of_epoch(self.images, self.config, self.seed, epoch)[first_step:]:
            yield [
                Item(files[i], int(labels[i]), seed_for("image", self.seed, epoch, i))
                for i in chosen.tensor_split(world)[rank].tolist()
            ]

    def _running(self, epoch: int, first_step: int) -> Stream:
        """The stream of the training, which begins at a step unless it has begun."""
        if self._stream is None:
            return self._start(self._plan(epoch, first_step))
        return self._stream

    def _start(self, plan: Iterator[list[Item]]) -> Stream:
        for_images, self._asked = itertools.tee(plan)
        self._stream = image_files.load(
            for_images,
            self._data.size,
            self.config,
            loaders=self._loaders,
            as_before=self._data.as_before,
        )
        return self._stream

    def _next(self, stream: Stream) -> Batch:
        started = time.perf_counter()
        try:
            images = next(stream)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise ChildError(Failure.LOST, f"a loader process died: {error}") from error
        self.waited += time.perf_counter() - started
        if isinstance(images, Unreadable):
            if images.by_machine:
                raise MachineError(images.reason)
            raise ChildError(Failure.DATA, images.reason)
        asked = next(self._asked)
        labels = torch.tensor([item.label for item in asked]).to(self._device)
        images = images.to(self._device, non_blocking=True)
        seeds = [seed_for("cutout", item.seed) for item in asked if item.seed is not None]
        if not seeds:  # to be scored
            return self._normalize(images), labels
        return cut_out_alone(images, self.config, seeds).normalized(self._normalize), labels


def _chunks(part: tuple[list[ImageFile], Tensor]) -> Iterator[list[Item]]:
    items = [Item(file, int(label)) for file, label in zip(*part, strict=True)]
    for start in range(0, len(items), EVALUATION_BATCH):
        yield items[start : start + EVALUATION_BATCH]
