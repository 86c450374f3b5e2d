"""The image files of a folder or a zip archive, as a tree; nothing is unpacked or decoded."""

import functools
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.errors import MachineError, UserError
from pipeline.io.reading import open_file
from pipeline.io.text import storable

IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}
# What file managers, archivers and file systems leave behind, beside all that begins with a dot.
LEFT_BEHIND = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"}
HIDDEN = "hidden or left behind by a program"
# What zipfile and its decompressors raise of archives that are damaged, encrypted or odd.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)
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
        try:
            file = open_file(self.root / self.name)
        except UserError as error:  # it was a file when the images were listed
            raise MachineError(str(error)) from None
        with file:
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
        except DAMAGED as error:
            raise UserError(f"{self}: cannot be unpacked: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise UserError(f"{self}: cannot be unpacked: {error}") from None  # bz2's

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

    Links that lead out of it are followed; no folder is read twice.

    Raises:
        MachineError: it is not here, or cannot be read.
        UserError: it is neither a folder nor a zip archive.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return _walk(path, path, "", {(found.st_dev, found.st_ino)})
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
            raise UserError(f"{storable(str(path))}: neither a folder nor a zip archive")
        infos = _archive(path, found.st_mtime_ns, found.st_size).infolist()
    except DAMAGED:
        raise UserError(f"{storable(str(path))}: neither a folder nor a zip archive") from None
    except OSError as error:
        where = storable(str(error.filename or path))
        raise MachineError(f"{where}: {error.strerror or error}") from None
    return _tree_of_archive(path, infos)


def _walk(root: Path, path: Path, name: str, read: set[tuple[int, int]]) -> Folder:
    folder = Folder()
    with os.scandir(path) as entries:
        # sorted, so that of two links to a folder the same is followed on every machine
        for entry in sorted(entries, key=lambda entry: entry.name):
            found = _stat(entry)
            if isinstance(found, str):
                folder.others[found] += 1
            elif not stat.S_ISDIR(found.st_mode):
                _add_file(folder, ImageFile(root, f"{name}{entry.name}", found.st_size), found)
            elif reason := _reason_for_folder(root, entry, found, read):
                folder.others[reason] += 1
            elif name.count("/") >= MAX_DEPTH:
                folder.others[f"deeper than {MAX_DEPTH} folders"] += 1
            else:
                read.add((found.st_dev, found.st_ino))
                inner = f"{name}{entry.name}/"
                folder.folders[entry.name] = _walk(root, Path(entry.path), inner, read)
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
    root: Path, entry: os.DirEntry[str], found: os.stat_result, read: set[tuple[int, int]]
) -> str | None:
    if _is_left_behind(entry.name):
        return HIDDEN
    is_inside = entry.is_symlink() and Path(entry.path).resolve().is_relative_to(root.resolve())
    if is_inside or (found.st_dev, found.st_ino) in read:
        return "links to a folder that is read anyway"
    return None


def _is_left_behind(name: str) -> bool:
    return name.startswith(".") or name.casefold() in LEFT_BEHIND


def _add_file(
    folder: Folder, image: ImageFile, found: os.stat_result | None, name: str | None = None
) -> None:
    reason = _reason_for_file(name or image.name.rpartition("/")[2], image.size)
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
    seen: set[str] = set()
    for info in infos:
        if info.is_dir():
            continue
        if info.filename in seen:
            raise UserError(
                f"{storable(str(path))}: holds two files of the name {info.filename!r}"
            )
        seen.add(info.filename)
        # some programs write backslashes, or ./ before each name
        *above, name = [
            part for part in re.split(r"[/\\]", info.filename) if part not in {"", "."}
        ]
        if reason := _reason_in_archive(info, above):
            root.others[reason] += 1
            continue
        folder = root
        for part in above:
            folder = folder.folders.setdefault(part, Folder())
        _add_file(folder, ImageFile(path, info.filename, info.file_size), None, name)
    return _unwrapped(root)


def _reason_in_archive(info: zipfile.ZipInfo, above: list[str]) -> str | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "links in an archive"
    if any(map(_is_left_behind, above)) or ".." in above:
        return HIDDEN
    return f"deeper than {MAX_DEPTH} folders" if len(above) > MAX_DEPTH else None


def _unwrapped(root: Folder) -> Folder:
    """Without the one folder that an archive of a folder begins with; nobody can name it."""
    with_images = [folder for folder in root.folders.values() if folder.holds_images()]
    if root.images or len(with_images) != 1 or with_images[0].images:
        return root
    [inner] = with_images
    inner.others += root.all_others() - inner.all_others()
    return _unwrapped(inner)
