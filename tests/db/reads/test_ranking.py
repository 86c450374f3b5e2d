"""Ranked lists are what Python finds in the rows, whatever the filter, the order, the page."""

import itertools
import json
import random

import pytest
from sqlalchemy import event, func, select, text, update

from db.reads import ranked_genotypes, ranking
from db.schema.enums import Arm, CellScope, Order
from db.schema.models import Child, Genotype
from db.schema.session import get_engine, transaction
from pipeline.spaces.cells.genotype import OPERATIONS
from pipeline.spaces.registry import genotype_from_data
from tests.factories import make_search, make_version, propose


@pytest.fixture
def search_id(store):
    """A search with 120 children of 60 genotypes; rewards tie, some are missing."""
    chance = random.Random(0)
    search_id = make_search()
    make_version(search_id)
    ids = propose(search_id, [chance.randrange(60) for _ in range(80)])
    ids += propose(search_id, [chance.randrange(60) for _ in range(40)], arm=Arm.CONTROL)
    with transaction() as connection:
        for child_id in ids:
            trained = chance.random() < 0.9
            values = {
                "reward": chance.randrange(10) / 10 if chance.random() < 0.9 else None,
                "accuracy": chance.random() if trained else None,
                "parameters": chance.randrange(1000) if trained else None,
                "macs": chance.randrange(1000) if trained else None,
                "state": "rewarded",
            }
            connection.execute(update(Child).where(Child.id == child_id).values(**values))
    return search_id


def rows():
    with transaction(read_only=True) as connection:
        return connection.execute(
            select(Child, Genotype.body).join(Genotype, Genotype.id == Child.genotype_id)
        ).all()


def used(row, place):
    genotype = genotype_from_data(row.body)
    cells = {"normal": [genotype.normal], "reduction": [genotype.reduction]}
    cells["either"] = [genotype.normal, genotype.reduction]
    return {name for cell in cells[place] for block in cell.blocks for _, name in block.sides}


def expected(order, uses=(), without=(), place=CellScope.EITHER, arm=None, **bounds):
    """The children's ids, by brute force."""
    passing = [
        row
        for row in rows()
        if row.reward is not None
        and (arm is None or row.arm == arm)
        and used(row, place) >= set(uses)
        and not used(row, place) & set(without)
        and row.reward >= bounds.get("min_reward", 0)
        and ("min_accuracy" not in bounds or (row.accuracy or 0) >= bounds["min_accuracy"])
        and ("max_macs" not in bounds or (row.macs is not None and row.macs <= bounds["max_macs"]))
        and (
            "max_parameters" not in bounds
            or (row.parameters is not None and row.parameters <= bounds["max_parameters"])
        )
    ]

    def place_in_order(row):
        value = getattr(row, order.value)
        if value is None:
            return (1, 0.0, row.id)
        return (0, -value if order in {Order.REWARD, Order.ACCURACY} else value, row.id)

    first = {}
    for row in sorted(passing, key=place_in_order):
        first.setdefault(row.genotype_id, row.id)
    return list(first.values())


def listed(search_id, order, **wanted):
    limit, offset = wanted.pop("limit", 1000), wanted.pop("offset", 0)
    chosen = {
        "uses": tuple(wanted.pop("uses", ())),
        "without": tuple(wanted.pop("without", ())),
        "cell": wanted.pop("place", CellScope.EITHER),
    }
    with transaction(read_only=True) as connection:
        found = ranking.ranked(
            connection,
            search_id,
            ranking.Filter(**chosen, **wanted),
            order=order,
            limit=limit,
            offset=offset,
        )
    return [row.child_id for row in found]


