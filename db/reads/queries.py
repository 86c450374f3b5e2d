"""SELECTs of the tasks and the faces; whatever is due is asked in ``db.reads.progress``."""

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    String,
    bindparam,
    func,
    literal_column,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.orm import aliased

from db.lifecycle.slots import IMPORTED_HOME
from db.reads.progress import Progress
from db.schema.clock import clock, seconds_between
from db.schema.enums import Arm, ChildState, Purpose, RunState, SearchState
from db.schema.models import (
    IN_FULL,
    UNFINISHED,
    Child,
    Epoch,
    Genotype,
    PolicyVersion,
    Run,
    Search,
    Slot,
    is_state,
)

_search_id = bindparam("search_id", type_=Integer)
PORTION = 5000  # rows that are fetched at a time

# In rolling mode oldest first; in synchronous mode all are of one version, and its order counts.
_unlearned_columns = select(
    Child.id,
    Child.version,
    Child.actions,
    Child.log_probs,
    Child.reward,
    Child.duplicate_of,
).where(
    Child.search_id == _search_id,
    is_state(Child.state, ChildState.REWARDED),
    Child.learned_by.is_(None),
    is_state(Child.arm, Arm.POLICY),
)
_unlearned_all = _unlearned_columns.order_by(Child.version, Child.k)
_unlearned_oldest = _unlearned_columns.order_by(Child.ended_at, Child.id).limit(bindparam("limit"))


def unlearned(connection: Connection, search_id: int, limit: int | None) -> list[Any]:
    """Rewards that no version has consumed: all in their order, or the ``limit`` oldest."""
    if limit is None:
        return list(connection.execute(_unlearned_all, {"search_id": search_id}))
    return list(connection.execute(_unlearned_oldest, {"search_id": search_id, "limit": limit}))


def proposed(connection: Connection, search_id: int, before: int | None = None) -> list[Any]:
    """The policy's children so far (before a version), by (version, k), with their rewards.

    Not the control arm's: a controller that reads them would learn from them.
    """
    statement = (
        select(Child.actions, Genotype.digest, Child.reward)
        .join(Genotype, Child.genotype_id == Genotype.id)
        .where(Child.search_id == search_id, is_state(Child.arm, Arm.POLICY))
        .order_by(Child.version, Child.k)
    )
    if before is not None:
        statement = statement.where(Child.version < before)
    return list(connection.execute(statement))


def search_digest(connection: Connection, search_id: int) -> str:
    """One hash over children, rewards and policy versions; free of times, hosts and row ids.

    Two searches in synchronous mode with one configuration have the same (law 11).
    """
    digest = hashlib.sha256()
    for row in _in_order(connection, search_id):
        digest.update(repr(list(row)).encode())
    versions = connection.execute(
        select(PolicyVersion.version, PolicyVersion.learned, PolicyVersion.sha256)
        .where(PolicyVersion.search_id == search_id)
        .order_by(PolicyVersion.version)
    )
    for row in versions:
        digest.update(repr(list(row)).encode())
    return digest.hexdigest()


_first = aliased(Child)
# As the store has them, with no enums made of a million texts.
_hashed = (
    select(
        Child.version,
        type_coerce(Child.arm, String),
        Child.k,
        Child.actions,
        Child.log_probs,
        Genotype.digest,
        type_coerce(Child.state, String),
        Child.reward,
        type_coerce(Child.reward_kind, String),
        Child.accuracy,
        Child.parameters,
        Child.macs,
        type_coerce(Child.failure, String),
        Child.stopped_epoch,
        Child.learned_by,
        _first.version,
        type_coerce(_first.arm, String),
        _first.k,
    )
    .join(Genotype, Child.genotype_id == Genotype.id)
    .join(_first, Child.duplicate_of == _first.id, isouter=True)
    .where(Child.search_id == _search_id)
    .order_by(Child.version, Child.arm, Child.k)
    .limit(PORTION)
)
_hashed_after = _hashed.where(
    tuple_(Child.version, Child.arm, Child.k)
    > tuple_(bindparam("version"), bindparam("arm", type_=String), bindparam("k"))
)


