"""One hash over all that a search found and learned."""

import hashlib
from collections.abc import Iterator, Sequence

from sqlalchemy import (
    Connection,
    Integer,
    String,
    bindparam,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.orm import aliased

from db.schema.models import Child, Genotype, PolicyVersion

_search_id = bindparam("search_id", type_=Integer)
PORTION = 5000  # rows that are fetched at a time


def search_digest(connection: Connection, search_id: int) -> str:
    """One hash over children, rewards and policy versions; free of times, hosts and row ids.

    Two searches in synchronous mode with one configuration have the same, whatever their workers
    did.
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


def _in_order(connection: Connection, search_id: int) -> Iterator[Sequence[object]]:
    """Children by (version, arm, k), a portion at a time: a million need not fit in memory."""
    rows = connection.execute(_hashed, {"search_id": search_id}).all()
    while rows:
        yield from rows
        last = {"version": rows[-1][0], "arm": rows[-1][1], "k": rows[-1][2]}
        rows = connection.execute(_hashed_after, {"search_id": search_id, **last}).all()