@pytest.mark.parametrize("order", list(Order))
def test_every_filter_lists_what_passes_and_nothing_else(search_id, order, monkeypatch):
    chance = random.Random(order.value)
    some = 0
    for _ in range(30):
        wanted = {
            "uses": chance.sample(OPERATIONS, chance.randrange(2)),
            "without": chance.sample(OPERATIONS, chance.randrange(3)),
            "place": chance.choice(list(CellScope)),
            "arm": chance.choice([None, None, Arm.CONTROL]),
        }
        for bound in ("min_reward", "min_accuracy", "max_parameters", "max_macs"):
            if chance.random() < 0.3:
                wanted[bound] = chance.random() * (1000 if bound.startswith("max") else 1)
        monkeypatch.setattr(ranking, "FEW", chance.choice([0, 30, 1000]))  # walked, sorted
        found = listed(search_id, order, **wanted)
        assert found == expected(order, **wanted), wanted
        some += len(found)
    assert some > 30


def test_pages_are_the_list_cut_up(search_id):
    whole = listed(search_id, Order.REWARD)
    pages = [
        listed(search_id, Order.REWARD, limit=7, offset=offset)
        for offset in range(0, len(whole) + 7, 7)
    ]
    assert [child_id for page in pages for child_id in page] == whole


def test_a_row_says_how_often_its_genotype_was_found(search_id):
    with transaction(read_only=True) as connection:
        found = ranking.best(connection, search_id, limit=1000)
    repeats = [row.genotype_id for row in rows() if row.reward is not None]
    assert {row.genotype_id: row.found for row in found} == {
        genotype_id: repeats.count(genotype_id) for genotype_id in repeats
    }
    assert json.dumps(found[0].body)


def test_a_trained_genotype_stands_once_whatever_the_arm_and_the_order(store):
    chance = random.Random(1)
    search_id = make_search()
    make_version(search_id)
    ids = propose(search_id, [chance.randrange(20) for _ in range(40)])
    ids += propose(search_id, [chance.randrange(30) for _ in range(40)], arm=Arm.CONTROL)
    ended = dict(state="rewarded", reward_kind="trained")
    with transaction() as connection:
        of = {row.id: row.genotype_id for row in connection.execute(select(Child))}
        for child_id in ids:  # a duplicate has what its genotype's first child has
            drawn = random.Random(of[child_id])
            values = dict(
                reward=drawn.randrange(5) / 5,
                accuracy=drawn.choice([None, drawn.randrange(5) / 5]),
                parameters=drawn.choice([None, drawn.randrange(5)]),
                macs=drawn.randrange(5),
            )
            connection.execute(update(Child).where(Child.id == child_id).values(**ended, **values))
    for order in Order:
        for arm in (None, Arm.POLICY, Arm.CONTROL):
            whole = expected(order, arm=arm)
            assert listed(search_id, order, arm=arm) == whole
            for offset in (3, len(whole) - 2):
                found = listed(search_id, order, arm=arm, limit=9, offset=offset)
                assert found == whole[offset : offset + 9]