def _in_order(connection: Connection, search_id: int) -> Iterator[Any]:
    """Children by (version, arm, k), a portion at a time: a million need not fit in memory."""
    rows = connection.execute(_hashed, {"search_id": search_id}).all()
    while rows:
        yield from rows
        last = {"version": rows[-1][0], "arm": rows[-1][1], "k": rows[-1][2]}
        rows = connection.execute(_hashed_after, {"search_id": search_id, **last}).all()


@dataclass(frozen=True, slots=True)
class Rewards:
    """How many children carry a reward; the best, and the mean."""

    count: int
    best: float | None
    mean: float | None


_of_control = is_state(Child.arm, Arm.CONTROL)
# not grouped, for which SQLite would sort a million rows
_means = select(
    func.count(),
    func.avg(Child.reward),
    func.count().filter(_of_control),
    func.avg(Child.reward).filter(_of_control),
).where(Child.search_id == _search_id, Child.reward.is_not(None))
_best = (
    select(Child.reward)
    .where(Child.search_id == _search_id, Child.reward.is_not(None))
    .order_by(Child.reward.desc())
    .limit(1)
)
_best_of_control = _best.where(_of_control)


def rewards(connection: Connection, search_id: int) -> tuple[Rewards, Rewards]:
    """The rewards of a search, and those of its control arm: a walk through an index."""
    asked = {"search_id": search_id}
    count, mean, control, control_mean = connection.execute(_means, asked).one()
    best = connection.scalar(_best, asked)
    best_of_control = connection.scalar(_best_of_control, asked) if control else None
    return Rewards(count, best, mean), Rewards(control, best_of_control, control_mean)


def state_counts(connection: Connection, search_id: int) -> dict[str, int]:
    """Children that are done, skipped, failed, duplicates or running; each by its own index."""
    of_search = Child.search_id == search_id

    def count(*conditions: Any) -> int:
        return connection.scalar(select(func.count()).where(*conditions)) or 0

    return {
        "done": count(of_search, is_state(Child.state, ChildState.REWARDED)),
        "skipped": count(of_search, is_state(Child.state, ChildState.SKIPPED)),
        "failed": count(of_search, Child.failure.is_not(None)),
        "duplicates": count(of_search, Child.duplicate_of.is_not(None)),
        "running": count(
            Run.search_id == search_id,
            Run.purpose.in_([Purpose.SEARCH, Purpose.SHARED, Purpose.SCORE]),
            is_state(Run.state, RunState.RUNNING),
        ),
    }


def control_arm(now: Progress, control: Rewards) -> dict[str, Any] | None:
    """What random search found beside the policy; None where the search has no control arm."""
    if not now.share:
        return None
    return {"completed": now.control, "best": control.best, "mean": control.mean}


def newest_version(connection: Connection, search_id: int) -> Any:
    """The newest version's diagnostics, or None."""
    return connection.execute(
        select(
            PolicyVersion.version,
            PolicyVersion.learned,
            PolicyVersion.entropy,
            PolicyVersion.mean_reward,
            PolicyVersion.loss,
            PolicyVersion.kl,
            PolicyVersion.clip_fraction,
            PolicyVersion.baseline,
            PolicyVersion.staleness,
        )
        .where(PolicyVersion.search_id == search_id)
        .order_by(PolicyVersion.version.desc())
        .limit(1)
    ).one_or_none()


def ended_children(connection: Connection, search_id: int, after: dt.datetime | None) -> list[Any]:
    """Children that ended after a time, oldest first."""
    statement = (
        select(
            Child.id,
            Child.ended_at,
            Child.version,
            Child.arm,
            Child.k,
            Child.state,
            Child.reward,
            Child.accuracy,
            Child.failure,
            Child.duplicate_of,
            Child.parameters,
            Child.stopped_epoch,
            Genotype.digest,
            Run.message,  # why it failed
        )
        .join(Genotype, Child.genotype_id == Genotype.id)
        .join(Run, Run.child_id == Child.id, isouter=True)
        .where(Child.search_id == search_id, Child.ended_at.is_not(None))
        .order_by(Child.ended_at, Child.id)
    )
    if after is not None:
        statement = statement.where(Child.ended_at > after)
    return list(connection.execute(statement))


