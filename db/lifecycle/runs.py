"""Runs that somebody asks for: retrain, transfer, baseline. Asking twice adds no row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    select,
    update,
)

from db.lifecycle.children import NEW_RUN
from db.lifecycle.queue import LEASES_UNTIL_GONE, REOPENED
from db.schema import config_keys
from db.schema.clock import clock
from db.schema.conditions import IN_FULL, UNFINISHED, is_state
from db.schema.enums import Purpose, RunState, SearchState, SlotState
from db.schema.models import Artifact, Epoch, Genotype, Run, Search, Slot
from db.schema.rows import JsonObject, RunRow, read_all, read_one_or_none
from db.schema.upserts import Upsert
from pipeline.errors import Failure, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A training in full, as it is asked for."""

    purpose: Purpose
    genotype_id: int
    config: JsonObject
    seed: int
    device: str
    devices: int
    key: str
    search_id: int | None = None
    start_artifact_id: int | None = None


class RunView(NamedTuple):
    """How far a run of a genotype is, or how it ended."""

    run: int
    purpose: Purpose
    search: str | None
    search_state: SearchState | None
    digest: str
    body: JsonObject
    config: JsonObject
    seed: int
    state: RunState
    attempts: int
    epochs: int | None
    latest_accuracy: float | None
    accuracy: float | None
    test_accuracy: float | None
    parameters: int | None
    macs: int | None
    seconds: float | None  # of all epochs
    waited: float | None  # of them, for data
    failure: Failure | None
    message: str | None


class WaitingRun(NamedTuple):
    """A run that waits for a slot of its kind."""

    id: int
    device: str
    devices: int


T = TypeVar("T")

_add = Upsert(
    Run,
    lambda add: add.values(
        **{name: bindparam(name) for name in RunRequest.__dataclass_fields__}, **NEW_RUN
    ).on_conflict_do_nothing(),
)
_reopen = (
    update(Run)
    .where(
        Run.key == bindparam("of_key"),
        is_state(Run.state, RunState.FAILED, RunState.CANCELLED),
    )
    .values(**REOPENED)
)
_by_key = select(Run.id).where(Run.key == bindparam("of_key"))


def ask(connection: Connection, asked: RunRequest) -> int:
    """Add a run, or find the one asked for before; one that failed or was cancelled is opened.

    Returns:
        The run's id.

    Raises:
        UserError: the weights to start from are no longer there.
    """
    start = asked.start_artifact_id
    # the row's lock makes whoever would let the file go wait
    lies = select(Artifact.uri).where(Artifact.id == start).with_for_update(read=True)
    if start is not None and connection.scalar(lies) is None:
        raise UserError("the weights to start from were deleted meanwhile: choose another run")
    parameters = {name: getattr(asked, name) for name in RunRequest.__dataclass_fields__}
    connection.execute(_add.on(connection), parameters)
    connection.execute(_reopen, {"of_key": asked.key})
    return connection.execute(_by_key, {"of_key": asked.key}).scalar_one()


def _of_epochs(what: ColumnElement[T]) -> ScalarSelect[T]:
    """Something of a run's epochs, asked for that run alone."""
    return select(what).where(Epoch.run_id == Run.id).correlate(Run).scalar_subquery()


_views = (
    select(
        Run.id.label("run"),
        Run.purpose,
        Search.name.label("search"),
        Search.state.label("search_state"),
        Genotype.digest,
        Genotype.body,
        Run.config,
        Run.seed,
        Run.state,
        Run.attempt.label("attempts"),
        _of_epochs(func.max(Epoch.epoch)).label("epochs"),
        select(Epoch.accuracy)
        .where(Epoch.run_id == Run.id)
        .order_by(Epoch.epoch.desc())
        .limit(1)
        .correlate(Run)
        .scalar_subquery()
        .label("latest_accuracy"),
        Run.accuracy,
        Run.test_accuracy,
        Run.parameters,
        Run.macs,
        _of_epochs(func.sum(Epoch.seconds)).label("seconds"),
        _of_epochs(func.sum(Epoch.waited)).label("waited"),
        Run.failure,
        Run.message,
    )
    .select_from(Run)
    .join(Genotype, Genotype.id == Run.genotype_id)
    .join(Search, Search.id == Run.search_id, isouter=True)
)


def views(connection: Connection, run_ids: Sequence[int]) -> list[RunView]:
    """How far some runs are, in their order."""
    return read_all(connection, RunView, _views.where(Run.id.in_(run_ids)).order_by(Run.id))


def leaderboard(connection: Connection, *, limit: int) -> list[RunView]:
    """Finished trainings in full, the best on its validation images first, per data set."""
    statement = (
        _views.where(literal_column(IN_FULL), is_state(Run.state, RunState.DONE))
        .order_by(config_keys.dataset, Run.accuracy.desc().nulls_last(), Run.id)
        .limit(limit)
    )
    return read_all(connection, RunView, statement)


def of_search(connection: Connection, search_id: int, purpose: Purpose) -> list[int]:
    """A search's runs of a purpose that have not ended."""
    return list(
        connection.scalars(
            select(Run.id)
            .where(
                Run.search_id == search_id,
                Run.purpose == purpose,
                literal_column(UNFINISHED),
            )
            .order_by(Run.id)
        )
    )


def digest_of(connection: Connection, genotype_id: int) -> str:
    """The digest of a genotype that is in the store."""
    return connection.execute(
        select(Genotype.digest).where(Genotype.id == genotype_id)
    ).scalar_one()


def get(connection: Connection, run_id: int) -> RunRow | None:
    """A run's row, or None."""
    return read_one_or_none(connection, RunRow, select(Run).where(Run.id == run_id))


_waiting = (
    select(Run.id, Run.device, Run.devices)
    .where(
        literal_column(UNFINISHED),
        is_state(Run.state, RunState.PENDING, RunState.QUEUED),
        not_(
            exists().where(
                Slot.device == Run.device,
                Slot.devices == Run.devices,
                not_(is_state(Slot.state, SlotState.DOWN)),
                Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
            )
        ),
    )
    .order_by(Run.id)
    .limit(100)
)


def without_slot(
    connection: Connection,
    *,
    run_ids: Sequence[int] | None = None,
    search_id: int | None = None,
) -> list[WaitingRun]:
    """Runs that wait and that no slot there is can take.

    Of all, of some, or of a search's; a hundred at most.
    """
    statement = _waiting
    if run_ids is not None:
        statement = statement.where(Run.id.in_(run_ids))
    if search_id is not None:
        statement = statement.where(Run.search_id == search_id)
    return read_all(connection, WaitingRun, statement)
