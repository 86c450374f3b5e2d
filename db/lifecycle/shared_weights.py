"""Weights that a search's children share, as rows (arXiv:1802.03268): passes, and bulk scoring.

Phase e of a search is policy versions e x U to e x U + U - 1. It begins with one run of purpose
`shared`, whose artifact is weights e; the children of its versions are then scored in bulk by
runs of purpose `score`, which start from that artifact and have no child of their own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

from sqlalchemy import Connection, bindparam, func, insert, select

from db.lifecycle import attempts, children
from db.lifecycle.children import (
    ADD_WAITING,
    NEW_CHILD,
    NEW_RUN,
    ChildValues,
    Evaluation,
    NewChild,
    RunTemplate,
)
from db.lifecycle.genotypes import find_or_add
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Arm, ArtifactKind, ChildState, Purpose
from db.schema.models import Artifact, Child, Run
from db.schema.rows import JsonObject, read_all, read_one_or_none


class NewestWeights(NamedTuple):
    """The newest shared weights of a search."""

    id: int
    number: int
    uri: str
    sha256: str


class ChildToScore(NamedTuple):
    """A child that a run scores."""

    id: int
    arm: Arm
    version: int
    k: int
    actions: list[int]


class _RunValues(TypedDict):
    """What a run of shared weights is given."""

    purpose: Purpose
    search_id: int
    version: int
    ordinal: int
    start_artifact_id: int | None
    config: JsonObject
    seed: int
    device: str
    devices: int
    key: str


_of_search = (Artifact.search_id == bindparam("search_id"), Artifact.kind == ArtifactKind.SHARED)
_newest = (
    select(Artifact.id, Artifact.number, Artifact.uri, Artifact.sha256)
    .where(*_of_search)
    .order_by(Artifact.number.desc())
    .limit(1)
)
_add_run = (
    insert(Run)
    .values(
        purpose=bindparam("purpose"),
        search_id=bindparam("search_id"),
        version=bindparam("version"),
        ordinal=bindparam("ordinal"),
        start_artifact_id=bindparam("start_artifact_id"),
        config=bindparam("config"),
        seed=bindparam("seed"),
        device=bindparam("device"),
        devices=bindparam("devices"),
        key=bindparam("key"),
        **NEW_RUN,
    )
    .returning(Run.id, sort_by_parameter_order=True)
)
_add_children = (
    insert(Child)
    .values(
        **NEW_CHILD,
        state=ChildState.OPEN,
        created_at=clock(),
        score_run_id=bindparam("score_run_id"),
    )
    .returning(Child.id, Child.genotype_id, sort_by_parameter_order=True)
)


def newest(connection: Connection, search_id: int) -> NewestWeights | None:
    """A search's newest weights, or None."""
    return read_one_or_none(connection, NewestWeights, _newest, {"search_id": search_id})


def _run_row(
    purpose: Purpose,
    search_id: int,
    version: int,
    ordinal: int,
    template: RunTemplate,
    seed: int,
    start_artifact_id: int | None,
) -> _RunValues:
    return {
        "purpose": purpose,
        "search_id": search_id,
        "version": version,
        "ordinal": ordinal,
        "start_artifact_id": start_artifact_id,
        "config": template.config,
        "seed": seed,
        "device": template.device,
        "devices": template.devices,
        "key": children.run_key(purpose, search=search_id, version=version, ordinal=ordinal),
    }


def add_pass(
    connection: Connection, search_id: int, version: int, template: RunTemplate, *, seed: int
) -> None:
    """Ask for the pass that a phase begins with; it starts from the weights of the one before.

    Raises:
        IntegrityError: it was asked for already.
    """
    before = newest(connection, search_id)
    start = None if before is None else before.id
    row = _run_row(Purpose.SHARED, search_id, version, 0, template, seed, start)
    connection.execute(_add_run, [row])


def propose(
    connection: Connection,
    search_id: int,
    version: int,
    proposals: Sequence[NewChild],
    template: RunTemplate,
    *,
    chunk: int,
    seed: int,
) -> None:
    """Write a version's proposals, and runs that score them with the newest weights.

    A second draw of a genotype is scored again: its reward belongs to its own minibatch. Of
    derived children, which all images score, each genotype is scored once.

    Raises:
        IntegrityError: one of them is there already; nothing is written then.
        ValueError: the search has no weights yet.
    """
    weights = newest(connection, search_id)
    if weights is None:
        raise ValueError(f"search {search_id} has no shared weights to score with")
    genotypes = find_or_add(connection, proposals)
    rows = [children.child_row(search_id, version, p, genotypes[p.digest]) for p in proposals]
    first: dict[int, ChildValues] = {}
    for row in rows:
        if row["arm"] is Arm.DERIVE:
            first.setdefault(row["genotype_id"], row)
    scored = [row for row in rows if first.get(row["genotype_id"], row) is row]
    ids_of_version = {"search_id": search_id, "version": version}
    begin: int = connection.execute(_next_ordinal, ids_of_version).scalar_one() or 0
    runs = [
        _run_row(Purpose.SCORE, search_id, version, begin + n, template, seed, weights.id)
        for n in range(-(-len(scored) // chunk))
    ]
    run_ids = connection.execute(_add_run, runs).scalars().all()
    added = connection.execute(
        _add_children,
        [{**row, "score_run_id": run_ids[n // chunk]} for n, row in enumerate(scored)],
    ).all()
    waiting = [row for row in rows if first.get(row["genotype_id"], row) is not row]
    if waiting:
        ids = {genotype_id: child_id for child_id, genotype_id in added}
        connection.execute(
            ADD_WAITING, [{**row, "duplicate_of": ids[row["genotype_id"]]} for row in waiting]
        )


_next_ordinal = select(func.max(Run.ordinal) + 1).where(
    Run.search_id == bindparam("search_id"),
    Run.version == bindparam("version"),
    Run.purpose == Purpose.SCORE,
)
_to_score = (
    select(Child.id, Child.arm, Child.version, Child.k, Child.actions)
    .where(Child.score_run_id == bindparam("run_id"), is_state(Child.state, ChildState.OPEN))
    .order_by(Child.id)
)


def to_score(connection: Connection, run_id: int) -> list[ChildToScore]:
    """The children that a run scores, in their order."""
    return read_all(connection, ChildToScore, _to_score, {"run_id": run_id})


def finish_scoring(
    connection: Connection,
    run_id: int,
    attempt: int,
    evaluations: Mapping[int, Evaluation],
    result: attempts.Result,
    work: attempts.Work,
) -> None:
    """End a scoring run well, and its children with their rewards, under the fence.

    Raises:
        LeaseLostError: the run is somebody else's, or has ended.
    """
    attempts.finish(connection, run_id, attempt, result, work)
    if evaluations:
        children.settle_all(connection, evaluations)
