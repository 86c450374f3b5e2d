"""What a terminal shows of a search and of trainings while they go on."""

import pytest

from db.lifecycle import attempts, epochs
from db.schema.session import transaction
from pipeline.cli.runs_watch import RunsWatcher
from pipeline.cli.watch import LiveShow, Watcher, child_line, slot_lines
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


@pytest.fixture
def look(store):
    """A search's view, and its lines."""

    def look(search_id):
        view = Watcher(search_id, from_now=False).look()
        return view, LiveShow._lines(None, view)

    return look


def test_a_search_that_has_just_begun_shows_nothing_that_is_not_known(look):
    view, lines = look(make_search())
    assert (view.progress.status, view.lacks_slots) == ("waiting for workers", True)
    assert not any("None" in line or line.startswith(("eta", "policy")) for line in lines)


def test_what_each_slot_trains_is_shown_with_epoch_accuracy_and_seconds(look):
    search_id, [child_id] = make_children(training={"epochs": 5})
    run_id, slot = run_of(child_id).id, make_slot()
    make_slot("cpu-1")
    queue_run(run_id)
    held = claim(run_id, slot)
    with transaction() as connection:
        point = {"loss": 1.0, "train_accuracy": 0.5, "accuracy": 0.8123}
        times = {"learning_rate": 0.1, "seconds": 1.0, "waited": 0.0}
        epochs.put(connection, run_id, held.attempt, epoch=2, **point, **times)
    view, _ = look(search_id)
    busy, idle = slot_lines(view.slots, view.slots[0].search)
    assert busy.startswith("cpu-0     child 0.0: epoch 3 of 5, accuracy 0.8123, ")
    assert idle == "cpu-1     idle"
    assert slot_lines(view.slots, "another")[0].startswith(f"cpu-0     {view.slots[0].search}: ")
    assert view.progress.status == "running"


def test_how_children_ended_and_why_any_failed_is_shown_in_one_line_each(look):
    search_id, ids = make_children((0, 1, 0))
    slot = make_slot()
    for number, child_id in enumerate(ids[:2]):
        run_id = run_of(child_id).id
        queue_run(run_id)
        held = claim(run_id, slot)
        if number == 0:
            finish(run_id, held.attempt, 0.75, parameters=12345)
            continue
        with transaction() as connection:
            attempts.fail(
                connection, run_id, held.attempt, Failure.DIVERGED, message="loss is\nnan"
            )
    view, _ = look(search_id)
    found = sorted(child_line(row) for row in view.ended)
    assert found == [
        "ended     child 0.0: reward 0.7500, 12,345 parameters",
        "ended     child 0.1: reward 0.0000, diverged: loss is\\nnan",
        "ended     child 0.2: reward 0.7500, a duplicate",
    ]


def test_no_time_is_foretold_while_nobody_works(look):
    search_id = make_search(budget={"children": 100})
    make_version(search_id)
    [child_id] = propose(search_id, [1])
    slot = make_slot(lease=90.0)
    run_id = run_of(child_id).id
    queue_run(run_id)
    finish(run_id, claim(run_id, slot).attempt)
    _, lines = look(search_id)
    assert any(line.startswith("eta") for line in lines)
    with transaction() as connection:
        from db.lifecycle.slots import set_state
        from db.schema.enums import SlotState

        set_state(connection, slot, 1, SlotState.DOWN)
    _, lines = look(search_id)
    assert not any(line.startswith("eta") for line in lines)


def test_trainings_that_no_slot_is_there_for_yet_wait_for_slots_that_start(store):
    _, [child_id] = make_children()
    watcher = RunsWatcher([run_of(child_id).id])
    assert watcher.look().lacks_slots
    make_slot()
    assert not watcher.look().lacks_slots
