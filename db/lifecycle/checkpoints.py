"""Files of runs as rows: a run goes on from its newest checkpoint that has a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Float,
    bindparam,
    exists,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from db.lifecycle.leases import HELD, lost
from db.schema.clock import clock
from db.schema.conditions import IN_FULL
from db.schema.enums import ArtifactKind
from db.schema.models import Artifact, Child, Run
from db.schema.rows import read_all, read_one_or_none

# Files a run keeps: the newest may prove corrupt.
KEEP = 2

_add = (
    insert(Artifact)
    .values(
        run_id=bindparam("run_id"),
        attempt=bindparam("attempt"),
        search_id=bindparam("search_id"),
        kind=bindparam("kind"),
        epoch=bindparam("epoch"),
        step=bindparam("step"),
        number=bindparam("number"),
        uri=bindparam("uri"),
        sha256=bindparam("sha256"),
        bytes=bindparam("bytes"),
        created_at=clock(),
    )
    .returning(Artifact.id)
)
_progressed = (
    update(Run)
    .where(HELD)
    .values(tries=0, lease_until=clock(bindparam("seconds", type_=Float)))
    .returning(Run.search_id)
)
_of_run = (
    select(Artifact.id, Artifact.uri, Artifact.sha256, Artifact.epoch, Artifact.step)
    .where(
        Artifact.run_id == bindparam("run_id"),
        Artifact.kind == ArtifactKind.CHECKPOINT,
        Artifact.uri.is_not(None),
    )
    .order_by(Artifact.id.desc())
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that a run can go on from."""

    id: int
    uri: str
    sha256: str
    epoch: int
    step: int


def of_run(connection: Connection, run_id: int) -> list[Checkpoint]:
    """A run's checkpoints that still lie somewhere, newest first."""
    rows = connection.execute(_of_run, {"run_id": run_id})
    return [Checkpoint(*row) for row in rows]  # type: ignore[arg-type] # uri is not null


class WrittenFile(NamedTuple):
    """A file that has been written whole."""

    uri: str
    sha256: str
    size: int  # in bytes


def add(
    connection: Connection,
    run_id: int,
    attempt: int,
    file: WrittenFile,
    *,
    epoch: int | None = None,
    step: int | None = None,
    number: int | None = None,
    lease: float,
    kind: ArtifactKind = ArtifactKind.CHECKPOINT,
) -> None:
    """Make a file the run's newest of its kind.

    Raises:
        LeaseLostError: the run is somebody else's; the file then belongs to nobody.
    """
    parameters = {"held_run": run_id, "held_attempt": attempt, "seconds": lease}
    row = connection.execute(_progressed, parameters).one_or_none()
    if row is None:
        raise lost(run_id, attempt)
    connection.execute(
        _add,
        {
            "run_id": run_id,
            "attempt": attempt,
            "search_id": row.search_id,
            "kind": kind,
            "epoch": epoch,
            "step": step,
            "number": number,
            "uri": file.uri,
            "sha256": file.sha256,
            "bytes": file.size,
        },
    )


_weights = (
    select(Artifact.id, Artifact.uri, Artifact.sha256)
    .where(
        Artifact.run_id == bindparam("run_id"),
        Artifact.kind == ArtifactKind.WEIGHTS,
        Artifact.uri.is_not(None),
    )
    .order_by(Artifact.id.desc())
    .limit(1)
)


class KeptWeights(NamedTuple):
    """The file of weights that a finished run kept."""

    id: int
    uri: str
    sha256: str


def weights_of_run(connection: Connection, run_id: int) -> KeptWeights | None:
    """The weights a finished run kept, or None."""
    return read_one_or_none(connection, KeptWeights, _weights, {"run_id": run_id})


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights that a child can be given."""

    run_id: int  # that wrote it
    uri: str
    sha256: str
    is_shared: bool  # of all children of a phase, not of one


_of_child = (
    select(Artifact.run_id, Artifact.uri, Artifact.sha256, Artifact.kind)
    .where(
        Artifact.uri.is_not(None),
        or_(
            (Artifact.kind == ArtifactKind.WEIGHTS)
            & Artifact.run_id.in_(select(Run.id).where(Run.child_id == bindparam("child_id"))),
            (Artifact.kind == ArtifactKind.SHARED)
            & Artifact.id.in_(
                select(Run.start_artifact_id)
                .join(Child, Child.score_run_id == Run.id)
                .where(Child.id == bindparam("child_id"))
            ),
        ),
    )
    .order_by(Artifact.id.desc())
    .limit(1)
)
_full_run = (
    select(Run.id)
    .where(
        Run.genotype_id == bindparam("genotype_id"),
        literal_column(IN_FULL),
        exists().where(
            Artifact.run_id == Run.id,
            Artifact.kind == ArtifactKind.WEIGHTS,
            Artifact.uri.is_not(None),
        ),
    )
    .order_by(Run.accuracy.desc().nulls_last(), Run.id)
    .limit(1)
)


def weights_of_child(connection: Connection, child_id: int) -> Weights | None:
    """The weights that a child was trained to, or scored with; None where they are gone."""
    row = connection.execute(_of_child, {"child_id": child_id}).one_or_none()
    if row is None:
        return None
    return Weights(row.run_id, row.uri, row.sha256, row.kind is ArtifactKind.SHARED)


def run_with_weights(connection: Connection, genotype_id: int) -> int | None:
    """A genotype's best training in full whose weights are there, or None."""
    return connection.scalar(_full_run, {"genotype_id": genotype_id})


class StoredFile(NamedTuple):
    """A file that should be somewhere."""

    id: int
    run_id: int | None
    uri: str


def lying(connection: Connection) -> list[StoredFile]:
    """Every file that should be somewhere."""
    return read_all(
        connection,
        StoredFile,
        select(Artifact.id, Artifact.run_id, Artifact.uri)
        .where(Artifact.uri.is_not(None))
        .order_by(Artifact.id),
    )


_forget_files = update(Artifact).where(Artifact.id.in_(bindparam("ids", expanding=True)))


def forget_files(connection: Connection, artifact_ids: Sequence[int]) -> None:
    """Note that files are about to be deleted; the rows stay."""
    if artifact_ids:
        connection.execute(_forget_files.values(uri=None), {"ids": list(artifact_ids)})
