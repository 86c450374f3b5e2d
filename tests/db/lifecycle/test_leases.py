import threading

import pytest
from sqlalchemy import select, text, update

from db.lifecycle import attempts, checkpoints, leases, queue, searches, slots
from db.schema.clock import clock
from db.schema.enums import ChildState, Outcome, RunState, SearchState
from db.schema.models import Attempt, Run, Tick
from db.schema.session import get_engine, transaction
from pipeline.errors import Failure, LeaseLostError
from tests.factories import (
    child,
    claim,
    finish,
    make_children,
    make_slot,
    queue_run,
    run_of,
)

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def slot():
    return make_slot()


@pytest.fixture
def run(slot):
    _, [child_id] = make_children()
    run_id = run_of(child_id).id
    queue_run(run_id)
    return run_id


def end_lease(run_id):
    """As if the worker had been silent for longer than its lease."""
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == run_id).values(lease_until=Run.created_at))


def expire():
    with transaction() as connection:
        return attempts.expire(connection)


def state(run_id):
    with transaction(read_only=True) as connection:
        return connection.execute(select(Run).where(Run.id == run_id)).one()


def attempts_of(run_id):
    with transaction(read_only=True) as connection:
        return connection.execute(
            select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number)
        ).all()


def test_a_queued_run_is_claimed_once(run, slot):
    assert claim(run, slot).attempt == 1
    assert claim(run, slot) is None
    assert state(run).state is RunState.RUNNING


def test_a_run_that_is_not_queued_cannot_be_claimed(slot):
    _, [child_id] = make_children()
    assert claim(run_of(child_id).id, slot) is None


@pytest.mark.parametrize("devices", [{"device": "cuda"}, {"devices": 2}, {"device": None}])
def test_a_run_is_claimed_only_for_the_devices_that_it_was_queued_for(run, slot, devices):
    assert claim(run, make_slot("other", **devices)) is None
    assert claim(run, slot).attempt == 1


def test_two_claims_at_once_give_one_holder(run, slot):
    """One connection a process: the second thread's engine is its own."""
    from db.schema.session import get_engine

    barrier, won = threading.Barrier(2), []

    def take():
        engine = get_engine.__wrapped__()
        with engine.connect() as connection:
            barrier.wait()
            with connection.begin():
                got = leases.claim(
                    connection, run, slot_id=slot, lease=9, device="cpu", versions={}
                )
            won.append(got)
        engine.dispose()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got is not None for got in won) == [False, True]


def test_a_worker_that_lost_its_lease_cannot_write(run, slot):
    first = claim(run, slot)
    end_lease(run)
    assert list(expire()) == [run]
    queue_run(run)
    second = claim(run, slot)
    with pytest.raises(LeaseLostError):
        finish(run, first.attempt, 0.9)
    finish(run, second.attempt, 0.8)
    assert state(run).accuracy == 0.8
    assert [row.outcome for row in attempts_of(run)] == [Outcome.LOST, Outcome.DONE]


def test_a_finish_rewards_the_child(run, slot):
    held = claim(run, slot)
    finish(run, held.attempt, 0.75, parameters=10, macs=20)
    ended = child(held.child_id)
    assert (ended.state, ended.reward, ended.accuracy) == (ChildState.REWARDED, 0.75, 0.75)
    assert (ended.parameters, ended.macs) == (10, 20)
    assert state(run).slot_id is None


def test_a_second_finish_changes_nothing(run, slot):
    held = claim(run, slot)
    finish(run, held.attempt, 0.75)
    with pytest.raises(LeaseLostError):
        finish(run, held.attempt, 0.1)
    assert child(held.child_id).reward == 0.75


def test_a_lost_lease_is_tried_again_five_times_in_a_row(run, slot):
    for number in range(1, 6):
        assert claim(run, slot).attempt == number
        end_lease(run)
        expire()
        if number < 5:
            assert state(run).state is RunState.PENDING
            queue_run(run)
    failed = state(run)
    assert (failed.state, failed.failure) == (RunState.FAILED, Failure.LOST)
    ended = child(failed.child_id)
    assert (ended.state, ended.reward) == (ChildState.SKIPPED, None)


def test_a_newer_checkpoint_begins_the_count_anew(run, slot):
    for number in range(1, 8):
        held = claim(run, slot)
        file = checkpoints.WrittenFile(f"/{number}", sha256="x", size=1)
        with transaction() as connection:
            checkpoints.add(connection, run, held.attempt, file, epoch=number, step=0, lease=90)
        end_lease(run)
        expire()
        queue_run(run)
    assert state(run).tries == 1


def test_a_lease_given_back_is_not_counted(run, slot):
    for _ in range(7):
        held = claim(run, slot)
        with transaction() as connection:
            attempts.release(connection, run, held.attempt, message="SIGTERM")
        assert (state(run).state, state(run).tries) == (RunState.PENDING, 0)
        queue_run(run)


def test_a_child_that_diverged_is_penalised_and_not_tried_again(run, slot):
    held = claim(run, slot)
    with transaction() as connection:
        over = attempts.fail(connection, run, held.attempt, Failure.DIVERGED, message="nan")
    assert over
    ended = child(held.child_id)
    assert (ended.reward, ended.failure) == (0.0, Failure.DIVERGED)
    assert attempts_of(run)[0].message == "nan"


def fail_once(run_id, slot, failure):
    if state(run_id).state is RunState.PENDING:
        queue_run(run_id)
    held = claim(run_id, slot)
    with transaction() as connection:
        return attempts.fail(connection, run_id, held.attempt, failure, message="why")


