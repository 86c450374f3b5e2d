"""Image files of any size, decoded while they are needed by torch's loader processes.

What happens to an image is drawn from (run seed, epoch, image), so that neither a resume nor the
number of loaders changes a result.
"""

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.config.training import TrainingConfig
from pipeline.data import decoding
from pipeline.data.image_trees import ImageFile
from pipeline.errors import MachineError, UserError
from pipeline.io.child_processes import end_with_parent
from pipeline.networks.inputs import Inputs

EVALUATED_SHARE = 0.875  # of a resized image's side, in its middle (Inception's preprocessing)
# Inception's colour distortion (slim: preprocessing/inception_preprocessing.py, distort_color).
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32 / 255, 0.5, 0.5, 0.2


@dataclass(frozen=True, slots=True, eq=False)
class ImageFiles:
    """A data set of files, split: of each part the paths and labels (N,) int64."""

    train: tuple[list[ImageFile], Tensor]
    validation: tuple[list[ImageFile], Tensor]
    test: tuple[list[ImageFile], Tensor]
    class_names: tuple[str, ...]
    size: int  # pixels a side that images are brought to
    # to [-1, 1], as for the published networks: counting all pixels of a million files takes hours
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    as_before: bool = False  # decoded as releases of format 1 did

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    @property
    def inputs(self) -> Inputs:
        """What networks for it are built for."""
        return Inputs((3, self.size, self.size), self.classes)


@dataclass(frozen=True, slots=True)
class Item:
    """An image to load: where it is, and what to seed its augmentation with (None: none)."""

    file: ImageFile
    label: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a batch: why one of its images cannot be read."""

    reason: str
    by_machine: bool  # the file is not here now, or is another than was listed


class _Images(Dataset[Tensor | Unreadable]):
    """Items as their own indices: what is asked for says itself how it is to be loaded."""

    def __init__(self, size: int, config: TrainingConfig, as_before: bool) -> None:
        self.as_before = as_before
        self.training = _training_transform(size, config)
        self.evaluation = evaluation_transform(resized_side(size), (size, size))

    def __getitem__(self, item: Item) -> Tensor | Unreadable:
        try:
            array = decoding.read_image(item.file, as_before=self.as_before)
        except (UserError, MachineError) as error:
            return Unreadable(str(error), isinstance(error, MachineError))
        image = torch.from_numpy(array.copy()).permute(2, 0, 1)
        if item.seed is None:
            return self.evaluation(image)  # type: ignore[no-any-return]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(item.seed)
            return self.training(image)  # type: ignore[no-any-return]


def resized_side(size: int) -> int:
    """The shorter side, in pixels, that an image is brought to before its middle is looked at."""
    return round(size / EVALUATED_SHARE)


def evaluation_transform(resized: int | tuple[int, int], shape: tuple[int, int]) -> Any:
    """How an image (C, H, W) uint8 is evaluated: resized, then its middle of (height, width).

    ``resized`` is the shorter side, or (height, width).
    """
    from torchvision.transforms import v2  # torchvision takes seconds to import

    return v2.Compose([v2.Resize(resized), v2.CenterCrop(shape)])


def _training_transform(size: int, config: TrainingConfig) -> Any:
    from torchvision.transforms import v2

    transforms: list[Any] = [v2.RandomResizedCrop(size, scale=(config.crop_area, 1.0))]
    if config.flip:
        transforms.append(v2.RandomHorizontalFlip())
    if config.distort_colors:
        transforms.append(v2.ColorJitter(BRIGHTNESS, CONTRAST, SATURATION, HUE))
    return v2.Compose(transforms)


def _stack(images: Sequence[Tensor | Unreadable]) -> Tensor | Unreadable:
    for image in images:
        if isinstance(image, Unreadable):
            return image
    return torch.stack([image for image in images if isinstance(image, Tensor)])


def _begin_loading(_number: int) -> None:
    end_with_parent()


def load(
    batches: Iterable[list[Item]],
    size: int,
    config: TrainingConfig,
    *,
    loaders: int,
    as_before: bool = False,
) -> Iterator[Tensor | Unreadable]:
    """Batches (N, 3, size, size) uint8 in their order, decoded ahead by ``loaders`` processes."""
    context = None
    if loaders:
        # not forked: this process has threads, a database connection and locks
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
    return iter(
        DataLoader(
            _Images(size, config, as_before),
            batch_sampler=batches,
            num_workers=loaders,
            collate_fn=_stack,
            multiprocessing_context=context,
            worker_init_fn=_begin_loading,
        )
    )
