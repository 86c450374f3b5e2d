"""A search and all that is its own out of the store, in the caller's transaction.

Files are deleted after the commit, by whoever calls: killed in between, they are files without a
row, which the hourly sweep finds (``tasks.leftovers``).
"""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.lifecycle.slots import IMPORTED_HOME
from db.schema.clock import clock
from db.schema.conditions import IN_FULL, PRESENT, UNFINISHED, is_state
from db.schema.enums import Purpose, RunState, SlotState
from db.schema.models import (
    Artifact,
    Attempt,
    Child,
    Epoch,
    Genotype,
    Metric,
    Notice,
    PolicyVersion,
    Run,
    Search,
    SearchTag,
    Slot,
)
from db.schema.rows import SearchRow
from pipeline.errors import UserError

# What refers to a row that goes is looked up by an index; of a few rows by walking the table.
MANY_CHILDREN = 100


@dataclass(frozen=True, slots=True)
class Owned:
    """What is a search's own, and goes with it."""

    children: int
    runs: int
    in_full: int  # of them: trainings in full, which the leaderboard lists
    genotypes: int  # that nothing else refers to
    files: int
    bytes: int


def owned(connection: Connection, search: SearchRow) -> Owned:
    """What would go with a search."""

    def count(*conditions: ColumnElement[bool]) -> int:
        return connection.scalar(select(func.count()).where(*conditions)) or 0

    files = select(func.count(), func.coalesce(func.sum(Artifact.bytes), 0)).where(
        literal_column(PRESENT), Artifact.id.in_(_artifacts(search.id))
    )
    number, size = connection.execute(files).one()
    genotypes = connection.scalar(select(func.count()).select_from(_lonely(search).subquery()))
    return Owned(
        children=count(Child.search_id == search.id),
        runs=count(Run.search_id == search.id),
        in_full=count(Run.search_id == search.id, literal_column(IN_FULL)),
        genotypes=genotypes or 0,
        files=number,
        bytes=int(size),
    )


def _artifacts(search_id: int) -> Select[int]:
    of_runs = select(Run.id).where(Run.search_id == search_id)
    return select(Artifact.id).where(
        or_(Artifact.search_id == search_id, Artifact.run_id.in_(of_runs))
    )


def _lonely(search: SearchRow) -> Select[int]:
    """The genotypes that a search brought, and that nothing else refers to."""
    mine = (
        select(Child.genotype_id)
        .where(Child.search_id == search.id)
        .union(
            select(Run.genotype_id).where(Run.search_id == search.id, Run.genotype_id.is_not(None))
        )
    )
    others = exists().where(
        # named, so that the index of (search, genotype) is asked once a search
        Child.search_id.in_(select(Search.id).where(Search.id != search.id)),
        Child.genotype_id == Genotype.id,
    )
    runs = exists().where(
        Run.genotype_id == Genotype.id,
        or_(Run.search_id.is_(None), Run.search_id != search.id),
    )
    return select(Genotype.id).where(
        Genotype.id.in_(mine), Genotype.created_at >= search.created_at, ~others, ~runs
    )


def check_rests(connection: Connection, search: SearchRow) -> None:
    """Refuse a search that somebody works on.

    Raises:
        UserError: a worker holds one of its runs, could take one, or starts from its weights.
    """
    held = connection.scalar(
        select(Run.id).where(
            Run.search_id == search.id,
            is_state(Run.state, RunState.RUNNING),
            Run.lease_until > clock(),
        )
    )
    name = search.name
    if held is not None:
        rest = "" if not search.state.is_active else f"`nasnet search pause {name}` first, then "
        raise UserError(
            f"search {name!r}: a worker holds run {held}: {rest}wait until it has given it back"
        )
    working = exists().where(
        ~is_state(Slot.state, SlotState.DOWN),
        Slot.home != IMPORTED_HOME,
        Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
    )
    if search.state.is_active and connection.scalar(select(working)):
        raise UserError(
            f"search {name!r} is {search.state}, and workers are there: "
            f"`nasnet search pause {name}` first"
        )
    start = connection.scalar(
        select(Run.id)
        .where(
            Run.start_artifact_id.in_(_artifacts(search.id)),
            or_(Run.search_id.is_(None), Run.search_id != search.id),
            literal_column(UNFINISHED),
        )
        .limit(1)
    )
    if start is not None:
        raise UserError(
            f"search {name!r}: run {start} starts from weights of it and has not ended"
        )


