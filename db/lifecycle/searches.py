"""Searches: created once, and moved from state to state by hand or by what they find."""

import uuid
from collections import Counter
from collections.abc import Iterable

from sqlalchemy import (
    Connection,
    Integer,
    bindparam,
    delete,
    func,
    insert,
    null,
    select,
    update,
)

from db.lifecycle import notices, queue
from db.schema import config_keys
from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState, NoticeKind, SearchState
from db.schema.models import Child, PolicyVersion, Run, Search, SearchTag
from db.schema.rows import JsonObject, SearchRow, read_all, read_one, read_one_or_none
from db.schema.upserts import Upsert
from pipeline.config.rules import SearchRules
from pipeline.errors import Failure, UserError

# After this many batches without a lesson, or without a new genotype, a search pauses, with the
# reason.
BATCHES_UNTIL_STUCK = 5
STOPPED_BY_HAND = "stopped by hand"
PAUSED_BY_HAND = "paused by hand"

_by_id = select(Search).where(Search.id == bindparam("search_id"))
_by_name = select(Search).where(Search.name == bindparam("name"))


def find(connection: Connection, name: str) -> SearchRow | None:
    """The search of a name, or None."""
    return read_one_or_none(connection, SearchRow, _by_name, {"name": name})


def get(connection: Connection, name: str) -> SearchRow:
    """The search's row.

    Raises:
        UserError: there is no search of this name.
    """
    row = find(connection, name)
    if row is None:
        names = connection.scalars(select(Search.name).order_by(Search.id).limit(10)).all()
        known = f"there are: {', '.join(names)}" if names else "there are none yet"
        raise UserError(f"no search {name!r}; {known}")
    return row


def by_id(connection: Connection, search_id: int) -> SearchRow:
    """The row of a search that exists."""
    return read_one(connection, SearchRow, _by_id, {"search_id": search_id})


def state_of(connection: Connection, search_id: int) -> tuple[SearchState, str | None]:
    """What a search is doing, and the reason for it."""
    statement = select(Search.state, Search.reason).where(Search.id == search_id)
    state, reason = connection.execute(statement).one()
    return state, reason


def list_all(connection: Connection, limit: int = 1000) -> list[SearchRow]:
    """All searches, newest last."""
    return read_all(connection, SearchRow, select(Search).order_by(Search.id).limit(limit))


def lock(connection: Connection, search_id: int) -> SearchRow | None:
    """The search's row, kept from other writers until the transaction ends."""
    return read_one_or_none(
        connection, SearchRow, _by_id.with_for_update(), {"search_id": search_id}
    )


_add = Upsert(
    Search,
    lambda add: (
        add.values(
            uid=bindparam("uid"),
            name=bindparam("name"),
            config=bindparam("config"),
            state=SearchState.RUNNING,
            created_at=clock(),
            resumed_at=clock(),
        )
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(Search.id)
    ),
)


def made_with(connection: Connection, fingerprint: str) -> str | None:
    """The name of a search that has images of this fingerprint, if one has."""
    has = config_keys.fingerprint == fingerprint
    return connection.scalar(select(Search.name).where(has).order_by(Search.id).limit(1))


def create(connection: Connection, name: str, config: JsonObject) -> int | None:
    """Add a running search with its whole configuration.

    Returns:
        Its id; None where another command was quicker with a search of this name.
    """
    row = {"uid": uuid.uuid4().hex, "name": name, "config": config}
    search_id: int | None = connection.scalar(_add.on(connection), row)
    return search_id


def rename(connection: Connection, search_id: int, name: str) -> None:
    """Give a search another name.

    Raises:
        IntegrityError: another search has it.
    """
    connection.execute(update(Search).where(Search.id == search_id).values(name=name))


def write_note(connection: Connection, search_id: int, note: str | None) -> None:
    """Write what a search's owner says of it, in place of what was said; None: nothing."""
    connection.execute(update(Search).where(Search.id == search_id).values(note=note))


def add_tags(connection: Connection, search_id: int, tags: Iterable[str]) -> None:
    """Mark a search with words; those that it has are fine."""
    new = sorted(set(tags) - set(tags_of(connection, search_id)))
    if new:
        rows = [{"search_id": search_id, "tag": tag} for tag in new]
        connection.execute(insert(SearchTag), rows)


