"""Data sets as tensors: whole in memory, split once, the same on every machine.

Rewards come from validation images, which are held out of the training images by a seeded
split; test images are never among them. Shapes: images (N, C, H, W) uint8, labels (N,) int64.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config.run import DataConfig
from pipeline.data.downloads import fetch_dataset
from pipeline.data.image_arrays import Images, Labels
from pipeline.data.image_files import ImageFiles
from pipeline.data.image_trees import ImageFile
from pipeline.data.sources import Parts, Source, read_source
from pipeline.data.splits import split_parts
from pipeline.networks.inputs import Inputs


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """A data set, split: of each part the images (N, C, H, W) uint8 and labels (N,) int64."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]  # of the training images, per channel; white is 1
    std: tuple[float, ...]

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)

    @property
    def inputs(self) -> Inputs:
        """What networks for it are built for."""
        channels, height, width = self.train[0].shape[1:]
        return Inputs((channels, height, width), self.classes)


def load_dataset(
    config: DataConfig, folder: Path, *, download: bool = False
) -> ImageData | ImageFiles:
    """Load and split a data set; ``folder`` is where downloaded ones lie.

    Raises:
        UserError: an unknown name, images that cannot be used, a split or download that cannot be.
        MachineError: the data set is not on this machine.
        DataChangedError: it is, and is not what the configuration's fingerprint says.
    """
    if download:
        fetch_dataset(config.dataset, folder)
    return split_source(read_source(config, folder), config)


def split_source(source: Source, config: DataConfig) -> ImageData | ImageFiles:
    """Split a data set, as tensors or, with ``image_size``, as files.

    Raises:
        UserError: too few images would be left to train with.
    """
    parts = split_parts(source, config)
    if config.image_size is None:
        return _in_memory(source.class_names, parts)
    files: dict[str, tuple[list[ImageFile], Tensor]] = {}
    for part, (images, labels) in parts.items():
        assert isinstance(images, list)
        files[part] = images, torch.from_numpy(labels)
    return ImageFiles(
        train=files["train"],
        validation=files["validation"],
        test=files["test"],
        class_names=source.class_names,
        size=config.image_size,
        as_before=config.reading == 1,
    )


def _in_memory(class_names: tuple[str, ...], parts: Parts) -> ImageData:
    tensors = {}
    for part, (images, labels) in parts.items():
        assert isinstance(images, np.ndarray)
        tensors[part] = _as_tensors(images, labels)
    mean, std = _statistics(tensors["train"][0])
    return ImageData(**tensors, class_names=class_names, mean=mean, std=std)


def _as_tensors(images: Images, labels: Labels) -> tuple[Tensor, Tensor]:
    """(N, H, W, C) arrays as (N, C, H, W) and labels as tensors."""
    nchw = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return torch.from_numpy(nchw), torch.from_numpy(labels.astype(np.int64))


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, by counting: exact, and without a float copy."""
    mean, std = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten().int(), minlength=256).double()
        share /= share.sum()
        average = (share * values).sum()
        mean.append(average.item())
        std.append(max((share * (values - average) ** 2).sum().sqrt().item(), 1e-3))
    return tuple(mean), tuple(std)
