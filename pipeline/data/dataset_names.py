"""The data sets by name; checks that cost nothing, since torch is not imported here."""

import difflib
from pathlib import Path

from pipeline.data.known_datasets import DATASETS
from pipeline.errors import MachineError, UserError
from pipeline.io.text import storable

KINDS = ("imagefolder", "npz", "hdf5")  # of the user's own: KIND:PATH
ENDINGS = {".zip": "imagefolder", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5"}


def own_path(name: str) -> tuple[str, Path] | None:
    """(kind, path) of a data set of the user's own; None for one that is known by its name.

    Raises:
        UserError: there is no such kind and no such name.
    """
    if name in DATASETS:
        return None
    kind, colon, path = name.partition(":")
    if not colon or kind not in KINDS or not path or "\0" in path:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join([*DATASETS, *(f"{kind}:PATH" for kind in KINDS), "a path that is there"])
        raise UserError(f"dataset {name!r} is unknown; known: {known}{hint}")
    return kind, _expanded(path)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError(f"dataset {path!r}: {error}") from None


def check_dataset(name: str) -> None:
    """Check that a data set is known, and that one of the user's own is here.

    Raises:
        UserError: there is no such kind and no such name, or its path is of another kind.
        MachineError: it is not here; says what was looked for.
    """
    found = own_path(name)
    if found is None:
        return
    kind, path = found
    wanted = "folder" if kind == "imagefolder" else "file"
    try:
        path.stat()
        is_right = path.is_file() or (wanted == "folder" and path.is_dir())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MachineError(f"dataset {name!r}: there is no {wanted} {path}: {reason}") from None
    if not is_right:
        raise UserError(f"dataset {name!r}: {path} is no {wanted}; give the path alone")


def absolute_name(name: str) -> str:
    """The name that is stored: paths absolute, so that they are the same from any folder.

    A path alone will do: its kind is told by what it is.

    Raises:
        UserError: there is no such kind and no such name.
    """
    kind, colon, _ = name.partition(":")
    if name in DATASETS or (colon and kind in KINDS):
        found = own_path(name)
        return name if found is None else f"{found[0]}:{_absolute(found[1])}"
    alone = _expanded(name)
    try:
        kind = "imagefolder" if alone.is_dir() else ENDINGS.get(alone.suffix.lower(), "")
    except (OSError, ValueError):
        kind = ""
    if name and kind:
        return f"{kind}:{_absolute(alone)}"
    if _is_there(alone):
        raise UserError(f"dataset {name!r}: expected a folder, or a .zip, .npz or .h5 file")
    if "/" in name or name.startswith((".", "~")):
        raise UserError(f"dataset {name!r}: there is no such folder, .zip, .npz or .h5 file")
    own_path(name)  # says which names there are
    raise AssertionError


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _absolute(path: Path) -> Path:
    """Absolute, with links as they are unless the way leads up again.

    Raises:
        UserError: it is not UTF-8, which configurations are.
    """
    found = path.resolve() if ".." in path.parts else path.absolute()
    if storable(str(found)) != str(found):
        raise UserError(f"dataset {storable(str(found))}: its path is not UTF-8: rename it")
    return found
