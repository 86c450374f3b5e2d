import pytest

from db import attempts, children, searches
from db.enums import SearchState
from db.progress import Progress, progress
from db.session import transaction
from pipeline.errors import Failure
from tests.factories import (
    claim,
    finish,
    make_children,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    run_of,
)


def now(**changes):
    base = dict(
        search_id=1, state=SearchState.RUNNING, synchronous=False, batch=10, budget=40, version=1,
        learned=10, unlearned=0, open=0, stored=0, unstarted=0, slots=2,
    )  # fmt: skip
    return Progress(**(base | changes))


def test_rolling_samples_half_a_batch_ahead_or_a_child_for_each_slot():
    assert now().children_due == 10
    assert now(stored=3, open=3, unstarted=1).children_due == 7
    assert now(stored=7, open=7, unstarted=4).children_due == 3
    assert now(stored=7, open=7, unstarted=5).children_due == 0
    assert now(stored=20, open=20, unstarted=15, slots=16).children_due == 10
    assert now(stored=20, open=20, unstarted=16, slots=16).children_due == 0


def test_rolling_lets_no_slot_wait_while_it_learns():
    due = now(unlearned=10, stored=10)
    assert due.update_is_due
    assert due.children_due == 10
    assert now(unlearned=10, stored=20, open=7, unstarted=5).children_due == 0


def test_rolling_learns_before_it_samples_once_it_lags_a_batch_behind():
    assert now(unlearned=19, stored=20).children_due == 10
    assert now(unlearned=20, stored=20).children_due == 0


def test_rolling_learns_the_rest_once_the_budget_is_met():
    assert not now(learned=30, unlearned=7, open=3).update_is_due
    assert now(learned=30, unlearned=10, open=0).update_is_due
    assert now(learned=36, unlearned=4, open=0).update_is_due


def test_no_more_children_are_proposed_than_the_budget_lacks():
    assert now(learned=30, unlearned=4, open=3).children_due == 3
    assert now(learned=30, unlearned=4, open=6).children_due == 0


def test_a_skipped_child_is_replaced():
    """It carries no reward, so the budget still lacks it."""
    assert now(learned=30, unlearned=9, open=0, stored=10).children_due == 1


def test_synchronous_waits_for_every_child_of_the_version():
    assert now(synchronous=True, stored=10, open=1, unlearned=9).update_is_due is False
    assert now(synchronous=True, stored=10, open=0, unlearned=10).update_is_due
    assert now(synchronous=True, stored=10, open=0, unlearned=10).children_due == 0
    assert now(synchronous=True, stored=0).children_due == 10


def test_synchronous_learns_nothing_from_a_version_without_rewards_and_goes_on():
    assert now(synchronous=True, stored=10, open=0, unlearned=0).update_is_due


def test_a_paused_search_wants_nothing():
    paused = now(state=SearchState.PAUSED, unlearned=10)
    assert not paused.update_is_due
    assert not paused.sample_is_due
    assert not paused.is_over


def test_a_stopping_search_learns_what_is_left_and_is_over():
    assert now(state=SearchState.STOPPING, unlearned=3).update_is_due
    assert now(state=SearchState.STOPPING, open=1).is_over is False
    assert now(state=SearchState.STOPPING).is_over


def test_a_search_is_over_once_its_budget_is_learned():
    assert now(learned=40).is_over
    assert not now(learned=30, unlearned=10).is_over


def test_an_exceeded_budget_is_met():
    """The budget was lowered, or children were rewarded while it was."""
    assert now(learned=45, budget=40).is_over


