"""The user's own images: NumPy archives and folders, read with suspicion.

Every problem is one line that says which file, which array, and what was expected.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError

Images = npt.NDArray[np.uint8]  # (N, H, W, C)
Labels = npt.NDArray[np.int64]  # (N,)

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}
# A folder without images of its own to test with gives a tenth, always the same.
FOLDER_SPLIT_SEED = 20170701
TRAIN_NAMES = ("train",)
TEST_NAMES = ("test", "val", "valid", "validation")
MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class Arrays:
    """Images and labels as they come, not split any further."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...] = ()  # empty: the labels themselves


def read_npz(path: Path) -> Arrays:
    """Arrays x_train, y_train, x_test, y_test; images (N, H, W, C) or (N, H, W), uint8.

    Raises:
        UserError: naming the file and the array.
    """
    try:
        # opened here, since np.load leaves a file open that it cannot read
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {}
            for key in ("x_train", "y_train", "x_test", "y_test"):
                if key not in archive:
                    raise UserError(f"{path}: no array {key}; there are: {', '.join(archive)}")
                arrays[key] = archive[key]
    except UserError:
        raise
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: cannot be read: {reason}") from None
    train = _checked_part(path, "train", arrays["x_train"], arrays["y_train"])
    test = _checked_part(path, "test", arrays["x_test"], arrays["y_test"])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise UserError(
            f"{path}: x_train has images of {_size(train[0])}, x_test of {_size(test[0])}"
        )
    classes = int(train[1].max()) + 1
    if int(test[1].max()) >= classes:
        raise UserError(
            f"{path}: y_test has label {test[1].max()}, y_train only up to {classes - 1}"
        )
    return Arrays(*train, *test)


def _checked_part(
    path: Path, part: str, images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]
) -> tuple[Images, Labels]:
    if images.dtype != np.uint8 or images.ndim not in {3, 4}:
        raise UserError(
            f"{path}: x_{part} is {images.dtype}{list(images.shape)}; "
            "expected uint8 (N, H, W, C) or (N, H, W)"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] not in {1, 3}:
        raise UserError(f"{path}: x_{part} has {images.shape[3]} channels; expected 1 or 3, last")
    if labels.dtype.kind not in "iu" or labels.ndim not in {1, 2} or labels.size != len(labels):
        raise UserError(
            f"{path}: y_{part} is {labels.dtype}{list(labels.shape)}; expected integers (N,)"
        )
    labels = labels.reshape(-1)
    if len(labels) != len(images):
        raise UserError(f"{path}: {len(images)} images in x_{part}, {len(labels)} labels")
    if len(labels) < 3 or 0 in images.shape:
        raise UserError(f"{path}: x_{part} is {list(images.shape)}: there is too little in it")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise UserError(f"{path}: y_{part} has labels {low} to {high}; expected 0 and up")
    return images.astype(np.uint8), labels.astype(np.int64)


def _size(images: Images) -> str:
    return "x".join(map(str, images.shape[1:]))


@dataclass(frozen=True, slots=True)
class Files:
    """Image files and the labels of their folders, not split any further."""

    train: list[Path]
    train_labels: Labels
    test: list[Path]
    test_labels: Labels
    class_names: tuple[str, ...]


def list_folder(path: Path) -> Files:
    """Folders train/CLASS and test/CLASS (or val); without a test part a tenth is for testing.

    That is train/CLASS alone, or CLASS alone.

    Raises:
        UserError: naming the folder.
    """
    train = next((path / name for name in TRAIN_NAMES if (path / name).is_dir()), None)
    test = next((path / name for name in TEST_NAMES if (path / name).is_dir()), None)
    if train is not None and test is not None:
        classes = _class_names(train)
        unknown = set(_class_names(test)) - set(classes)
        if unknown:
            raise UserError(f"{test}: class {sorted(unknown)[0]!r} is not among those of {train}")
        return Files(*_list_classes(train, classes), *_list_classes(test, classes), tuple(classes))
    if train is not None and [entry for entry in path.iterdir() if entry.is_dir()] == [train]:
        path = train  # and no class that is called so
    classes = _class_names(path)
    files, labels = _list_classes(path, classes)
    order = np.random.default_rng(FOLDER_SPLIT_SEED).permutation(len(labels))
    held_out = max(1, len(labels) // 10)
    tested, trained = np.sort(order[:held_out]), np.sort(order[held_out:])
    return Files(
        *([files[i] for i in trained], labels[trained]),
        *([files[i] for i in tested], labels[tested]),
        tuple(classes),
    )


def read_folder(path: Path) -> Arrays:
    """The images of a folder, all of one size, in memory.

    Raises:
        UserError: naming the file.
    """
    files = list_folder(path)
    train = _read_images(files.train, None)
    test = _read_images(files.test, train.shape[1:])
    return Arrays(train, files.train_labels, test, files.test_labels, files.class_names)


def _class_names(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if len(names) < 2:
        raise UserError(f"{folder}: expected a folder for each of two or more classes")
    return names


def _list_classes(folder: Path, classes: list[str]) -> tuple[list[Path], Labels]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for file in sorted((folder / name).rglob("*")) if (folder / name).is_dir() else []:
            if file.suffix.lower() in IMAGE_ENDINGS:
                files.append(file)
                labels.append(label)
    if len(labels) < 3:
        raise UserError(
            f"{folder}: {len(labels)} images found ({', '.join(sorted(IMAGE_ENDINGS))})"
        )
    return files, np.array(labels, dtype=np.int64)


def _read_images(files: list[Path], shape: tuple[int, ...] | None) -> Images:
    images: list[Images] = []
    for file in files:
        image = read_image(file)
        shape = shape or image.shape
        if image.shape != shape:
            raise UserError(
                f"{file}: {image.shape[1]}x{image.shape[0]} pixels, others have "
                f"{shape[1]}x{shape[0]}: set image_size to bring all to one size"
            )
        images.append(image)
    return np.stack(images)


def image_side(path: Path) -> int:
    """The shorter side, in pixels, of the first image of a folder.

    Raises:
        UserError: the folder has no images, or the first cannot be read.
    """
    height, width = read_image(list_folder(path).train[0]).shape[:2]
    return int(min(height, width))


def read_image(file: Path) -> Images:
    """An image as (H, W, 3).

    Raises:
        UserError: naming the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise UserError(f"{file}: not an image that can be read: {error}") from None
