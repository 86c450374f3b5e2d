"""Stores of every schema there was are upgraded; old and new workers may overlap.

``tests/schemas/REVISION.db.gz`` is a store in which that revision's own code ran a search of
four children. A new migration adds the file of the revision before it.
"""

import ast
import gzip
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text

from db.lifecycle import deletion, searches
from db.reads import digests, ranking, soundness
from db.schema import migrations
from db.schema.models import Child, Epoch, Search
from db.schema.session import get_engine, transaction
from pipeline.actions.search_files import Form
from pipeline.cli.search_files import export, import_
from pipeline.config.search import load_config
from pipeline.errors import UserError
from tasks.app import ring
from tests.factories import CHILDREN, make_search

SCHEMAS = Path(__file__).parents[2] / "schemas"
VERSIONS = Path(__file__).parents[3] / "alembic" / "versions"
REVISIONS = sorted(path.name[:4] for path in VERSIONS.glob("0*.py"))
OLD = REVISIONS[:-1]


def columns():
    """Every table's columns and indexes."""
    found = inspect(get_engine())
    return {
        name: (
            sorted(column["name"] for column in found.get_columns(name)),
            sorted(index["name"] for index in found.get_indexes(name)),
        )
        for name in found.get_table_names()
    }


@pytest.fixture(params=OLD)
def old_store(request, home):
    packed = (SCHEMAS / f"{request.param}.db.gz").read_bytes()
    (home / "nasnet.db").write_bytes(gzip.decompress(packed))
    return request.param


def test_there_is_a_store_of_every_schema_but_the_newest():
    assert sorted(path.name[:4] for path in SCHEMAS.iterdir()) == OLD


def test_an_old_store_is_refused_until_it_is_upgraded_and_then_equals_a_new_one(
    old_store, sqlite_template, tmp_path
):
    with pytest.raises(UserError, match="older than this release's: run `nasnet db upgrade`"):
        migrations.require()
    assert migrations.upgrade()
    assert not migrations.upgrade()
    migrations.require()
    upgraded = columns()
    get_engine().dispose()
    Path(get_engine().url.database).write_bytes(sqlite_template.read_bytes())
    assert upgraded == columns()


def test_a_search_of_an_old_release_is_read_and_goes_on(old_store, post, start_worker):
    migrations.upgrade()
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []
        [best] = ranking.best(connection, 1, limit=1)
        assert best.reward > 0.1
        assert connection.execute(select(Epoch)).all()
        config = load_config(searches.get(connection, "tiny").config)
    raised = config.model_copy(update={"budget": config.budget.model_copy(update={"children": 6})})
    with transaction() as connection:
        searches.reconfigure(connection, 1, raised.model_dump(mode="json"))
        searches.resume(connection, 1)
    start_worker()
    ring(1)
    post.drain()
    with transaction(read_only=True) as connection:
        assert connection.scalar(select(Search.state)) == "finished"
        assert len(connection.execute(select(Child).where(Child.reward.is_not(None))).all()) == 6
        assert soundness.impossible(connection) == []


def test_a_search_of_an_old_release_travels(old_store, tmp_path):
    """What a line of a file may say is what every release has written."""
    migrations.upgrade()
    export("tiny", Form.JSONL, tmp_path / "tiny.jsonl")
    with transaction() as connection:
        search = searches.get(connection, "tiny")
        searches.pause(connection, search.id, "asked")
        digest = digests.search_digest(connection, search.id)
        deletion.delete_search(connection, searches.get(connection, "tiny"))
    import_(tmp_path / "tiny.jsonl")
    with transaction(read_only=True) as connection:
        found = searches.get(connection, "tiny")
        assert digests.search_digest(connection, found.id) == digest


@pytest.mark.parametrize("revision", REVISIONS)
def test_migrations_only_add(revision):
    """So that a worker of an older release goes on beside newer ones; indexes it does not name."""
    [path] = VERSIONS.glob(f"{revision}_*.py")
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    called.discard("drop_index")
    assert not {name for name in called if name.startswith(("drop_", "alter_", "rename_"))}


def test_a_worker_works_on_beside_a_newer_release_s_columns_and_tables(worker, post):
    with transaction() as connection:
        for statement in (
            "ALTER TABLE children ADD COLUMN colour VARCHAR",
            "ALTER TABLE runs ADD COLUMN colour VARCHAR",
            "CREATE TABLE colours (id INTEGER PRIMARY KEY)",
            f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'",
        ):
            connection.execute(text(statement))
    migrations.require()
    search_id = make_search(**CHILDREN)
    ring(search_id)
    post.drain()
    with transaction(read_only=True) as connection:
        assert connection.scalar(select(Search.state)) == "finished"


def test_a_worker_does_not_start_on_an_older_schema(store):
    with transaction() as connection:
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0001'"))
    with pytest.raises(UserError, match="nasnet db upgrade"):
        migrations.require()
