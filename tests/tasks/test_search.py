"""The whole way of a search, task by task, in one process."""

import itertools

import pytest
from sqlalchemy import func, select, update

from db.lifecycle import searches
from db.reads import soundness
from db.schema.clock import clock
from db.schema.enums import ChildState, Outcome, SearchState
from db.schema.models import Attempt, Child, Epoch, Genotype, PolicyVersion, Run
from db.schema.session import transaction
from pipeline.errors import ChildError, Failure
from tasks import probes, reconcile, sample, train
from tasks.app import ring
from tasks.messages import Task
from tests.factories import (
    claim,
    make_search,
    make_slot,
    make_version,
    rows,
    search_digest,
    search_progress,
)

TINY = {
    "space": {"blocks": 1},
    "controller": {"name": "ppo", "batch": 3, "units": 8},
    "network": {"num_cells": 1, "num_filters": 2},
    "training": {"epochs": 1, "batch_size": 650, "device": "cpu"},
    "budget": {"children": 7},
}


@pytest.fixture(autouse=True)
def sound(store):
    """After each of these tests nothing stands in the store that cannot be."""
    yield
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []


LAYERS = {
    **TINY,
    "space": {
        "name": "nas",
        "heights": [1, 3],
        "widths": [1, 3],
        "filters": [2, 4],
        "layers": 1,
        "grow": 1,
        "grow_every": 3,
        "most_layers": 2,
    },
    "controller": {"name": "reinforce", "batch": 3, "units": 8},
    "network": {},
    "control": 0.2,
    "budget": {"children": 16},
}


@pytest.mark.parametrize("mode", ["synchronous", "rolling"])
def test_networks_of_a_search_by_layers_grow_with_what_it_has_learned(worker, post, mode):
    search_id = make_search(mode=mode, **LAYERS)
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED
    found = rows(
        select(Child.version, Child.arm, Child.actions, Child.accuracy, Genotype.body).join(
            Genotype, Genotype.id == Child.genotype_id
        )
    )
    arms = {(child.version > 0, child.arm.value) for child in found}
    assert {(False, "policy"), (True, "policy")} <= arms
    for child in found:
        assert len(child.body["layers"]) == min(1 + child.version, 2)
        assert len(child.actions) == (3 if child.version == 0 else 7)
        assert child.accuracy > 0


@pytest.mark.parametrize("mode", ["synchronous", "rolling"])
def test_a_search_runs_to_its_end_with_every_message_delivered_twice(worker, post, mode):
    search_id = make_search(mode=mode, **TINY)
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED
    children = rows(select(Child).where(Child.search_id == search_id))
    assert len(children) == 7
    assert all(c.state is ChildState.REWARDED and c.reward > 0 for c in children)
    versions = rows(select(PolicyVersion).order_by(PolicyVersion.version))
    assert [v.version for v in versions] == [0, 1, 2, 3]
    assert [v.learned for v in versions] == [0, 3, 3, 1]
    assert all(c.learned_by is not None for c in children)
    runs = rows(select(Run))
    assert all(run.attempt == 1 for run in runs)
    assert rows(select(func.count()).select_from(Epoch)) == [(len(runs),)]


def test_what_is_due_is_rung_for_once_while_many_children_end(store, post):
    search_id = make_search(**TINY)
    for _ in range(3):
        ring(search_id, again=False)
    assert post.sent == [(Task.SAMPLE, (search_id,))]
    ring(search_id)  # as reconcile does: the message may have been lost
    assert len(post.sent) == 2
    make_version(search_id)  # something else is due now
    ring(search_id, again=False)
    assert len(post.sent) == 3


def test_the_same_search_twice_is_the_same(worker, post):
    digests = []
    for name in ("a", "b"):
        search_id = make_search(name, mode="synchronous", **(TINY | {"budget": {"children": 4}}))
        ring(search_id)
        post.drain()
        digests.append(search_digest(search_id))
    assert digests[0] == digests[1]


def test_another_seed_is_another_search(worker, post, quick):
    digests = []
    for seed in (0, 1):
        search_id = make_search(str(seed), mode="synchronous", seed=seed, **TINY)
        ring(search_id)
        post.drain()
        digests.append(search_digest(search_id))
    assert digests[0] != digests[1]


def test_a_worker_killed_in_its_training_changes_nothing(worker, post, monkeypatch):
    """The process dies: no end is written, no message sent; its slot starts again."""
    undisturbed = make_search("undisturbed", mode="synchronous", **TINY)
    ring(undisturbed)
    post.drain()

    perform, kills = train.perform, iter([True, False, True, True, False, False, True])

    class KilledError(BaseException):
        """As SIGKILL: nothing of ours catches it."""

    def killed(*arguments):
        if next(kills, False):
            raise KilledError
        return perform(*arguments)

    monkeypatch.setattr(train, "perform", killed)
    disturbed = make_search("disturbed", mode="synchronous", **TINY)
    ring(disturbed)
    for _ in range(100):
        try:
            post.drain()
        except KilledError:
            worker.register()  # as the next process of the slot does
            continue
        break
    assert search_progress(disturbed).state is SearchState.FINISHED
    assert search_digest(disturbed) == search_digest(undisturbed)
    assert len(rows(select(Attempt).where(Attempt.outcome == Outcome.LOST))) == 4


