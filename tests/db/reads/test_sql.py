"""The questions of docs/how-to/ask-the-store.md on a real search, and what must never be asked."""

import collections
import json
import math
import re
import statistics
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect, update

from db.lifecycle import attempts
from db.reads import sql
from db.reads.sql import ask
from db.schema.models import Search
from db.schema.session import get_engine, transaction
from pipeline.errors import Failure, UserError
from pipeline.spaces.cells.genotype import OPERATIONS
from pipeline.spaces.registry import genotype_from_data
from tests.factories import (
    claim,
    make_children,
    make_search,
    make_slot,
    queue_run,
    run_of,
)
from tests.tasks.test_runs import ask_one, train_one

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "how-to" / "ask-the-store.md").read_text("utf-8")
QUESTIONS = dict(re.findall(r"\*\*(.+?)\*\*.*?```sql\n(.+?)```", PAGE, re.DOTALL))
TABLES = (DOCS / "reference" / "tables.md").read_text("utf-8")
RELATIONS = dict(
    re.findall(r"### (\w+)\n.*?\| column .*?\|\n\|[-|]+\|\n(.+?)\n(?:\n|$)", TABLES, re.DOTALL)
)


def answer(statement, seconds=60.0):
    with ask(statement, seconds=seconds) as found:
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


@pytest.fixture
def children(searched):
    """The children with a reward, as Python sees them."""
    rows = answer(
        "SELECT children.*, digest, body FROM children"
        " JOIN genotypes ON genotypes.id = genotype_id"
    )
    for row in rows:
        row["genotype"] = genotype_from_data(json.loads(row["body"]))
    return [row for row in rows if row["reward"] is not None]


def question(words):
    [found] = [sql for asked, sql in QUESTIONS.items() if words in asked]
    return found


def test_there_are_ten_questions():
    assert len(QUESTIONS) == 10


def test_every_relation_and_column_is_on_the_page_and_no_other(store):
    found = inspect(get_engine())
    views = set(found.get_view_names())
    assert views == {"blocks", "curves", "policy", "failures", "leaderboard"}
    assert RELATIONS.keys() == views | set(found.get_table_names()) - {"nasnet_schema"}
    for relation, rows in RELATIONS.items():
        told = [row.split("|")[1].strip() for row in rows.splitlines()]
        assert sorted(told) == sorted(c["name"] for c in found.get_columns(relation)), relation


def sides(genotype, cell):
    return [side for block in getattr(genotype, cell).blocks for side in block.sides]


def best_genotypes(children):
    rewards = collections.defaultdict(list)
    for row in children:
        rewards[row["digest"]].append(row["reward"])
    best = sorted(rewards, key=lambda digest: (-max(rewards[digest]), digest))[:10]
    assert answer(question("best genotypes")) == [
        {"digest": d, "reward": max(rewards[d]), "found": len(rewards[d])} for d in best
    ]


def what_reduction_cells_read(children):
    found = 0
    for operation in OPERATIONS:
        sql = question("reduction cells").replace("sep_conv_5x5", operation).replace("0.9", "0.05")
        expected = {
            (row["digest"], row["reward"])
            for row in children
            if row["reward"] > 0.05 and (1, operation) in sides(row["genotype"], "reduction")
        }
        assert {tuple(row.values()) for row in answer(sql)} == expected
        found += len(expected)
    assert found > 0


