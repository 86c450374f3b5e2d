"""What ends a search before its last child."""

import datetime as dt

import pytest
from sqlalchemy import select, update

from db.lifecycle import attempts, budgets, children, searches
from db.schema.models import Attempt, Run, Search
from db.schema.session import transaction
from tests.factories import claim, make_search, make_slot, make_version, propose, queue_run, run_of

pytestmark = pytest.mark.usefixtures("store")


def spent(search_id):
    with transaction(read_only=True) as connection:
        return budgets.spent(connection, searches.by_id(connection, search_id))


def settle(child_ids, rewards):
    with transaction() as connection:
        for child_id, reward in zip(child_ids, rewards, strict=True):
            children.settle(connection, child_id, children.Evaluation(reward=reward))


def make(**budget):
    search_id = make_search(budget={"children": 100, **budget})
    make_version(search_id)
    return search_id


def test_a_search_without_other_budgets_has_its_children_alone():
    search_id = make()
    settle(propose(search_id, range(3)), [1.0, 0.1, 0.1])
    assert spent(search_id) is None


def test_a_target_is_reached_by_the_best_child():
    search_id = make(target_reward=0.9)
    ids = propose(search_id, range(3))
    assert spent(search_id) is None
    settle(ids[:2], [0.5, 0.899])
    assert spent(search_id) is None
    settle(ids[2:], [0.9])
    assert spent(search_id) == "a reward of 0.9000 was reached (budget.target_reward = 0.9)"


def test_a_plateau_is_counted_from_the_first_best_child_in_their_order():
    search_id = make(plateau=3)
    ids = propose(search_id, range(6))
    settle(ids[:2], [0.1, 0.7])
    settle(ids[3:4], [0.6])
    assert spent(search_id) is None
    settle(ids[4:5], [0.7])  # no better than the best
    assert spent(search_id) is None
    settle(ids[2:3], [0.2])
    assert spent(search_id).startswith("3 children in a row were no better")
    settle(ids[5:], [0.8])
    assert spent(search_id) is None


def test_hours_count_from_the_creation():
    search_id = make(hours=2.0)
    assert spent(search_id) is None
    with transaction() as connection:
        created = connection.scalar(select(Search.created_at).where(Search.id == search_id))
        connection.execute(update(Search).values(created_at=created - dt.timedelta(hours=2.5)))
    assert spent(search_id).startswith("the search was created 2.50 hours ago")


def test_device_hours_are_those_of_all_attempts_times_their_devices():
    search_id = make(device_hours=3.0)
    slot = make_slot()
    run_ids = [run_of(child_id).id for child_id in propose(search_id, range(2))]
    for run_id in run_ids:
        queue_run(run_id)
        claim(run_id, slot)
    with transaction() as connection:
        attempts.release(connection, run_ids[0], 1, message="given back")
        started = connection.scalars(select(Attempt.started_at).order_by(Attempt.id)).all()
        for attempt, (run_id, at) in enumerate(zip(run_ids, started, strict=True), start=1):
            # the first held its device for an hour; the second holds two for an hour so far
            ended = at if attempt == 1 else None
            connection.execute(
                update(Attempt)
                .where(Attempt.run_id == run_id)
                .values(started_at=at - dt.timedelta(hours=1), ended_at=ended)
            )
        connection.execute(update(Run).where(Run.id == run_ids[1]).values(devices=2))
        assert budgets.device_hours(connection, search_id) == pytest.approx(3.0, abs=0.01)
        connection.execute(update(Run).values(devices=2))
    assert spent(search_id).startswith("devices were held for 4.0")
