"""The random control arm: trained beside the policy's children, counted, never learned from."""

import hashlib
import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from sqlalchemy import select

from db.lifecycle import attempts, searches
from db.reads import outcomes, soundness
from db.schema.enums import Arm, ChildState, SearchState
from db.schema.models import Child, PolicyVersion, Search
from db.schema.session import transaction
from pipeline.cli import watch
from pipeline.config.controllers import RandomConfig
from pipeline.config.search import make_config
from pipeline.controllers import RandomSearch
from pipeline.errors import Failure, UserError
from pipeline.spaces import make_space
from tasks import sample, train
from tasks.app import app, ring
from tasks.messages import Task
from tests.factories import (
    child,
    claim,
    finish,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    rows,
    run_of,
    search_digest,
    search_progress,
)

MODES = ["synchronous", "rolling"]
# A hash of the children that the release without a control arm proposed, and of their rewards.
PLAIN = "b21b7456fcac6178e5a240a7ecc7ad2fafb1f2fd674b683ae19c183b4eb961bd"
TINY = {
    "space": {"blocks": 1},
    "controller": {"name": "ppo", "batch": 3, "units": 8},
    "budget": {"children": 8},
    "control": 0.25,
}


@pytest.fixture(autouse=True)
def sound(store):
    """After each of these tests nothing stands in the store that cannot be."""
    yield
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []


@pytest.fixture
def failing(quick, monkeypatch):
    """As a function: let the trainings with these numbers, counted from 0, fail for no answer."""
    perform, numbers = train.perform, iter(range(10_000))

    def fail(which):
        def failing_perform(*arguments):
            if next(numbers) in which:
                raise ZeroDivisionError("a bug")
            return perform(*arguments)

        monkeypatch.setattr(train, "perform", failing_perform)

    return fail


def of(search_id, arm, *states):
    """A search's children of an arm, as they were proposed."""
    found = rows(
        select(Child)
        .where(Child.search_id == search_id, Child.arm == arm)
        .order_by(Child.version, Child.k)
    )
    return [row for row in found if not states or row.state in states]


def rewarded(search_id, arm):
    return len(of(search_id, arm, ChildState.REWARDED))


def reconfigure(search_id, **tables):
    with transaction() as connection:
        config = searches.by_id(connection, search_id).config
        searches.reconfigure(connection, search_id, config | tables)
        searches.resume(connection, search_id)
    ring(search_id)


def end_one(child_id, *, skipped=False):
    """A child's training by another slot, from its claim to its end."""
    run_id = run_of(child_id).id
    queue_run(run_id)
    held = claim(run_id, make_slot("cpu-9"))
    if not skipped:
        return finish(run_id, held.attempt)
    with transaction() as connection:
        attempts.fail(connection, run_id, held.attempt, Failure.ERROR, message="bug")


def run(name, post, **tables):
    search_id = make_search(name, **(TINY | tables))
    ring(search_id)
    post.drain()
    return search_id


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("budget", "batch", "control"),
    [(8, 3, 0.25), (10, 4, 0.3), (13, 2, 0.8), (5, 20, 0.15)],
)
def test_both_arms_meet_the_budget_together(worker, post, quick, mode, budget, batch, control):
    search_id = run(
        "s",
        post,
        mode=mode,
        control=control,
        controller={"name": "random", "batch": batch},
        budget={"children": budget},
    )
    now = search_progress(search_id)
    assert now.state is SearchState.FINISHED
    theirs = math.floor(Fraction(str(control)) * budget)
    assert (rewarded(search_id, Arm.CONTROL), now.control) == (theirs, theirs)
    assert rewarded(search_id, Arm.POLICY) == budget - theirs
    assert now.completed == budget
    assert len(rows(select(Child))) == budget
    learned = rows(select(PolicyVersion.learned).order_by(PolicyVersion.version))
    full, rest = divmod(budget - theirs, batch)
    assert [n for (n,) in learned] == [0] + full * [batch] + ([rest] if rest else [])


@pytest.mark.parametrize("mode", MODES)
def test_no_update_learns_from_the_control_arm(worker, post, quick, monkeypatch, mode):
    seen = []
    update = RandomSearch.update

    def spy(controller, outcomes):
        seen.extend(outcomes)
        return update(controller, outcomes)

    monkeypatch.setattr(RandomSearch, "update", spy)
    search_id = run("s", post, mode=mode, controller={"name": "random", "batch": 3}, control=0.5)
    assert all(c.learned_by is None for c in of(search_id, Arm.CONTROL))
    policy = of(search_id, Arm.POLICY)
    assert all(c.learned_by is not None for c in policy)
    assert sorted(o.actions for o in seen) == sorted(tuple(c.actions) for c in policy)