def operations_of_the_better_half(children):
    ranked = sorted(children, key=lambda row: (-row["reward"], row["id"]))
    uses = collections.Counter(
        operation
        for row in ranked[: -(-len(ranked) // 2)]
        for _, operation in sides(row["genotype"], "normal")
    )
    assert answer(question("better half")) == [
        {"operation": name, "uses": count}
        for name, count in sorted(uses.items(), key=lambda item: (-item[1], item[0]))
    ]


def policy_by_version(children):
    by_version = collections.defaultdict(list)
    for row in children:
        if row["arm"] == "policy":
            by_version[row["version"]].append(row["reward"])
    found = answer(question("policy learn"))
    assert [(row["version"], row["children"]) for row in found] == [
        (version, len(rewards)) for version, rewards in sorted(by_version.items())
    ]
    for row in found:
        assert row["mean_reward"] == pytest.approx(statistics.mean(by_version[row["version"]]))


def arms_beside_each_other(children):
    found = answer(question("better than chance"))
    assert [row["arm"] for row in found] == ["policy", "control"]
    for row in found:
        rewards = [c["reward"] for c in children if c["arm"] == row["arm"]]
        assert (row["children"], row["best"]) == (len(rewards), max(rewards))
        assert row["mean"] == pytest.approx(statistics.mean(rewards))


def repeats(children):
    versions = {row["id"]: row["version"] for row in children}
    again = collections.Counter(
        (row["digest"], versions[row["duplicate_of"]]) for row in children if row["duplicate_of"]
    )
    found = answer(question("find again"))
    assert {(row["digest"], row["first_in"]): row["again"] for row in found} == again


def the_best_child_s_curve(children):
    best = min(
        (row for row in children if row["accuracy"] is not None and not row["duplicate_of"]),
        key=lambda row: (-row["reward"], row["id"]),
    )
    [epoch] = answer(question("best child learn"))
    assert (epoch["epoch"], epoch["accuracy"]) == (1, best["accuracy"])
    assert epoch["loss"] > 0


def test_failures_by_their_words(store):
    _search_id, (first, second) = make_children((0, 1))
    with transaction() as connection:
        connection.execute(update(Search).values(name="digits"))
    for child_id, message in ((first, "no <b>memory</b>"), (second, "nan")):
        run_id = run_of(child_id).id
        queue_run(run_id)
        held = claim(run_id, make_slot())
        failure = Failure.OOM if child_id == first else Failure.DIVERGED
        with transaction() as connection:
            attempts.fail(connection, run_id, held.attempt, failure, message=message)
    assert answer(question("What failed")) == [
        {"failure": "diverged", "message": "nan", "attempts": 1},
        {"failure": "oom", "message": "no <b>memory</b>", "attempts": 1},
    ]


def small_and_good(children):
    trained = {(r["digest"], r["parameters"], r["accuracy"]) for r in children if r["accuracy"]}
    front = [
        (digest, size, accuracy)
        for digest, size, accuracy in trained
        if not any(
            (a >= accuracy and p <= size) and (a > accuracy or p < size) for _, p, a in trained
        )
    ]
    expected = sorted(front, key=lambda row: (row[1], row[0]))
    assert [tuple(row.values()) for row in answer(question("small and good"))] == expected


def where_a_genotype_comes_from(children):
    first = children[0]
    sql = question("come from").replace("DIGEST", first["digest"][:12])
    [found] = answer(sql)
    assert (found["search"], found["version"], found["arm"], found["k"]) == (
        "digits", first["version"], first["arm"], first["k"],
    )  # fmt: skip
    assert (found["attempt"], found["slot"], found["outcome"]) == (1, "cpu-0", "done")
    assert found["reward"] == first["reward"]


def test_each_question_s_answer_is_what_the_rows_say(children):
    for asked in (
        best_genotypes,
        what_reduction_cells_read,
        operations_of_the_better_half,
        policy_by_version,
        arms_beside_each_other,
        repeats,
        the_best_child_s_curve,
        small_and_good,
        where_a_genotype_comes_from,
    ):
        asked(children)


def test_the_leaderboard_s_rows(worker, post):
    run_id = ask_one(epochs=1)
    assert answer("SELECT * FROM leaderboard") == []
    train_one(run_id)
    [found] = answer("SELECT run_id, purpose, dataset, epochs, accuracy FROM leaderboard")
    assert found.pop("accuracy") > 0
    assert found == {"run_id": run_id, "purpose": "transfer", "dataset": "digits", "epochs": 1}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM searches",
        "UPDATE searches SET name = 'x' RETURNING name",
        "INSERT INTO searches (name) VALUES ('x')",
        "DROP TABLE epochs",
        "CREATE TABLE mine (id integer)",
        "CREATE TEMP TABLE mine (id integer)",
        "SELECT 1; DELETE FROM searches",
        "SELECT 1; COMMIT; DELETE FROM searches",
        "WITH gone AS (DELETE FROM searches RETURNING *) SELECT * FROM gone",
        "ATTACH 'FILE' AS other",
        "VACUUM INTO 'FILE'",
        "PRAGMA journal_mode = DELETE",
        "COPY (SELECT 1) TO 'FILE'",
        "COPY (SELECT 1) TO PROGRAM 'touch FILE'",
        "SELECT load_extension('FILE')",
        "BEGIN",
        "EXPLAIN SELECT 1",
        "/* */ EXPLAIN QUERY PLAN SELECT 1",
        "SET statement_timeout = 0",
        "",
        ";",
        "SELECT \0",
        "SELECT * FROM nowhere",
        "); DELETE FROM searches; --",
    ],
)
def test_a_statement_that_would_change_anything_is_refused(store, tmp_path, statement):
    search_id = make_search()
    path = tmp_path / "made"
    with pytest.raises(UserError):
        answer(statement.replace("FILE", str(path)))
    assert not path.exists()
    assert answer("SELECT id, name FROM searches") == [{"id": search_id, "name": "s"}]


ENDLESS = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
    SELECT {} FROM n
"""


@pytest.mark.parametrize("what", ["count(*)", "i"])
def test_a_statement_without_an_end_is_ended(store, what):
    with pytest.raises(UserError, match="--timeout"):
        collections.deque(answer(ENDLESS.format(what), seconds=0.3), maxlen=1)


def test_both_databases_answer_in_the_same_words(store):
    make_search(name="it's <b>")
    [row] = answer("SELECT * FROM searches")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row["created_at"])
    assert json.loads(row["config"])["seed"] == 0
    assert (row["name"], row["state"], row["ended_at"]) == ("it's <b>", "running", None)
    assert answer("SELECT 1 AS a, 0.5 AS b, 'x' AS c, NULL AS d, count(*) AS e, sum(1) AS f") == [
        {"a": 1, "b": 0.5, "c": "x", "d": None, "e": 1, "f": 1}
    ]


def test_postgresql_looks_at_a_row_before_it_sends_it(store, monkeypatch):
    if store != "postgresql":
        pytest.skip("SQLite sends nothing")
    monkeypatch.setattr(sql, "size", lambda value: 0)  # what is looked at on arrival
    with pytest.raises(UserError, match="a row has more than 8,388,608 bytes; ask for less"):
        answer("SELECT repeat('x', 40000000) AS a")
    assert len(answer("SELECT repeat('x', 8000000) AS a")[0]["a"]) == 8_000_000


def test_rows_that_are_not_asked_for_in_time_end_the_answer(store, monkeypatch):
    three = "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"
    with ask(three, seconds=60.0) as found:
        next(found.rows)
        next(found.rows)
        monkeypatch.setattr(time, "monotonic", lambda: math.inf)  # the reader takes its time
        with pytest.raises(UserError, match=r"too long, after 2 rows; --timeout"):
            next(found.rows)
