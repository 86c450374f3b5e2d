"""Policy versions: appended one at a time; old states are let go, their history stays."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, LargeBinary, bindparam, insert, null, select, update

from db.schema.clock import clock
from db.schema.models import Child, PolicyVersion

# Which states are kept: the newest ones, and each so-many-th for looking back.
KEEP_NEWEST = 10
KEEP_EVERY = 50

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
            "loss",
            "entropy",
            "kl",
            "clip_fraction",
            "baseline",
            "mean_reward",
            "staleness",
            "duplicates",
            "probabilities",
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


def newest(connection: Connection, search_id: int) -> Any:
    """(version, total_learned, sha256) of the newest version, or None."""
    return connection.execute(_newest, {"search_id": search_id}).one_or_none()


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
    diagnostics: dict[str, Any],
) -> None:
    """Write the next version, mark the rewards it consumed, let an old state go (law 6).

    Raises:
        IntegrityError: the version exists; another update was quicker.
        RuntimeError: a reward was consumed already; the transaction must not be committed.
    """
    parameters = dict.fromkeys(
        (
            "loss",
            "entropy",
            "kl",
            "clip_fraction",
            "baseline",
            "mean_reward",
            "staleness",
            "duplicates",
            "probabilities",
        )
    )
    parameters |= diagnostics
    connection.execute(
        _append,
        {
            **parameters,
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
