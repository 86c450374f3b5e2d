"""The store of this machine's home: made, found, kept private."""

import os
import stat
from pathlib import Path

from db.schema import migrations
from pipeline.errors import UserError
from pipeline.settings import Settings, get_settings


def open_home() -> Settings:
    """Make the home's folder, unless it is there, and let it be ours only.

    Raises:
        UserError: the database that the settings name cannot be.
    """
    settings = get_settings()
    keep_private()
    migrations.is_made()  # a server that is away is found now
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_private(settings.home)
    return settings


def _make_private(folder: Path) -> None:
    """Let nobody else into a folder of ours, whoever made it; another user's stays as it is."""
    found = folder.stat()
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def keep_private() -> None:
    """Let every file from here on be ours alone: database, checkpoints, data, logs."""
    os.umask(0o077)


def open_store() -> Settings:
    """The settings of a store that must be there.

    Raises:
        UserError: there is none, or it is older than this release.
    """
    settings = get_settings()
    require_store(settings)
    migrations.require()
    return settings


def require_store(settings: Settings) -> None:
    """Look whether the file of a SQLite store is there; it would be made otherwise.

    Raises:
        UserError: it is not.
    """
    if not has_store(settings):
        raise UserError(f"no store in {settings.home}: `nasnet run digits` makes one")


def has_store(settings: Settings) -> bool:
    """Whether the file of a SQLite store is there; a server's database may be."""
    return settings.database_path is None or settings.database_path.exists()
