"""The image files of a folder or a zip archive, as a tree; nothing is unpacked or decoded."""

import functools
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.errors import MachineError, UserError
from pipeline.text import storable

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}
# What file managers, archivers and file systems leave behind, beside all that begins with a dot.
LEFT_BEHIND = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"}
HIDDEN = "hidden or left behind by a program"
MAX_IMAGE_BYTES = 2**30
MAX_DEPTH = 64  # folders in one another


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image of a folder or an archive, as it was when it was listed."""

    root: Path
    name: str  # below the root, with slashes
    size: int  # bytes

    def __str__(self) -> str:
        return storable(str(self.root / self.name))

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            MachineError: it is not here now, cannot be read, or is another than was listed.
            UserError: the archive that holds it is damaged.
        """
        try:
            return self._from_archive() if self.root.is_file() else self._from_folder()
        except OSError as error:
            raise MachineError(f"{self}: {error.strerror or error}") from None

    def _from_folder(self) -> bytes:
        with (self.root / self.name).open("rb") as file:
            self._check_size(os.fstat(file.fileno()).st_size)
            return file.read()

    def _from_archive(self) -> bytes:
        found = self.root.stat()
        archive = _archive(self.root, found.st_mtime_ns, found.st_size)
        try:
            self._check_size(archive.getinfo(self.name).file_size)
            return archive.read(self.name)
        except KeyError:
            raise MachineError(f"{self}: is not in the archive any more") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise UserError(f"{self}: cannot be unpacked: {error}") from None

    def _check_size(self, now: int) -> None:
        if now != self.size:
            raise MachineError(
                f"{self}: has {now:,} bytes, and had {self.size:,} when the images were listed"
            )


@functools.lru_cache(maxsize=2)
def _archive(path: Path, _changed: int, _size: int) -> zipfile.ZipFile:
    """The open archive; another one where the file has changed."""
    return zipfile.ZipFile(path)


@dataclass(slots=True)
class Folder:
    """A folder with what is in it that may matter."""

    folders: dict[str, "Folder"] = field(default_factory=dict)
    images: list[ImageFile] = field(default_factory=list)  # right in it
    others: Counter[str] = field(default_factory=Counter)  # right in it, left out, by reason

    def all_images(self) -> Iterator[ImageFile]:
        """Its images and those of folders in it."""
        yield from self.images
        for folder in self.folders.values():
            yield from folder.all_images()

    def all_others(self) -> Counter[str]:
        """What is left out of it and of folders in it."""
        total = Counter(self.others)
        for folder in self.folders.values():
            total += folder.all_others()
        return total

    def holds_images(self) -> bool:
        """Whether there is an image, however deep."""
        return next(self.all_images(), None) is not None


def read_tree(path: Path) -> Folder:
    """The images of a folder, or of a zip archive of one.

    Links are followed, but never into a folder that they stand in.

    Raises:
        MachineError: it is not here, or cannot be read.
        UserError: it is neither a folder nor a zip archive.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return _walk(path, path, "", frozenset({(found.st_dev, found.st_ino)}))
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
            raise UserError(f"{storable(str(path))}: neither a folder nor a zip archive")
        infos = _archive(path, found.st_mtime_ns, found.st_size).infolist()
    except zipfile.BadZipFile:
        raise UserError(f"{storable(str(path))}: neither a folder nor a zip archive") from None
    except OSError as error:
        where = storable(str(error.filename or path))
        raise MachineError(f"{where}: {error.strerror or error}") from None
    return _tree_of_archive(path, infos)


def _walk(root: Path, path: Path, name: str, above: frozenset[tuple[int, int]]) -> Folder:
    folder = Folder()
    with os.scandir(path) as entries:
        for entry in entries:
            found = _stat(entry)
            if isinstance(found, str):
                folder.others[found] += 1
            elif not stat.S_ISDIR(found.st_mode):
                _add_file(folder, ImageFile(root, f"{name}{entry.name}", found.st_size), found)
            elif reason := _reason_for_folder(entry.name, found, above):
                folder.others[reason] += 1
            else:
                inner = above | {(found.st_dev, found.st_ino)}
                inner_name = f"{name}{entry.name}/"
                folder.folders[entry.name] = _walk(root, Path(entry.path), inner_name, inner)
    return folder


def _stat(entry: os.DirEntry[str]) -> os.stat_result | str:
    """What an entry is, or why it is left out."""
    try:
        return entry.stat()
    except OSError as error:
        if not entry.is_symlink():
            raise
        return f"links that cannot be followed: {error.strerror}"


def _reason_for_folder(
    name: str, found: os.stat_result, above: frozenset[tuple[int, int]]
) -> str | None:
    if _is_left_behind(name):
        return HIDDEN
    if (found.st_dev, found.st_ino) in above:
        return "links to a folder that they stand in"
    return f"deeper than {MAX_DEPTH} folders" if len(above) > MAX_DEPTH else None


def _is_left_behind(name: str) -> bool:
    return name.startswith(".") or name.casefold() in LEFT_BEHIND


def _add_file(folder: Folder, image: ImageFile, found: os.stat_result | None) -> None:
    reason = _reason_for_file(image.name.rpartition("/")[2], image.size)
    if found is not None and not stat.S_ISREG(found.st_mode):  # waited for without end
        reason = "no regular file"
    if reason is None:
        folder.images.append(image)
    else:
        folder.others[reason] += 1


def _reason_for_file(name: str, size: int) -> str | None:
    if _is_left_behind(name):
        return HIDDEN
    ending = PurePosixPath(name).suffix.lower()
    if ending not in IMAGE_ENDINGS:
        return f"ending in {storable(ending)}" if ending else "without an ending"
    if size == 0:
        return "empty"
    return "larger than 1 GiB" if size > MAX_IMAGE_BYTES else None


def _tree_of_archive(path: Path, infos: list[zipfile.ZipInfo]) -> Folder:
    root = Folder()
    for info in infos:
        if info.is_dir():
            continue
        *above, _ = info.filename.split("/")
        if any(map(_is_left_behind, above)) or len(above) > MAX_DEPTH:
            root.others[HIDDEN] += 1
            continue
        folder = root
        for part in above:
            folder = folder.folders.setdefault(part, Folder())
        _add_file(folder, ImageFile(path, info.filename, info.file_size), None)
    return root
