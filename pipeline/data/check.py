"""A look at a data set before anything is trained on it: what it is, and what is suspicious."""

import hashlib
import itertools
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.run import DataConfig
from pipeline.data.decoding import read_image
from pipeline.data.image_arrays import Images
from pipeline.data.image_folders import list_images
from pipeline.data.image_trees import ImageFile
from pipeline.data.sources import Parts, Source
from pipeline.data.splits import split_method, split_parts
from pipeline.errors import UserError

LOOKED_AT = 5000  # files that are decoded, where not all are to be
SAMPLED = 100  # files that say how large the others are
FEWEST_VALIDATED = 20  # images that say how good a network is
FEW = 10  # images of a class
UNEVEN = 10  # times as many images as the smallest class has
SMALLEST_SIDE = 4  # pixels: an image_size may be no smaller
SUGGESTED = 224  # pixels a side, at most

OnFile = Callable[[int, int], object]  # how many were looked at, of how many


@dataclass(frozen=True, slots=True)
class Look:
    """What one image file turned out to be."""

    name: str
    problem: str | None  # why it cannot be decoded
    height: int = 0
    width: int = 0
    digest: bytes = b""  # of its pixels


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A class, and how many images of it each part has."""

    name: str
    train: int
    validation: int
    test: int

    @property
    def total(self) -> int:
        """Of all parts."""
        return self.train + self.validation + self.test


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a data set is, and how it is split."""

    dataset: str
    fingerprint: str
    smallest: tuple[int, int]  # height, width in pixels
    largest: tuple[int, int]
    channels: int
    image_size: int | None  # that files are brought to
    suggested_image_size: int | None  # where they have several sizes
    split: str
    classes: tuple[ClassCount, ...]
    looked_at: int  # images that were decoded
    images: int
    left_out: dict[str, int]
    remarks: tuple[str, ...]
    suspicious: tuple[str, ...]
    unreadable: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """As JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        counts = ("name", "train", "validation", "test")
        plain["classes"] = [{key: getattr(one, key) for key in counts} for one in self.classes]
        return plain

    @property
    def size(self) -> str:
        """Of the images, height x width, and x channels if all have one size."""
        low, high = ("x".join(map(str, size)) for size in (self.smallest, self.largest))
        return f"{low}x{self.channels}" if low == high else f"{low} to {high}"

    def rows(self) -> list[str]:
        """All of it but the classes, a line each."""
        same = self.smallest == self.largest
        channels = " x channels)" if same else f"), {self.channels} channels"
        found = {
            "dataset": self.dataset,
            "images": f"{self.images:,}, {self.looked_at:,} of them looked at",
            "size": f"{self.size} (height x width{channels}",
            "image_size": self._on_image_size(),
            "split": self.split,
            "fingerprint": self.fingerprint,
        }
        return [
            *(f"{name:<12} {what}" for name, what in found.items()),
            *(f"left out     {count} {reason}" for reason, count in self.left_out.items()),
            *(f"note         {remark}" for remark in self.remarks),
            *(f"suspicious   {what}" for what in self.suspicious),
        ]

    def _on_image_size(self) -> str:
        if self.image_size is not None:
            return f"{self.image_size}: all are brought to it"
        if self.suggested_image_size is None:
            return "not needed: all images have one size"
        return f"must be set, since sizes differ; {self.suggested_image_size} would fit"

    def line(self) -> str:
        """All that matters in one line."""
        train, validation, test = (
            sum(getattr(one, part) for one in self.classes)
            for part in ("train", "validation", "test")
        )
        totals = [one.total for one in self.classes]
        each = (
            f"{min(totals)}" if min(totals) == max(totals) else f"{min(totals)} to {max(totals)}"
        )
        found = [
            f"data: {self.images:,} images of {self.size}, {len(totals)} classes of {each}; "
            f"{train:,} to train, {validation:,} to validate, {test:,} to test",
            *(f"left out: {count} {reason}" for reason, count in self.left_out.items()),
            *self.remarks,
            *(f"suspicious: {what}" for what in self.suspicious),
        ]
        return "; ".join(found)


def check_source(
    source: Source,
    config: DataConfig,
    *,
    limit: int | None = LOOKED_AT,
    on_file: OnFile | None = None,
) -> DataReport:
    """Look at a data set that was read: decode its files, at most ``limit`` of them.

    Raises:
        MachineError: a file is not here now, or is another than was listed.
        UserError: too few images would be left to train with.
    """
    parts = split_parts(source, config)
    classes = _counts(source, parts)
    untrained = [one.name for one in classes if not one.train]
    if untrained:
        raise UserError(
            f"{config.dataset}: too few images: none of {_some(untrained)} is left to train with"
        )
    looks = _looks(parts, config.reading == 1, limit, on_file)
    readable = [look for part in looks.values() for look in part if look.problem is None]
    sizes = sorted({(look.height, look.width) for look in readable})
    return DataReport(
        dataset=config.dataset,
        fingerprint=source.summary.fingerprint,
        smallest=sizes[0] if sizes else (0, 0),
        largest=sizes[-1] if sizes else (0, 0),
        channels=3 if source.summary.shape is None else source.summary.shape[2],
        image_size=config.image_size,
        suggested_image_size=_suggested_size(readable) if len(sizes) > 1 else None,
        split=split_method(config),
        classes=classes,
        looked_at=sum(map(len, looks.values())),
        images=sum(one.total for one in classes),
        left_out=dict(source.left_out.most_common()),
        remarks=source.remarks,
        suspicious=(*_uneven(classes), *_odd_images(looks, parts)),
        unreadable=tuple(
            look.problem for part in looks.values() for look in part if look.problem is not None
        ),
    )


def usual_size(path: Path) -> int:
    """What the images of a folder may be brought to, pixels a side: the middle of some of them.

    Raises:
        MachineError: the folder is not here.
        UserError: it has no layout that is known, or none of those images can be decoded.
    """
    files = [image for images in list_images(path).parts["train"] for image in images]
    looks = [_look_at_file(file, False) for file in files[:: max(1, len(files) // SAMPLED)]]
    readable = [look for look in looks if look.problem is None]
    if not readable:
        raise UserError(str(looks[0].problem))
    return _suggested_size(readable)


def _counts(source: Source, parts: Parts) -> tuple[ClassCount, ...]:
    counts = [
        np.bincount(parts[part][1], minlength=len(source.class_names)).tolist()
        for part in ("train", "validation", "test")
    ]
    return tuple(ClassCount(*row) for row in zip(source.class_names, *counts, strict=True))


def _looks(
    parts: Parts, as_before: bool, limit: int | None, on_file: OnFile | None
) -> dict[str, list[Look]]:
    total = sum(len(images) for images, _ in parts.values())
    step = 1 if limit is None else max(1, -(-total // limit))
    seen = itertools.count(1)

    def look(file: ImageFile) -> Look:
        found = _look_at_file(file, as_before)
        if on_file is not None:
            on_file(next(seen), -(-total // step))
        return found

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes beside the interpreter
        return {
            part: list(threads.map(look, images[::step]))
            if isinstance(images, list)
            else _looks_at_array(images)
            for part, (images, _) in parts.items()
        }


def _look_at_file(file: ImageFile, as_before: bool) -> Look:
    try:
        pixels = read_image(file, as_before=as_before)
    except UserError as error:
        return Look(str(file), str(error))
    height, width = pixels.shape[:2]
    return Look(str(file), None, height, width, hashlib.sha256(pixels.tobytes()).digest())


def _looks_at_array(images: Images) -> list[Look]:
    height, width = images.shape[1:3]
    return [
        Look(f"image {number}", None, height, width, hashlib.sha256(image.tobytes()).digest())
        for number, image in enumerate(images)
    ]


def _suggested_size(looks: Sequence[Look]) -> int:
    """The middle of the shorter sides, as a multiple of 8 where it is large enough."""
    middle = int(statistics.median(min(look.height, look.width) for look in looks))
    rounded = middle - middle % 8 if middle >= 16 else middle
    return min(SUGGESTED, max(SMALLEST_SIDE, rounded))


def _uneven(classes: Sequence[ClassCount]) -> Iterable[str]:
    """What is odd about the numbers of images."""
    for part in ("train", "validation", "test"):
        without = [one.name for one in classes if not getattr(one, part)]
        if without:
            yield f"{part} has no image of {_some(without)}"
    validation = sum(one.validation for one in classes)
    if validation < FEWEST_VALIDATED:
        yield (
            f"{validation} images to validate with: a reward moves in steps of "
            f"{1 / validation:.2f}; the key validation may hold out more"
        )
    few = [one.name for one in classes if 0 < one.train < FEW]
    if few:
        yield f"fewer than {FEW} images to train {_some(few)}"
    totals = {one.name: one.total for one in classes}
    most, least = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
    if totals[most] > UNEVEN * totals[least]:
        yield f"{totals[most]} images of {most!r}, {totals[least]} of {least!r}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more classes"


def _odd_images(looks: dict[str, list[Look]], parts: Parts) -> Iterable[str]:
    """What is odd about the images themselves."""
    trained = {look.digest for look in looks["train"] if look.problem is None}
    for part in ("validation", "test"):
        readable = [look for look in looks[part] if look.problem is None]
        same = sum(look.digest in trained for look in readable)
        if same:
            yield f"{same} of {len(readable)} images to {_VERBS[part]} with are trained on, too"
    images = parts["train"][0]
    if not isinstance(images, list):
        if int(np.ptp(images)) == 0:
            yield "all images have one colour"
        elif int(images.max()) < 16:
            yield f"no pixel is brighter than {int(images.max())} of 255"


_VERBS = {"validation": "validate", "test": "test"}
