import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest

from db.lifecycle import attempts, children, searches
from db.reads.progress import Progress, progress
from db.schema.enums import Arm, SearchState
from db.schema.session import transaction
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


def control(**changes):
    base = dict(share=Fraction(1, 4), budget=40, learned=0, control_stored=0)
    return now(**(base | changes))


def test_a_control_child_is_due_with_the_policy_s_that_make_it_due():
    fresh = control(batch=10)
    assert (fresh.policy_due, fresh.control_due) == (10, 3)
    later = control(learned=10, control_stored=3, stored=3, open=4, control_open=1)
    # 10 and 3 of the policy: with 7 more they are 20, which makes 6, of which 3 are there
    assert (later.policy_due, later.control_due) == (7, 3)


def test_control_children_count_to_the_budget_as_the_policy_s_do():
    met = control(learned=30, control_stored=12, control_skipped=2)
    assert (met.control, met.completed, met.lacking, met.is_over) == (10, 40, 0, True)
    one_runs = control(learned=30, control_stored=10, control_open=1, open=1)
    assert (one_runs.completed, one_runs.lacking, one_runs.is_over) == (39, 0, False)


def test_a_skipped_control_child_is_replaced_though_the_policy_has_all_of_its():
    lacks = control(learned=30, control_stored=10, control_skipped=1)
    assert (lacks.policy_due, lacks.control_due, lacks.is_over) == (0, 1, False)
    assert lacks.sample_is_due
    synchronous = control(synchronous=True, learned=30, control_stored=10, control_skipped=1)
    assert (synchronous.control_due, synchronous.update_is_due) == (1, False)


def test_synchronous_waits_for_the_control_arm_too():
    waits = control(synchronous=True, stored=10, unlearned=10, open=1, control_open=1)
    assert not waits.update_is_due
    # a version of the control arm alone: what is skipped is replaced once all have ended
    alone = dict(synchronous=True, learned=30, control_stored=10, control_skipped=1)
    assert control(**alone, open=1, control_open=1).control_due == 0


def test_a_lowered_budget_is_not_exceeded_by_either_arm():
    # 12 of the policy and 8 of the control arm are 20; half of 20 would be 10 of each
    met = control(share=Fraction(1, 2), budget=20, learned=12, control_stored=8)
    assert (met.policy_due, met.control_due, met.is_over) == (0, 0, True)
    one = control(share=Fraction(1, 2), budget=21, learned=12, control_stored=8)
    assert (one.policy_due, one.control_due) == (0, 1)


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("share", ["0", "0.01", "0.1", "0.25", "0.3", "0.5", "0.7", "0.99"])
@pytest.mark.parametrize("budget", [1, 7, 40, 101])
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_whatever_is_skipped_both_arms_meet_their_part_of_the_budget(
    synchronous, share, budget, batch
):
    """A search played by its counts alone, in which one child in five is skipped."""
    skips = random.Random(f"{share}{budget}{batch}")
    at = control(synchronous=synchronous, share=Fraction(share), budget=budget, batch=batch)
    for _ in range(1000):
        if at.is_over:
            break
        if at.sample_is_due:
            policy, theirs = at.policy_due, at.control_due
            assert policy + theirs <= at.lacking
            rewarded, skipped = ended(policy, skips), ended(theirs, skips)
            at = replace(
                at,
                stored=at.stored + policy,
                unlearned=at.unlearned + rewarded,
                control_stored=at.control_stored + theirs,
                control_skipped=at.control_skipped + theirs - skipped,
            )
            continue
        assert at.update_is_due
        learned = at.unlearned if synchronous else min(batch, at.unlearned)
        at = replace(
            at,
            version=at.version + 1,
            stored=0,
            learned=at.learned + learned,
            unlearned=at.unlearned - learned,
        )
    assert at.is_over
    assert at.control == math.floor(Fraction(share) * budget)
    assert at.learned == budget - at.control


def ended(count, skips):
    """How many of so many children earn a reward."""
    return sum(skips.random() > 0.2 for _ in range(count))


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

    def test_the_control_arm_is_counted_by_the_number_of_its_last_child(self):
        search_id = make_search(control=0.5)
        make_version(search_id)
        propose(search_id, [1, 2])
        ids = propose(search_id, [3, 4, 5], arm=Arm.CONTROL)
        make_version(search_id, 1)
        ids += propose(search_id, [6, 7], version=1, first=3, arm=Arm.CONTROL)
        skip_all(ids[:1])
        with transaction() as connection:
            children.settle(connection, ids[3], children.Evaluation(reward=0.5))
        with transaction(read_only=True) as connection:
            found = progress(connection, search_id)
        assert (found.control_stored, found.control_open, found.control_skipped) == (5, 3, 1)
        assert (found.control, found.completed, found.open, found.stored) == (1, 1, 5, 0)
        assert found.share == Fraction(1, 2)

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

    def test_a_search_stored_before_there_was_a_limit_of_failures_never_pauses_for_them(self):
        search_id = make_search(controller={"batch": 50}, stop={"failures_of": 4})
        with transaction() as connection:
            stored = searches.by_id(connection, search_id).config
            before = {**stored, "format": 1, "stop": {"duplicates": 0.95}}
            searches.reconfigure(connection, search_id, before)
        make_version(search_id)
        skip_all(propose(search_id, range(30)))
        assert failing(search_id) is None
        with transaction() as connection:
            searches.reconfigure(connection, search_id, stored)
        assert failing(search_id).startswith("4 of the last 4 children failed")

    def test_too_many_failures_of_whatever_class_are_named(self):
        search_id = make_search(controller={"batch": 50}, stop={"failures": 0.5, "failures_of": 4})
        make_version(search_id)
        ids = propose(search_id, range(7))
        skip_all(ids[:2])
        assert failing(search_id) is None  # too few have ended
        with transaction() as connection:
            for child_id in ids[2:5]:
                children.settle(connection, child_id, children.Evaluation(reward=0.5))
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


@pytest.mark.usefixtures("store")
def test_a_search_of_a_newer_release_is_still_counted():
    search_id = make_search(control=0.1, budget={"children": 40})
    with transaction() as connection:
        stored = searches.by_id(connection, search_id).config
        newer = {**stored, "format": 99, "budget": {**stored["budget"], "joules": 1.0}}
        searches.reconfigure(connection, search_id, newer)
        now = progress(connection, search_id)
    assert (now.budget, now.share) == (40, Fraction(1, 10))
