"""The data sets by name; checks that cost nothing, since torch is not imported here."""

from pathlib import Path

from pipeline.errors import UserError

DOWNLOADED = ("cifar10", "cifar100", "mnist", "fashion-mnist", "svhn")  # by torchvision
NAMES = ("digits", *DOWNLOADED)
PREFIXES = ("imagefolder:", "npz:")


def check_dataset(name: str) -> None:
    """Check that a data set is known, and that one of the user's own is there.

    Raises:
        UserError: it is not; says what was looked for.
    """
    if name in NAMES:
        return
    kind, colon, path = name.partition(":")
    if f"{kind}{colon}" not in PREFIXES or not path:
        raise UserError(
            f"dataset {name!r} is unknown; known: {', '.join(NAMES)}, imagefolder:PATH, npz:PATH"
        )
    found = Path(path).expanduser()
    if kind == "npz" and not found.is_file():
        raise UserError(f"dataset {name!r}: there is no file {path}")
    if kind == "imagefolder" and not found.is_dir():
        raise UserError(f"dataset {name!r}: there is no folder {path}")
