"""Searches of each controller over the store, task by task: the laws hold whatever samples."""

import itertools

import pytest
from sqlalchemy import select

from db.lifecycle import children, versions
from db.reads import digests, soundness
from db.reads.progress import progress
from db.schema.enums import SearchState
from db.schema.models import Child
from db.schema.session import transaction
from tasks import policies
from tasks.app import ring
from tests.factories import make_search

CONTROLLERS = {
    "ppo, small budget": {"name": "ppo", "preset": "small-budget", "units": 8},
    "reinforce": {"name": "reinforce", "units": 8},
    "evolution": {"name": "evolution", "population": 5, "tournament": 2},
    "evolution, small budget": {
        "name": "evolution",
        "preset": "small-budget",
        "population": 5,
        "tournament": 5,
    },
    "predictor": {"name": "predictor", "start": 5, "pool": 60},
}
NO_REPEATS = ["ppo, small budget", "evolution, small budget", "predictor"]


class KilledError(BaseException):
    """As SIGKILL: nothing of ours catches it."""


SPACES = {
    "cells": {"blocks": 1},
    # grows by a layer with each batch
    "layers": {
        "name": "nas",
        "heights": [1, 3],
        "layers": 2,
        "grow": 1,
        "grow_every": 4,
        "most_layers": 4,
    },
}


@pytest.fixture(params=[*CONTROLLERS, "reinforce, layers", "predictor, layers"])
def tables(request):
    name = request.param.removesuffix(", layers")
    controller = {**CONTROLLERS[name], "batch": 4}
    space = SPACES["layers" if request.param.endswith("layers") else "cells"]
    return {"space": space, "controller": controller, "budget": {"children": 12}}


@pytest.fixture(autouse=True)
def sound(store):
    """After each of these tests nothing stands in the store that cannot be."""
    yield
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []


@pytest.fixture
def killed(monkeypatch):
    """As a function: from now on the process dies at every second write of a sample or update."""

    def start():
        for module, name in ((children, "propose"), (versions, "append")):
            write, numbers = getattr(module, name), itertools.count()

            def dying(*arguments, write=write, numbers=numbers, **keywords):
                write(*arguments, **keywords)
                if next(numbers) % 2 == 0:
                    raise KilledError

            monkeypatch.setattr(module, name, dying)

    return start


def run(search_id, post):
    """To its end, whoever dies in between; a message that died with a process is rung again."""
    ring(search_id)
    for _ in range(100):
        try:
            post.drain()
            break
        except KilledError:
            policies._kept.clear()  # the next process reads the controller from the store
            ring(search_id)
    with transaction(read_only=True) as connection:
        assert progress(connection, search_id).state is SearchState.FINISHED
        return digests.search_digest(connection, search_id)


def proposals(search_id):
    found = select(Child.genotype_id, Child.learned_by).where(Child.search_id == search_id)
    with transaction(read_only=True) as connection:
        return connection.execute(found.order_by(Child.id)).all()


def test_a_synchronous_search_is_the_same_whoever_was_killed(worker, post, quick, killed, tables):
    undisturbed = run(make_search("undisturbed", mode="synchronous", **tables), post)
    killed()
    assert run(make_search("disturbed", mode="synchronous", **tables), post) == undisturbed


def test_a_rolling_search_loses_no_reward_whoever_was_killed(worker, post, quick, killed, tables):
    killed()
    search_id = make_search(mode="rolling", **tables)
    run(search_id, post)
    found = proposals(search_id)
    assert len(found) == 12
    assert all(row.learned_by is not None for row in found)


@pytest.mark.parametrize("mode", ["synchronous", "rolling"])
@pytest.mark.parametrize("tables", NO_REPEATS, indirect=True)
def test_who_refuses_repeats_has_every_child_trained(worker, post, quick, tables, mode):
    search_id = make_search(mode=mode, **tables)
    run(search_id, post)
    assert len({row.genotype_id for row in proposals(search_id)}) == 12