@pytest.mark.parametrize("mode", MODES)
def test_the_control_arm_keeps_pace_with_the_policy(worker, post, quick, mode):
    """One control child for each three of the policy, beside the version that they are of."""
    search_id = run("s", post, mode=mode, budget={"children": 16})
    found = of(search_id, Arm.CONTROL)
    assert [c.k for c in found] == [0, 1, 2, 3]
    assert [c.version for c in found] == sorted(c.version for c in found)
    if mode == "synchronous":
        assert [c.version for c in found] == [0, 1, 2, 3]
        assert [c.version for c in of(search_id, Arm.POLICY)] == [
            v for v in range(4) for _ in "abc"
        ]


def test_control_children_are_what_random_search_proposes(worker, post, quick):
    search_id = run("s", post, mode="synchronous", control=0.5, budget={"children": 24}, seed=5)
    config = make_config(rows(select(Search.config))[0][0])
    space = make_space(config.space)
    for row in of(search_id, Arm.CONTROL):
        arm = RandomSearch(space, RandomConfig(), seed=5, arm="control")
        arm.load_state_dict({"version": row.version})
        [proposal] = arm.sample(row.k, 1, [])
        assert tuple(row.actions) == proposal.actions
    first = Counter(row.actions[2] for row in of(search_id, Arm.CONTROL))
    assert len(first) > 4  # of 13 operations, in 12 draws
    assert not {tuple(c.actions) for c in of(search_id, Arm.CONTROL)} & {
        tuple(c.actions) for c in of(search_id, Arm.POLICY)
    }


def test_random_search_draws_each_choice_alike():
    space = make_space(make_config({}).space)
    arm = RandomSearch(space, RandomConfig(), seed=0, arm="control")
    drawn = Counter(p.actions[2] for p in arm.sample(0, 2600, []))
    assert sum((n - 200) ** 2 / 200 for n in drawn.values()) < 32.9  # 12 degrees, 0.1 %


@pytest.mark.parametrize("mode", MODES)
def test_sampling_again_adds_nothing(worker, post, mode):
    search_id = make_search(mode=mode, **TINY)
    sample.sample(search_id)
    before = [(c.arm, c.version, c.k) for c in rows(select(Child).order_by(Child.id))]
    assert before == [("policy", 0, k) for k in range(3)] + [("control", 0, 0)]
    sample.sample(search_id)
    assert [(c.arm, c.version, c.k) for c in rows(select(Child).order_by(Child.id))] == before


def test_a_sampler_that_was_slower_writes_nothing(worker, post, failing):
    """Even where only the control arm lacks a child, so that nothing of the policy has moved."""
    failing({3})
    search_id = make_search(mode="synchronous", **(TINY | {"budget": {"children": 4}}))
    ring(search_id)
    while (now := search_progress(search_id)).version != 1:
        name, arguments = post.sent.pop(0)
        app.tasks[name](*arguments)
    assert (now.policy_due, now.control_due, now.stored) == (0, 1, 0)
    sample.sample(search_id)
    before = rows(select(Child.id))
    config = make_config(rows(select(Search.config))[0][0])
    space = make_space(config.space)
    [proposal] = sample._control_proposals(now, config, space)
    new = [sample._new_child(Arm.CONTROL, proposal, config, space)]
    with transaction() as connection:
        assert not sample._is_as_seen(connection, now)
    assert sample._store(now, config, new)
    assert rows(select(Child.id)) == before


def test_what_is_due_of_the_control_arm_alone_is_rung_for_each_time(worker, post):
    search_id = make_search(
        mode="synchronous", control=0.5, controller={"batch": 1}, budget={"children": 2}
    )
    make_version(search_id)
    end_one(*propose(search_id, [1]))
    make_version(search_id, 1, consumed=[1], total_learned=1)
    for k in range(3):
        now = search_progress(search_id)
        assert (now.policy_due, now.control_due) == (0, 1)
        post.sent.clear()
        ring(search_id, again=False)
        ring(search_id, again=False)
        assert post.sent == [(Task.SAMPLE, (search_id,))]
        end_one(*propose(search_id, [2 + k], version=1, first=k, arm=Arm.CONTROL), skipped=k < 2)
    assert search_progress(search_id).is_over


