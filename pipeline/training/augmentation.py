"""Augmentation of whole batches on the device they lie on.

Random numbers come from a generator on the CPU, so that they do not depend on the device.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from pipeline.config.training import TrainingConfig


class Augmented(NamedTuple):
    """Images before they are normalised, and which of their pixels are the mean afterwards."""

    images: Tensor  # (N, C, H, W) uint8
    mean: Tensor | None = None  # (N, 1, H, W) bool; None: none of them

    def share(self, rank: int, world: int) -> "Augmented":
        """The part of one of several processes."""
        mean = None if self.mean is None else self.mean.tensor_split(world)[rank]
        return Augmented(self.images.tensor_split(world)[rank], mean)

    def normalized(self, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, C, H, W) float32, in which 0 is the mean."""
        floats = normalize(self.images)
        return floats if self.mean is None else floats.masked_fill(self.mean, 0)


def augment(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Augmented:
    """Crop, flip and cut out as configured; takes (N, C, H, W) uint8."""
    count, device = len(images), images.device
    outside = None
    if config.crop_padding:
        offsets = torch.randint(2 * config.crop_padding + 1, (2, count), generator=generator)
        if config.crop_fill == "mean":
            inside = torch.ones_like(images[:, :1])
            outside = _crop(inside, config.crop_padding, offsets.to(device)) == 0
        images = _crop(images, config.crop_padding, offsets.to(device))
    if config.flip:
        flipped = (torch.rand(count, generator=generator) < 0.5).to(device)[:, None, None, None]
        images = torch.where(flipped, images.flip(3), images)
        outside = None if outside is None else torch.where(flipped, outside.flip(3), outside)
    augmented = Augmented(images, outside)
    if config.cutout:
        height, width = images.shape[2:]
        rows = torch.randint(height, (count,), generator=generator)
        columns = torch.randint(width, (count,), generator=generator)
        augmented = _cut_out(augmented, config, rows.to(device), columns.to(device))
    return augmented


def cut_out_alone(images: Tensor, config: TrainingConfig, seeds: list[int]) -> Augmented:
    """Cut out as configured, an image by its own seed; takes (N, C, H, W) uint8."""
    if not config.cutout:
        return Augmented(images)
    sides = torch.tensor(images.shape[2:])
    shares = [torch.rand(2, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    rows, columns = (torch.stack(shares) * sides).long().to(images.device).unbind(1)
    return _cut_out(Augmented(images), config, rows, columns)


def _crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Each image moved by up to ``padding`` pixels either way; black comes in."""
    count, _, height, width = images.shape
    padded = pad(images, (padding,) * 4)
    rows = offsets[0][:, None] + torch.arange(height, device=images.device)
    columns = offsets[1][:, None] + torch.arange(width, device=images.device)
    number = torch.arange(count, device=images.device)
    # advanced indices go first: (N, H, W, C)
    moved = padded[number[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _cut_out(
    augmented: Augmented, config: TrainingConfig, rows: Tensor, columns: Tensor
) -> Augmented:
    """Blank a square around each centre, cut off at the border (arXiv:1708.04552).

    With the mean, as its author's code does, which normalises first (uoguelph-mlrg/Cutout:
    train.py, util/cutout.py); or with black.
    """
    images, outside = augmented
    hole = _squares(images.shape[2:], config.cutout, rows, columns)
    if config.cutout_fill == "black":
        # black also where the crop brought the mean in
        return Augmented(images.masked_fill(hole, 0), None if outside is None else outside & ~hole)
    return Augmented(images, hole if outside is None else outside | hole)


def _squares(size: torch.Size, side: int, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, 1, H, W): which pixels are in a square around each centre."""
    height, width = size
    low, high = side // 2, side - side // 2
    y = torch.arange(height, device=rows.device)
    x = torch.arange(width, device=rows.device)
    in_rows = (y >= rows[:, None] - low) & (y < rows[:, None] + high)
    in_columns = (x >= columns[:, None] - low) & (x < columns[:, None] + high)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
