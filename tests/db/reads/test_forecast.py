"""When a search will be done, from what ended and from what is on its way."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import update

from db.lifecycle import epochs
from db.reads import forecast
from db.reads.progress import progress
from db.schema.clock import clock
from db.schema.enums import SearchState
from db.schema.models import Run
from db.schema.session import transaction
from tests.factories import claim, make_children, make_slot, queue_run, run_of


def test_a_running_training_tells_how_far_it_is(store):
    search_id, (child_id, _) = make_children((1, 2))
    run = run_of(child_id)
    with transaction() as connection:
        config = {"dataset": "digits", "training": {"epochs": 10}}
        connection.execute(update(Run).values(config=config))
    queue_run(run.id)
    held = claim(run.id, make_slot())
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == run.id).values(state_since=clock(-100)))
        [fresh] = forecast.running(connection, search_id)
        for epoch, seconds in ((1, 4.0), (2, 6.0)):
            epochs.put(
                connection, run.id, held.attempt, epoch=epoch, accuracy=0.5, loss=1.0,
                train_accuracy=0.1, learning_rate=0.1, seconds=seconds, waited=0.0,
            )  # fmt: skip
        [row] = forecast.running(connection, search_id)
    assert (fresh.epochs, fresh.done, fresh.mean) == (10, 0, None)
    assert fresh.elapsed == pytest.approx(100, abs=5)
    assert (row.epochs, row.done, row.mean) == (10, 2, 5.0)
    assert row.elapsed == pytest.approx(0, abs=5)


@pytest.fixture
def now(store):
    """Twelve children to come, one slot."""
    search_id, _ = make_children((1, 2))
    make_slot()
    with transaction(read_only=True) as connection:
        return progress(connection, search_id)


def on_its_way(epochs, done, mean, elapsed):
    return SimpleNamespace(epochs=epochs, done=done, mean=mean, elapsed=elapsed)


def test_before_any_training_has_ended_its_curve_tells(now):
    assert forecast.forecast(now, [], []) is None
    assert forecast.forecast(now, [], [on_its_way(10, 0, None, 3.0)]) is None
    found = forecast.forecast(now, [], [on_its_way(10, 4, 2.0, 1.0)])
    assert found.seconds == pytest.approx(11 + 11 * 20)


def test_what_runs_counts_by_what_is_left_of_it(now):
    early, late = on_its_way(10, 1, 2.0, 0.0), on_its_way(10, 9, 2.0, 0.5)
    assert forecast.forecast(now, [20.0], [early]).seconds == pytest.approx(18 + 220)
    assert forecast.forecast(now, [20.0], [late]).seconds == pytest.approx(1.5 + 220)
    overdue = on_its_way(10, 9, 2.0, 50.0)
    assert forecast.forecast(now, [20.0], [overdue]).seconds == pytest.approx(220)


def test_more_slots_take_less_time_and_a_resting_search_has_no_end(now):
    one = forecast.forecast(now, [10.0, 20.0], [])
    two = forecast.forecast(replace(now, slots=2), [10.0, 20.0], [])
    assert two.seconds == one.seconds / 2
    assert two.spread == one.spread / 2
    assert forecast.forecast(replace(now, state=SearchState.PAUSED), [10.0], []) is None