def test_messages_in_any_order_and_any_number_change_nothing(worker, post, quick):
    digests = set()
    for seed in range(4):
        search_id = make_search(str(seed), mode="synchronous", **TINY)
        generator = random.Random(seed)
        ring(search_id)
        while post.sent:
            name, arguments = post.sent.pop(generator.randrange(len(post.sent)) if seed else 0)
            for _ in range(generator.randint(1, 3) if seed else 1):
                app.tasks[name](*arguments)
        assert search_progress(search_id).state is SearchState.FINISHED
        digests.add(search_digest(search_id))
    assert len(digests) == 1


def test_without_a_control_arm_children_are_those_of_the_release_before(worker, post, quick):
    plain = {"mode": "synchronous", "controller": {"name": "random", "batch": 3}, "control": 0.0}
    search_id = run("s", post, **plain)
    columns = (Child.version, Child.arm, Child.k, Child.actions, Child.state, Child.learned_by)
    found = rows(select(*columns, Child.reward).order_by(Child.version, Child.arm, Child.k))
    text = repr([[str(value) for value in row] for row in found])
    assert hashlib.sha256(text.encode()).hexdigest() == PLAIN
    assert (search_progress(search_id).share, search_progress(search_id).control) == (0, 0)


def test_a_stored_search_without_the_key_has_no_control_arm(worker, post, quick):
    digests = []
    for name in ("with", "without"):
        search_id = make_search(name, mode="synchronous", **(TINY | {"control": 0.0}))
        with transaction() as connection:
            config = searches.by_id(connection, search_id).config
            if name == "without":
                del config["control"]
            searches.reconfigure(connection, search_id, config)
        ring(search_id)
        post.drain()
        digests.append(search_digest(search_id))
    assert digests[0] == digests[1]
    assert not rows(select(Child).where(Child.arm == Arm.CONTROL))


@pytest.mark.parametrize("arms", [(Arm.POLICY, Arm.CONTROL), (Arm.CONTROL, Arm.POLICY)])
def test_a_repeat_of_the_other_arm_s_child_takes_its_reward(store, arms):
    search_id = make_search(control=0.5)
    make_version(search_id)
    [first] = propose(search_id, [1], arm=arms[0])
    [waiting] = propose(search_id, [1], arm=arms[1])
    assert (child(waiting).duplicate_of, run_of(waiting)) == (first, None)
    queue_run(run_of(first).id)
    finish(run_of(first).id, claim(run_of(first).id, make_slot()).attempt, reward=0.625)
    [later] = propose(search_id, [1], first=1, arm=arms[1])
    for repeat in (waiting, later):
        row = child(repeat)
        assert (row.state, row.reward, row.arm) == (ChildState.REWARDED, 0.625, arms[1])
    now = search_progress(search_id)
    assert (now.control, now.unlearned) == ((2, 1) if arms[1] is Arm.CONTROL else (1, 2))


