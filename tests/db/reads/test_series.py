"""What figures are drawn from: all of a few rows, an even part of very many, nothing twice."""

import datetime as dt

from sqlalchemy import update

from db.reads import series
from db.schema.enums import Arm
from db.schema.models import Child
from db.schema.session import transaction
from pipeline.actions import figures
from tests.factories import (
    claim,
    finish,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    run_of,
)

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def end(child_ids, seconds):
    """Children end with the rewards 0, 1, 2, ... so many seconds after the start."""
    with transaction() as connection:
        for number, (child_id, second) in enumerate(zip(child_ids, seconds, strict=True)):
            connection.execute(
                update(Child)
                .where(Child.id == child_id)
                .values(
                    state="rewarded",
                    reward=float(number),
                    ended_at=START + dt.timedelta(seconds=second),
                )
            )


def markers(search_id):
    """By arm, the rewards as the figure of a search shows them."""
    with transaction(read_only=True) as connection:
        figure = figures.rewards(connection, search_id)
    return {trace.legendgroup: list(trace.y) for trace in figure.data if trace.mode == "markers"}


def test_rewards_read_before_are_not_forgotten_and_late_ones_are_found(store):
    search_id = make_search()
    make_version(search_id)
    ids = propose(search_id, range(6))
    ids += propose(search_id, range(6, 8), arm=Arm.CONTROL)
    end(ids[:3], [0, 100, 200])
    assert markers(search_id) == {"policy": [0, 1, 2]}
    end([ids[3]], [170])  # its transaction was slow: it had ended before the last that was seen
    assert markers(search_id) == {"policy": [0, 1, 0, 2]}
    end(ids[4:6] + ids[6:], [400, 500, 600, 700])
    assert markers(search_id) == {"policy": [0, 1, 0, 2, 0, 1], "control": [2, 3]}


def test_a_sample_of_few_is_all_and_of_many_an_even_part(store):
    search_id = make_search()
    make_version(search_id)
    ids = propose(search_id, range(30))
    end(ids, range(30))
    with transaction(read_only=True) as connection:
        assert [row.id for row in series.sample(connection, search_id)] == ids
        some = [row.id for row in series.sample(connection, search_id, most=7)]
    assert some == ids[4::5]


def test_the_newest_holds_of_a_search_are_of_its_children_that_ended_last(store):
    slot_id = make_slot()
    searches = []
    for name in ("first", "second"):
        search_id = make_search(name)
        make_version(search_id)
        searches.append((search_id, propose(search_id, range(3))))
    for _, ids in searches:
        for child_id in ids:
            run_id = run_of(child_id).id
            queue_run(run_id)
            finish(run_id, claim(run_id, slot_id).attempt)
    for search_id, ids in searches:
        with transaction(read_only=True) as connection:
            held = [row.run_id for row in series.holds(connection, search_id)]
            newest = [row.run_id for row in series.holds(connection, search_id, most=2)]
        assert held == [run_of(child_id).id for child_id in ids]
        assert newest == held[-2:]