def remove_tags(connection: Connection, search_id: int, tags: Iterable[str]) -> None:
    """Take words from a search; those that it does not have are fine."""
    connection.execute(
        delete(SearchTag).where(SearchTag.search_id == search_id, SearchTag.tag.in_(list(tags)))
    )


def tags_of(connection: Connection, search_id: int) -> list[str]:
    """The words a search is marked with, in order."""
    statement = select(SearchTag.tag).where(SearchTag.search_id == search_id)
    return sorted(connection.scalars(statement))


def reconfigure(connection: Connection, search_id: int, config: JsonObject) -> None:
    """Store a configuration whose budget or stop rules were changed."""
    connection.execute(update(Search).where(Search.id == search_id).values(config=config))


def resume(connection: Connection, search_id: int) -> None:
    """Let a search go on; its stop rules begin anew, and what failed for all is tried again."""
    queue.reopen_shared(connection, search_id)
    _move(connection, search_id, SearchState.RUNNING, reason=None, resumed_at=clock())


def pause(connection: Connection, search_id: int, reason: str) -> None:
    """Queue nothing of a search any more; its workers give their leases back when they notice."""
    _move(connection, search_id, SearchState.PAUSED, reason=reason)
    queue.unqueue_search(connection, search_id)
    if reason != PAUSED_BY_HAND:
        notices.add(connection, search_id, NoticeKind.PAUSED, reason)


def pause_active(connection: Connection, search_id: int, reason: str) -> None:
    """Pause a search, unless somebody did something else with it meanwhile."""
    if by_id(connection, search_id).state.is_active:
        pause(connection, search_id, reason)


def pause_failing(connection: Connection, search_id: int, reason: str) -> None:
    """Pause a search whose children fail: a bug in one operation burns no whole budget."""
    _move(connection, search_id, SearchState.PAUSED, reason=reason)
    queue.unqueue_search(connection, search_id)
    notices.add(connection, search_id, NoticeKind.FAILING, reason)


def stop(connection: Connection, search_id: int, reason: str) -> None:
    """Propose nothing any more; what has begun ends, and the last update follows.

    Children that no slot has begun are withdrawn: they are skipped, their runs cancelled.
    """
    _move(connection, search_id, SearchState.STOPPING, reason=reason)
    queue.cancel_unstarted(connection, search_id)


def finish(connection: Connection, search_id: int) -> None:
    """Note that a search has done what it was asked for; a stopped one keeps its reason."""
    connection.execute(
        update(Search)
        .where(Search.id == search_id)
        .values(state=SearchState.FINISHED, ended_at=clock())
    )
    notices.add(connection, search_id, NoticeKind.FINISHED, _outcome(connection, search_id))


def _outcome(connection: Connection, search_id: int) -> str:
    count, best = connection.execute(
        select(func.count(), func.max(Child.reward)).where(
            Child.search_id == search_id, is_state(Child.state, ChildState.REWARDED)
        )
    ).one()
    return f"{count} children" + ("" if best is None else f", best reward {best:.4f}")


def fail(connection: Connection, search_id: int, reason: str) -> None:
    """Note that a search cannot go on, and why."""
    _move(connection, search_id, SearchState.FAILED, reason=reason)
    queue.unqueue_search(connection, search_id)
    notices.add(connection, search_id, NoticeKind.FAILING, reason)


def _move(connection: Connection, search_id: int, state: SearchState, **columns: object) -> None:
    connection.execute(
        update(Search)
        .where(Search.id == search_id)
        .values(state=state, ended_at=null(), **columns)
    )


_search_id = bindparam("search_id", type_=Integer)
_resumed_at = select(Search.resumed_at).where(Search.id == _search_id).scalar_subquery()
_latest = (
    select(Child.state, Child.duplicate_of)
    .where(
        Child.search_id == _search_id,
        Child.arm == bindparam("arm"),
        Child.created_at > _resumed_at,
    )
    .order_by(Child.version.desc(), Child.k.desc())
    .limit(bindparam("count"))
)
_lessons = (
    select(PolicyVersion.learned)
    .where(
        PolicyVersion.search_id == _search_id,
        PolicyVersion.version > 0,
        PolicyVersion.created_at > _resumed_at,
    )
    .order_by(PolicyVersion.version.desc())
    .limit(BATCHES_UNTIL_STUCK)
)


