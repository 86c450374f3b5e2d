"""What images were when something was first trained on them."""

from sqlalchemy import Connection, bindparam, select

from db.schema.clock import clock
from db.schema.models import Dataset
from db.schema.rows import JsonObject
from db.schema.upserts import Upsert

_add = Upsert(
    Dataset,
    lambda add: add.values(
        fingerprint=bindparam("fingerprint"),
        name=bindparam("name"),
        summary=bindparam("summary"),
        created_at=clock(),
    ).on_conflict_do_nothing(),
)


def put(connection: Connection, fingerprint: str, name: str, summary: JsonObject) -> None:
    """Note what a data set is, unless it is known."""
    connection.execute(
        _add.on(connection),
        {"fingerprint": fingerprint, "name": name, "summary": summary},
    )


def summary(connection: Connection, fingerprint: str) -> JsonObject | None:
    """What a data set was; None where this store does not know it."""
    found = connection.scalar(select(Dataset.summary).where(Dataset.fingerprint == fingerprint))
    return None if found is None else dict(found)