def test_a_run_whose_worker_says_nothing_any_more_is_another_s_once_its_lease_ends(worker, post):
    search_id = make_search(**TINY)
    sample.sample(search_id)
    post.sent.clear()
    [run, *_] = rows(select(Run).where(Run.state == "queued"))
    gone = make_slot("cpu-9")
    claim(run.id, gone)
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == run.id).values(lease_until=clock(-0.1)))
    assert reconcile.take_turn("me")
    post.drain()
    attempts = rows(select(Attempt.outcome).where(Attempt.run_id == run.id).order_by(Attempt.id))
    assert attempts == [("lost",), ("done",)]


def test_lost_messages_are_found_by_reconcile(worker, post):
    search_id = make_search(mode="synchronous", **TINY)
    for _ in range(200):
        post.sent.clear()  # the broker was flushed
        with transaction() as connection:
            connection.execute(update(Run).values(state_since=clock(-31)))
        reconcile.take_turn("me")
        while post.sent:  # each message's consequences are lost
            (name, (subject,)) = post.sent.pop(0)
            sent, post.sent = post.sent, []
            train.app.tasks[name](subject)
            post.sent = sent
        if search_progress(search_id).state is SearchState.FINISHED:
            break
    assert search_progress(search_id).state is SearchState.FINISHED
    assert all(run.attempt == 1 for run in rows(select(Run)))


def test_a_child_that_diverges_earns_the_penalty_and_the_policy_learns_from_it(
    worker, post, monkeypatch
):
    def diverge(*_):
        raise ChildError(Failure.DIVERGED, "loss is nan")

    monkeypatch.setattr(train, "perform", diverge)
    search_id = make_search(mode="synchronous", **TINY)
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED
    for child in rows(select(Child)):
        assert (child.reward, child.failure) == (0.0, Failure.DIVERGED)


def test_a_search_whose_children_all_break_pauses_and_says_so(worker, post, monkeypatch):
    """A fault in the code is no answer: five versions without a reward are enough."""

    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(train, "perform", broken)
    monkeypatch.setattr(probes, "probe_slot", lambda _config: None)
    search_id = make_search(mode="synchronous", **(TINY | {"budget": {"children": 100}}))
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.PAUSED
    with transaction(read_only=True) as connection:
        assert "no child of the last 5" in searches.by_id(connection, search_id).reason
    attempt = rows(select(Attempt))[0]
    assert attempt.failure is Failure.ERROR
    assert "ZeroDivisionError" in attempt.traceback
    assert rows(select(func.count()).select_from(Child)) == [(15,)]


def test_a_bug_in_one_operation_burns_no_whole_budget(worker, post, monkeypatch):
    """Half of the children earn a reward; the search pauses all the same, and says of what."""
    real, number = train.perform, itertools.count()

    def half_broken(*arguments):
        if next(number) % 2:
            raise ZeroDivisionError("a bug in one operation")
        return real(*arguments)

    monkeypatch.setattr(train, "perform", half_broken)
    monkeypatch.setattr(probes, "probe_slot", lambda _config: None)
    rules = {"failures": 0.4, "failures_of": 6}
    search_id = make_search(**(TINY | {"budget": {"children": 100}, "stop": rules}))
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.PAUSED
    with transaction(read_only=True) as connection:
        reason = searches.by_id(connection, search_id).reason
    assert reason.startswith("3 of the last 6 children failed (3 error)")
    assert len(rows(select(Child.id))) < 20


def test_a_stopped_search_learns_what_it_has_and_is_finished(worker, post):
    search_id = make_search(mode="rolling", **TINY)
    ring(search_id)
    for _ in range(5):
        name, (subject,) = post.sent.pop(0)
        train.app.tasks[name](subject)
    with transaction() as connection:
        searches.stop(connection, search_id, "by hand")
    post.drain()
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED
    assert search_progress(search_id).unlearned == 0
    assert rows(select(Run).where(Run.state == "pending")) == []


def test_an_extended_search_goes_on(worker, post):
    search_id = make_search(mode="rolling", **TINY)
    ring(search_id)
    post.drain()
    with transaction() as connection:
        config = searches.by_id(connection, search_id).config
        searches.reconfigure(connection, search_id, config | {"budget": {"children": 10}})
        searches.resume(connection, search_id)
    ring(search_id)
    post.drain()
    assert search_progress(search_id).completed == 10
    assert search_progress(search_id).state is SearchState.FINISHED


@pytest.mark.parametrize("mode", ["synchronous", "rolling"])
def test_a_search_that_reached_its_target_ends_with_what_has_begun(worker, post, mode):
    search_id = make_search(
        mode=mode, **(TINY | {"budget": {"children": 50, "target_reward": 0.05}})
    )
    ring(search_id)
    post.drain()
    now = search_progress(search_id)
    assert now.state is SearchState.FINISHED
    assert 0 < now.completed < 50
    assert now.unlearned == now.open == 0
    with transaction(read_only=True) as connection:
        assert "budget.target_reward" in searches.by_id(connection, search_id).reason
