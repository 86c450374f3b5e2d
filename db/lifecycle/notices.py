"""The outbox of notices: written with their cause, sent afterwards, never lost.

A row for each address: one that cannot be reached does not make the others hear twice.
"""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, select, update

from db.schema.clock import clock
from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState, NoticeKind, RunState, SearchState
from db.schema.models import Attempt, Child, Notice, Run, Search
from db.schema.rows import read_all
from pipeline.settings import get_settings

# An active search in which nothing runs and nothing has ended for so long has stalled.
STALLED_AFTER = 900.0
# Seconds until an address that could not be reached is tried again: first, and at most.
BACK_OFF = (10.0, 3600.0)

_add = insert(Notice).values(
    search_id=bindparam("search_id"),
    kind=bindparam("kind"),
    title=bindparam("title"),
    body=bindparam("body"),
    reward=bindparam("reward"),
    target=bindparam("target"),
    created_at=clock(),
    tries=0,
)


def add(
    connection: Connection,
    search_id: int,
    kind: NoticeKind,
    body: str,
    *,
    reward: float | None = None,
) -> None:
    """Note that something is to be told, if anybody wants to hear it."""
    settings = get_settings()
    if not settings.addresses or kind.value not in settings.notify_on.split():
        return
    name = connection.scalar(select(Search.name).where(Search.id == search_id))
    title = f"search {name}: {_TITLES[kind]}"
    rows = [
        {
            "search_id": search_id,
            "kind": kind,
            "title": title,
            "body": body,
            "reward": reward,
            "target": target,
        }
        for target in settings.addresses
    ]
    connection.execute(_add, rows)


_TITLES = {
    NoticeKind.FINISHED: "finished",
    NoticeKind.PAUSED: "paused",
    NoticeKind.FAILING: "failing",
    NoticeKind.STALLED: "stalled",
    NoticeKind.BEST: "a new best child",
}


def add_best(connection: Connection, search_id: int) -> None:
    """Tell of the best child so far, unless it was told of already."""
    if NoticeKind.BEST.value not in get_settings().notify_on.split():
        return
    of_search = (
        Child.search_id == search_id,
        Child.arm == Arm.POLICY,
        is_state(Child.state, ChildState.REWARDED),
    )
    best = connection.scalar(select(func.max(Child.reward)).where(*of_search))
    told = connection.scalar(
        select(func.max(Notice.reward)).where(
            Notice.search_id == search_id, Notice.kind == NoticeKind.BEST
        )
    )
    if best is not None and (told is None or best > told):
        add(connection, search_id, NoticeKind.BEST, f"reward {best:.4f}", reward=best)


def add_stalled(connection: Connection) -> None:
    """Tell of active searches in which nothing happens, once each time."""
    if not get_settings().addresses:
        return
    last_end = select(func.max(Attempt.ended_at)).join(Run).where(Run.search_id == Search.id)
    told = select(func.max(Notice.created_at)).where(
        Notice.search_id == Search.id, Notice.kind == NoticeKind.STALLED
    )
    running = (
        select(Run.id)
        .where(Run.search_id == Search.id, is_state(Run.state, RunState.RUNNING))
        .exists()
    )
    since = func.coalesce(last_end.scalar_subquery(), Search.resumed_at)
    long_ago = clock(-STALLED_AFTER)
    rows = connection.execute(
        select(Search.id).where(
            is_state(Search.state, SearchState.RUNNING, SearchState.STOPPING),
            Search.resumed_at < long_ago,
            since < long_ago,
            func.coalesce(told.scalar_subquery(), Search.created_at) <= since,
            ~running,
        )
    ).scalars()
    for search_id in rows.all():
        body = f"nothing has ended for {STALLED_AFTER / 60:.0f} minutes: see `nasnet doctor`"
        add(connection, search_id, NoticeKind.STALLED, body)


class DueNotice(NamedTuple):
    """A notice that is to be sent now, and the hash of the address that wants it."""

    id: int
    title: str
    body: str
    target: str


def waiting(connection: Connection, targets: list[str]) -> list[DueNotice]:
    """What is due to addresses known here, oldest first."""
    return read_all(
        connection,
        DueNotice,
        select(Notice.id, Notice.title, Notice.body, Notice.target)
        .where(
            Notice.target.in_(targets),
            Notice.sent_at.is_(None),
            Notice.not_before.is_(None) | (Notice.not_before <= clock()),
        )
        .order_by(Notice.id)
        .limit(20),
    )


def mark_sent(connection: Connection, notice_id: int) -> None:
    """Note that a notice has arrived."""
    connection.execute(
        update(Notice)
        .where(Notice.id == notice_id)
        .values(sent_at=clock(), tries=Notice.tries + 1)
    )


def postpone(connection: Connection, notice_id: int) -> None:
    """Note that a notice could not be delivered: again later, ever later, for ever."""
    tries = connection.execute(
        update(Notice)
        .where(Notice.id == notice_id)
        .values(tries=Notice.tries + 1)
        .returning(Notice.tries)
    ).scalar_one()
    pause = min(BACK_OFF[0] * 2 ** min(tries - 1, 20), BACK_OFF[1])
    connection.execute(
        update(Notice).where(Notice.id == notice_id).values(not_before=clock(pause))
    )


def undelivered(connection: Connection) -> int:
    """How many notices were tried and have not arrived."""
    return connection.execute(
        select(func.count()).where(Notice.sent_at.is_(None), Notice.tries > 0)
    ).scalar_one()
