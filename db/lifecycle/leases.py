"""Runs change hands here: each change is one guarded update, and tells whether it happened.

    pending -> queued -> running -> done | failed
    running -> pending     lease ended, given back, or another attempt allowed

What becomes queued, and when a queued row is taken back, is ``db.lifecycle.queue``'s business.

A run has at most one holder. The attempt number is the fencing token: it is in each statement of
a holder, so whoever lost a lease matches no row, and gets ``LeaseLostError``. Statements are built
once; building them costs more than running them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Float,
    and_,
    bindparam,
    exists,
    insert,
    select,
    update,
)

from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Purpose, RunState, SearchState
from db.schema.models import Artifact, Attempt, Genotype, Run, Search, Slot
from pipeline.errors import LeaseLostError

_SECONDS = bindparam("seconds", type_=Float)


@dataclass(frozen=True, slots=True)
class Claim:
    """A run in this worker's hands."""

    run_id: int
    attempt: int
    purpose: Purpose
    search_id: int | None
    child_id: int | None
    version: int | None  # of the policy: of runs for shared weights
    genotype: dict[str, Any] | None
    config: dict[str, Any]
    search_config: dict[str, Any] | None
    seed: int
    start_uri: str | None  # of the weights it starts from, if it starts from any
    start_sha256: str | None


_start = select(Artifact).where(Artifact.id == Run.start_artifact_id)
# a message may be in the wrong queue: a run is trained on what it was queued for
_fits = exists().where(
    Slot.id == bindparam("slot_id"), Slot.device == Run.device, Slot.devices == Run.devices
)
_claim = (
    update(Run)
    .where(Run.id == bindparam("run_id"), is_state(Run.state, RunState.QUEUED), _fits)
    .values(
        state=RunState.RUNNING,
        state_since=clock(),
        attempt=Run.attempt + 1,
        slot_id=bindparam("slot_id"),
        lease_until=clock(_SECONDS),
    )
    .returning(
        Run.attempt,
        Run.purpose,
        Run.search_id,
        Run.child_id,
        Run.version,
        Run.config,
        Run.seed,
        select(Genotype.body)
        .where(Genotype.id == Run.genotype_id)
        .scalar_subquery()
        .label("genotype"),
        select(Search.config)
        .where(Search.id == Run.search_id)
        .scalar_subquery()
        .label("search_config"),
        _start.with_only_columns(Artifact.uri).scalar_subquery().label("start_uri"),
        _start.with_only_columns(Artifact.sha256).scalar_subquery().label("start_sha256"),
    )
)
_open_attempt = insert(Attempt).values(
    run_id=bindparam("run_id"),
    number=bindparam("number"),
    slot_id=bindparam("slot_id"),
    device=bindparam("device"),
    versions=bindparam("versions"),
    started_at=clock(),
)


def claim(
    connection: Connection,
    run_id: int,
    *,
    slot_id: int,
    lease: float,
    device: str,
    versions: Mapping[str, str],
) -> Claim | None:
    """Take a queued run for a slot, for ``lease`` seconds.

    Returns:
        The claim to write under, or None where there is nothing to do: another slot has the
        run, it has ended, it is not queued (any more), or not for such devices.
    """
    row = connection.execute(
        _claim, {"run_id": run_id, "slot_id": slot_id, "seconds": lease}
    ).one_or_none()
    if row is None:
        return None
    connection.execute(
        _open_attempt,
        {
            "run_id": run_id,
            "number": row.attempt,
            "slot_id": slot_id,
            "device": device,
            "versions": dict(versions),
        },
    )
    return Claim(run_id=run_id, **row._asdict())


# The fence: matches while this attempt holds the run.
HELD = and_(
    Run.id == bindparam("held_run"),
    Run.attempt == bindparam("held_attempt"),
    is_state(Run.state, RunState.RUNNING),
)
_renew = (
    update(Run)
    .where(HELD)
    .values(lease_until=clock(_SECONDS))
    .returning(select(Search.state).where(Search.id == Run.search_id).scalar_subquery())
)


def renew(
    connection: Connection, run_id: int, attempt: int, *, lease: float
) -> SearchState | None:
    """Keep a run for ``lease`` more seconds.

    Returns:
        The state of its search, if it has one: a paused one wants its runs back.

    Raises:
        LeaseLostError: the run is somebody else's, or has ended.
    """
    row = connection.execute(
        _renew, {"held_run": run_id, "held_attempt": attempt, "seconds": lease}
    ).one_or_none()
    if row is None:
        raise lost(run_id, attempt)
    state: SearchState | None = row[0]
    return None if state is None else SearchState(state)


def lost(run_id: int, attempt: int) -> LeaseLostError:
    """The error of an attempt that no row stands for any more."""
    return LeaseLostError(f"run {run_id}: attempt {attempt} does not hold it any more")
