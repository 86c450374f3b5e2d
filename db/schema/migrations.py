"""The schema's version: a process starts only on a store that has all it needs.

Migrations only add, so a store that is newer than this code is fine: old and new workers may
work beside each other for a while.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from db.schema.session import current_engine
from pipeline.errors import UserError

# of our own, since another application may keep an `alembic_version` in the same database
VERSION_TABLE = "nasnet_schema"
_UPGRADE_LOCK = 0x6E61736E  # any number that is ours


def _config() -> Config:
    package = Path(__file__).parents[1]
    installed = package / "alembic"
    folder = installed if installed.is_dir() else package.parent / "alembic"
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def stored_revision(connection: Connection) -> str | None:
    """The revision of the store, or None where nothing is there yet."""
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def upgrade() -> bool:
    """Bring the store to this release's schema; returns whether anything was to do."""
    script = ScriptDirectory.from_config(_config())
    with current_engine().connect() as connection:
        if connection.dialect.name == "postgresql":  # one upgrade at a time
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _UPGRADE_LOCK})
        try:
            before = stored_revision(connection)
            if before == script.get_current_head() or _is_newer(script, before):
                return False
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            return True
        finally:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _UPGRADE_LOCK})


def _is_newer(script: ScriptDirectory, revision: str | None) -> bool:
    """Whether the store has a revision this release has not heard of: a later one's."""
    known = {revision.revision for revision in script.walk_revisions()}
    return revision is not None and revision not in known


def prepare() -> None:
    """Make the tables of a store that is empty; check any other.

    Raises:
        UserError: the store is older than this release.
    """
    if not is_made():
        upgrade()
    require()


def is_made() -> bool:
    """Whether the store has tables, of whatever release.

    Asking makes no SQLite file, as connecting would.
    """
    engine = current_engine()
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        return False
    with engine.connect().execution_options(read_only=True) as connection:
        return stored_revision(connection) is not None or inspect(connection).has_table("searches")


def require() -> None:
    """Check that the store has what this release needs.

    Raises:
        UserError: it is older, or empty.
    """
    if not is_made():
        raise UserError("the database is empty: run `nasnet db upgrade`")
    script = ScriptDirectory.from_config(_config())
    with current_engine().connect().execution_options(read_only=True) as connection:
        revision = stored_revision(connection)
    if revision != script.get_current_head() and not _is_newer(script, revision):
        raise UserError(
            f"the database has schema {revision}, older than this release's: "
            "run `nasnet db upgrade`"
        )
