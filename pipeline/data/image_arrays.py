"""Images of NumPy archives and HDF5 files: arrays by the names that people give them, checked.

Every problem is one line that says which file, which array, and what was expected.
"""

import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import MachineError, UserError
from pipeline.io.reading import blaming, open_file
from pipeline.io.text import storable

Images = npt.NDArray[np.uint8]  # (N, H, W, C)
Labels = npt.NDArray[np.int64]  # (N,)
AnyArray = npt.NDArray[Any]

MAX_CLASSES = 100_000
# Names in any case: Keras' own archives, what its and torchvision's users write, MedMNIST's.
IMAGES = {
    "train": ("x_train", "train_images", "train_x", "train_data", "images", "x", "data"),
    "validation": ("x_val", "val_images", "x_valid", "valid_images", "val_x", "val_data"),
    "test": ("x_test", "test_images", "test_x", "test_data"),
}
LABELS = {
    "train": ("y_train", "train_labels", "train_y", "train_targets", "labels", "y", "targets"),
    "validation": ("y_val", "val_labels", "y_valid", "valid_labels", "val_y", "val_targets"),
    "test": ("y_test", "test_labels", "test_y", "test_targets"),
}
CLASS_NAMES = ("class_names", "label_names", "classes", "names")
CHANNELS = {1, 3}
# By the version that an array of NumPy's begins with.
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Images (N, H, W, C) and labels (N,) of each part, not split any further.

    ``parts`` has "train", and "validation" and "test" where the file has them.
    """

    class_names: tuple[str, ...]
    parts: dict[str, tuple[Images, Labels]]
    remarks: tuple[str, ...] = ()  # what was read otherwise than it stands


def read_npz(path: Path, *, as_before: bool = False) -> Arrays:
    """A NumPy archive's images; ``as_before``: as releases of format 1 numbered labels.

    Raises:
        MachineError: it is not here, or cannot be opened.
        UserError: naming the file and the array.
    """
    _check_file(path)
    if not zipfile.is_zipfile(path):
        raise UserError(f"{_named(path)}: cannot be read: no archive as np.savez writes it")
    # opened here, since np.load leaves a file open that it cannot read
    with (
        blaming(path),
        open_file(path) as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        return _read(path, archive, as_before)


def read_hdf5(path: Path) -> Arrays:
    """An HDF5 file's images, in data sets of the same names.

    Raises:
        MachineError: it is not here, or cannot be opened.
        UserError: naming the file and the array; or that h5py is not installed.
    """
    _check_file(path)
    try:
        import h5py
    except ImportError:
        raise UserError(
            "HDF5 files need the extra `hdf5`: pip install 'nasnet-pipeline[hdf5]'"
        ) from None
    with blaming(path), h5py.File(path) as file:
        arrays = {name: file[name] for name in file if hasattr(file[name], "dtype")}
        return _read(path, arrays, False)


def _named(path: Path) -> str:
    return storable(str(path))


def _check_file(path: Path) -> None:
    try:
        if not path.is_file():  # a pipe would be waited for without end
            path.stat()
            raise UserError(f"{_named(path)}: is no file")
        path.open("rb").close()
    except OSError as error:
        raise MachineError(f"{_named(path)}: {error.strerror or error}") from None


def _read(path: Path, archive: Mapping[str, Any], as_before: bool) -> Arrays:
    found = _found(path, archive)
    _check_headers(path, archive, found)
    remarks: list[str] = []
    loaded = {
        part: _with_channels_last(path, images, _loaded(path, archive, images), remarks)
        for part, (images, _) in found.items()
    }
    floats = [images for images in loaded.values() if images.dtype.kind == "f"]
    is_unit = all(float(images.max()) <= 1 for images in floats)  # all parts are, or none
    raw = {}
    for part, (images, labels) in found.items():
        pixels = _as_bytes(path, images, loaded[part], is_unit, remarks)
        classes = _checked_labels(path, labels, _loaded(path, archive, labels))
        if len(classes) != len(pixels):
            raise UserError(
                f"{_named(path)}: {len(pixels)} images in {images}, "
                f"{len(classes)} labels in {labels}"
            )
        raw[part] = pixels, classes
    _check_sizes(path, found, {part: images for part, (images, _) in raw.items()})
    given = next((name for name in archive if name.casefold() in CLASS_NAMES), None)
    numbers = {part: part_labels for part, (_, part_labels) in raw.items()}
    if as_before:
        names = tuple(map(str, range(int(numbers["train"].max()) + 1)))
    else:
        texts = () if given is None else _texts(path, archive, given)
        names = _number(path, numbers, texts, remarks)
    parts = {part: (raw[part][0], numbers[part].astype(np.int64)) for part in raw}
    return Arrays(names, parts, tuple(remarks))


def _check_headers(
    path: Path, archive: Mapping[str, Any], found: Mapping[str, tuple[str, str]]
) -> None:
    """Check what arrays say of themselves before any is unpacked: a few bytes may hold gigabytes.

    Raises:
        UserError: there are more images than labels, or more bytes than this machine's memory.
    """
    size = 0
    for images, labels in found.values():
        shape, bytes_of_images = _header(archive, images)
        of_labels, bytes_of_labels = _header(archive, labels)
        size += bytes_of_images + bytes_of_labels
        if len(shape) in {3, 4} and of_labels and shape[0] != of_labels[0]:
            raise UserError(
                f"{_named(path)}: {shape[0]} images in {images}, {of_labels[0]} labels in {labels}"
            )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise UserError(
            f"{_named(path)}: its arrays take {size:,} bytes, and this machine has {memory:,}"
        )


def _header(archive: Mapping[str, Any], name: str) -> tuple[tuple[int, ...], int]:
    """The shape that an array says that it has, and how many bytes."""
    if not isinstance(archive, np.lib.npyio.NpzFile) or archive.zip is None:
        found = archive[name]  # HDF5 reads nothing yet
        return tuple(found.shape), int(found.nbytes)
    member = f"{name}.npy"
    with archive.zip.open(member if member in archive.zip.namelist() else name) as file:
        read = HEADERS.get(np.lib.format.read_magic(file))
        if read is None:  # of records with odd names: no images
            return (), 0
        shape, _, dtype = read(file)
    return shape, math.prod(shape) * dtype.itemsize


def _found(path: Path, archive: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The names of each part's images and labels."""
    found = {}
    for part in IMAGES:
        images = _only(path, archive, IMAGES[part])
        labels = _only(path, archive, LABELS[part])
        if (images is None) != (labels is None) or (part == "train" and images is None):
            missing = (IMAGES if images is None else LABELS)[part][0]
            there = ", ".join(map(storable, archive)) or "none"
            raise UserError(f"{_named(path)}: no array {missing}; there are: {there}")
        if images is not None and labels is not None:
            found[part] = images, labels
    return found


