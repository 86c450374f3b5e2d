"""Disks fill: what nobody needs is deleted, and nothing starts where there is no room."""

import os
from pathlib import Path

import pytest
from sqlalchemy import select, update

from db.lifecycle import checkpoints, retention
from db.schema.enums import ArtifactKind, RunState
from db.schema.models import Artifact, Child, Run, Tick
from db.schema.session import transaction
from pipeline.io import files
from pipeline.settings import get_settings
from tasks import leftovers, probes, reconcile, sample, train
from tests.factories import CHILDREN, make_search
from tests.tasks.test_runs import ask_one, row, set_state, train_one


def lying():
    """The paths of all checkpoints that rows point at."""
    with transaction(read_only=True) as connection:
        found = connection.scalars(
            select(Artifact.uri).where(
                Artifact.kind == ArtifactKind.CHECKPOINT, Artifact.uri.is_not(None)
            )
        )
        return [Path(uri) for uri in found]


@pytest.mark.parametrize(
    ("state", "kept"),
    [("done", 0), ("failed", 0), ("running", 2)],
)
def test_checkpoints_of_runs_that_ended_are_deleted_and_no_other(worker, post, state, kept):
    run_id = ask_one(checkpoint_seconds=0.0)
    assert train_one(run_id).state is RunState.DONE
    before = lying()
    assert len(before) == 2
    assert before[0].exists()
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == run_id).values(state=RunState(state)))
    assert reconcile.take_turn("me")
    assert len(lying()) == kept
    assert before[0].exists() is bool(kept)
    with transaction(read_only=True) as connection:
        weights = checkpoints.weights_of_run(connection, run_id)
    assert Path(weights.uri).exists()


def test_no_run_starts_where_too_little_is_free_and_the_slot_says_why(worker, post, monkeypatch):
    run_id = ask_one(epochs=1)
    set_state(run_id, RunState.QUEUED)
    settings = get_settings()
    full, seen = settings.model_copy(update={"free": 2**60}), []
    current = [full]

    def rest(reason, check):
        current[0] = settings
        seen.append((reason, row(run_id).state, check()))

    monkeypatch.setattr(probes, "get_settings", lambda: current[0])
    monkeypatch.setattr(worker, "rest", rest)
    train.train(run_id)
    ((reason, state, after),) = seen
    assert "NASNET_FREE" in reason
    assert state is RunState.QUEUED  # nobody has taken it
    assert after is None
    assert row(run_id).state is RunState.DONE


def test_an_object_store_knows_its_room_itself(monkeypatch, worker):
    monkeypatch.setenv("NASNET_ARTIFACTS", "memory://bucket")
    get_settings.cache_clear()
    assert probes.no_room() is None


def kept_children():
    """(reward, path) of children whose weights lie somewhere, best first."""
    with transaction(read_only=True) as connection:
        rows = connection.execute(
            select(Child.reward, Artifact.uri)
            .join(Run, Run.child_id == Child.id)
            .join(Artifact, Artifact.run_id == Run.id)
            .where(Artifact.kind == ArtifactKind.WEIGHTS, Artifact.uri.is_not(None))
            .order_by(Child.reward.desc())
        )
        return [(row.reward, Path(row.uri)) for row in rows]


@pytest.fixture
def searched(worker, post, monkeypatch):
    """A search of four children that has ended, of which two are kept."""
    monkeypatch.setenv("NASNET_KEEP", "2")
    get_settings.cache_clear()
    search_id = make_search(**(CHILDREN | {"budget": {"children": 4}}))
    sample.sample(search_id)
    post.drain()
    assert reconcile.take_turn("one")
    return search_id


def test_the_weights_of_a_search_s_best_children_are_kept(searched):
    with transaction(read_only=True) as connection:
        rewards = sorted(connection.scalars(select(Child.reward)), reverse=True)
    kept = kept_children()
    assert [reward for reward, _ in kept] == rewards[:2]
    assert sorted(Path(get_settings().artifact_url).rglob("*.pt")) == sorted(
        path for _, path in kept
    )


