"""Disks fill: what nobody needs is deleted, and nothing starts where there is no room."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from db import checkpoints
from db.models import Artifact, ArtifactKind, Run, RunState
from db.session import transaction
from pipeline.settings import get_settings
from tasks import reconcile, train
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

    monkeypatch.setattr(train, "get_settings", lambda: current[0])
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
    assert train.no_room() is None