def test_a_search_says_what_becomes_of_a_failure(slot):
    rules = {"diverged": {"then": "skip"}, "error": {"tries": 2, "then": "penalise"}}
    _, (one, two, three) = make_children(seeds=(0, 1, 2), failures=rules, reward={"failed": 0.25})
    assert fail_once(run_of(one).id, slot, Failure.DIVERGED)
    assert (child(one).state, child(one).reward) == (ChildState.SKIPPED, None)
    assert not fail_once(run_of(two).id, slot, Failure.ERROR)
    assert fail_once(run_of(two).id, slot, Failure.ERROR)
    assert (child(two).state, child(two).reward) == (ChildState.REWARDED, 0.25)
    # a rule that is not written is law 7's
    assert not fail_once(run_of(three).id, slot, Failure.OOM)
    assert fail_once(run_of(three).id, slot, Failure.OOM)
    assert child(three).reward == 0.25


def test_the_rules_hold_where_a_lease_ends(slot):
    rules = {"lost": {"tries": 1, "then": "penalise"}}
    _, [child_id] = make_children(failures=rules)
    run_id = run_of(child_id).id
    queue_run(run_id)
    claim(run_id, slot)
    end_lease(run_id)
    with transaction() as connection:
        attempts.expire(connection)
    assert (child(child_id).reward, child(child_id).failure) == (0.0, Failure.LOST)


def test_a_slot_that_starts_again_closes_what_its_last_process_held(run, slot):
    claim(run, slot)
    with transaction() as connection:
        assert attempts.close_slot(connection, slot) == {run: 1}
    assert state(run).state is RunState.PENDING


def test_renewing_tells_a_paused_search(run, slot):
    held = claim(run, slot)
    with transaction() as connection:
        assert leases.renew(connection, run, held.attempt, lease=9) is SearchState.RUNNING
        searches.pause(connection, held.search_id, "by hand")
        assert leases.renew(connection, run, held.attempt, lease=9) is SearchState.PAUSED
    end_lease(run)
    expire()
    with pytest.raises(LeaseLostError), transaction() as connection:
        leases.renew(connection, run, held.attempt, lease=9)


def test_only_so_many_runs_are_queued_as_slots_are_idle(slot):
    make_slot("cpu-1")
    make_children(seeds=range(5))
    with transaction() as connection:
        assert len(queue.queue_for_idle(connection)) == 2
    with transaction() as connection:
        assert queue.queue_for_idle(connection) == []


def test_a_busy_or_silent_slot_is_not_idle(run, slot):
    claim(run, slot)
    make_children(seeds=[7])
    with transaction() as connection:
        assert queue.queue_for_idle(connection) == []


# With these off, PostgreSQL does to six runs what it does unasked to a table it takes for small.
WAYS = ("hashjoin", "mergejoin", "material", "hashagg", "sort")


def test_only_so_many_runs_are_queued_however_postgresql_joins_them(store):
    """A subquery that locks rows gives others each time it is run, in a loop over all runs."""
    make_children(seeds=range(6))
    with get_engine().connect() as connection:  # and nothing of it stays
        if store == "postgresql":
            few = "UPDATE pg_class SET reltuples = 1, relpages = 1 WHERE relname = 'runs'"
            connection.execute(text(few))
            for way in WAYS:
                connection.execute(text(f"SET LOCAL enable_{way} = off"))
        assert len(queue.queue_next(connection, "cpu", 1, 2)) == 2


def test_runs_of_a_paused_search_are_not_queued(slot):
    search_id, _ = make_children(seeds=range(3))
    with transaction() as connection:
        searches.pause(connection, search_id, "by hand")
        assert queue.queue_for_idle(connection) == []
    with transaction() as connection:
        searches.resume(connection, search_id)
        assert len(queue.queue_for_idle(connection)) == 1


def test_a_queued_run_whose_message_was_lost_is_pending_again(run):
    with transaction() as connection:
        assert queue.unqueue_lost(connection) == []
        connection.execute(update(Run).values(state_since=clock(-31)))
        assert queue.unqueue_lost(connection) == [run]
    assert state(run).state is RunState.PENDING


def test_a_worker_that_was_killed_makes_no_hang_a_second_one(run, slot):
    ended = []
    for failure in (Failure.LOST, Failure.TIMEOUT, Failure.LOST, Failure.OOM, Failure.TIMEOUT):
        queue_run(run)
        held = claim(run, slot)
        with transaction() as connection:
            ended.append(attempts.fail(connection, run, held.attempt, failure, message="m"))
    assert ended == [False, False, False, False, True]
    assert state(run).failure is Failure.TIMEOUT


TOMORROW = 86_400.0


def test_a_lease_of_before_the_clock_was_set_back_ends(run, slot):
    claim(run, slot)
    with transaction() as connection:
        connection.execute(update(Run).values(lease_until=clock(TOMORROW)))
    assert expire() == {run: 1}


def test_a_message_that_was_lost_before_the_clock_was_set_back_is_found(run):
    with transaction() as connection:
        connection.execute(update(Run).values(state_since=clock(TOMORROW)))
        assert queue.unqueue_lost(connection) == [run]


def test_a_turn_of_before_the_clock_was_set_back_is_over():
    with transaction() as connection:
        assert slots.take_turn(connection, "reconcile", "one", 15.0) is not None
        assert slots.take_turn(connection, "reconcile", "another", 15.0) is None
        connection.execute(update(Tick).values(until=clock(TOMORROW)))
        assert slots.take_turn(connection, "reconcile", "another", 15.0) is not None