@pytest.fixture
def plans(sqlite_store):
    """How SQLite answers each SELECT: it knows no sizes, and a wrong guess costs seconds."""
    found = []

    def explain(connection, cursor, statement, parameters, *_):
        if statement.startswith("SELECT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.append("\n".join(row[-1] for row in plan))

    event.listen(get_engine(), "before_cursor_execute", explain)
    return found


ARMS = (ranking.WHOLE_SEARCH, (Arm.CONTROL,))
BOUNDED = ranking.Filter(
    uses=("identity",), max_macs=1e6, min_accuracy=0.5, min_reward=0.5, max_parameters=1
)


@pytest.mark.parametrize("order", list(Order))
def test_sqlite_walks_the_index_of_the_order_and_sorts_nothing(plans, order):
    page = {"search_id": 1, "limit": 50, "offset": 0, "value": 0.5, "over": 1}
    asked = ranking._values(BOUNDED) | {"uses": 1} | page
    walks = [walk for arms in ARMS for walk in ranking._walks(BOUNDED, order, arms)]
    with transaction(read_only=True) as connection:
        for walk in walks:
            for statement in (walk.statement, *(walk.equals or ())):
                connection.execute(statement, asked)
    assert plans
    for plan in plans:
        assert f"COVERING INDEX ix_children_by_{order.value} (search_id=?" in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("bound", list(ranking._BOUNDS))
def test_sqlite_finds_the_few_that_keep_a_bound_by_the_bound_s_index(plans, bound):
    name = bound.partition("_")[2]
    asked = ranking._values(BOUNDED) | {"search_id": 1, "few": 10, "uses": 1}
    with transaction(read_only=True) as connection:
        connection.execute(ranking._kept[bound], asked)
        for order, arms in itertools.product(Order, ARMS):
            connection.execute(ranking._within(BOUNDED, order, arms, bound), asked)
    for plan in plans:
        assert f"COVERING INDEX ix_children_by_{name} (search_id=? AND {name}" in plan
        assert "TEMP B-TREE" not in plan


def test_sqlite_counts_how_often_by_the_genotype(plans):
    with transaction(read_only=True) as connection:
        connection.execute(ranked_genotypes._of_children, {"child_ids": [1, 2]})
    assert "other USING INDEX ix_children_search_genotype" in plans[-1]


MANY = """
WITH first AS (SELECT * FROM children),
many AS (
    INSERT INTO genotypes (digest, kind, body, created_at)
    SELECT number, kind, body, created_at FROM genotypes, generate_series(1, 20000) AS number
    RETURNING id
)
INSERT INTO children
    (search_id, version, arm, k, actions, log_probs, genotype_id, ops_normal, ops_reduction, state,
     created_at, ended_at, reward, reward_kind, accuracy, parameters, macs)
SELECT search_id, version, CASE WHEN many.id % 10 = 0 THEN 'control' ELSE 'policy' END, many.id,
    actions, log_probs, many.id, many.id % 8191, many.id % 4093, 'rewarded', created_at,
    created_at, random(), 'trained', random(), floor(1e6 * random()), floor(1e8 * random())
FROM first, many
"""


@pytest.mark.parametrize("order", [order for order in Order if order is not Order.ID])
def test_postgresql_walks_the_index_of_the_order_and_sorts_nothing(postgres_store, order):
    search_id = make_search()
    make_version(search_id)
    propose(search_id, [0], arm=Arm.CONTROL)
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (MANY, "VACUUM ANALYZE"):
            connection.execute(text(statement))
    plans = []

    def explain(connection, cursor, statement, parameters, *_):
        if f"ORDER BY children.{order.value}" in statement and "AS value" in statement:
            plan = cursor.connection.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row[0] for row in plan))

    event.listen(get_engine(), "before_cursor_execute", explain)
    wanted = ranking.Filter(uses=OPERATIONS[:2], without=OPERATIONS[2:3], arm=Arm.CONTROL)
    with transaction(read_only=True) as connection:
        assert len(ranking.ids(connection, search_id, wanted, order, limit=50)) == 50
    assert plans
    for plan in plans:
        assert f"using ix_children_by_{order.value} " in plan
        assert "Sort" not in plan


def test_postgresql_finds_by_id_that_nothing_passes(postgres_store):
    search_id = make_search()
    make_version(search_id)
    [child_id] = propose(search_id, [0])
    with transaction() as connection:
        values = {"state": "rewarded", "reward": 0.5, "ended_at": func.now()}
        connection.execute(update(Child).values(**values))
    asked = []
    event.listen(get_engine(), "before_cursor_execute", lambda *given: asked.append(given[2]))
    with transaction(read_only=True) as connection:
        for wanted, passing in (
            (ranking.Filter(uses=("identity",), without=("identity",)), []),
            (ranking.Filter(arm=Arm.POLICY), [child_id]),
        ):
            found = ranking.ids(connection, search_id, wanted, Order.MACS, limit=50)
            assert list(found) == passing
            assert any("ORDER BY children.macs" in sql for sql in asked) == bool(passing)
