"""Files of runs as rows: the newest checkpoint in the store is what a run goes on from (law 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Float, bindparam, insert, select, update

from db.clock import clock
from db.enums import ArtifactKind
from db.leases import HELD, lost
from db.models import Artifact, Run

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


def add(
    connection: Connection,
    run_id: int,
    attempt: int,
    *,
    uri: str,
    sha256: str,
    size: int,
    epoch: int | None = None,
    step: int | None = None,
    number: int | None = None,
    lease: float,
    kind: ArtifactKind = ArtifactKind.CHECKPOINT,
) -> None:
    """Make a file that has been written whole the run's newest of its kind.

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
            "uri": uri,
            "sha256": sha256,
            "bytes": size,
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


def weights_of_run(connection: Connection, run_id: int) -> Any:
    """(id, uri, sha256) of the weights a finished run kept, or None."""
    return connection.execute(_weights, {"run_id": run_id}).one_or_none()


def lying(connection: Connection) -> list[Any]:
    """(id, run, uri) of every file that should be somewhere."""
    return list(
        connection.execute(
            select(Artifact.id, Artifact.run_id, Artifact.uri)
            .where(Artifact.uri.is_not(None))
            .order_by(Artifact.id)
        )
    )


_forget_files = update(Artifact).where(Artifact.id.in_(bindparam("ids", expanding=True)))


def forget_files(connection: Connection, artifact_ids: Sequence[int]) -> None:
    """Note that files are about to be deleted; the rows stay."""
    if artifact_ids:
        connection.execute(_forget_files.values(uri=None), {"ids": list(artifact_ids)})
