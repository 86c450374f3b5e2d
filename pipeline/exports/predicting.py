"""Image files through an exported network, prepared as its validation images were."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.data.decoding import Pixels, read_image
from pipeline.data.image_files import evaluation_transform
from pipeline.data.image_trees import IMAGE_ENDINGS
from pipeline.errors import MachineError, UserError
from pipeline.exports.description import Description
from pipeline.exports.reading import Model

BATCH = 32
# Where a file says no mean and deviation: as for the published networks, to [-1, 1].
GUESSED = 0.5


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network says of one image."""

    path: Path
    classes: tuple[int, ...]  # by their probability, the likeliest first
    probabilities: tuple[float, ...]
    resized_from: tuple[int, int] | None  # (height, width), if none of its size was trained on


def list_images(paths: Iterable[Path]) -> list[Path]:
    """Files as they are named, and the image files of folders and of the folders in them, sorted.

    Hidden files and folders are left out.

    Raises:
        UserError: a path is not there, or a folder has no images.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.is_file():
                raise UserError(f"{path}: there is no such file or folder")
            found.append(path)
            continue
        inside = [file for file in sorted(path.rglob("*")) if _is_image(file, path)]
        if not inside:
            raise UserError(f"{path}: no images in it ({', '.join(sorted(IMAGE_ENDINGS))})")
        found += inside
    return found


def _is_image(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in IMAGE_ENDINGS and not hidden and file.is_file()


def predict(
    model: Model,
    files: Iterable[Path],
    *,
    top: int = 1,
    on_unreadable: Callable[[str], None] | None = None,
) -> Iterator[Prediction]:
    """What a network says of each image.

    Args:
        top: how many classes of each image, the likeliest ones.
        on_unreadable: told of each image that cannot be read, which is then left out; None: the
            first one ends it.

    Raises:
        UserError: an image cannot be read, or the model cannot be run; names the file.
    """
    description = model.description
    for batch in _batched(files):
        prepared = list(_prepared(batch, description, on_unreadable))
        if not prepared:
            continue
        images = torch.stack([image for _, image, _ in prepared])
        logits = model.run(as_input(images, description))
        best = logits.softmax(1).topk(min(top, description.classes))
        for (file, _, size), classes, probabilities in zip(
            prepared, best.indices.tolist(), best.values.tolist(), strict=True
        ):
            yield Prediction(file, tuple(classes), tuple(probabilities), size)


def _prepared(
    files: Iterable[Path], description: Description, on_unreadable: Callable[[str], None] | None
) -> Iterator[tuple[Path, Tensor, tuple[int, int] | None]]:
    """Each file with what ``prepare`` makes of it."""
    for file in files:
        try:
            yield file, *prepare(file, description)
        except UserError as error:
            if on_unreadable is None:
                raise
            on_unreadable(str(error))


def _batched(files: Iterable[Path]) -> Iterator[list[Path]]:
    rest = iter(files)  # itertools.batched comes with Python 3.12
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


def prepare(file: Path, description: Description) -> tuple[Tensor, tuple[int, int] | None]:
    """An image (C, H, W) uint8 as it would be among the validation images.

    With the size it had, (height, width), if those were all of one size and it is of another: it
    then covers that size, and its middle is taken.

    Raises:
        UserError: the file cannot be read as an image.
    """
    try:
        pixels = read_image(file)
    except MachineError as error:
        raise UserError(str(error)) from None
    image = _channels(pixels, description.image_shape[0])
    shape, size = description.image_shape[1:], (image.shape[1], image.shape[2])
    if description.resize_to is not None:
        return evaluation_transform(description.resize_to, shape)(image), None
    if size == shape:
        return image, None
    scale = max(wanted / side for wanted, side in zip(shape, size, strict=True))
    height, width = (max(round(side * scale), 1) for side in size)
    return evaluation_transform((height, width), shape)(image), size


def _channels(pixels: Pixels, channels: int) -> Tensor:
    """(H, W, 3) as (C, H, W); grey where the network knows no colours."""
    if channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def as_input(images: Tensor, description: Description) -> Tensor:
    """Images (N, C, H, W) uint8 as the network takes them."""
    if description.input == "uint8":
        return images
    channels = description.image_shape[0]
    mean, std = (
        torch.tensor(values or (GUESSED,) * channels).view(1, -1, 1, 1)
        for values in (description.mean, description.std)
    )
    return torch.addcmul(-mean / std, images.float(), 1 / (255 * std))
