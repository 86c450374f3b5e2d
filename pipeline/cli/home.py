"""What commands do first: find the home and its store."""

import os

from pipeline.settings import Settings, get_settings


def open_home() -> Settings:
    """Make the home's folder, for ourselves only, unless it is there."""
    settings = get_settings()
    os.umask(0o077)  # of every file from here on: database, checkpoints, logs
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings


def open_store() -> Settings:
    """The settings of a store that must be there.

    Raises:
        UserError: there is none, or it is older than this release.
    """
    from db import schema
    from pipeline.errors import UserError

    settings = get_settings()
    if settings.database_url is None and not (settings.home / "nasnet.db").exists():
        raise UserError(f"no store in {settings.home}: `nasnet run digits` makes one")
    schema.require()
    return settings
