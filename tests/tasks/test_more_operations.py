"""A search that is half done goes on where there is an operation that it did not begin with."""

import pytest
from sqlalchemy import select

from db.lifecycle import searches
from db.reads import digests
from db.schema.models import PolicyVersion
from db.schema.session import transaction
from pipeline.config.search import load_config
from pipeline.spaces.cells import genotype, operations
from pipeline.spaces.cells.genotype import PAPER_OPERATIONS
from tasks import policies
from tasks.app import app, ring
from tests.factories import CHILDREN, make_search

NEW = "sep_conv_9x9"


@pytest.fixture
def register(monkeypatch):
    """Lets this process know an operation more, as a plug-in or a later release would."""

    def register():
        monkeypatch.setattr(genotype, "OPERATIONS", (*genotype.OPERATIONS, NEW))
        monkeypatch.setattr(genotype, "_KNOWN", {*genotype.OPERATIONS})
        monkeypatch.setitem(operations.CONSTRUCTORS, NEW, operations.separable(9))
        policies._kept.clear()  # as in a new process

    return register


def begin(name):
    controller = {"name": "ppo", "batch": 4, "units": 8}
    search_id = make_search(name, **CHILDREN, mode="synchronous", controller=controller)
    ring(search_id)
    return search_id


def test_a_search_half_done_ends_as_if_no_operation_had_come(worker, post, register):
    undisturbed = begin("undisturbed")
    post.drain()
    search_id = begin("half done")
    while newest(search_id) < 1:
        deliver(post)
    register()
    post.drain()
    with transaction(read_only=True) as connection:
        found = searches.get(connection, "half done")
        assert found.state == "finished"
        assert load_config(found.config).space.operations == PAPER_OPERATIONS
        expected = digests.search_digest(connection, undisturbed)
        assert digests.search_digest(connection, search_id) == expected


def newest(search_id):
    of_search = PolicyVersion.search_id == search_id
    with transaction(read_only=True) as connection:
        return max(connection.scalars(select(PolicyVersion.version).where(of_search)), default=0)


def deliver(post):
    """The oldest message, twice."""
    name, (subject_id,) = post.sent.pop(0)
    for _ in range(2):
        app.tasks[name](subject_id)
