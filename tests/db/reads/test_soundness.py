"""Rows that cannot be are found; those of a search on its way are none."""

import pytest
from sqlalchemy import text

from db.reads import soundness
from db.schema.session import transaction
from tests.factories import (
    claim,
    finish,
    make_children,
    make_slot,
    make_version,
    queue_run,
    run_of,
)

pytestmark = pytest.mark.usefixtures("store")


def impossible():
    with transaction(read_only=True) as connection:
        return soundness.impossible(connection)


@pytest.fixture
def search():
    """Child 1 is rewarded and learned from, 2 trains, 3 waits for it, 4 is pending."""
    search_id, ids = make_children(seeds=(0, 1, 1, 2))
    slot = make_slot()
    for child_id in ids[:2]:
        queue_run(run_of(child_id).id)
        claim(run_of(child_id).id, slot)
    finish(run_of(ids[0]).id, 1)
    make_version(search_id, 1, learned=1, total_learned=1, consumed=ids[:1])
    return search_id


def test_a_search_on_its_way_is_sound(search):
    assert impossible() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE runs SET slot_id = NULL WHERE state = 'running'", "run 2 is running without"),
        ("UPDATE runs SET state = 'pending' WHERE id = 2", "run 2 is held though"),
        ("DELETE FROM attempts WHERE run_id = 2", "run 2 has more or fewer attempts"),
        ("UPDATE attempts SET ended_at = NULL WHERE run_id = 1", "run 1 is not running and has"),
        ("UPDATE attempts SET outcome = 'lost' WHERE run_id = 1", "run 1 has ended and more or"),
        ("UPDATE runs SET state = 'failed' WHERE id = 1", "run 1 has failed without a class"),
        ("UPDATE children SET reward = NULL WHERE id = 1", "child 1 is rewarded without"),
        ("UPDATE children SET ended_at = NULL WHERE id = 1", "child 1 has ended without a time"),
        (
            "UPDATE children SET learned_by = 1 WHERE id = 4",
            "child 4 was learned from and carries",
        ),
        (
            "UPDATE children SET learned_by = 0 WHERE id = 1",
            "child 1 was learned from by a version",
        ),
        ("UPDATE runs SET state = 'cancelled' WHERE child_id = 3", "child 3 is open, and neither"),
        ("UPDATE children SET duplicate_of = 1 WHERE id = 3", "child 3 waits for another"),
        ("UPDATE runs SET state = 'failed' WHERE id = 1", "child 1 is rewarded and its run"),
        (
            "UPDATE children SET accuracy = 0.125 WHERE id = 1",
            "child 1 and its run have different",
        ),
        (
            "INSERT INTO policy_versions (search_id, version, created_at, learned, total_learned,"
            " sha256) SELECT search_id, 5, created_at, 0, 1, sha256 FROM policy_versions"
            " WHERE version = 1",
            "policy versions with a gap",
        ),
        ("UPDATE children SET learned_by = NULL WHERE id = 1", "version 2 learned from more or"),
        ("UPDATE policy_versions SET total_learned = 4 WHERE learned = 1", "another total"),
        ("UPDATE searches SET state = 'finished'", "has finished and still has open"),
        ("UPDATE children SET arm = 'control' WHERE id = 1", "child 1 of the control arm was"),
        ("UPDATE children SET arm = 'control' WHERE id = 3", "whose numbers have a gap"),
        ("UPDATE children SET reward = 1.7e308 WHERE id = 1", "child 1 has a reward or"),
        ("UPDATE runs SET test_accuracy = 2 WHERE id = 1", "run 1 has an accuracy that"),
        ("INSERT INTO metrics VALUES (2, 'loss', 1.0)", "run 2 was measured and is not done"),
        *(
            (f"UPDATE {table} SET {column} = '{time}' WHERE id = 1", f"{what} 1 has a time that")
            for table, column, what in (
                ("searches", "resumed_at", "search"),
                ("policy_versions", "created_at", "policy version"),
                ("children", "created_at", "child"),
                ("runs", "state_since", "run"),
            )
            for time in ("0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999")
        ),
    ],
)
def test_a_row_that_cannot_be_is_named(search, change, said):
    with transaction() as connection:
        connection.execute(text(change))
        assert any(said in line for line in soundness.impossible(connection))


def test_many_of_a_kind_are_not_all_named():
    make_children(seeds=range(9))
    with transaction() as connection:
        connection.execute(text("UPDATE runs SET state = 'cancelled'"))
        found = soundness.impossible(connection)
    assert len(found) == soundness.SHOWN + 1
    assert found[-1].startswith("... and more")