@pytest.mark.parametrize("arms", [(Arm.POLICY, Arm.CONTROL), (Arm.CONTROL, Arm.POLICY)])
def test_a_repeat_of_a_skipped_child_of_the_other_arm_is_trained(store, arms):
    search_id = make_search(control=0.5)
    make_version(search_id)
    [first] = propose(search_id, [1], arm=arms[0])
    [heir] = propose(search_id, [1], arm=arms[1])
    end_one(first, skipped=True)
    assert child(first).state is ChildState.SKIPPED
    assert (child(heir).duplicate_of, run_of(heir).state) == (None, "pending")
    now = search_progress(search_id)
    assert (now.control_stored, now.control, now.open) == (1, 0, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", [{3}, {1, 3, 8, 9}])
def test_children_that_are_skipped_are_replaced_in_their_arm(worker, post, failing, mode, which):
    failing(which)
    search_id = run("s", post, mode=mode, stop={"failures": 1.0})
    assert search_progress(search_id).state is SearchState.FINISHED
    assert (rewarded(search_id, Arm.POLICY), rewarded(search_id, Arm.CONTROL)) == (6, 2)
    assert len(rows(select(Child))) == 8 + len(which)
    assert len(of(search_id, Arm.CONTROL)) == search_progress(search_id).control_stored


@pytest.mark.parametrize("rules", [{"failures_of": 4}, {"failures": 1.0}])
def test_a_control_arm_whose_children_all_break_pauses_the_search(
    worker, post, quick, monkeypatch, rules
):
    """Else it would be replaced for ever, once the policy's children are all there."""
    perform = train.perform

    def broken(attempt, recorder):
        [(arm,)] = rows(select(Child.arm).where(Child.id == attempt.child.id))
        if arm is Arm.CONTROL:
            raise ZeroDivisionError("a bug")
        return perform(attempt, recorder)

    monkeypatch.setattr(train, "perform", broken)
    search_id = run("s", post, mode="synchronous", stop=rules)
    assert search_progress(search_id).state is SearchState.PAUSED
    [(reason,)] = rows(select(Search.reason))
    assert "control children" in reason
    assert len(of(search_id, Arm.CONTROL)) < 20


@pytest.mark.parametrize("mode", MODES)
def test_an_extended_search_goes_on_with_both_arms(worker, post, quick, mode):
    extended = run("extended", post, mode=mode)
    reconfigure(extended, budget={"children": 16})
    post.drain()
    assert search_progress(extended).state is SearchState.FINISHED
    assert (rewarded(extended, Arm.POLICY), rewarded(extended, Arm.CONTROL)) == (12, 4)
    if mode == "synchronous":  # its batches are whole, so it is the longer search
        longer = run("longer", post, mode=mode, budget={"children": 16})
        assert search_digest(extended) == search_digest(longer)


@pytest.mark.parametrize("children_before", [4, 9])
@pytest.mark.parametrize("mode", MODES)
def test_a_lowered_budget_is_not_exceeded_by_new_proposals(
    worker, post, quick, mode, children_before
):
    search_id = make_search(
        "s", **(TINY | {"mode": mode, "control": 0.5, "budget": {"children": 30}})
    )
    ring(search_id)
    while search_progress(search_id).completed < children_before:
        name, arguments = post.sent.pop(0)
        app.tasks[name](*arguments)
    before = len(rows(select(Child)))
    reconfigure(search_id, budget={"children": 7})
    post.drain()
    now = search_progress(search_id)
    assert now.state is SearchState.FINISHED
    assert now.completed == len(rows(select(Child))) == max(7, before)


@pytest.mark.parametrize("mode", MODES)
def test_a_stopped_search_ends_both_arms(worker, post, quick, mode):
    search_id = make_search(mode=mode, **(TINY | {"control": 0.5, "budget": {"children": 30}}))
    ring(search_id)
    while search_progress(search_id).control < 2:
        name, arguments = post.sent.pop(0)
        app.tasks[name](*arguments)
    with transaction() as connection:
        searches.stop(connection, search_id, searches.STOPPED_BY_HAND)
    ring(search_id)
    post.drain()
    now = search_progress(search_id)
    assert now.state is SearchState.FINISHED
    assert (now.open, now.unlearned) == (0, 0)
    assert now.completed == len(of(search_id, Arm.POLICY, ChildState.REWARDED)) + now.control


def test_a_controller_that_reads_what_was_proposed_is_not_shown_the_control_arm(store):
    search_id = make_search(control=0.5)
    make_version(search_id)
    propose(search_id, [1, 2])
    propose(search_id, [3, 4], arm=Arm.CONTROL)
    with transaction(read_only=True) as connection:
        shown = outcomes.proposed(connection, search_id)
    assert [tuple(row.actions) for row in shown] == [
        tuple(c.actions) for c in of(search_id, Arm.POLICY)
    ]


@pytest.mark.parametrize("share", [1, -0.25, "half"])
def test_a_share_that_leaves_the_policy_nothing_is_refused(share):
    with pytest.raises(UserError, match="control: "):
        make_config({"control": share})


def test_what_is_shown_of_a_search_tells_the_arms_apart(worker, post, quick):
    search_id = run("s", post)
    watcher = watch.Watcher(search_id, from_now=False)
    view = watcher.look()
    shown = view.control
    assert shown["completed"] == 2
    assert 0 < shown["mean"] <= shown["best"] <= view.best
    line = watch.LiveShow._lines(None, view)[1].splitlines()[1]
    assert line.startswith("control   2 of the children done, best 0.")
    events = [watch.child_event(row) for row in view.ended]
    assert Counter(event["arm"] for event in events) == {"policy": 6, "control": 2}
