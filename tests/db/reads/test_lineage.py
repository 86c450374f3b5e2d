"""What is like a genotype, and what failed, are what Python finds in the rows."""

import datetime as dt
import json
import random

import pytest
from sqlalchemy import insert, select, update

from db.reads import lineage, ranking, series
from db.schema.models import Attempt, Child, Genotype, Run
from db.schema.session import transaction
from pipeline.errors import Failure
from tests.factories import make_search, make_version, propose

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def search_id(store):
    """A search with 30 children of at most 25 genotypes, all rewarded; and another one."""
    found = [make_search("a"), make_search("b")]
    chance = random.Random(0)
    for search_id in found:
        make_version(search_id)
        propose(search_id, [chance.randrange(25) for _ in range(30)])
    with transaction() as connection:
        for child_id in connection.scalars(select(Child.id)).all():
            values = {"state": "rewarded", "reward": chance.randrange(5) / 5}
            connection.execute(update(Child).where(Child.id == child_id).values(**values))
    return found[0]


def apart(one, other):
    """How many places of two genotypes of as many blocks differ."""
    return sum(
        value != other[cell]["blocks"][number][place]
        for cell in ("normal", "reduction")
        for number, block in enumerate(one[cell]["blocks"])
        for place, value in enumerate(block)
    )


def test_neighbours_are_the_best_that_differ_in_the_fewest_places(search_id, monkeypatch):
    monkeypatch.setattr(lineage, "AMONG", 12)
    with transaction(read_only=True) as connection:
        best = ranking.best(connection, search_id, limit=12)
        for row in connection.execute(select(Genotype)).all():
            asked = select(Child.id).where(
                Child.genotype_id == row.id, Child.search_id == search_id
            )
            if connection.execute(asked).first() is None:
                continue
            found = lineage.neighbours(connection, row.id, limit=5)
            others = [other for other in best if other.genotype_id != row.id]
            others.sort(key=lambda other: apart(row.body, other.body))  # equals: the best first
            assert [other.digest for _, other in found] == [o.digest for o in others[:5]]
            assert [distance for distance, _ in found] == [
                apart(row.body, other.body) for other in others[:5]
            ]


def test_a_genotype_that_no_search_proposed_has_no_neighbours(store):
    with transaction(read_only=True) as connection:
        assert lineage.neighbours(connection, 1) == []


def test_layers_are_compared_place_by_place():
    layer = {"filters": 24, "height": 3, "inputs": [0], "pool": 1, "width": 3}
    one = [layer, layer | {"inputs": [0, 1]}]
    for other, distance in (
        (one, 0),
        ([layer | {"height": 5}, layer], 2),
        ([layer], 5),
    ):
        places = [lineage._places(json.dumps({"layers": layers})) for layers in (one, other)]
        assert lineage._distance(*places) == distance


@pytest.mark.parametrize("failure", [None, Failure.OOM])
@pytest.mark.parametrize("few", [0, series.FEW])  # by each attempt's run, by the search's runs
def test_failures_are_the_newest_first_page_by_page(search_id, failure, few, monkeypatch):
    monkeypatch.setattr(series, "FEW", few)
    chance = random.Random(1)
    with transaction() as connection:
        first = connection.execute(select(Run).where(Run.search_id == search_id).limit(1)).one()
        in_full = {**first._mapping, "purpose": "retrain", "child_id": None, "key": "another"}
        del in_full["id"]
        connection.execute(insert(Run).values(in_full))
        runs = connection.execute(select(Run.id, Run.search_id)).all()
        for number, run in enumerate(runs):
            outcome = chance.choice(["done", "failed", "lost", None])
            values = {
                "run_id": run.id, "number": number, "started_at": START, "outcome": outcome,
                "failure": chance.choice([Failure.OOM, Failure.ERROR]) if outcome else None,
            }  # fmt: skip
            connection.execute(insert(Attempt).values(**values))
    with transaction(read_only=True) as connection:
        rows = connection.execute(
            select(Attempt, Run.search_id).join(Run, Run.id == Attempt.run_id)
        ).all()
        for of_search in (search_id, None):
            bad = [
                row.number
                for row in sorted(rows, key=lambda row: -row.id)
                if row.outcome in ("failed", "lost")
                and failure in (None, row.failure)
                and of_search in (None, row.search_id)
            ]
            assert bad
            for offset in (0, 3, len(bad)):
                found = lineage.failures(connection, of_search, failure, 4, offset)
                assert [row.number for row in found] == bad[offset : offset + 4]
            if failure is None:
                assert sum(series.failures(connection, of_search)[0].values()) == len(bad)
