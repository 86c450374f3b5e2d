"""Policy versions: appended one at a time; old states are let go, their history stays."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, LargeBinary, bindparam, insert, null, select, update

from db.schema.clock import clock
from db.schema.models import Child, PolicyVersion
from db.schema.rows import read_one_or_none

# Which states are kept: the newest ones, and every 50th for looking back.
KEEP_NEWEST = 10
KEEP_EVERY = 50

# What an update reports of itself; a version that learned nothing has none of it.
DIAGNOSTICS = (
    *("loss", "entropy", "kl", "clip_fraction", "baseline", "mean_reward", "staleness"),
    *("duplicates", "probabilities"),
)


class NewestVersion(NamedTuple):
    """The newest policy version of a search."""

    version: int
    total_learned: int
    sha256: str


_newest = (
    select(
        PolicyVersion.version,
        PolicyVersion.total_learned,
        PolicyVersion.sha256,
    )
    .where(PolicyVersion.search_id == bindparam("search_id"))
    .order_by(PolicyVersion.version.desc())
    .limit(1)
)
_state = select(PolicyVersion.state).where(
    PolicyVersion.search_id == bindparam("search_id"),
    PolicyVersion.version == bindparam("version"),
)
_append = insert(PolicyVersion).values(
    created_at=clock(),
    **{
        name: bindparam(name)
        for name in (
            "search_id",
            "version",
            "learned",
            "total_learned",
            *DIAGNOSTICS,
            "sha256",
        )
    },
    state=bindparam("state", type_=LargeBinary),
)
_mark = (
    update(Child)
    .where(Child.id.in_(bindparam("ids", expanding=True)), Child.learned_by.is_(None))
    .values(learned_by=bindparam("by"))
)
_let_go = (
    update(PolicyVersion)
    .where(
        PolicyVersion.search_id == bindparam("of_search"),
        PolicyVersion.version == bindparam("old"),
    )
    .values(state=null())
)


def newest(connection: Connection, search_id: int) -> NewestVersion | None:
    """The newest version, or None."""
    return read_one_or_none(connection, NewestVersion, _newest, {"search_id": search_id})


def state(connection: Connection, search_id: int, version: int) -> bytes | None:
    """A version's whole controller, as it was saved; None where it has been let go."""
    return connection.execute(_state, {"search_id": search_id, "version": version}).scalar_one()


def append(
    connection: Connection,
    search_id: int,
    version: int,
    *,
    consumed: Sequence[int],
    total_learned: int,
    sha256: str,
    state: bytes,
    diagnostics: Mapping[str, object],
) -> None:
    """Write the next version, mark the rewards it consumed, let an old state go.

    All in the caller's transaction, so that no reward is used twice and none is lost.

    Raises:
        IntegrityError: the version exists; another update was quicker.
        RuntimeError: a reward was consumed already; the transaction must not be committed.
    """
    connection.execute(
        _append,
        {
            **dict.fromkeys(DIAGNOSTICS),
            **diagnostics,
            "search_id": search_id,
            "version": version,
            "learned": len(consumed),
            "total_learned": total_learned,
            "sha256": sha256,
            "state": state,
        },
    )
    if consumed:
        marked = connection.execute(_mark, {"ids": list(consumed), "by": version}).rowcount
        if marked != len(consumed):
            raise RuntimeError(f"{len(consumed) - marked} rewards were consumed already")
    old = version - KEEP_NEWEST
    if old > 0 and old % KEEP_EVERY:
        connection.execute(_let_go, {"of_search": search_id, "old": old})
