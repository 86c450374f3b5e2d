"""What images were when something was first trained on them."""

from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from db.schema.clock import clock
from db.schema.models import Dataset

_values: dict[str, Any] = {name: bindparam(name) for name in ("fingerprint", "name", "summary")}
_values["created_at"] = clock()
_adds = {
    "sqlite": sqlite.insert(Dataset).values(**_values).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(Dataset).values(**_values).on_conflict_do_nothing(),
}


def put(connection: Connection, fingerprint: str, name: str, summary: dict[str, Any]) -> None:
    """Note what a data set is, unless it is known."""
    connection.execute(
        _adds[connection.dialect.name],
        {"fingerprint": fingerprint, "name": name, "summary": summary},
    )


def summary(connection: Connection, fingerprint: str) -> dict[str, Any] | None:
    """What a data set was; None where this store does not know it."""
    found = connection.scalar(select(Dataset.summary).where(Dataset.fingerprint == fingerprint))
    return None if found is None else dict(found)
