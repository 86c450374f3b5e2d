"""Data sets as they lie somewhere: arrays or lists of files, nothing held out yet."""

import contextlib
import http.client
import pickle
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.config.run import DataConfig
from pipeline.data.dataset_names import check_dataset, own_path
from pipeline.data.decoding import read_images
from pipeline.data.image_arrays import Arrays, Images, Labels, read_hdf5, read_npz
from pipeline.data.image_folders import list_images
from pipeline.data.image_trees import ImageFile
from pipeline.data.known_datasets import DATASETS
from pipeline.data.summary import DataSummary, summarize_arrays, summarize_files
from pipeline.errors import DataChangedError, MachineError, UserError
from pipeline.io.text import storable

# What reading or downloading may raise where files are missing, cut off or not what they say.
UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    EOFError,
    MemoryError,  # a header that promises more than there is
    AssertionError,
    zlib.error,
    tarfile.TarError,
    pickle.UnpicklingError,
    http.client.HTTPException,
)

# Of each part, "train", "validation" and "test", the images and their labels (N,).
Part = tuple[Images | list[ImageFile], Labels]
Parts = dict[str, Part]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A data set as it lies somewhere, split no further than it is there.

    Of each part, "train" and maybe "validation" and "test", the images, as arrays (N, H, W, C) or
    as files, and the labels (N,).
    """

    class_names: tuple[str, ...]
    parts: Parts
    summary: DataSummary
    left_out: Counter[str] = field(default_factory=Counter)  # files by reason
    remarks: tuple[str, ...] = ()  # what was read otherwise than it stands


def read_source(config: DataConfig, folder: Path, *, decode: bool = True) -> Source:
    """A data set as it lies here, compared with the configuration's fingerprint.

    Args:
        decode: whether an image folder without ``image_size`` is read into memory.

    Raises: as ``load_dataset``.
    """
    check_dataset(config.dataset)
    own = own_path(config.dataset)
    if own is not None and own[0] == "imagefolder":
        return _files_source(config, own[1], decode=decode and config.image_size is None)
    if config.image_size is not None:
        raise UserError(f"image_size: {config.dataset} is no image folder, its size is its own")
    return _arrays_source(config, folder)


@contextlib.contextmanager
def _as_it_was(config: DataConfig) -> Iterator[None]:
    """What could be read when its fingerprint was taken and cannot be now is the machine's fault.

    It is an empty mount point, a copy on its way, or others' images.
    """
    try:
        yield
    except UserError as error:
        if config.fingerprint is None:
            raise
        raise MachineError(f"dataset {config.dataset}: is not what it was: {error}") from None


def _compare(config: DataConfig, found: DataSummary) -> None:
    """Compare what was found with the fingerprint, before anything is decoded."""
    if config.fingerprint is not None and found.fingerprint != config.fingerprint:
        raise DataChangedError(
            f"dataset {config.dataset}: the images are not those that there were", found.to_data()
        )


def _arrays_source(config: DataConfig, folder: Path) -> Source:
    own = own_path(config.dataset)
    if own is None:
        arrays = read_known(config.dataset, folder)
    else:
        kind, path = own
        with _as_it_was(config), blaming_the_user(storable(str(path))):
            as_before = config.reading == 1
            arrays = read_npz(path, as_before=as_before) if kind == "npz" else read_hdf5(path)
    summary = summarize_arrays(arrays.class_names, arrays.parts)
    _compare(config, summary)
    return Source(arrays.class_names, {**arrays.parts}, summary, remarks=arrays.remarks)


def _files_source(config: DataConfig, path: Path, *, decode: bool) -> Source:
    as_before = config.reading == 1
    with _as_it_was(config):
        listing = list_images(path, as_before=as_before)
    parts: Parts = {}
    files: dict[str, tuple[list[ImageFile], Labels]] = {}
    for part, classes in listing.parts.items():
        labels = np.repeat(np.arange(len(classes)), [len(images) for images in classes])
        files[part] = [image for images in classes for image in images], labels
    summary = summarize_files(listing.class_names, files)
    _compare(config, summary)
    if decode:
        images = read_images([image for part, _ in files.values() for image in part], as_before)
        at = 0
        for part, (listed, labels) in files.items():
            parts[part] = images[at : at + len(listed)], labels
            at += len(listed)
    else:
        parts = {**files}
    return Source(listing.class_names, parts, summary, listing.left_out, listing.remarks)


def read_known(name: str, folder: Path) -> Arrays:
    """Read a data set that is known by its name.

    Raises:
        MachineError: it is not here, or not whole.
    """
    try:
        return DATASETS[name].read(folder)
    except UNREADABLE as error:
        raise MachineError(
            f"data set {name} is missing here: {folder}: {_one_line(error)}"
        ) from error


@contextlib.contextmanager
def blaming_the_user(what: str) -> Iterator[None]:
    """Turn whatever reading or downloading raises into one line."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{what}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
