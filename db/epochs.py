"""Learning curves: a row an epoch; an epoch that is repeated after a kill replaces its row."""

from typing import Any

from sqlalchemy import Connection, bindparam
from sqlalchemy.dialects import postgresql, sqlite

from db.clock import clock
from db.models import Epoch

_COLUMNS = ("attempt", "loss", "train_accuracy", "accuracy", "learning_rate", "seconds", "waited")


def _upsert(dialect_insert: Any) -> Any:
    values: dict[str, Any] = {name: bindparam(name) for name in ("run_id", "epoch", *_COLUMNS)}
    statement = dialect_insert(Epoch).values(**values, created_at=clock())
    return statement.on_conflict_do_update(
        index_elements=["run_id", "epoch"],
        set_={name: statement.excluded[name] for name in (*_COLUMNS, "created_at")},
    )


_upserts = {"sqlite": _upsert(sqlite.insert), "postgresql": _upsert(postgresql.insert)}


def put(connection: Connection, run_id: int, attempt: int, *, epoch: int, **columns: Any) -> None:
    """Write an epoch's row; the caller has renewed the lease in this transaction."""
    connection.execute(
        _upserts[connection.dialect.name],
        {"run_id": run_id, "attempt": attempt, "epoch": epoch, **columns},
    )
