"""What a controller learns from: rewards that wait for it, and all that was proposed so far."""

from typing import NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    bindparam,
    select,
)

from db.schema.conditions import is_state
from db.schema.enums import Arm, ChildState
from db.schema.models import Child, Genotype
from db.schema.rows import read_all

_search_id = bindparam("search_id", type_=Integer)


class Lesson(NamedTuple):
    """A child whose reward is to be learned from."""

    id: int
    version: int
    actions: list[int]
    log_probs: bytes  # little-endian float64, one a decision
    reward: float
    duplicate_of: int | None


class Proposed(NamedTuple):
    """A child as a controller may look back at it."""

    actions: list[int]
    digest: str
    reward: float | None


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


def unlearned(connection: Connection, search_id: int, limit: int | None) -> list[Lesson]:
    """Rewards that no version has consumed: all in their order, or the ``limit`` oldest."""
    if limit is None:
        return read_all(connection, Lesson, _unlearned_all, {"search_id": search_id})
    asked = {"search_id": search_id, "limit": limit}
    return read_all(connection, Lesson, _unlearned_oldest, asked)


def proposed(connection: Connection, search_id: int, before: int | None = None) -> list[Proposed]:
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
    return read_all(connection, Proposed, statement)
