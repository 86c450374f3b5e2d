"""Data sets as tensors: whole in memory, split once, the same on every machine.

Rewards come from validation images, which are held out of the training images by a seeded
split; test images are never among them. Shapes: images (N, C, H, W) uint8, labels (N,) int64.
"""

import contextlib
import gzip
import shutil
import urllib.error
from collections.abc import Callable
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
from pipeline.training.own_images import Arrays

# Where Debian's package dataset-fashion-mnist puts the four gzipped files.
DEBIAN_FASHION_MNIST = Path("/usr/share/dataset-fashion-mnist")

DIGITS_TEST = 250
DIGITS_VALIDATION = 250
# Of digits, which have no test set of their own: never to be changed, or old rewards would
# come from images that new searches test on.
DIGITS_SPLIT_SEED = 20170701


@dataclass(frozen=True, slots=True, eq=False)
class ImageData:
    """A data set, split; ``mean`` and ``std`` are of the training images, per channel, in 0-1."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train[0].shape[1:]
        return channels, height, width


def load_dataset(config: DataConfig, folder: Path) -> ImageData:
    """Load and split a data set; ``folder`` is where downloaded ones lie.

    Raises:
        UserError: an unknown name, images that cannot be used, a split that cannot be.
        MachineError: the data set is not on this machine.
    """
    arrays = _load_arrays(config.dataset, folder)
    count = len(arrays.train_labels)
    held_out = config.validation or _default_validation(config.dataset, count)
    if held_out > count - 2:
        raise UserError(f"validation = {held_out}: there are {count} training images in all")
    order = torch.from_numpy(np.random.default_rng(config.split_seed).permutation(count))
    images, labels = _as_tensors(arrays.train_images, arrays.train_labels)
    validation, train = order[:held_out].sort().values, order[held_out:].sort().values
    train_images = images[train]
    mean, std = _statistics(train_images)
    return ImageData(
        train=(train_images, labels[train]),
        validation=(images[validation], labels[validation]),
        test=_as_tensors(arrays.test_images, arrays.test_labels),
        classes=int(arrays.train_labels.max()) + 1,
        mean=mean,
        std=std,
    )


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


def _default_validation(name: str, count: int) -> int:
    if name == "digits":
        return DIGITS_VALIDATION
    return DOWNLOADED.get(name, max(1, count // 10))


def _load_arrays(name: str, folder: Path) -> Arrays:
    check_dataset(name)
    kind, _, path = name.partition(":")
    if kind == "npz":
        return own_images.read_npz(Path(path).expanduser())
    if kind == "imagefolder":
        return own_images.read_folder(Path(path).expanduser())
    return _digits() if name == "digits" else _from_torchvision(name, folder, download=False)


def _digits() -> Arrays:
    """scikit-learn's 1,797 digits: 1,547 to train and validate with, 250 to test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = found.target
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
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.closing(locks.Waiting(folder / f".{name}.lock")):
        try:
            _from_torchvision(name, folder, download=False)
            return
        except MachineError:
            pass
        if name == "fashion-mnist" and DEBIAN_FASHION_MNIST.is_dir():
            _unpack_debian(folder / "FashionMNIST" / "raw")
        try:
            _from_torchvision(name, folder, download=True)
        except (OSError, RuntimeError, urllib.error.URLError) as error:
            raise UserError(
                f"dataset {name}: cannot be downloaded to {folder}: {str(error).splitlines()[0]}"
            ) from None


def _unpack_debian(raw: Path) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    for packed in sorted(DEBIAN_FASHION_MNIST.glob("*.gz")):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)


def _from_torchvision(name: str, folder: Path, *, download: bool) -> Arrays:
    from torchvision import datasets

    constructors: dict[str, Callable[..., object]] = {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "mnist": datasets.MNIST,
        "fashion-mnist": datasets.FashionMNIST,
    }
    try:
        if name == "svhn":
            parts = [
                datasets.SVHN(str(folder), split=s, download=download) for s in ("train", "test")
            ]
        else:
            make = constructors[name]
            parts = [make(str(folder), train=t, download=download) for t in (True, False)]
    except RuntimeError as error:
        if download:
            raise
        raise MachineError(f"data set {name} is missing in {folder}: {error}") from None
    return Arrays(*_as_arrays(parts[0]), *_as_arrays(parts[1]))


def _as_arrays(part: object) -> tuple[own_images.Images, own_images.Labels]:
    """A torchvision data set's images as (N, H, W, C), whatever it calls its labels."""
    images = np.asarray(part.data)  # type: ignore[attr-defined]
    labels = np.asarray(getattr(part, "targets", getattr(part, "labels", None)))
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3 and images.shape[3] != 3:  # SVHN comes as (N, C, H, W)
        images = images.transpose(0, 2, 3, 1)
    return images, labels
