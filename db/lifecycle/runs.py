"""Runs that somebody asks for: retrain, transfer, baseline. Asking twice adds no row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from db.lifecycle import children
from db.lifecycle.children import NEW_RUN
from db.lifecycle.queue import LEASES_UNTIL_GONE, REOPENED
from db.schema.clock import clock
from db.schema.enums import Purpose, RunState, SlotState
from db.schema.models import (
    IN_FULL,
    UNFINISHED,
    Artifact,
    Epoch,
    Genotype,
    Run,
    Search,
    Slot,
    is_state,
)
from pipeline.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A training in full, as it is asked for."""

    purpose: Purpose
    genotype_id: int
    config: dict[str, Any]
    seed: int
    device: str
    devices: int
    key: str
    search_id: int | None = None
    start_artifact_id: int | None = None


_values: dict[str, Any] = {name: bindparam(name) for name in Asked.__dataclass_fields__}
_values |= NEW_RUN
_adds = {
    "sqlite": sqlite.insert(Run).values(**_values).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(Run).values(**_values).on_conflict_do_nothing(),
}
_reopen = (
    update(Run)
    .where(
        Run.key == bindparam("of_key"),
        is_state(Run.state, RunState.FAILED, RunState.CANCELLED),
    )
    .values(**REOPENED)
)
_by_key = select(Run.id).where(Run.key == bindparam("of_key"))


def ask(connection: Connection, asked: Asked) -> int:
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
    parameters = {name: getattr(asked, name) for name in Asked.__dataclass_fields__}
    connection.execute(_adds[connection.dialect.name], parameters)
    connection.execute(_reopen, {"of_key": asked.key})
    return connection.execute(_by_key, {"of_key": asked.key}).scalar_one()


def add_genotype(
    connection: Connection,
    *,
    digest: str,
    kind: str,
    body: dict[str, Any],
    ops_normal: int | None,
    ops_reduction: int | None,
) -> int:
    """Add a genotype that nobody proposed, unless the store has it; returns its id."""
    row = {
        "digest": digest,
        "kind": kind,
        "body": body,
        "ops_normal": ops_normal,
        "ops_reduction": ops_reduction,
    }
    connection.execute(children.add_genotypes(connection), row)
    return connection.execute(select(Genotype.id).where(Genotype.digest == digest)).scalar_one()


def _of_epochs(what: Any) -> Any:
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


def views(connection: Connection, run_ids: Sequence[int]) -> list[Any]:
    """How far some runs are, in their order."""
    rows = connection.execute(_views.where(Run.id.in_(run_ids)).order_by(Run.id))
    return list(rows)


def leaderboard(connection: Connection, *, limit: int) -> list[Any]:
    """Finished trainings in full, the best on its validation images first, per data set."""
    statement = (
        _views.where(literal_column(IN_FULL), is_state(Run.state, RunState.DONE))
        .order_by(Run.config["dataset"].as_string(), Run.accuracy.desc().nulls_last(), Run.id)
        .limit(limit)
    )
    return list(connection.execute(statement))


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


def get(connection: Connection, run_id: int) -> Any:
    """A run's row, or None."""
    return connection.execute(select(Run).where(Run.id == run_id)).one_or_none()


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
) -> list[Any]:
    """(id, device, devices) of runs that wait and that no slot there is can take.

    Of all, of some, or of a search's; a hundred at most.
    """
    statement = _waiting
    if run_ids is not None:
        statement = statement.where(Run.id.in_(run_ids))
    if search_id is not None:
        statement = statement.where(Run.search_id == search_id)
    return list(connection.execute(statement))