def _only(path: Path, archive: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The one array of some names, if there is one.

    Raises:
        UserError: there are several.
    """
    found = [name for name in archive if name.casefold() in names]
    if len(found) > 1:
        raise UserError(
            f"{_named(path)}: has {' and '.join(map(storable, found))}, which may mean the same: "
            "keep one"
        )
    return found[0] if found else None


def _loaded(path: Path, archive: Mapping[str, Any], name: str) -> AnyArray:
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{_named(path)}: {storable(name)} holds Python objects; save numbers or texts"
        ) from None
    if array.dtype == object and hasattr(array, "asstr"):  # how HDF5 keeps texts
        return np.array(array.asstr()[()], dtype=np.str_)
    return np.asarray(array)


def _texts(path: Path, archive: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = _decoded(_loaded(path, archive, name))
    return tuple(str(text) for text in found.reshape(-1).tolist())


def _decoded(texts: AnyArray) -> AnyArray:
    """Bytes as texts; other arrays as they are."""
    if texts.dtype.kind != "S":
        return texts
    return np.char.decode(texts, "utf-8", "backslashreplace")


def _with_channels_last(path: Path, name: str, images: AnyArray, remarks: list[str]) -> AnyArray:
    """Images as (N, H, W, C), whatever way they were stored.

    Raises:
        UserError: they could be read in two ways, or in none.
    """
    where = f"{_named(path)}: {name} is {images.dtype}{list(images.shape)}"
    if images.dtype.kind not in "uifb" or images.ndim not in {3, 4} or not images.size:
        flat = " (flat images: reshape them)" if images.ndim == 2 else ""
        raise UserError(f"{where}; expected numbers (N, H, W, C) or (N, H, W){flat}")
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] in CHANNELS and images.shape[3] in CHANNELS:
        raise UserError(
            f"{where}: channels first or last? Both could be; save them as (N, H, W, C) "
            "with more than 3 pixels a side"
        )
    elif images.shape[1] in CHANNELS:
        images = images.transpose(0, 2, 3, 1)
        remarks.append(f"{name}: read as (N, C, H, W)")
    elif images.shape[3] not in CHANNELS:
        raise UserError(f"{where}: {images.shape[3]} channels; expected 1 or 3")
    return images


def _as_bytes(
    path: Path, name: str, images: AnyArray, is_unit: bool, remarks: list[str]
) -> Images:
    """Numbers as bytes.

    Raises:
        UserError: they are neither from 0 to 255 nor, as floats, from 0 to 1.
    """
    if images.dtype == np.uint8:
        return np.asarray(images, dtype=np.uint8)
    if images.dtype == np.bool_:
        images = np.where(images, 255, 0)
    low, high = float(images.min()), float(images.max())
    if low >= 0 and is_unit and images.dtype.kind == "f":
        remarks.append(f"{name}: read as 0 to 1 and brought to 0 to 255")
        return np.asarray(np.rint(images * 255), dtype=np.uint8)
    if low >= 0 and high <= 255:
        return np.asarray(np.rint(images), dtype=np.uint8)
    raise UserError(
        f"{_named(path)}: {name} is {images.dtype}{list(images.shape)} with values {low:g} to "
        f"{high:g}; expected bytes, or floats from 0 to 1 "
        "(as they were before they were normalised)"
    )


def _checked_labels(path: Path, name: str, labels: AnyArray) -> AnyArray:
    """Labels as one number, or one text, an image.

    Raises:
        UserError: they are neither, nor one-hot.
    """
    where = f"{_named(path)}: {name} is {labels.dtype}{list(labels.shape)}"
    if labels.dtype.kind not in "uibfUS" or labels.ndim not in {1, 2} or not labels.size:
        raise UserError(f"{where}; expected integers or texts (N,), or one-hot (N, classes)")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.dtype.kind in "US" or not _is_one_hot(labels):
            raise UserError(f"{where}: neither one label an image nor one-hot")
        return np.asarray(labels.argmax(1))
    labels = labels.reshape(-1)
    if labels.dtype.kind == "f" and not bool((labels == np.floor(labels)).all()):
        raise UserError(f"{where} with values that are not whole; expected classes")
    labels = _decoded(labels)
    return labels if labels.dtype.kind == "U" else _as_numbers(where, labels)


def _as_numbers(where: str, labels: AnyArray) -> AnyArray:
    low, high = labels.min(), labels.max()
    if not (low >= 0 and high < MAX_CLASSES):  # NaN is neither
        raise UserError(f"{where} with labels {low} to {high}; expected 0 to {MAX_CLASSES - 1}")
    return np.asarray(labels, dtype=np.int64)


def _is_one_hot(labels: AnyArray) -> bool:
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())


def _number(
    path: Path, labels: dict[str, AnyArray], given: tuple[str, ...], remarks: list[str]
) -> tuple[str, ...]:
    """Number the classes that are trained from 0, in place; returns their names.

    Raises:
        UserError: there is one class only, or another part has one more.
    """
    values = np.unique(labels["train"])
    if len(values) < 2:
        raise UserError(f"{_named(path)}: all labels to train with are {values[0]}: one class")
    for part, part_labels in labels.items():
        unknown = np.setdiff1d(part_labels, values)
        if len(unknown):
            raise UserError(
                f"{_named(path)}: {part} has label {unknown[0]}, which none to train with has"
            )
        labels[part] = np.searchsorted(values, part_labels)
    names = tuple(map(str, values.tolist()))
    if values.dtype.kind == "U":
        return names
    if int(values.max()) >= len(values):
        remarks.append(
            f"labels {values[0]} to {values[-1]} are {len(values)} classes, numbered anew from 0"
        )
    return _given_names(values, given, remarks) or names


def _given_names(
    values: AnyArray, given: tuple[str, ...], remarks: list[str]
) -> tuple[str, ...] | None:
    """The names that an archive has for its labels, if they fit."""
    if len(given) > int(values.max()):
        chosen = tuple(given[value] for value in values)
    elif len(given) == len(values):
        chosen = given
    else:
        chosen = ()
    if chosen and len(set(chosen)) == len(chosen):
        return chosen
    if given:
        remarks.append(
            f"suspicious: {len(given)} names of classes do not fit {len(values)} labels"
        )
    return None


def _check_sizes(path: Path, found: dict[str, tuple[str, str]], parts: dict[str, Images]) -> None:
    for part, images in parts.items():
        if images.shape[1:] != parts["train"].shape[1:]:
            raise UserError(
                f"{_named(path)}: {found['train'][0]} has images of {_size(parts['train'])}, "
                f"{found[part][0]} of {_size(images)}"
            )


def _size(images: Images) -> str:
    return "x".join(map(str, images.shape[1:]))
