"""The data sets that torchvision downloads, as arrays."""

import gzip
import shutil
from pathlib import Path

import numpy as np
from torchvision import datasets

from pipeline.data.image_arrays import Arrays, Images, Labels

# Where Debian's package dataset-fashion-mnist puts the four gzipped files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def cifar10(folder: Path, *, download: bool) -> Arrays:
    """Krizhevsky's ten classes."""
    return _with_train_flag(datasets.CIFAR10, folder, download=download)


def cifar100(folder: Path, *, download: bool) -> Arrays:
    """Krizhevsky's hundred classes."""
    return _with_train_flag(datasets.CIFAR100, folder, download=download)


def mnist(folder: Path, *, download: bool) -> Arrays:
    """LeCun's handwritten digits."""
    return _with_train_flag(datasets.MNIST, folder, download=download)


def fashion_mnist(folder: Path, *, download: bool) -> Arrays:
    """Zalando's clothes; Debian's copy is taken where it is installed."""
    if download and DEBIAN_FASHION_MNIST.is_dir():
        _unpack_debian(folder / "FashionMNIST" / "raw")
    return _with_train_flag(datasets.FashionMNIST, folder, download=download)


def svhn(folder: Path, *, download: bool) -> Arrays:
    """House numbers of Street View."""
    parts = [datasets.SVHN(folder, split=part, download=download) for part in ("train", "test")]
    return _arrays(parts, tuple("0123456789"))


def _with_train_flag(make: type, folder: Path, *, download: bool) -> Arrays:
    parts = [make(folder, train=train, download=download) for train in (True, False)]
    return _arrays(parts, tuple(map(str, parts[0].classes)))


def _arrays(parts: list[object], names: tuple[str, ...]) -> Arrays:
    train, test = map(_as_arrays, parts)
    return Arrays(names, {"train": train, "test": test})


def _unpack_debian(raw: Path) -> None:
    raw.mkdir(parents=True)
    for packed in sorted(DEBIAN_FASHION_MNIST.glob("*.gz")):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)


def _as_arrays(part: object) -> tuple[Images, Labels]:
    """A torchvision data set's images as (N, H, W, C), whatever it calls its labels."""
    images = np.asarray(part.data)  # type: ignore[attr-defined]
    labels = np.asarray(getattr(part, "targets", getattr(part, "labels", None)))
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3 and images.shape[3] != 3:  # SVHN comes as (N, C, H, W)
        images = images.transpose(0, 2, 3, 1)
    return images, labels.astype(np.int64)
