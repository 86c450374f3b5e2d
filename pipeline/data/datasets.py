"""Data sets as tensors: whole in memory, split once, the same on every machine.

Rewards come from validation images, which are held out of the training images by a seeded
split; test images are never among them. Shapes: images (N, C, H, W) uint8, labels (N,) int64.
"""

import contextlib
import http.client
import pickle
import shutil
import sys
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.config.run import DataConfig
from pipeline.data.dataset_names import check_dataset, own_path
from pipeline.data.decoding import read_images
from pipeline.data.image_arrays import Arrays, Images, Labels, read_hdf5, read_npz
from pipeline.data.image_files import ImageFiles
from pipeline.data.image_folders import list_images
from pipeline.data.image_trees import ImageFile
from pipeline.data.known_datasets import DATASETS
from pipeline.data.splits import TEST_SPLIT_SEED, Numbers, hold_out
from pipeline.data.summary import DataSummary, summarize_arrays, summarize_files
from pipeline.errors import DataChangedError, MachineError, UserError
from pipeline.io import locks
from pipeline.io.terminal import unescaped
from pipeline.io.text import storable
from pipeline.networks.inputs import Inputs

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
        arrays = _known(config.dataset, folder)
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


def split_parts(source: Source, config: DataConfig) -> Parts:
    """Hold out what a data set itself does not: images to validate and to test with.

    Raises:
        UserError: too few images would be left to train with.
    """
    parts = dict(source.parts)
    stratified = split_method(config) == "stratified"
    if "test" not in parts:
        count = max(1, len(parts["train"][1]) // 10)
        parts |= _held_out(parts["train"], "test", count, TEST_SPLIT_SEED, stratified)
    if "validation" not in parts:
        count = _validation_count(config, len(parts["train"][1]))
        parts |= _held_out(parts["train"], "validation", count, config.split_seed, stratified)
    elif config.validation is not None:
        raise UserError(
            f"validation = {config.validation}: {config.dataset} has images of its own to "
            "validate with; leave the key out"
        )
    return parts


def split_method(config: DataConfig) -> str:
    """How images are held out where the configuration leaves it open."""
    return config.split or ("random" if config.dataset in DATASETS else "stratified")


def _validation_count(config: DataConfig, count: int) -> int:
    known = DATASETS.get(config.dataset)
    usual = None if known is None else known.validation
    held_out = config.validation or usual or max(1, count // 10)
    if held_out > count - 2:  # two at least, for batch norm
        raise UserError(
            f"validation = {held_out}: {config.dataset} has {count} images "
            "to train and validate with, and 2 at least are to train with"
        )
    return held_out


def _held_out(
    train: Part,
    part: str,
    count: int,
    seed: int,
    stratified: bool,
) -> Parts:
    images, labels = train
    held, left = hold_out(labels, count, seed, stratified=stratified)
    return {part: _chosen(images, labels, held), "train": _chosen(images, labels, left)}


def _chosen(images: Images | list[ImageFile], labels: Labels, numbers: Numbers) -> Part:
    if isinstance(images, list):
        return [images[number] for number in numbers.tolist()], labels[numbers]
    return images[numbers], labels[numbers]


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


@contextlib.contextmanager
def blaming_the_user(what: str) -> Iterator[None]:
    """Turn whatever reading or downloading raises into one line."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{what}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def fetch_dataset(name: str, folder: Path) -> None:
    """Download a data set that must be and is not there yet; one process at a time.

    Raises:
        UserError: it cannot be had.
    """
    if name not in DATASETS or not DATASETS[name].is_downloaded:
        return
    lock = folder / f".{name}.lock"
    what = f"dataset {name} cannot be downloaded to {folder}"
    with blaming_the_user(what), _leaving_nothing(folder, lock):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.closing(locks.Waiting(lock)):
            try:
                _known(name, folder)
            except MachineError:
                _download(name, folder)


@contextlib.contextmanager
def _leaving_nothing(folder: Path, lock: Path) -> Iterator[None]:
    """Take away the folders and the lock that were made for what then could not be done."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if new:
            shutil.rmtree(lock.with_suffix(".partial"), ignore_errors=True)
            lock.unlink(missing_ok=True)
        for path in new:
            with contextlib.suppress(OSError):  # somebody else put something there
                path.rmdir()
        raise


def _download(name: str, folder: Path) -> None:
    """Download beside, and move file by file what could be read.

    torchvision would take half a file of an interrupted download for a whole one.
    """
    beside = folder / f".{name}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    with contextlib.redirect_stderr(unescaped(sys.stderr)):  # its bar moves the cursor
        DATASETS[name].read(beside, download=True)
    for file in sorted(beside.rglob("*")):
        if file.is_file():
            target = folder / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    shutil.rmtree(beside)


def _known(name: str, folder: Path) -> Arrays:
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
