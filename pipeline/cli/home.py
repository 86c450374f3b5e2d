"""What commands do first: find the home and its store. What is refused has written nothing."""

import os
import stat
from pathlib import Path

from pipeline.settings import Settings, get_settings


def check_machine() -> None:
    """Look at what processes of this machine will need, before anything is written for them.

    Raises:
        UserError: the devices or the addresses of notices are no such thing; no broker can start;
            another host works here.
    """
    from pipeline.machine.broker import server_binary
    from tasks import notices
    from tasks.devices import slot_specs
    from tasks.worker import check_alone

    settings = get_settings()
    slot_specs(settings.devices)
    notices.check_addresses()
    if settings.broker_url is None:
        server_binary()
    check_alone()


def open_home() -> Settings:
    """Make the home's folder, unless it is there, and let it be ours only.

    Raises:
        UserError: the database that the settings name cannot be.
    """
    from db.schema import migrations

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
    from db.schema import migrations
    from pipeline.errors import UserError

    settings = get_settings()
    if settings.database_url is None and not (settings.home / "nasnet.db").exists():
        raise UserError(f"no store in {settings.home}: `nasnet run digits` makes one")
    migrations.require()
    return settings