@pytest.mark.usefixtures("store")
class TestCounting:
    def test_counts_follow_the_rows(self):
        search_id, (first, *_rest) = make_children(seeds=[1, 2, 3, 1])
        slot = make_slot()
        run_id = run_of(first).id
        queue_run(run_id)
        finish(run_id, claim(run_id, slot).attempt)
        with transaction(read_only=True) as connection:
            found = progress(connection, search_id)
        assert (found.unlearned, found.open, found.stored) == (2, 2, 4)
        assert (found.unstarted, found.slots, found.version) == (2, 1, 0)

    def test_learned_rewards_stay_counted(self):
        search_id, (first,) = make_children(seeds=[1])
        run_id = run_of(first).id
        queue_run(run_id)
        finish(run_id, claim(run_id, make_slot()).attempt)
        make_version(search_id, 1, consumed=[first], total_learned=1)
        with transaction(read_only=True) as connection:
            found = progress(connection, search_id)
        assert (found.completed, found.learned, found.unlearned) == (1, 1, 0)

    def test_a_reward_is_consumed_once(self):
        search_id, (first,) = make_children(seeds=[1])
        run_id = run_of(first).id
        queue_run(run_id)
        finish(run_id, claim(run_id, make_slot()).attempt)
        make_version(search_id, 1, consumed=[first], total_learned=1)
        with pytest.raises(RuntimeError, match="consumed already"):
            make_version(search_id, 2, consumed=[first], total_learned=2)
        with transaction(read_only=True) as connection:
            assert progress(connection, search_id).version == 1


def skip_all(child_ids):
    slot = make_slot()
    for child_id in child_ids:
        run_id = run_of(child_id).id
        queue_run(run_id)
        held = claim(run_id, slot)
        with transaction() as connection:
            attempts.fail(connection, run_id, held.attempt, Failure.ERROR, message="bug")


def failing(search_id):
    with transaction(read_only=True) as connection:
        return searches.failing_reason(connection, searches.by_id(connection, search_id))


def stuck(search_id):
    with transaction(read_only=True) as connection:
        return searches.stuck_reason(connection, searches.by_id(connection, search_id))


@pytest.mark.usefixtures("store")
class TestStuck:
    def test_five_batches_of_duplicates_are_too_many(self):
        search_id = make_search(controller={"batch": 2})
        make_version(search_id)
        propose(search_id, [1] * 9)
        assert stuck(search_id) is None
        propose(search_id, [1], first=9)
        assert stuck(search_id) is None  # nine of ten
        propose(search_id, [1], first=10)
        assert "duplicates" in stuck(search_id)

    def test_five_batches_without_a_reward_are_too_many(self):
        search_id = make_search(controller={"batch": 2})
        make_version(search_id)
        ids = propose(search_id, range(10))
        skip_all(ids[:9])
        assert stuck(search_id) is None
        skip_all(ids[9:])
        assert "none of the last 10 children" in stuck(search_id)

    def test_five_versions_that_learned_nothing_are_too_many(self):
        search_id = make_search(mode="synchronous", controller={"batch": 50})
        for version in range(6):
            assert stuck(search_id) is None
            make_version(search_id, version)
        assert "no child of the last 5 policy versions" in stuck(search_id)

    def test_too_many_failures_of_whatever_class_are_named(self):
        search_id = make_search(controller={"batch": 50}, stop={"failures": 0.5, "failures_of": 4})
        make_version(search_id)
        ids = propose(search_id, range(7))
        skip_all(ids[:2])
        assert failing(search_id) is None  # too few have ended
        with transaction() as connection:
            for child_id in ids[2:5]:
                children.settle(connection, child_id, children.Answer(reward=0.5))
        assert failing(search_id) is None  # two of four
        skip_all(ids[5:])
        assert failing(search_id) is None  # the last four: two failed
        propose(search_id, [50, 51], first=7)
        skip_all(propose(search_id, [52, 53], first=9))
        reason = failing(search_id)
        assert reason.startswith("4 of the last 4 children failed (4 error)")
        with transaction() as connection:
            searches.resume(connection, search_id)
        assert failing(search_id) is None

    def test_a_resume_begins_the_count_anew(self):
        search_id = make_search(controller={"batch": 2})
        make_version(search_id)
        skip_all(propose(search_id, range(10)))
        with transaction() as connection:
            searches.resume(connection, search_id)
        assert stuck(search_id) is None
