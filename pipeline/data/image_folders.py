"""Which images a folder, or a zip archive of one, holds: its layout is read here and nowhere else.

Three layouts, names of parts in any case (docs/reference/data-sets.md):

- CLASS: a folder for each class.
- train/CLASS, with test/CLASS or val/CLASS to test with, or without.
- train/CLASS, val/CLASS and test/CLASS: what val holds earns the rewards.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.image_trees import Folder, ImageFile, read_tree
from pipeline.errors import UserError
from pipeline.io.text import storable

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
FEWEST_IMAGES = 3  # of a part to train with: one to train, one to validate, one to test


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of each part by their class, and what was left out.

    ``parts`` has "train", and "validation" and "test" where there are such folders; each holds a
    list for each class.
    """

    class_names: tuple[str, ...]
    parts: dict[str, list[list[ImageFile]]]
    left_out: Counter[str]  # files by reason
    remarks: tuple[str, ...] = ()  # what looks like another layout


def list_images(path: Path, *, as_before: bool = False) -> Listing:
    """The images of a folder or a zip archive, by part and class.

    Args:
        as_before: read three parts as releases of format 1 did, which ignored val beside test.

    Raises:
        MachineError: the folder is not here, or cannot be read.
        UserError: it has no layout that is known; says which folder is in the way.
    """
    return _by_class(storable(str(path)), read_tree(path), as_before)


def _by_class(where: str, root: Folder, as_before: bool) -> Listing:
    folders = _parts(where, root)
    if "train" in folders and "test" not in folders and "validation" in folders:
        folders["test"] = folders.pop("validation")  # as ImageNet calls what it tests with
    if as_before and "test" in folders:
        folders.pop("validation", None)
    names = _class_names(where, folders["train"])
    parts = {part: _classes(f"{where}/{part}", folder, names) for part, folder in folders.items()}
    if sum(map(len, parts["train"])) < FEWEST_IMAGES:
        raise UserError(f"{where}: {sum(map(len, parts['train']))} images, too few to train with")
    left_out = root.all_others()
    listed = sum(len(images) for classes in parts.values() for images in classes)
    if beside := sum(1 for _ in root.all_images()) - listed:
        left_out["in no class folder"] += beside
    return Listing(tuple(names), parts, left_out, _remarks(folders["train"]))


def _parts(where: str, root: Folder) -> dict[str, Folder]:
    """The folders of the parts; the root alone is the part to train with where it has none."""
    named = {n: f for n, f in root.folders.items() if n.casefold() in PARTS and f.holds_images()}
    others = [n for n, f in root.folders.items() if n not in named and f.holds_images()]
    with_classes = {
        n: f for n, f in named.items() if any(c.holds_images() for c in f.folders.values())
    }
    if named and not with_classes and not others:
        raise UserError(
            f"{where}: {_listed(named)} hold images and no class folders; "
            "expected a folder for each class in them"
        )
    if not with_classes:  # or classes that are called so
        return {"train": root}
    if others or len(with_classes) < len(named):
        other = (others or [n for n in named if n not in with_classes])[0]
        raise UserError(
            f"{where}: has the parts {_listed(with_classes)} and images in {storable(other)!r} "
            "beside them; move it away, or give the folder that holds the classes"
        )
    folders: dict[str, Folder] = {}
    for name, folder in with_classes.items():
        part = PARTS[name.casefold()]
        if part in folders:
            raise UserError(f"{where}: {_listed(with_classes)}: two of them are the same part")
        folders[part] = folder
    if "train" not in folders:
        raise UserError(f"{where}: has {_listed(with_classes)}, and no part train")
    return folders


def _listed(names: Iterable[str]) -> str:
    return " and ".join(storable(name) for name in sorted(names))


def _class_names(where: str, train: Folder) -> list[str]:
    """The classes in the order of their labels.

    Raises:
        UserError: there are fewer than two, or one of them has no image.
    """
    names = sorted(train.folders)
    for name in names:
        if not train.folders[name].holds_images():
            found = train.folders[name].all_others()
            has = ", ".join(f"{count} {what}" for what, count in found.most_common(3))
            raise UserError(
                f"{where}: class {storable(name)!r} has no images ({has or 'it is empty'}): "
                "remove the folder, or fill it"
            )
        if storable(name) != name:
            raise UserError(f"{where}: the name of class {storable(name)!r} is not UTF-8")
    if len(names) < 2:
        inner = [f"{where}/{n}" for n in names if len(train.folders[n].folders) > 1]
        hint = f"; did you mean {inner[0]}?" if inner else ""
        if not names and train.holds_images():
            hint = "; it holds images itself: give the folder above it"
        raise UserError(
            f"{where}: expected a folder for each of two or more classes, found {len(names)}{hint}"
        )
    if len({_key(name) for name in names}) < len(names):
        raise UserError(
            f"{where}: two classes have names that differ in their case, blanks or accents' "
            "encoding alone"
        )
    if all(_words(name) & set(PARTS) for name in names):
        raise UserError(
            f"{where}: {_listed(names)} look like parts; call them train and test, or give the "
            "folder that holds the classes"
        )
    return names


def _key(name: str) -> str:
    """What two spellings of a class have in common."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.casefold()))


def _remarks(train: Folder) -> tuple[str, ...]:
    """That every class holds the same folders, which may be the classes that are meant."""
    inner = [{n for n, f in c.folders.items() if f.holds_images()} for c in train.folders.values()]
    common = set.intersection(*inner)
    if len(common) < 2:
        return ()
    shown = ", ".join(storable(name) for name in sorted(common)[:3])
    return (f"suspicious: every class holds the folders {shown}: are those the classes?",)


def _classes(where: str, part: Folder, names: list[str]) -> list[list[ImageFile]]:
    """A part's images, a list for each class.

    Raises:
        UserError: it has a class that is not trained.
    """
    label = {_key(name): number for number, name in enumerate(names)}
    classes: list[list[ImageFile]] = [[] for _ in names]
    for name, folder in part.folders.items():
        images = list(folder.all_images())
        if not images:
            continue
        if _key(name) not in label:
            raise UserError(f"{where}: class {storable(name)!r} is not among those to train with")
        classes[label[_key(name)]] += images
    for images in classes:
        images.sort(key=lambda image: image.name.split("/"))
    return classes
