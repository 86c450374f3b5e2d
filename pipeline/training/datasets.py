"""Data sets as tensors: whole in memory, split once, the same on every machine.

Rewards come from validation images, which are held out of the training images by a seeded
split; test images are never among them. Shapes: images (N, C, H, W) uint8, labels (N,) int64.
"""

import contextlib
import gzip
import http.client
import importlib.util
import pickle
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline import locks
from pipeline.config import DataConfig
from pipeline.errors import MachineError, UserError
from pipeline.training import own_images
from pipeline.training.dataset_names import DOWNLOADED, check_dataset
from pipeline.training.image_files import ImageFiles
from pipeline.training.own_images import Arrays

# Where Debian's package dataset-fashion-mnist puts the four gzipped files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

DIGITS_FILE = "datasets/data/digits.csv.gz"  # in scikit-learn
DIGITS_TEST = 250
# Images held out for the reward where the configuration does not say; of others a tenth.
VALIDATION = {"digits": 250, "cifar10": 5000, "cifar100": 5000}
# Of digits, which have no test set of their own: never to be changed, or old rewards would
# come from images that new searches test on.
DIGITS_SPLIT_SEED = 20170701


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


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """A data set, split: of each part the images (N, C, H, W) uint8 and labels (N,) int64."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int
    mean: tuple[float, ...]  # of the training images, per channel; white is 1
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train[0].shape[1:]
        return channels, height, width


def load_dataset(
    config: DataConfig, folder: Path, *, download: bool = False
) -> ImageData | ImageFiles:
    """Load and split a data set; ``folder`` is where downloaded ones lie.

    Raises:
        UserError: an unknown name, images that cannot be used, a split or download that cannot be.
        MachineError: the data set has not been downloaded to this machine.
    """
    check_dataset(config.dataset)
    if config.image_size is not None:
        return _list_files(config, config.image_size)
    if download:
        fetch_dataset(config.dataset, folder)
    arrays = _load_arrays(config.dataset, folder)
    classes = int(arrays.train_labels.max()) + 1
    if arrays.test_labels.max() >= classes:
        raise UserError(
            f"dataset {config.dataset!r}: test images of class {arrays.test_labels.max()}, "
            f"training images only of classes 0 to {classes - 1}"
        )
    images, labels = _as_tensors(arrays.train_images, arrays.train_labels)
    validation, train = _split(config, len(labels))
    train_images = images[train]
    mean, std = _statistics(train_images)
    return ImageData(
        train=(train_images, labels[train]),
        validation=(images[validation], labels[validation]),
        test=_as_tensors(arrays.test_images, arrays.test_labels),
        classes=classes,
        mean=mean,
        std=std,
        class_names=arrays.class_names or tuple(map(str, range(classes))),
    )


def _list_files(config: DataConfig, size: int) -> ImageFiles:
    kind, _, path = config.dataset.partition(":")
    if kind != "imagefolder":
        raise UserError(f"image_size: {config.dataset} is no image folder, its size is its own")
    with _blaming_the_user(path):
        found = own_images.list_folder(Path(path).expanduser())
    labels = torch.from_numpy(found.train_labels)
    validation, train = _split(config, len(labels))
    return ImageFiles(
        train=([found.train[i] for i in train.tolist()], labels[train]),
        validation=([found.train[i] for i in validation.tolist()], labels[validation]),
        test=(found.test, torch.from_numpy(found.test_labels)),
        classes=int(labels.max()) + 1,
        size=size,
        class_names=found.class_names,
    )


def _split(config: DataConfig, count: int) -> tuple[Tensor, Tensor]:
    """Which of so many images validate and which train; two at least, for batch norm."""
    held_out = config.validation or VALIDATION.get(config.dataset, max(1, count // 10))
    if held_out > count - 2:
        raise UserError(
            f"validation = {held_out}: {config.dataset} has {count} images "
            "to train and validate with, and 2 at least are to train with"
        )
    order = torch.from_numpy(np.random.default_rng(config.split_seed).permutation(count))
    return order[:held_out].sort().values, order[held_out:].sort().values


def _as_tensors(images: own_images.Images, labels: own_images.Labels) -> tuple[Tensor, Tensor]:
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


def _load_arrays(name: str, folder: Path) -> Arrays:
    kind, _, path = name.partition(":")
    if kind == "npz":
        with _blaming_the_user(path):
            return own_images.read_npz(Path(path).expanduser())
    if kind == "imagefolder":
        with _blaming_the_user(path):
            return own_images.read_folder(Path(path).expanduser())
    return _digits() if name == "digits" else _from_torchvision(name, folder)


@contextlib.contextmanager
def _blaming_the_user(what: str) -> Iterator[None]:
    """Turn whatever reading or downloading raises into one line."""
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{what}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _digits() -> Arrays:
    """scikit-learn's 1,797 digits: 1,547 to train and validate with, 250 to test.

    Read from its file: to import the library takes each worker's process seconds.
    """
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    found = np.loadtxt(Path(package.origin).parent / DIGITS_FILE, delimiter=",")
    images = np.round(found[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = found[:, -1].astype(np.int64)
    order = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(labels))
    test, train = np.sort(order[:DIGITS_TEST]), np.sort(order[DIGITS_TEST:])
    return Arrays(images[train], labels[train], images[test], labels[test])


def fetch_dataset(name: str, folder: Path) -> None:
    """Download a data set that must be and is not there yet; one process at a time.

    Raises:
        UserError: it cannot be had.
    """
    if name not in DOWNLOADED:
        return
    with _blaming_the_user(f"dataset {name} cannot be downloaded to {folder}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.closing(locks.Waiting(folder / f".{name}.lock")):
            try:
                _from_torchvision(name, folder)
            except MachineError:
                _download(name, folder)


def _download(name: str, folder: Path) -> None:
    """Download beside, and move file by file what could be read.

    torchvision would take half a file of an interrupted download for a whole one.
    """
    beside = folder / f".{name}.partial"
    shutil.rmtree(beside, ignore_errors=True)
    if name == "fashion-mnist" and DEBIAN_FASHION_MNIST.is_dir():
        _unpack_debian(beside / "FashionMNIST" / "raw")
    _torchvision_parts(name, beside, download=True)
    for file in sorted(beside.rglob("*")):
        if file.is_file():
            target = folder / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    shutil.rmtree(beside)


def _unpack_debian(raw: Path) -> None:
    raw.mkdir(parents=True)
    for packed in sorted(DEBIAN_FASHION_MNIST.glob("*.gz")):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)


def _from_torchvision(name: str, folder: Path) -> Arrays:
    try:
        return _torchvision_parts(name, folder, download=False)
    except UNREADABLE as error:
        raise MachineError(
            f"data set {name} is missing here: {folder}: {_one_line(error)}"
        ) from error


def _torchvision_parts(name: str, folder: Path, *, download: bool) -> Arrays:
    from torchvision import datasets

    if name == "svhn":
        parts = [datasets.SVHN(folder, split=s, download=download) for s in ("train", "test")]
    else:
        make = {
            "cifar10": datasets.CIFAR10,
            "cifar100": datasets.CIFAR100,
            "mnist": datasets.MNIST,
            "fashion-mnist": datasets.FashionMNIST,
        }[name]
        parts = [make(folder, train=train, download=download) for train in (True, False)]
    names = tuple(getattr(parts[0], "classes", ()))
    return Arrays(*_as_arrays(parts[0]), *_as_arrays(parts[1]), names)


def _as_arrays(part: object) -> tuple[own_images.Images, own_images.Labels]:
    """A torchvision data set's images as (N, H, W, C), whatever it calls its labels."""
    images = np.asarray(part.data)  # type: ignore[attr-defined]
    labels = np.asarray(getattr(part, "targets", getattr(part, "labels", None)))
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3 and images.shape[3] != 3:  # SVHN comes as (N, C, H, W)
        images = images.transpose(0, 2, 3, 1)
    return images, labels
