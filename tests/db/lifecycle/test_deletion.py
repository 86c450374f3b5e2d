"""A search that is deleted is gone whole, or there whole, and nothing else has changed."""

import pytest
from sqlalchemy import event, func, inspect, select, update

from db.lifecycle import deletion, searches
from db.reads import soundness
from db.schema.clock import clock
from db.schema.enums import RunState
from db.schema.models import Base, Child, Run
from db.schema.session import get_engine, transaction
from pipeline.cli.watch import Watcher
from pipeline.errors import UserError
from pipeline.io import files
from pipeline.io.file_urls import path_of_url
from tasks import leftovers, sample, steering
from tests.factories import (
    claim,
    fill_search,
    make_children,
    make_search,
    make_slot,
    queue_run,
    run_of,
    search_digest,
)
from tests.tasks.test_runs import ask_one, set_state
from tests.tasks.test_sharing import search


def contents():
    """Every row of the store, by table."""
    with transaction(read_only=True) as connection:
        return {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).all()
            for table in Base.metadata.sorted_tables
        }


def count(*conditions):
    with transaction(read_only=True) as connection:
        return connection.scalar(select(func.count()).where(*conditions))


@pytest.fixture
def two(store):
    """Two searches that found some of the same genotypes."""
    kept, gone = fill_search("kept"), fill_search("gone", different=60)
    with transaction() as connection:
        for search_id in (kept, gone):
            searches.pause(connection, search_id, "asked")
            searches.add_tags(connection, search_id, ["a"])
    return kept, gone


@pytest.mark.parametrize("few", [1, 10**6])
def test_nothing_of_it_is_left_and_all_of_the_others(two, monkeypatch, few):
    monkeypatch.setattr(deletion, "MANY_CHILDREN", few)
    kept, _ = two
    before, shared = search_digest(kept), contents()["genotypes"]
    done = steering.delete("gone")
    assert done.children == 72
    assert done.genotypes > 0
    after = contents()
    assert [row.name for row in after["searches"]] == ["kept"]
    for table in ("children", "policy_versions", "search_tags", "notices"):
        assert {row.search_id for row in after[table]} <= {kept}
    own = {row.id for row in after["runs"] if row.search_id == kept}
    assert {row.run_id for row in after["attempts"]} <= own
    assert after["metrics"]
    assert {row.run_id for row in after["metrics"]} <= own
    assert search_digest(kept) == before
    assert len(after["genotypes"]) == len(shared) - done.genotypes
    referred = {row.genotype_id for row in after["children"]}
    assert {row.id for row in after["genotypes"]} == referred
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []
    indexes = {
        i["name"] for t in ("children", "runs") for i in inspect(get_engine()).get_indexes(t)
    }
    assert not any(str(name).startswith("ix_going") for name in indexes)


def test_a_kill_in_the_middle_leaves_all_of_it(two):
    before = contents()
    engine = get_engine()

    def die(_connection, _cursor, statement, *_):
        if statement.startswith("DELETE FROM searches"):
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", die)
    with pytest.raises(KeyboardInterrupt):
        steering.delete("gone")
    event.remove(engine, "before_cursor_execute", die)
    assert contents() == before


def test_files_go_with_it_and_those_a_kill_leaves_are_swept(worker, post, monkeypatch):
    search(post)
    places = [row.uri for row in contents()["artifacts"] if row.uri]
    assert places
    assert all(files.read(place) for place in places)
    monkeypatch.setattr(files, "delete", lambda _place: None)
    done = steering.delete("s")
    monkeypatch.undo()
    assert (done.files, done.bytes) == (len(places), sum(len(files.read(p)) for p in places))
    assert contents()["artifacts"] == []
    assert leftovers.files_without_row(older_than=-1) == sorted(
        str(path_of_url(place)) for place in places
    )


def test_a_search_with_shared_weights_goes_with_its_files(worker, post):
    search(post)
    places = [row.uri for row in contents()["artifacts"] if row.uri]
    steering.delete("s")
    for place in places:
        with pytest.raises(FileNotFoundError):
            files.read(place)
    assert count(Child.id > 0) == 0


def test_what_somebody_works_on_is_refused(store):
    search_id, [child] = make_children()
    name = contents()["searches"][0].name
    slot = make_slot()
    with pytest.raises(UserError, match=f"workers are there: `nasnet search pause {name}`"):
        steering.delete(name)
    run_id = run_of(child).id
    queue_run(run_id)
    claim(run_id, slot)
    before = contents()
    with pytest.raises(UserError, match=f"a worker holds run {run_id}: `nasnet search pause"):
        steering.delete(name)
    assert contents() == before
    with transaction() as connection:
        searches.pause(connection, search_id, "asked")
    with pytest.raises(UserError, match="wait until it has given it back"):
        steering.delete(name)
    with transaction() as connection:  # it died, and nobody is there to notice
        connection.execute(update(Run).values(lease_until=clock(-1)))
    steering.delete(name)
    assert contents()["searches"] == []


def test_weights_that_another_run_starts_from_are_kept_until_it_has_ended(worker, post):
    search(post)
    start = next(row.id for row in contents()["artifacts"] if row.uri)
    run_id = ask_one(start=start)
    with pytest.raises(UserError, match=f"run {run_id} starts from weights of it"):
        steering.delete("s")
    set_state(run_id, RunState.DONE)
    steering.delete("s")
    [left] = [row for row in contents()["runs"] if row.id == run_id]
    assert (left.state, left.start_artifact_id) == (RunState.DONE, None)


def test_no_later_run_gets_the_number_of_one_that_is_gone(store):
    numbers = []
    for _ in range(3):
        search_id, _ = make_children([0, 1])
        numbers += [row.id for row in contents()["runs"] if row.search_id == search_id]
        with transaction(read_only=True) as connection:
            name = searches.by_id(connection, search_id).name
        steering.delete(name)
        assert len(contents()["runs"]) <= 1
    assert len(set(numbers)) == len(numbers)
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []


def test_what_was_drawn_for_a_search_that_is_gone_is_not_written_to_the_next_of_its_number(store):
    first = make_search("a")
    with transaction(read_only=True) as connection:
        seen = sample.progress(connection, first)
    steering.delete("a")
    second = make_search("a")
    with transaction() as connection:
        if second == first:
            assert not sample._is_as_seen(connection, seen)
        assert sample._is_as_seen(connection, sample.progress(connection, second))


def test_who_watches_it_is_told_and_a_second_deletion_finds_none(store):
    watcher = Watcher(make_search("a"), from_now=True)
    watcher.look()
    steering.delete("a")
    with pytest.raises(UserError, match="was deleted"):
        watcher.look()
    for change in (steering.delete, steering.pause):
        with pytest.raises(UserError, match="no search 'a'"):
            change("a")


def test_another_name_is_a_free_one(two):
    steering.rename("gone", "other")
    with pytest.raises(UserError, match="'kept' is there already"):
        steering.rename("other", "kept")
    assert {row.name for row in contents()["searches"]} == {"kept", "other"}