def genotypes_by_prefix(connection: Connection, prefix: str, limit: int = 3) -> list[Any]:
    """Genotypes whose digest begins so."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return list(
        connection.execute(
            select(Genotype)
            .where(Genotype.digest >= prefix, Genotype.digest < end)
            .order_by(Genotype.digest)
            .limit(limit)
        )
    )


def children_of_genotype(connection: Connection, genotype_id: int, limit: int = 20) -> list[Any]:
    """Where a genotype was proposed, and what came of it."""
    return list(
        connection.execute(
            select(
                Search.name.label("search"),
                Child.version,
                Child.arm,
                Child.k,
                Child.state,
                Child.reward,
                Child.reward_kind,
                Child.accuracy,
                Child.failure,
                Child.duplicate_of,
                Child.score_run_id.label("scored_by"),
                Child.learned_by,
                Run.id.label("run"),
                Run.attempt.label("attempts"),
            )
            .join(Search, Child.search_id == Search.id)
            .join(Run, Run.child_id == Child.id, isouter=True)
            # named, so that the index of (search, genotype) is asked once a search
            .where(Child.search_id.in_(select(Search.id)), Child.genotype_id == genotype_id)
            .order_by(Child.id)
            .limit(limit)
        )
    )


def curve(connection: Connection, run_id: int) -> list[Any]:
    """A run's learning curve."""
    return list(
        connection.execute(select(Epoch).where(Epoch.run_id == run_id).order_by(Epoch.epoch))
    )


def list_searches(connection: Connection, limit: int = 1000) -> list[Any]:
    """All searches, newest last."""
    return list(connection.execute(select(Search).order_by(Search.id).limit(limit)))


def list_slots(connection: Connection) -> list[Any]:
    """This store's worker processes, what each holds, and how long it has been silent."""
    return list(
        connection.execute(
            select(Slot, Run.id.label("run_id"), clock().label("now"))
            .join(
                Run, (Run.slot_id == Slot.id) & is_state(Run.state, RunState.RUNNING), isouter=True
            )
            .where(Slot.home != IMPORTED_HOME)
            .order_by(Slot.host, Slot.home, Slot.name)
        )
    )


def waiting_by_queue(connection: Connection) -> list[Any]:
    """(device, devices, pending, queued, oldest) of each kind of slot that runs wait for."""
    pending, queued = is_state(Run.state, RunState.PENDING), is_state(Run.state, RunState.QUEUED)
    return list(
        connection.execute(
            select(
                Run.device,
                Run.devices,
                func.count().filter(pending).label("pending"),
                func.count().filter(queued).label("queued"),
                seconds_between(func.min(Run.state_since), clock()).label("oldest_seconds"),
            )
            .where(
                literal_column(UNFINISHED), is_state(Run.state, RunState.PENDING, RunState.QUEUED)
            )
            .group_by(Run.device, Run.devices)
            .order_by(Run.device, Run.devices)
        )
    )


def search_state(connection: Connection, search_id: int) -> Any:
    """(state, reason) of a search."""
    return connection.execute(
        select(Search.state, Search.reason).where(Search.id == search_id)
    ).one()


def active_threads(connection: Connection) -> int:
    """The most threads a training uses of an active search or in full; 1 where there is none."""
    searches = connection.scalars(
        select(Search.config).where(Search.state.in_([s for s in SearchState if s.is_active]))
    )
    runs = connection.scalars(
        select(Run.config).where(literal_column(UNFINISHED), literal_column(IN_FULL))
    )
    return max((config["training"]["threads"] for config in (*searches, *runs)), default=1)
