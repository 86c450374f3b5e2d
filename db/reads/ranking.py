"""A search's genotypes in an order, as far as they pass a filter: each once, by its best child."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.sql.elements import KeyedColumnElement

from db.lifecycle import operations
from db.reads.ranked_genotypes import (
    CHILDREN,
    MOST_IDS,
    OTHERS,
    Columns,
    RankedGenotype,
    has_reward,
    of_children,
)
from db.schema.conditions import is_state
from db.schema.enums import Arm, CellScope, ChildState, Order, RewardKind

EVERY = 10**9  # more children than there are
WHOLE_SEARCH = (Arm.POLICY, Arm.CONTROL)
BEST_FIRST = {Order.REWARD, Order.ACCURACY}  # the others: the smallest
FEW = 1000  # children that are sorted in place of walking through all of a search


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a child must be. Operations are given by name; bounds include."""

    uses: tuple[str, ...] = ()  # all of these, in the cell looked at; either: in one or the other
    without: tuple[str, ...] = ()  # none of these there
    cell: CellScope = CellScope.EITHER
    arm: Arm | None = None  # None: the derived children where there are any, else all
    min_reward: float | None = None
    min_accuracy: float | None = None
    max_parameters: float | None = None
    max_macs: float | None = None


EVERYTHING = Filter()
# What the statements of a filter are given, by name.
Values = dict[str, float | None]
# Tables' columns have no types, nor have statements of them.
Statement = Select[Any]


def ranked(
    connection: Connection,
    search_id: int,
    wanted: Filter = EVERYTHING,
    *,
    order: Order = Order.REWARD,
    limit: int,
    offset: int = 0,
) -> list[RankedGenotype]:
    """Genotypes with a reward; the best, or the smallest, first, ties by the one found first.

    Of a genotype that was found more than once, the child that comes first stands; `found` says
    how often it was.

    Raises:
        UserError: the filter names an operation that this store does not know.
    """
    return of_children(
        connection, ids(connection, search_id, wanted, order, limit=limit, offset=offset)
    )


