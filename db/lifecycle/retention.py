"""Which files may go: checkpoints of what has ended, weights of losers, whatever is over the cap.

The rows stay, without a place; whoever calls deletes the files once that is committed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, exists, func, literal_column, select
from sqlalchemy.orm import aliased

from db.lifecycle.checkpoints import forget_files
from db.schema.conditions import PRESENT, PRESENT_CHECKPOINT, UNFINISHED, is_state
from db.schema.enums import ArtifactKind, Purpose, RunState
from db.schema.models import Artifact, Child, Run
from db.schema.rows import read_all

_of_ended = (
    select(Artifact.id, Artifact.uri)
    .join(Run, Run.id == Artifact.run_id)
    .where(
        literal_column(PRESENT_CHECKPOINT),
        is_state(Run.state, RunState.DONE, RunState.FAILED, RunState.CANCELLED),
    )
    .limit(bindparam("count"))
)


def forget_ended(connection: Connection, count: int = 200) -> list[str]:
    """Let the checkpoints of runs that have ended go; returns the files to delete.

    Whatever a run starts from is kept: weights are no checkpoints.
    """
    return _forget(connection, read_all(connection, _File, _of_ended, {"count": count}))


class _File(NamedTuple):
    """A file that may go."""

    id: int
    uri: str


def _forget(connection: Connection, files: Sequence[_File]) -> list[str]:
    forget_files(connection, [file.id for file in files])
    return [file.uri for file in files]


# a run that has not ended starts from it
_is_a_start = exists().where(Run.start_artifact_id == Artifact.id, literal_column(UNFINISHED))
_of_children = (
    select(
        Artifact.id,
        Artifact.uri,
        Artifact.bytes,
        func.row_number()
        .over(partition_by=Child.search_id, order_by=(Child.reward.desc(), Child.id))
        .label("rank"),
        Child.reward,
    )
    .join(Run, Run.id == Artifact.run_id)
    .join(Child, Child.id == Run.child_id)
    .where(
        literal_column(PRESENT),
        Artifact.kind == ArtifactKind.WEIGHTS,
        is_state(Run.purpose, Purpose.SEARCH),
        ~_is_a_start.correlate(Artifact),
    )
    .subquery()
)


def is_among_best(connection: Connection, search_id: int, reward: float, keep: int) -> bool:
    """Whether a child with that reward is one of the best ``keep`` so far."""
    better = (
        select(Child.id)
        .where(
            Child.search_id == search_id,
            Child.reward >= reward,
            Child.duplicate_of.is_(None),
            Child.accuracy.is_not(None),
        )
        .limit(keep)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(better)).scalar_one() < keep


def forget_losers(connection: Connection, keep: int) -> list[str]:
    """Let the weights of all but each search's best children go; returns the files to delete."""
    losers = (
        select(_of_children.c.id, _of_children.c.uri).where(_of_children.c.rank > keep).limit(200)
    )
    return _forget(connection, read_all(connection, _File, losers))


# Of how many phases the shared weights are kept.
KEEP_PHASES = 2
_newer = aliased(Artifact)
_old_shared = (
    select(Artifact.id, Artifact.uri)
    .where(
        Artifact.kind == ArtifactKind.SHARED,
        literal_column(PRESENT),
        exists().where(
            _newer.search_id == Artifact.search_id,
            _newer.kind == ArtifactKind.SHARED,
            _newer.number >= Artifact.number + KEEP_PHASES,
        ),
        ~_is_a_start.correlate(Artifact),
    )
    .limit(200)
)


def forget_shared(connection: Connection) -> list[str]:
    """Let the shared weights of all but the last phases go; returns the files to delete."""
    return _forget(connection, read_all(connection, _File, _old_shared))


def total_bytes(connection: Connection) -> int:
    """What all files that lie somewhere take."""
    total = select(func.coalesce(func.sum(Artifact.bytes), 0)).where(literal_column(PRESENT))
    return int(connection.execute(total).scalar_one())


def kept_bytes(connection: Connection) -> int:
    """What is left when every run has ended: all but checkpoints, which go by themselves."""
    kept = select(func.coalesce(func.sum(Artifact.bytes), 0)).where(
        literal_column(PRESENT), Artifact.kind != ArtifactKind.CHECKPOINT
    )
    return int(connection.execute(kept).scalar_one())


def forget_above(connection: Connection, limit: int) -> list[str]:
    """Let children's weights go, the worst first, until all files take no more than ``limit``.

    Checkpoints of runs that have not ended and weights of runs in full are nobody's to delete.
    """
    over = total_bytes(connection) - limit
    if over <= 0:
        return []
    chosen = []
    worst_first = select(_of_children.c.id, _of_children.c.uri, _of_children.c.bytes).order_by(
        _of_children.c.reward
    )
    for artifact_id, uri, size in connection.execute(worst_first).all():
        if over <= 0:
            break
        chosen.append(_File(artifact_id, uri))
        over -= size
    return _forget(connection, chosen)


def places_of_run(connection: Connection, run_id: int) -> set[str]:
    """Where the files of a run lie."""
    return set(
        connection.scalars(
            select(Artifact.uri).where(Artifact.run_id == run_id, Artifact.uri.is_not(None))
        )
    )