def _arms(rules: SearchRules) -> list[Arm]:
    """The arms of a search that earn rewards."""
    return [Arm.POLICY, Arm.CONTROL] if rules.control else [Arm.POLICY]


def _children_of(arm: Arm) -> str:
    return "children" if arm is Arm.POLICY else f"{arm} children"


def stuck_reason(connection: Connection, search: SearchRow) -> str | None:
    """Why a search had better pause before it proposes more, or None."""
    rules = search.rules
    count = BATCHES_UNTIL_STUCK * rules.controller.batch
    lessons = connection.scalars(_lessons, {"search_id": search.id}).all()
    if len(lessons) == BATCHES_UNTIL_STUCK and not any(lessons):
        return f"no child of the last {BATCHES_UNTIL_STUCK} policy versions carries a reward"
    for arm in _arms(rules):
        parameters = {"search_id": search.id, "arm": arm, "count": count}
        latest = connection.execute(_latest, parameters).all()
        if len(latest) < count:
            continue
        if all(row.state is ChildState.SKIPPED for row in latest):
            return f"none of the last {count} {_children_of(arm)} carries a reward"
        share = sum(row.duplicate_of is not None for row in latest) / count
        limit = rules.stop.duplicates
        if arm is Arm.POLICY and share >= limit and share > 0:
            return (
                f"{share:.0%} of the last {count} children were duplicates "
                f"(stop.duplicates = {limit:g})"
            )
    return None


_ended = (
    select(Child.failure)
    .where(
        Child.search_id == _search_id,
        Child.arm == bindparam("arm"),
        Child.state != ChildState.OPEN,
        Child.duplicate_of.is_(None),
        Child.created_at > _resumed_at,
    )
    .order_by(Child.version.desc(), Child.k.desc())
    .limit(bindparam("count"))
)


# Children in a row that could not read the data: the next ones could not, either.
UNREAD = 3
_last_ends = (
    select(Child.failure, Run.message)
    .join(Run, Run.child_id == Child.id, isouter=True)
    .where(
        Child.search_id == _search_id,
        Child.state != ChildState.OPEN,
        Child.duplicate_of.is_(None),
        Child.created_at > _resumed_at,
    )
    .order_by(Child.ended_at.desc(), Child.id.desc())
    .limit(UNREAD)
)


def _damaged_data(connection: Connection, search: SearchRow) -> str | None:
    """The fault of the data that the last children ended by, one after another."""
    ends = connection.execute(_last_ends, {"search_id": search.id}).all()
    if len(ends) < UNREAD or any(end.failure is not Failure.DATA for end in ends):
        return None
    said = {(end.message or "").removeprefix("ChildError: "): None for end in ends}
    return (
        f"the last {UNREAD} children could not read the data: {'; '.join(said)}; mend the files, "
        f"or remove them and `nasnet search accept-data {search.name}`"
    )


def failing_reason(connection: Connection, search: SearchRow) -> str | None:
    """Why a search had better pause, by how its last children failed; duplicates do not count."""
    damaged = _damaged_data(connection, search)
    if damaged is not None:
        return damaged
    rules = search.rules
    limit, count = rules.stop.failures, rules.stop.failures_of
    if limit >= 1:
        return None
    for arm in _arms(rules):  # each alone: a policy learns to avoid what random choices meet
        parameters = {"search_id": search.id, "arm": arm, "count": count}
        ended = connection.scalars(_ended, parameters).all()
        failures = Counter(failure.value for failure in ended if failure is not None)
        if len(ended) == count and failures.total() > limit * count:
            classes = ", ".join(f"{number} {name}" for name, number in failures.most_common())
            return (
                f"{failures.total()} of the last {count} {_children_of(arm)} failed ({classes}); "
                f"their messages stand in the table attempts (stop.failures = {limit:g})"
            )
    return None


def active(connection: Connection) -> list[int]:
    """Searches that are sampled and learned from."""
    states = [state for state in SearchState if state.is_active]
    return list(connection.scalars(select(Search.id).where(Search.state.in_(states))))