def ids(
    connection: Connection,
    search_id: int,
    wanted: Filter,
    order: Order,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> array[int]:
    """The children that stand for genotypes in an order; all of a million are 8 MB.

    Each order is an index that holds all that a filter asks: it is walked until there are
    enough, and never sorted. What the last, those without a value, come after is counted first.
    Where few children keep one of the filter's bounds, they are sorted instead.
    """
    form = _without_values(wanted)
    masks = {
        name: operations.wanted_mask(connection, getattr(wanted, name))
        for name in ("uses", "without")
    }
    values = _values(wanted) | masks | {"search_id": search_id}
    arms = _arms(connection, search_id, wanted.arm)
    bound = _narrow_bound(connection, values)
    if bound is not None:
        few = _sorted(connection, _within(form, order, arms, bound), values, order)
        return array("q", few[offset:][:limit])
    by_id_first = _is_faster_by_id(connection, form, order, arms)
    if by_id_first and connection.scalar(_newest(form, arms), values) is None:
        return array("q")
    found: array[int] = array("q")
    for walk in _walks(form, order, arms):
        if len(found) == limit:
            break
        rest = EVERY if limit is None else limit - len(found)
        some = _walked(connection, walk, values, limit=rest, offset=offset)
        found.extend(some)
        if offset and not some:
            passed = select(func.count()).select_from(walk.statement.subquery())
            offset -= connection.scalar(passed, values | {"limit": EVERY, "offset": 0}) or 0
        else:
            offset = 0
    return found


def best(
    connection: Connection, search_id: int, *, limit: int, offset: int = 0, arm: Arm | None = None
) -> list[RankedGenotype]:
    """The best genotypes of a search, of one arm or of all."""
    return ranked(connection, search_id, Filter(arm=arm), limit=limit, offset=offset)


def _without_values(wanted: Filter) -> Filter:
    """A filter of what another asks for, whatever the values: they share their statements."""
    return Filter(
        uses=("",) if wanted.uses else (),
        without=("",) if wanted.without else (),
        cell=wanted.cell,
        min_reward=_zero(wanted.min_reward),
        min_accuracy=_zero(wanted.min_accuracy),
        max_parameters=_zero(wanted.max_parameters),
        max_macs=_zero(wanted.max_macs),
    )


def _zero(bound: float | None) -> float | None:
    return None if bound is None else 0.0


def _values(wanted: Filter) -> Values:
    """The bounds that the statements of a filter's form are given, by the names of its fields.

    A bound of whole numbers is one: PostgreSQL's indexes know no mixture.
    """
    values = {name: getattr(wanted, name) for name in _BOUNDS}
    for name in ("max_parameters", "max_macs"):
        if values[name] is not None:
            values[name] = math.floor(max(-1, min(values[name], 2**63 - 1)))
    return values


_derived = (
    select(CHILDREN.id)
    .where(
        CHILDREN.search_id == bindparam("search_id"),
        is_state(CHILDREN.arm, Arm.DERIVE),
        is_state(CHILDREN.state, ChildState.REWARDED),
    )
    .limit(1)
)


def _arms(connection: Connection, search_id: int, arm: Arm | None) -> tuple[Arm, ...]:
    """One arm; or what a search is ranked by: the derived children where there are any."""
    if arm is not None:
        return (arm,)
    derived = connection.scalar(_derived, {"search_id": search_id})
    return (Arm.DERIVE,) if derived is not None else WHOLE_SEARCH


class _Equals(NamedTuple):
    """Of the children with one value, by their ids: a page; how many have an id over one."""

    page: Statement
    count_over: Statement


class _Walk(NamedTuple):
    """A statement that gives children one after the other, (value, id), along an index.

    The best first is an index from its end, where equals have the highest id first. So it is
    walked as it lies, and where a page begins or ends among equals those are asked for anew: a
    sort, be it of equals only, would cost more than the walk.
    """

    statement: Statement
    equals: _Equals | None = None  # None: they come in their order


@functools.lru_cache(maxsize=256)
def _walks(form: Filter, order: Order, arms: tuple[Arm, ...]) -> tuple[_Walk, ...]:
    """All children that pass, in their order; those without a value come last.

    They are asked apart: which end of an index nulls are at differs between the databases.
    """
    column = getattr(CHILDREN, order.value)
    passing = _passing(form, order, arms)
    page = passing.limit(bindparam("limit")).offset(bindparam("offset"))
    if order is Order.ID:
        return (_Walk(page.order_by(CHILDREN.id)),)
    unknown = _Walk(page.where(column.is_(None)).order_by(CHILDREN.id))
    known = page.where(column.is_not(None))
    if order not in BEST_FIRST:
        return (_Walk(known.order_by(column, CHILDREN.id)), unknown)
    equal = column == bindparam("value")
    over = CHILDREN.id > bindparam("over")
    equals = _Equals(
        page.where(equal).order_by(CHILDREN.id).with_only_columns(CHILDREN.id),
        passing.where(equal, over).with_only_columns(func.count()),
    )
    best_first = _Walk(known.order_by(column.desc(), CHILDREN.id.desc()), equals)
    return (best_first,) if order is Order.REWARD else (best_first, unknown)


def _walked(
    connection: Connection, walk: _Walk, values: Values, *, limit: int, offset: int
) -> array[int]:
    """The children of a page of a walk."""
    # one more than the page tells whether it ends among equals
    page = values | {"limit": limit + 1, "offset": offset}
    portions = connection.execute(walk.statement, page).partitions(MOST_IDS)
    rows = itertools.chain.from_iterable(portions)
    if walk.equals is None:
        return array("q", (row.id for row in rows))[:limit]
    found: array[int] = array("q")
    groups: list[tuple[float, int, int]] = []  # the first and the last: a value, from, to
    for value, equals in itertools.groupby(rows, operator.itemgetter(0)):
        start = len(found)
        found.extend(reversed([row.id for row in equals]))
        groups[1:] = [(value, start, len(found))]
    for value, start, end in groups:
        begins, ends = start == 0 < offset, start < limit < end
        if begins or ends:
            here = values | {"value": value, "limit": min(end, limit) - start, "offset": 0}
            if begins:
                highest = {"over": found[end - 1]}
                here["offset"] = connection.scalar(walk.equals.count_over, here | highest)
            found[start : min(end, limit)] = array("q", connection.scalars(walk.equals.page, here))
    return found[:limit]


Keeps = Callable[[ColumnElement[float], ColumnElement[float]], ColumnElement[bool]]
_BOUNDS: dict[str, tuple[KeyedColumnElement[float], Keeps]] = {
    "min_reward": (CHILDREN.reward, operator.ge),
    "min_accuracy": (CHILDREN.accuracy, operator.ge),
    "max_parameters": (CHILDREN.parameters, operator.le),
    "max_macs": (CHILDREN.macs, operator.le),
}
_kept = {
    name: select(func.count()).select_from(
        select(CHILDREN.id)
        .where(
            CHILDREN.search_id == bindparam("search_id"),
            CHILDREN.reward.is_not(None),
            keeps(column, bindparam(name)),
        )
        .order_by(column)
        .limit(bindparam("few"))
        .subquery()
    )
    for name, (column, keeps) in _BOUNDS.items()
}


def _narrow_bound(connection: Connection, values: Values) -> str | None:
    """A bound that few children keep, if a filter has one."""
    for name, kept in _kept.items():
        if values[name] is not None:
            asked = {"search_id": values["search_id"], name: values[name], "few": FEW}
            if (connection.scalar(kept, asked) or 0) < FEW:
                return name
    return None


def _is_faster_by_id(
    connection: Connection, form: Filter, order: Order, arms: tuple[Arm, ...]
) -> bool:
    """Whether that nothing passes is found far sooner by id than in the index of an order.

    PostgreSQL looks at the map of the table's pages for each entry: in the table's own order that
    is a third of the time.
    """
    is_filtered = form != EVERYTHING or arms != WHOLE_SEARCH
    return is_filtered and order is not Order.ID and connection.dialect.name == "postgresql"


@functools.lru_cache(maxsize=256)
def _newest(form: Filter, arms: tuple[Arm, ...]) -> Statement:
    """The newest child that passes: the best are rather among the newest than the oldest."""
    return (
        select(CHILDREN.id)
        .where(
            CHILDREN.search_id == bindparam("search_id"),
            CHILDREN.reward.is_not(None),
            *_conditions(CHILDREN, form, arms),
        )
        .order_by(CHILDREN.id.desc())
        .limit(1)
    )


@functools.lru_cache(maxsize=256)
def _within(form: Filter, order: Order, arms: tuple[Arm, ...], bound: str) -> Statement:
    """The few that keep a bound, and pass: by the bound's index."""
    column, keeps = _BOUNDS[bound]
    return _passing(form, order, arms).where(keeps(column, bindparam(bound)))


def _sorted(connection: Connection, passing: Statement, values: Values, order: Order) -> list[int]:
    """Few children in their order; those without a value come last."""
    sign = -1 if order in BEST_FIRST else 1
    found = sorted(
        (row.value is None, sign * (row.value or 0), row.id)
        for row in connection.execute(passing, values)
    )
    return [child_id for *_, child_id in found]


def _passing(form: Filter, order: Order, arms: tuple[Arm, ...]) -> Statement:
    """(value, id) of those that pass, of a genotype found more than once the first in the order.

    Within a search a trained genotype's first child is the one that is no duplicate, and has
    their common values: none of the others need be looked for, unless it is of another arm.
    """
    earlier = exists().where(
        OTHERS.search_id == CHILDREN.search_id,
        OTHERS.genotype_id == CHILDREN.genotype_id,
        _is_before(OTHERS, order),
        has_reward(OTHERS),
        *_conditions(OTHERS, form, arms),
    )
    is_first = CHILDREN.duplicate_of.is_(None) & (CHILDREN.reward_kind != RewardKind.SHARED)
    may_differ = CHILDREN.reward_kind.is_(None) | (CHILDREN.reward_kind == RewardKind.SHARED)
    return select(getattr(CHILDREN, order.value).label("value"), CHILDREN.id).where(
        CHILDREN.search_id == bindparam("search_id"),
        CHILDREN.reward.is_not(None),
        *_conditions(CHILDREN, form, arms),
        is_first | (may_differ & ~earlier if arms == WHOLE_SEARCH else ~earlier),
    )


def _conditions(child: Columns, form: Filter, arms: Sequence[Arm]) -> list[ColumnElement[bool]]:
    """What filters of a form ask, in words that lead to no index: the order's is the one to walk.

    SQLite, which knows no sizes, would take a bound's for any bound, and sort what it leaves.
    PostgreSQL takes an equality for so rare that it would read all and sort; that of what cannot
    be more is no less.
    """
    used = {
        CellScope.NORMAL: child.ops_normal,
        CellScope.REDUCTION: child.ops_reduction,
        CellScope.EITHER: child.ops_normal.op("|")(child.ops_reduction),
    }[form.cell]
    conditions: list[ColumnElement[bool]] = []
    if arms != WHOLE_SEARCH:  # which is all there are
        conditions.append(child.arm.in_(arms))
    if form.uses:
        uses = bindparam("uses", type_=Integer)
        conditions.append(used.op("&")(uses) >= uses)
    if form.without:
        conditions.append(used.op("&")(bindparam("without", type_=Integer)) <= 0)
    for name, (column, keeps) in _BOUNDS.items():
        if getattr(form, name) is not None:
            conditions.append(keeps(getattr(child, column.key) + 0, bindparam(name)))
    return conditions


def _is_before(other: Columns, order: Order) -> ColumnElement[bool]:
    """Whether another child comes before this one in an order."""
    sooner = other.id < CHILDREN.id
    if order is Order.ID:
        return sooner
    name = order.value
    theirs, ours = getattr(other, name), getattr(CHILDREN, name)
    better = theirs > ours if order in BEST_FIRST else theirs < ours
    return or_(
        better,
        ours.is_(None) & theirs.is_not(None),
        theirs.is_not_distinct_from(ours) & sooner,
    )
