"""A search's genotypes in an order, as far as they pass a filter: each once, by its best child."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.orm import aliased

from db.enums import Arm, Order, Place
from db.models import Child, Genotype

MOST_IDS = 10_000  # in one statement: both databases know a limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a child must be. Operations are bits, as in `genotypes.ops_normal`; bounds include."""

    uses: int = 0  # all of these, in the cell that is looked at; in either: in one or the other
    without: int = 0  # none of these there
    cell: Place = Place.EITHER
    arm: Arm | None = None  # None: the derived children where there are any, else all
    min_reward: float | None = None
    min_accuracy: float | None = None
    max_parameters: float | None = None
    max_macs: float | None = None


EVERYTHING = Filter()


def ranked(
    connection: Connection,
    search_id: int,
    wanted: Filter = EVERYTHING,
    *,
    order: Order = Order.REWARD,
    limit: int,
    offset: int = 0,
) -> list[Any]:
    """Genotypes with a reward; the best, or the smallest, first, ties by the one found first.

    Of a genotype that was found more than once, the child that comes first stands; `found` says
    how often it was.
    """
    return rows(connection, ids(connection, search_id, wanted, order, offset + limit)[offset:])


def rows(connection: Connection, child_ids: Sequence[int]) -> list[Any]:
    """What is listed of some children, in their order."""
    other = aliased(Child, name="other")
    again = select(func.count()).where(
        other.search_id == Child.search_id,
        other.genotype_id == Child.genotype_id,
        other.reward.is_not(None),
    )
    statement = select(
        Genotype.id.label("genotype_id"),
        Genotype.digest,
        Child.id.label("child_id"),
        again.scalar_subquery().label("found"),
        Child.reward,
        Child.accuracy,
        Child.parameters,
        Child.macs,
        Child.failure,
        Child.stopped_epoch,
        Child.arm,
        Child.version,
        Child.k,
        Genotype.body,
    ).join(Genotype, Genotype.id == Child.genotype_id)
    found: dict[int, Any] = {}
    for start in range(0, len(child_ids), MOST_IDS):
        some = Child.id.in_(child_ids[start : start + MOST_IDS])
        found |= {row.child_id: row for row in connection.execute(statement.where(some))}
    return [found[child_id] for child_id in child_ids]


def ids(
    connection: Connection, search_id: int, wanted: Filter, order: Order, count: int = 10**9
) -> list[int]:
    """The children that stand for the first genotypes in an order.

    Repeats are left out here and not by the statement: that would look for the others of each
    child that passes, a million of them, before it could sort.
    """
    statement = (
        select(Child.id, Child.genotype_id)
        .where(
            Child.search_id == search_id,
            Child.reward.is_not(None),
            Child.arm.in_(_arms(connection, search_id, wanted.arm)),
            *_conditions(wanted),
        )
        .order_by(*_in_order(order))
    )
    portion = min(2 * count, 10**9)
    while True:
        found = connection.execute(statement.limit(portion)).all()
        first: dict[int, int] = {}
        for child_id, genotype_id in found:
            first.setdefault(genotype_id, child_id)
        if len(first) >= count or len(found) < portion:
            return list(first.values())[:count]
        portion *= 4


def best(
    connection: Connection, search_id: int, *, limit: int, offset: int = 0, arm: Arm | None = None
) -> list[Any]:
    """The best genotypes of a search, of one arm or of all."""
    return ranked(connection, search_id, Filter(arm=arm), limit=limit, offset=offset)


def _arms(connection: Connection, search_id: int, arm: Arm | None) -> list[Arm]:
    """One arm; or what a search is ranked by: the derived children where there are any."""
    if arm is not None:
        return [arm]
    derived = connection.scalar(
        select(Child.id)
        .where(Child.search_id == search_id, Child.arm == Arm.DERIVE, Child.reward.is_not(None))
        .limit(1)
    )
    return [Arm.DERIVE] if derived is not None else [Arm.POLICY, Arm.CONTROL]


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    used: Any = {
        Place.NORMAL: Child.ops_normal,
        Place.REDUCTION: Child.ops_reduction,
        Place.EITHER: Child.ops_normal.op("|")(Child.ops_reduction),
    }[wanted.cell]
    conditions: list[ColumnElement[bool]] = []
    if wanted.uses:
        conditions.append(used.op("&")(wanted.uses) == wanted.uses)
    if wanted.without:
        conditions.append(used.op("&")(wanted.without) == 0)
    for column, least in (
        (Child.reward, wanted.min_reward),
        (Child.accuracy, wanted.min_accuracy),
    ):
        if least is not None:
            conditions.append(column >= least)
    for column, most in ((Child.parameters, wanted.max_parameters), (Child.macs, wanted.max_macs)):
        if most is not None:
            conditions.append(column <= most)
    return conditions


def _in_order(order: Order) -> list[Any]:
    if order is Order.ID:
        return [Child.id]
    if order is Order.REWARD:  # never null here; said so, PostgreSQL could not read the index
        return [Child.reward.desc(), Child.id]
    column = getattr(Child, order.value)
    return [(column.desc() if order is Order.ACCURACY else column).nulls_last(), Child.id]