def test_what_a_run_starts_from_is_kept_though_better_ones_came(searched):
    best, worst = kept_children()
    with transaction() as connection:
        start = connection.scalar(select(Artifact.id).where(Artifact.uri == str(worst[1])))
        connection.execute(
            update(Run)
            .where(Run.id == select(Run.id).order_by(Run.id).limit(1).scalar_subquery())
            .values(start_artifact_id=start, state=RunState.PENDING)
        )
        assert retention.forget_losers(connection, 0) == [str(best[1])]
        assert retention.forget_above(connection, 0) == []
    assert kept_children() == [worst]


def test_above_the_cap_the_worst_children_s_weights_go_first(searched):
    best, worst = kept_children()
    paths = [best[1], worst[1]]
    with transaction() as connection:
        total = retention.total_bytes(connection)
        assert total == sum(path.stat().st_size for path in paths)
        assert len(retention.forget_above(connection, total - 1)) == 1
    assert kept_children() == [best]


def test_no_run_starts_while_what_must_be_kept_is_above_the_cap(searched, monkeypatch):
    assert probes.no_room() is None
    monkeypatch.setenv("NASNET_DISK", "1K")
    get_settings.cache_clear()
    assert "NASNET_DISK" in probes.no_room()
    assert reconcile.take_turn("one")  # nothing must be kept here
    assert kept_children() == []
    assert probes.no_room() is None


def test_files_of_an_attempt_that_is_over_go_and_those_of_a_later_one_stay(searched):
    (_, path), _ = kept_children()
    folder, run_id = path.parent, int(path.parent.name.removeprefix("run-"))
    left = [folder / ".attempt-1-epoch-1-step-0.pt.x7", folder / "attempt-1-epoch-1-step-0.pt"]
    later = [folder / ".attempt-2-epoch-1-step-0.pt.x7", folder / "attempt-2-epoch-1-step-0.pt"]
    for file in (*left, *later):
        file.write_bytes(b"x")
    leftovers.clean(run_id, 1)
    assert [file.exists() for file in (*left, *later, path)] == [False, False, True, True, True]


def test_old_files_without_a_row_are_swept_and_told_of_and_young_ones_may_be_being_written(
    searched,
):
    (_, path), _ = kept_children()
    old, young = path.with_name("attempt-9-old.pt"), path.with_name("attempt-9-young.pt")
    for file in (old, young):
        file.write_bytes(b"x")
    os.utime(old, (0, 0))
    os.utime(path, (0, 0))
    assert leftovers.files_without_row() == [str(old)]
    with transaction() as connection:
        connection.execute(update(Tick).where(Tick.name == leftovers.TURN).values(until=None))
    leftovers.sweep("me")
    assert (old.exists(), young.exists(), path.exists()) == (False, True, True)


def test_an_object_store_s_leftovers_go_too(worker, monkeypatch):
    import fsspec

    monkeypatch.setenv("NASNET_ARTIFACTS", "memory://left")
    get_settings.cache_clear()
    names = ("attempt-1-epoch-0-step-1.pt", "attempt-2-epoch-0-step-1.pt")
    for name in names:
        with fsspec.open(f"{leftovers.run_folder(7)}/{name}", "wb") as file:
            file.write(b"x")
    leftovers.clean(7, 1)
    found = files.names_in(leftovers.run_folder(7))
    assert [name.rpartition("/")[2] for name in found] == [names[1]]
    assert leftovers.files_without_row() == []


@pytest.mark.parametrize("prefix", ["file://", "local://", "/"])
def test_a_folder_of_another_spelling_loses_nothing(worker, post, monkeypatch, home, prefix):
    """What rows point at is known by its name, however its folder is written."""
    monkeypatch.setenv("NASNET_ARTIFACTS", f"{prefix}{home}/./artifacts")
    get_settings.cache_clear()
    run_id = ask_one(checkpoint_seconds=0.0)
    assert train_one(run_id).state is RunState.DONE
    there = sorted(Path(home / "artifacts").rglob("*.pt"))
    assert len(there) == 3
    for path in there:
        os.utime(path, (0, 0))
    leftovers.clean(run_id, 9)
    assert leftovers.files_without_row() == []
    leftovers.sweep("me")
    assert sorted(Path(home / "artifacts").rglob("*.pt")) == there
