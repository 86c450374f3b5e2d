"""What a ranked list shows of genotypes, each by its best child."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

from db.schema.enums import Arm, ChildState, RewardKind
from db.schema.models import Child, Genotype
from db.schema.rows import JsonObject, read_all
from pipeline.errors import Failure

MOST_IDS = 10_000  # in one statement: both databases know a limit

# Tables, not classes of the ORM: statements of them are built and compiled in half the time, and
# every new form of a filter is some.
Columns = ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]
CHILDREN: Columns = Child.__table__.c
OTHERS: Columns = Child.__table__.alias("other").c
GENOTYPES: Columns = Genotype.__table__.c


def has_reward(other: Columns) -> ColumnElement[bool]:
    """Whether another child of the same genotype has a reward.

    In words that lead to the index of (search, genotype): SQLite would rather walk one of all of
    a search's rewards, if only it need not look at the rows.
    """
    ended = other.state.not_in([ChildState.OPEN, ChildState.SKIPPED])
    return ended & (other.reward + 0).is_not(None)


class RankedGenotype(NamedTuple):
    """A genotype of a search by its best child."""

    genotype_id: int
    digest: str
    child_id: int
    found: int  # how often it was
    reward: float
    reward_kind: RewardKind | None
    accuracy: float | None
    parameters: int | None
    macs: int | None
    failure: Failure | None
    stopped_epoch: int | None
    arm: Arm
    version: int
    k: int
    body: JsonObject


_of_children = (
    select(
        GENOTYPES.id.label("genotype_id"),
        GENOTYPES.digest,
        CHILDREN.id.label("child_id"),
        select(func.count())
        .where(
            OTHERS.search_id == CHILDREN.search_id,
            OTHERS.genotype_id == CHILDREN.genotype_id,
            has_reward(OTHERS),
        )
        .scalar_subquery()
        .label("found"),
        CHILDREN.reward,
        CHILDREN.reward_kind,
        CHILDREN.accuracy,
        CHILDREN.parameters,
        CHILDREN.macs,
        CHILDREN.failure,
        CHILDREN.stopped_epoch,
        CHILDREN.arm,
        CHILDREN.version,
        CHILDREN.k,
        GENOTYPES.body,
    )
    .join_from(Child.__table__, Genotype.__table__, GENOTYPES.id == CHILDREN.genotype_id)
    .where(CHILDREN.id.in_(bindparam("child_ids", expanding=True)))
)


def of_children(connection: Connection, child_ids: Sequence[int]) -> list[RankedGenotype]:
    """What is listed of some children, in their order."""
    found: dict[int, RankedGenotype] = {}
    for start in range(0, len(child_ids), MOST_IDS):
        some = {"child_ids": list(child_ids[start : start + MOST_IDS])}
        found |= {
            row.child_id: row for row in read_all(connection, RankedGenotype, _of_children, some)
        }
    return [found[child_id] for child_id in child_ids]