def delete_search(connection: Connection, search: SearchRow) -> list[str]:
    """Delete a locked search that rests, and all that is its own; returns the files to delete."""
    runs = select(Run.id).where(Run.search_id == search.id)
    artifacts = _artifacts(search.id)
    places = select(Artifact.uri).where(literal_column(PRESENT), Artifact.id.in_(artifacts))
    files = [str(place) for place in connection.scalars(places)]
    with _indexes(connection, search.id):
        genotypes = list(connection.scalars(_lonely(search)))
        for statement in (
            delete(Notice).where(Notice.search_id == search.id),
            delete(SearchTag).where(SearchTag.search_id == search.id),
            update(Child)
            .where(Child.search_id == search.id, Child.score_run_id.is_not(None))
            .values(score_run_id=null()),
            update(Run)
            .where(Run.start_artifact_id.in_(artifacts))
            .values(start_artifact_id=null()),
            delete(Artifact).where(Artifact.id.in_(artifacts)),
            delete(Epoch).where(Epoch.run_id.in_(runs)),
            delete(Metric).where(Metric.run_id.in_(runs)),
            delete(Attempt).where(Attempt.run_id.in_(runs)),
        ):
            connection.execute(statement)
        _delete_runs(connection, search.id)
        connection.execute(delete(Child).where(Child.search_id == search.id))
        connection.execute(delete(PolicyVersion).where(PolicyVersion.search_id == search.id))
        _delete_genotypes(connection, genotypes)
    connection.execute(delete(Search).where(Search.id == search.id))
    return files


def _delete_runs(connection: Connection, search_id: int) -> None:
    """Delete a search's runs, so that no later run gets one's number.

    A run's number and attempt are its fence and the names of its files. SQLite
    gives the highest number again once its row has gone; that row stays, empty.
    """
    highest = None
    if connection.dialect.name == "sqlite":
        highest = connection.scalar(select(func.max(Run.id)))
        empty = {column.key: null() for column in Run.__table__.c if column.nullable}
        connection.execute(
            update(Run)
            .where(Run.id == highest, Run.search_id == search_id)
            .values(
                **empty,
                purpose=Purpose.SHARED,  # of no genotype, as the table demands
                config={},
                state=RunState.CANCELLED,
                attempt=0,
                tries=0,
                key=f"deleted-{uuid.uuid4().hex}",
            )
        )
    connection.execute(delete(Run).where(Run.search_id == search_id))
    # what an earlier deletion left, now that there is a higher one
    connection.execute(
        delete(Run).where(Run.key.startswith("deleted-"), Run.id < func.coalesce(highest, 0))
    )


def _delete_genotypes(connection: Connection, ids: list[int]) -> None:
    for start in range(0, len(ids), 5000):
        some = ids[start : start + 5000]
        connection.execute(delete(Genotype).where(Genotype.id.in_(some)))


_INDEXES = {
    "ix_going_duplicates": "children (duplicate_of) WHERE duplicate_of IS NOT NULL",
    "ix_going_genotypes": "children (genotype_id)",
    "ix_going_starts": "runs (start_artifact_id) WHERE start_artifact_id IS NOT NULL",
}


@contextlib.contextmanager
def _indexes(connection: Connection, search_id: int) -> Iterator[None]:
    """Indexes of what refers to rows that go, until the end: else all rows are read for each."""
    many = select(Child.id).where(Child.search_id == search_id).offset(MANY_CHILDREN).limit(1)
    names = _INDEXES if connection.scalar(many) is not None else {}
    for name in names:
        connection.execute(text(f"CREATE INDEX {name} ON {_INDEXES[name]}"))
    yield
    for name in names:
        connection.execute(text(f"DROP INDEX {name}"))
