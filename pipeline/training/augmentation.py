"""Augmentation of whole batches on the device they lie on.

Random numbers come from a generator on the CPU, so that they do not depend on the device.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from pipeline.config import TrainingConfig


def augment(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Crop, flip and cut out as configured; (N, C, H, W) uint8 in and out."""
    count, device = len(images), images.device
    if config.crop_padding:
        offsets = torch.randint(2 * config.crop_padding + 1, (2, count), generator=generator)
        images = _crop(images, config.crop_padding, offsets.to(device))
    if config.flip:
        flipped = torch.rand(count, generator=generator) < 0.5
        images = torch.where(flipped.to(device)[:, None, None, None], images.flip(3), images)
    if config.cutout:
        height, width = images.shape[2:]
        rows = torch.randint(height, (count,), generator=generator)
        columns = torch.randint(width, (count,), generator=generator)
        images = _cut_out(images, config.cutout, rows.to(device), columns.to(device))
    return images


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


def _cut_out(images: Tensor, side: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Blank a square around each centre, cut off at the border (arXiv:1708.04552)."""
    height, width = images.shape[2:]
    low, high = side // 2, side - side // 2
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    in_rows = (y >= rows[:, None] - low) & (y < rows[:, None] + high)
    in_columns = (x >= columns[:, None] - low) & (x < columns[:, None] + high)
    blank = in_rows[:, :, None] & in_columns[:, None, :]
    return images.masked_fill(blank[:, None], 0)
