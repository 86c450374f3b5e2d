"""Learning curves: a row an epoch; an epoch that is repeated after a kill replaces its row."""

from collections import defaultdict

from sqlalchemy import BindParameter, Connection, bindparam, select
from sqlalchemy.sql import Executable

from db.schema.clock import clock
from db.schema.models import Child, Epoch, Run
from db.schema.upserts import Insert, Upsert

_COLUMNS = ("attempt", "loss", "train_accuracy", "accuracy", "learning_rate", "seconds", "waited")


def _replacing(add: Insert) -> Executable:
    values: dict[str, BindParameter[float]] = {
        name: bindparam(name) for name in ("run_id", "epoch", *_COLUMNS)
    }
    return add.values(**values, created_at=clock()).on_conflict_do_update(
        index_elements=["run_id", "epoch"],
        set_={name: add.excluded[name] for name in (*_COLUMNS, "created_at")},
    )


_put = Upsert(Epoch, _replacing)


def put(
    connection: Connection, run_id: int, attempt: int, *, epoch: int, **columns: float | None
) -> None:
    """Write an epoch's row; the caller has renewed the lease in this transaction."""
    connection.execute(
        _put.on(connection),
        {"run_id": run_id, "attempt": attempt, "epoch": epoch, **columns},
    )


# Children that a child is compared with, at most: the latest.
COMPARED = 1000


def known_curves(connection: Connection, child_id: int) -> list[list[float]]:
    """Curves that an earlier policy version had learned from when a child was proposed.

    No child ends up among them, or leaves, while that child trains.
    """
    child = connection.execute(
        select(Child.search_id, Child.version).where(Child.id == child_id)
    ).one()
    known = (
        select(Child.id)
        .where(
            Child.search_id == child.search_id,
            Child.learned_by <= child.version,
            Child.duplicate_of.is_(None),
            Child.failure.is_(None),
        )
        .order_by(Child.learned_by.desc(), Child.version.desc(), Child.k.desc())
        .limit(COMPARED)
    )
    rows = connection.execute(
        select(Run.id, Epoch.epoch, Epoch.accuracy)
        .join(Epoch, Epoch.run_id == Run.id)
        .where(Run.child_id.in_(known), Epoch.accuracy.is_not(None))
        .order_by(Run.id, Epoch.epoch)
    )
    curves: dict[int, list[float]] = defaultdict(list)
    for run_id, epoch, accuracy in rows:
        if epoch == len(curves[run_id]) + 1:  # a curve ends where an epoch is missing
            curves[run_id].append(accuracy)  # type: ignore[arg-type] # it is not null
    return list(curves.values())
