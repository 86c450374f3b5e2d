"""The user's own image files, decoded as a viewer shows them."""

import functools
import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pipeline.data.image_arrays import Images
from pipeline.data.image_trees import MAX_IMAGE_BYTES, ImageFile
from pipeline.errors import MachineError, UserError
from pipeline.io.reading import read_bytes
from pipeline.io.text import storable

Pixels = npt.NDArray[np.uint8]  # (H, W, 3)

# Pillow's modes whose conversion to RGB is what a viewer shows.
SHOWN = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
TRANSPARENT = {"LA", "La", "PA", "RGBA", "RGBa"}
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N"}


def read_image(file: Path | ImageFile, *, as_before: bool = False) -> Pixels:
    """An image as (H, W, 3).

    Turned as its EXIF data say, transparency on white, 16 bits of grey brought to 8. What cannot
    be shown so is refused: floats, and integers of 32 bits that are no 16-bit image.

    Args:
        as_before: as releases of format 1 read it: unturned, transparency dropped, 16 bits cut.

    Raises:
        MachineError: the file is not here now, cannot be read, or is another than was listed.
        UserError: it is no image that can be decoded; names the file.
    """
    data = file.read() if isinstance(file, ImageFile) else _bytes_of(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large image, or of odd metadata
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB") if as_before else _shown(image))
    except MemoryError:
        raise UserError(f"{_name(file)}: memory does not suffice to decode it") from None
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like: SyntaxError, too
        words = re.sub(r"<_io\.BytesIO[^>]*>", "", str(error)).split()
        reason = " ".join(words) or type(error).__name__
        raise UserError(f"{_name(file)}: not an image that can be read: {reason}") from None


def _name(file: Path | ImageFile) -> str:
    return str(file) if isinstance(file, ImageFile) else storable(str(file))


def _bytes_of(file: Path) -> bytes:
    try:
        return read_bytes(file, MAX_IMAGE_BYTES)
    except OSError as error:
        raise MachineError(f"{storable(str(file))}: {error.strerror or error}") from None
    except UserError as error:  # it was a file, and small enough, when the images were listed
        raise MachineError(str(error)) from None


def _shown(image: Image.Image) -> Image.Image:
    """An image in RGB, as viewers show it."""
    sixteen_bits = image.mode in SIXTEEN_BITS or (image.mode == "I" and _has_sixteen_bits(image))
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    image = ImageOps.exif_transpose(image)
    if sixteen_bits:
        return Image.fromarray(_eight_bits(image, tags)).convert("RGB")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    if image.mode in SHOWN:
        return image.convert("RGB")
    raise ValueError(f"its pixels are {image.mode} (Pillow's mode): save it with 8 or 16 bits")


def _eight_bits(image: Image.Image, tags: Mapping[int, Any]) -> npt.NDArray[np.uint8]:
    """Grey of more than 8 bits, brought to 8: as many as the file says, 0 as white if it says so.

    TIFF 6.0: BitsPerSample is tag 258, PhotometricInterpretation 262, of which 0 is WhiteIsZero.
    """
    values = np.asarray(image, dtype=np.int64)
    white = 2 ** int(np.ravel(tags.get(BITS_PER_SAMPLE, 16))[0]) - 1
    grey = (values * 255 // white).clip(0, 255)
    if tags.get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(values == transparent, 255, grey)
    return np.asarray(grey, dtype=np.uint8)


def _has_sixteen_bits(image: Image.Image) -> bool:
    """Whether an image of 32-bit integers is one of 16: older releases of Pillow read PNG so."""
    low, high = np.ravel(image.getextrema())  # it has one band
    return image.format in {"PNG", "PPM"} and bool(low >= 0 and high < 2**16)


def read_images(files: Sequence[ImageFile], as_before: bool) -> Images:
    """Files of one size, as (N, H, W, 3).

    Raises:
        MachineError: one is not here now.
        UserError: some cannot be decoded, or their sizes differ; names the first.
    """
    _check_memory(files, as_before)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes beside the interpreter
        found = list(threads.map(functools.partial(_decoded, as_before=as_before), files))
    images = [image for image in found if not isinstance(image, str)]
    raise_unreadable([problem for problem in found if isinstance(problem, str)], len(files))
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            height, width = images[0].shape[:2]
            raise UserError(
                f"{file}: {image.shape[1]}x{image.shape[0]} pixels, others have "
                f"{width}x{height}: set image_size to bring all to one size"
            )
    return np.stack(images)


def _check_memory(files: Sequence[ImageFile], as_before: bool) -> None:
    """Refuse what does not fit into half of this machine's memory, by the first image's size."""
    first = _decoded(files[0], as_before=as_before)
    if isinstance(first, str):
        return  # named with the others
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if len(files) * first.nbytes > memory / 2:
        height, width = first.shape[:2]
        raise UserError(
            f"{files[0].root}: {len(files):,} images of {width}x{height} take "
            f"{len(files) * first.nbytes / 2**30:.1f} GiB of memory: set image_size, so that they "
            "are decoded while they are needed"
        )


def raise_unreadable(problems: Sequence[str], looked_at: int) -> None:
    """Refuse files that cannot be decoded, if there are any.

    Raises:
        UserError: naming the first, and how many there are.
    """
    if problems:
        more = f" ({len(problems)} of {looked_at} files cannot be read)" if problems[1:] else ""
        raise UserError(f"{problems[0]}{more}")


def _decoded(file: ImageFile, *, as_before: bool) -> Pixels | str:
    try:
        return read_image(file, as_before=as_before)
    except UserError as error:
        return str(error)
