"""What a data set is, in a few numbers and a hash: stored once, compared wherever it is loaded."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.image_arrays import Images, Labels
from pipeline.data.image_trees import ImageFile

MOST_CHANGES = 3  # that are said


@dataclass(frozen=True, slots=True)
class DataSummary:
    """A data set as it lies somewhere: what it holds of each part and class.

    Of files their names and sizes are hashed, of arrays what they hold.
    """

    class_names: tuple[str, ...]
    images: dict[str, tuple[int, ...]]  # by part, of each class
    hashes: dict[str, tuple[str, ...]]  # by part, of each class's images
    order: str  # the hash of all labels in their order
    shape: tuple[int, int, int] | None  # height, width, channels; None: files of any size

    @property
    def fingerprint(self) -> str:
        """The sha256 of all of it, in 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_data(), sort_keys=True).encode()).hexdigest()

    def to_data(self) -> dict[str, Any]:
        """As JSON: the column ``summary`` of the table ``datasets``."""
        return {
            "classes": list(self.class_names),
            "images": {part: list(counts) for part, counts in self.images.items()},
            "hashes": {part: list(hashes) for part, hashes in self.hashes.items()},
            "order": self.order,
            "shape": None if self.shape is None else list(self.shape),
        }


def summary_from_data(data: Mapping[str, Any]) -> DataSummary:
    """What ``DataSummary.to_data`` gave."""
    return DataSummary(
        class_names=tuple(data["classes"]),
        images={part: tuple(counts) for part, counts in data["images"].items()},
        hashes={part: tuple(hashes) for part, hashes in data["hashes"].items()},
        order=data["order"],
        shape=None if data["shape"] is None else tuple(data["shape"]),
    )


def summarize_arrays(
    class_names: tuple[str, ...], parts: Mapping[str, tuple[Images, Labels]]
) -> DataSummary:
    """Of images in memory: (N, H, W, C) and labels (N,) by part."""
    hashes = {}
    for part, (images, labels) in parts.items():
        of_classes = (images[labels == label] for label in range(len(class_names)))
        hashes[part] = tuple(
            hashlib.sha256(some.tobytes()).hexdigest()[:16] for some in of_classes
        )
    height, width, channels = parts["train"][0].shape[1:]
    return DataSummary(
        class_names,
        _counts(class_names, {part: labels for part, (_, labels) in parts.items()}),
        hashes,
        _order(labels for _, labels in parts.values()),
        (height, width, channels),
    )


def summarize_files(
    class_names: tuple[str, ...], parts: Mapping[str, tuple[Sequence[ImageFile], Labels]]
) -> DataSummary:
    """Of files: what they are called and how large they are."""
    hashes = {}
    for part, (files, labels) in parts.items():
        texts = [hashlib.sha256() for _ in class_names]
        for file, label in zip(files, labels.tolist(), strict=True):
            texts[label].update(os.fsencode(file.name) + f"\0{file.size}\n".encode())
        hashes[part] = tuple(text.hexdigest()[:16] for text in texts)
    labels_of = {part: labels for part, (_, labels) in parts.items()}
    counts = _counts(class_names, labels_of)
    return DataSummary(class_names, counts, hashes, _order(labels_of.values()), None)


def _counts(
    class_names: tuple[str, ...], parts: Mapping[str, Labels]
) -> dict[str, tuple[int, ...]]:
    return {
        part: tuple(np.bincount(labels, minlength=len(class_names)).tolist())
        for part, labels in parts.items()
    }


def _order(parts: Any) -> str:
    order = hashlib.sha256()
    for labels in parts:
        order.update(labels.astype("<i8").tobytes())
    return order.hexdigest()[:16]


def changes(before: DataSummary, now: DataSummary) -> str:
    """What is different now, in words; the first few of many."""
    found = [
        *(f"class {name!r} is new" for name in now.class_names if name not in before.class_names),
        *(f"class {name!r} is gone" for name in before.class_names if name not in now.class_names),
        *_changed_parts(before, now),
    ]
    if before.shape != now.shape:
        found.append(f"images of {_size(now.shape)}, were of {_size(before.shape)}")
    more = len(found) - MOST_CHANGES
    shown = "; ".join(found[:MOST_CHANGES]) + (f"; and {more} more" if more > 0 else "")
    return shown or "the same images in another order"


def _changed_parts(before: DataSummary, now: DataSummary) -> list[str]:
    found = []
    for part in ("train", "validation", "test"):
        if (part in before.images) != (part in now.images):
            found.append(f"the part {part} is {'new' if part in now.images else 'gone'}")
            continue
        for name in before.class_names if part in before.images else ():
            if name in now.class_names:
                found += _changed_class(part, name, before, now)
    return found


def _changed_class(part: str, name: str, before: DataSummary, now: DataSummary) -> list[str]:
    old, new = before.class_names.index(name), now.class_names.index(name)
    had, has = before.images[part][old], now.images[part][new]
    if had != has:
        return [f"{part} has {has} images of {name!r}, had {had}"]
    if before.hashes[part][old] != now.hashes[part][new]:
        return [f"{part} has other images of {name!r}"]
    return []


def _size(shape: tuple[int, int, int] | None) -> str:
    return "any size" if shape is None else "x".join(map(str, shape))
