"""A search's genotypes in an order, as far as they pass a filter: each once, by its best child."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from array import array
from collections.abc import Sequence
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
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from db.schema.enums import Arm, ChildState, Order, Place, RewardKind
from db.schema.models import Child, Genotype, is_state

MOST_IDS = 10_000  # in one statement: both databases know a limit
EVERY = 10**9  # more children than there are
WHOLE_SEARCH = (Arm.POLICY, Arm.CONTROL)
BEST_FIRST = {Order.REWARD, Order.ACCURACY}  # the others: the smallest
FEW = 1000  # children that are sorted in place of walking through all of a search


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

# Tables, not classes of the ORM: statements of them are built and compiled in half the time, and
# every new form of a filter is some.
Columns = ReadOnlyColumnCollection[str, ColumnElement[Any]]
_children: Columns = Child.__table__.c
_others: Columns = Child.__table__.alias("other").c
_genotypes: Columns = Genotype.__table__.c


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
    return rows(connection, ids(connection, search_id, wanted, order, limit=limit, offset=offset))


def _has_reward(other: Columns) -> ColumnElement[bool]:
    """Whether another child of the same genotype has a reward.

    In words that lead to the index of (search, genotype): SQLite would rather walk one of all of
    a search's rewards, if only it need not look at the rows.
    """
    ended = other.state.not_in([ChildState.OPEN, ChildState.SKIPPED])
    return ended & (other.reward + 0).is_not(None)


_rows = (
    select(
        _genotypes.id.label("genotype_id"),
        _genotypes.digest,
        _children.id.label("child_id"),
        select(func.count())
        .where(
            _others.search_id == _children.search_id,
            _others.genotype_id == _children.genotype_id,
            _has_reward(_others),
        )
        .scalar_subquery()
        .label("found"),
        _children.reward,
        _children.reward_kind,
        _children.accuracy,
        _children.parameters,
        _children.macs,
        _children.failure,
        _children.stopped_epoch,
        _children.arm,
        _children.version,
        _children.k,
        _genotypes.body,
    )
    .join_from(Child.__table__, Genotype.__table__, _genotypes.id == _children.genotype_id)
    .where(_children.id.in_(bindparam("child_ids", expanding=True)))
)


def rows(connection: Connection, child_ids: Sequence[int]) -> list[Any]:
    """What is listed of some children, in their order."""
    found: dict[int, Any] = {}
    for start in range(0, len(child_ids), MOST_IDS):
        some = list(child_ids[start : start + MOST_IDS])
        found |= {row.child_id: row for row in connection.execute(_rows, {"child_ids": some})}
    return [found[child_id] for child_id in child_ids]


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
    form, values = _form(wanted), _values(wanted) | {"search_id": search_id}
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
        asked = values | {"limit": rest, "offset": offset}
        some = _walked(connection, walk, asked)
        found.extend(some)
        if offset and not some:
            passed = select(func.count()).select_from(walk.statement.subquery())
            offset -= connection.scalar(passed, asked | {"limit": EVERY, "offset": 0}) or 0
        else:
            offset = 0
    return found


def best(
    connection: Connection, search_id: int, *, limit: int, offset: int = 0, arm: Arm | None = None
) -> list[Any]:
    """The best genotypes of a search, of one arm or of all."""
    return ranked(connection, search_id, Filter(arm=arm), limit=limit, offset=offset)


def _form(wanted: Filter) -> Filter:
    """A filter of what another asks for, whatever the values: they share their statements."""
    bounds: dict[str, Any] = {
        name: None if getattr(wanted, name) is None else 0 for name in _BOUNDS
    }
    uses, without = bool(wanted.uses), bool(wanted.without)
    return Filter(uses=uses, without=without, cell=wanted.cell, **bounds)


def _values(wanted: Filter) -> dict[str, Any]:
    """What the statements of a filter's form are given, by the names of its fields.

    A bound of whole numbers is one: PostgreSQL's indexes know no mixture.
    """
    values = {name: getattr(wanted, name) for name in ("uses", "without", *_BOUNDS)}
    for name in ("max_parameters", "max_macs"):
        if values[name] is not None:
            values[name] = math.floor(max(-1, min(values[name], 2**63 - 1)))
    return values


_derived = (
    select(_children.id)
    .where(
        _children.search_id == bindparam("search_id"),
        is_state(_children.arm, Arm.DERIVE),
        is_state(_children.state, ChildState.REWARDED),
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

    page: Select[Any]
    count_over: Select[Any]


class _Walk(NamedTuple):
    """A statement that gives children one after the other, (value, id), along an index.

    The best first is an index from its end, where equals have the highest id first. So it is
    walked as it lies, and where a page begins or ends among equals those are asked for anew: a
    sort, be it of equals only, would cost more than the walk.
    """

    statement: Select[Any]
    equals: _Equals | None = None  # None: they come in their order


@functools.lru_cache(maxsize=256)
def _walks(form: Filter, order: Order, arms: tuple[Arm, ...]) -> tuple[_Walk, ...]:
    """All children that pass, in their order; those without a value come last.

    They are asked apart: which end of an index nulls are at differs between the databases.
    """
    column = getattr(_children, order.value)
    passing = _passing(form, order, arms)
    page = passing.limit(bindparam("limit")).offset(bindparam("offset"))
    if order is Order.ID:
        return (_Walk(page.order_by(_children.id)),)
    unknown = _Walk(page.where(column.is_(None)).order_by(_children.id))
    known = page.where(column.is_not(None))
    if order not in BEST_FIRST:
        return (_Walk(known.order_by(column, _children.id)), unknown)
    equal = column == bindparam("value")
    over = _children.id > bindparam("over")
    equals = _Equals(
        page.where(equal).order_by(_children.id).with_only_columns(_children.id),
        passing.where(equal, over).with_only_columns(func.count()),
    )
    best_first = _Walk(known.order_by(column.desc(), _children.id.desc()), equals)
    return (best_first,) if order is Order.REWARD else (best_first, unknown)


def _walked(connection: Connection, walk: _Walk, asked: dict[str, Any]) -> array[int]:
    """The children of a page of a walk."""
    limit = asked["limit"]
    # one more than the page tells whether it ends among equals
    portions = connection.execute(walk.statement, asked | {"limit": limit + 1}).partitions(
        MOST_IDS
    )
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
        begins, ends = start == 0 < asked["offset"], start < limit < end
        if begins or ends:
            here = asked | {"value": value, "limit": min(end, limit) - start, "offset": 0}
            if begins:
                highest = {"over": found[end - 1]}
                here["offset"] = connection.scalar(walk.equals.count_over, here | highest)
            found[start : min(end, limit)] = array("q", connection.scalars(walk.equals.page, here))
    return found[:limit]


_BOUNDS: dict[str, tuple[Any, Any]] = {
    "min_reward": (_children.reward, operator.ge),
    "min_accuracy": (_children.accuracy, operator.ge),
    "max_parameters": (_children.parameters, operator.le),
    "max_macs": (_children.macs, operator.le),
}
_kept = {
    name: select(func.count()).select_from(
        select(_children.id)
        .where(
            _children.search_id == bindparam("search_id"),
            _children.reward.is_not(None),
            keeps(column, bindparam(name)),
        )
        .order_by(column)
        .limit(bindparam("few"))
        .subquery()
    )
    for name, (column, keeps) in _BOUNDS.items()
}


def _narrow_bound(connection: Connection, values: dict[str, Any]) -> str | None:
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
def _newest(form: Filter, arms: tuple[Arm, ...]) -> Select[Any]:
    """The newest child that passes: the best are rather among the newest than the oldest."""
    return (
        select(_children.id)
        .where(
            _children.search_id == bindparam("search_id"),
            _children.reward.is_not(None),
            *_conditions(_children, form, arms),
        )
        .order_by(_children.id.desc())
        .limit(1)
    )


@functools.lru_cache(maxsize=256)
def _within(form: Filter, order: Order, arms: tuple[Arm, ...], bound: str) -> Select[Any]:
    """The few that keep a bound, and pass: by the bound's index."""
    column, keeps = _BOUNDS[bound]
    return _passing(form, order, arms).where(keeps(column, bindparam(bound)))


