"""Alembic's entry: migrates the store of this machine's settings.

There must never be an ``alembic/__init__.py``: it would hide the installed package.
"""

from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext

from db.schema.clock import UTCDateTime
from db.schema.migrations import VERSION_TABLE
from db.schema.models import Base
from db.schema.session import current_engine


def render_item(kind: str, obj: Any, _context: AutogenContext) -> str | bool:
    """Write plain types: a migration imports no code of ours, which may change under it."""
    if kind == "type" and isinstance(obj, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run() -> None:
    """Migrate over the connection that ``db.schema.migrations`` hands in, or our own."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        with current_engine().connect() as own:
            context.config.attributes["connection"] = own
            return run()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        render_item=render_item,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


run()