def _sorted(
    connection: Connection, passing: Select[Any], values: dict[str, Any], order: Order
) -> list[int]:
    """Few children in their order; those without a value come last."""
    sign = -1 if order in BEST_FIRST else 1
    found = sorted(
        (value is None, sign * (value or 0), child_id)
        for value, child_id in connection.execute(passing, values)
    )
    return [child_id for *_, child_id in found]


def _passing(form: Filter, order: Order, arms: tuple[Arm, ...]) -> Select[Any]:
    """(value, id) of those that pass, of a genotype found more than once the first in the order.

    Within a search a trained genotype's first child is the one that is no duplicate, and has
    their common values: none of the others need be looked for, unless it is of another arm.
    """
    earlier = exists().where(
        _others.search_id == _children.search_id,
        _others.genotype_id == _children.genotype_id,
        _is_before(_others, order),
        _has_reward(_others),
        *_conditions(_others, form, arms),
    )
    is_first = _children.duplicate_of.is_(None) & (_children.reward_kind != RewardKind.SHARED)
    may_differ = _children.reward_kind.is_(None) | (_children.reward_kind == RewardKind.SHARED)
    return select(getattr(_children, order.value).label("value"), _children.id).where(
        _children.search_id == bindparam("search_id"),
        _children.reward.is_not(None),
        *_conditions(_children, form, arms),
        is_first | (may_differ & ~earlier if arms == WHOLE_SEARCH else ~earlier),
    )


def _conditions(child: Columns, form: Filter, arms: Sequence[Arm]) -> list[ColumnElement[bool]]:
    """What filters of a form ask, in words that lead to no index: the order's is the one to walk.

    SQLite, which knows no sizes, would take a bound's for any bound, and sort what it leaves.
    PostgreSQL takes an equality for so rare that it would read all and sort; that of what cannot
    be more is no less.
    """
    used: Any = {
        Place.NORMAL: child.ops_normal,
        Place.REDUCTION: child.ops_reduction,
        Place.EITHER: child.ops_normal.op("|")(child.ops_reduction),
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
    sooner = other.id < _children.id
    if order is Order.ID:
        return sooner
    name = order.value
    theirs, ours = getattr(other, name), getattr(_children, name)
    better = theirs > ours if order in BEST_FIRST else theirs < ours
    return or_(
        better,
        ours.is_(None) & theirs.is_not(None),
        theirs.is_not_distinct_from(ours) & sooner,
    )
