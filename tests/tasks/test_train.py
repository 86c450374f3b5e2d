"""One run on a slot: how each way of ending is written down."""

import itertools
import time
from pathlib import Path

import pytest
import torch
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from db.lifecycle import checkpoints, searches, slots
from db.schema.clock import clock
from db.schema.enums import Outcome, RunState, SlotState
from db.schema.models import Artifact, Attempt, Epoch, Metric, Run, Slot, Tick
from db.schema.session import transaction
from pipeline.errors import ChildError, Failure, LeaseReturnedError, MachineError
from pipeline.settings import get_settings
from pipeline.training import checkpoint, trainer
from tasks import probes, reconcile, recorder, sample, train
from tests.factories import make_search, rows

TINY = {
    "space": {"blocks": 1},
    "controller": {"name": "random", "batch": 2},
    "network": {"num_cells": 1, "num_filters": 2},
    "training": {"epochs": 2, "batch_size": 650, "device": "cpu", "checkpoint_seconds": 0.0},
    "budget": {"children": 2},
}


@pytest.fixture
def queued(worker, post):
    """A search whose first child is queued; returns its run."""
    search_id = make_search(**TINY)
    sample.sample(search_id)
    post.sent.clear()
    [run] = rows(select(Run).where(Run.state == RunState.QUEUED))
    return run.id


def state(run_id):
    return rows(select(Run).where(Run.id == run_id))[0]


def test_a_run_given_back_goes_on_from_its_checkpoint(queued, worker, monkeypatch):
    steps = []
    step = recorder.Hold.step

    def stop_at_the_second(hold):
        steps.append(hold.attempt)
        if len(steps) == 2:
            raise LeaseReturnedError("the worker was told to stop")
        step(hold)

    monkeypatch.setattr(recorder.Hold, "step", stop_at_the_second)
    train.train(queued)
    assert (state(queued).state, state(queued).tries) == (RunState.PENDING, 0)
    with transaction() as connection:
        newest = checkpoints.of_run(connection, queued)[0]
        connection.execute(update(Run).where(Run.id == queued).values(state="queued"))
    assert (newest.epoch, newest.step) == (0, 2)
    train.train(queued)
    assert state(queued).state is RunState.DONE
    assert [a.outcome for a in rows(select(Attempt).where(Attempt.run_id == queued))] == [
        Outcome.RETURNED,
        Outcome.DONE,
    ]
    first, second = rows(select(Attempt).where(Attempt.run_id == queued).order_by(Attempt.number))
    assert first.images_trained + second.images_trained == 2 * 1297
    assert len(rows(select(Epoch).where(Epoch.run_id == queued))) == 2


def test_a_corrupt_checkpoint_is_passed_over_for_the_older_one(queued, monkeypatch, home):
    calls = itertools.count(1)  # a step, a step, the images scored, a step

    class StoppedError(BaseException):
        pass

    step = recorder.Hold.step

    def stop_at_the_third_step(hold):
        if next(calls) == 4:
            raise StoppedError
        step(hold)

    monkeypatch.setattr(recorder.Hold, "step", stop_at_the_third_step)
    with pytest.raises(StoppedError):
        train.train(queued)
    monkeypatch.setattr(recorder.Hold, "step", step)
    with transaction() as connection:
        found = checkpoints.of_run(connection, queued)
        connection.execute(update(Run).where(Run.id == queued).values(state="queued"))
    assert len(found) == 2
    with open(found[0].uri, "wb") as file:
        file.write(b"damaged")
    train.train(queued)
    assert state(queued).state is RunState.DONE


def first_momentum(state, value):
    state["optimizer"]["state"][0]["momentum_buffer"] = value


SPOILT = {
    "nothing": lambda state: state.clear(),
    "no schedule": lambda state: state.pop("schedule"),
    "other network": lambda state: state.update(network={"weight": torch.zeros(3)}),
    "texts": lambda state: state["network"].update(dict.fromkeys(state["network"], "text")),
    "not finite": lambda state: next(iter(state["network"].values())).fill_(float("nan")),
    "momentum": lambda state: first_momentum(state, [1.0]),
    "momentum's shape": lambda state: first_momentum(state, torch.zeros(1, 1, 1, 1, 7)),
    "rate": lambda state: state["optimizer"]["param_groups"][0].update(lr="fast"),
    "no rate": lambda state: state["optimizer"]["param_groups"][0].pop("lr"),
    "options": lambda state: state["optimizer"]["param_groups"][0].update(momentum=None),
    "schedule": lambda state: state["schedule"].update(last_epoch="2", T_max=None),
    "progress": lambda state: state["progress"].update(seconds="long"),
    "accuracies": lambda state: state["progress"].update(epoch=1, accuracies=[None]),
}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_checkpoint_whose_content_is_wrong_costs_the_child_nothing(queued, monkeypatch, spoil):
    def stop(_hold):
        raise LeaseReturnedError("the worker was told to stop")

    with monkeypatch.context() as patch:
        patch.setattr(recorder.Hold, "step", stop)
        train.train(queued)
    with transaction() as connection:
        [newest] = checkpoints.of_run(connection, queued)
        content = torch.load(newest.uri, weights_only=True)
        spoil(content)
        Path(newest.uri).unlink()
        sha256, _ = checkpoint.write(newest.uri, content)
        connection.execute(update(Artifact).values(sha256=sha256))
        connection.execute(update(Run).where(Run.id == queued).values(state="queued"))
    train.train(queued)
    assert state(queued).state is RunState.DONE
    [returned, done] = rows(select(Attempt).where(Attempt.run_id == queued))
    assert (returned.outcome, done.outcome) == (Outcome.RETURNED, Outcome.DONE)
    assert done.images_trained == 2 * 1297  # from the very beginning


def test_a_database_that_is_away_as_a_training_begins_is_no_failure_of_the_child(
    queued, worker, monkeypatch
):
    def away(_recorder):
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr(recorder.Recorder, "states", away)
        train.train(queued)
    [attempt] = rows(select(Attempt).where(Attempt.run_id == queued))
    assert (attempt.outcome, attempt.failure) == (Outcome.RETURNED, None)
    assert worker.early_failures == 0
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == queued).values(state="queued"))
    train.train(queued)
    assert state(queued).state is RunState.DONE


@pytest.mark.parametrize("away_for", [1, 2, 4])
def test_a_database_that_is_away_while_a_child_trains_costs_it_nothing(
    queued, monkeypatch, away_for
):
    """Curve, checkpoints and end are written once it is back; nothing is trained twice."""
    left = [away_for]
    real = recorder.transaction

    def sometimes_away(**options):
        if left[0]:
            left[0] -= 1
            raise OperationalError("SELECT", {}, Exception("connection refused"))
        return real(**options)

    train_network = trainer.train

    def train_with_the_database_away(*arguments, **options):
        for module in (recorder, train):
            monkeypatch.setattr(module, "transaction", sometimes_away)
        return train_network(*arguments, **options)

    monkeypatch.setattr(trainer, "train", train_with_the_database_away)
    train.train(queued)
    assert left == [0]
    assert state(queued).state is RunState.DONE
    [attempt] = rows(select(Attempt).where(Attempt.run_id == queued))
    assert (attempt.outcome, attempt.images_trained) == (Outcome.DONE, 2 * 1297)
    assert len(rows(select(Epoch).where(Epoch.run_id == queued))) == 2
    there = [row.uri for row in rows(select(Artifact.uri)) if row.uri]
    assert sorted(map(str, Path(get_settings().artifact_url).rglob("*.pt"))) == sorted(there)


def test_what_is_measured_without_a_column_is_written_once_with_the_end(queued, monkeypatch):
    def diverge(*_):
        raise ChildError(Failure.DIVERGED, "loss is nan")

    with monkeypatch.context() as patch:
        patch.setattr(train, "perform", diverge)
        train.train(queued)
    assert rows(select(Metric)) == []
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == queued).values(state="queued"))
    for _ in range(2):
        train.train(queued)
    [metric] = rows(select(Metric).where(Metric.run_id == queued))
    assert metric.name == "validation_loss"
    assert 0 < metric.value < 10  # of ten classes ln(10) is what guessing has


def test_a_configuration_that_cannot_be_read_is_the_run_s_failure(queued):
    """So that no slot takes it again and again; it is of a newer release, or damaged."""
    with transaction() as connection:
        config = connection.scalar(select(Run.config).where(Run.id == queued))
        connection.execute(
            update(Run).where(Run.id == queued).values(config={**config, "format": 99})
        )
    train.train(queued)
    [attempt] = rows(select(Attempt).where(Attempt.run_id == queued))
    assert (attempt.outcome, attempt.failure) == (Outcome.FAILED, Failure.ERROR)
    assert "format 99" in attempt.message


def test_only_the_last_two_checkpoints_are_kept(queued):
    train.train(queued)
    kept = rows(select(Artifact.kind).where(Artifact.run_id == queued, Artifact.uri.is_not(None)))
    assert sorted(kept) == [("checkpoint",)] * checkpoints.KEEP + [("weights",)]
    assert len(rows(select(Artifact).where(Artifact.run_id == queued))) == 4


def test_a_fault_of_the_machine_is_no_child_s_and_rests_the_slot(queued, worker, monkeypatch):
    def full(*_):
        raise MachineError("/artifacts: cannot be written: No space left on device")

    rested = []
    monkeypatch.setattr(train, "perform", full)
    monkeypatch.setattr(worker.__class__, "rest", lambda _s, reason, _check: rested.append(reason))
    train.train(queued)
    assert (state(queued).state, state(queued).tries) == (RunState.PENDING, 0)
    assert rested == ["/artifacts: cannot be written: No space left on device"]
    assert rows(select(Run).where(Run.state == RunState.QUEUED)) == []


def test_a_slot_rests_until_its_check_passes(worker, monkeypatch):
    monkeypatch.setattr(worker, "lease", 0.01)
    answers = iter(["still full", None])
    seen = []

    def check():
        seen.append(rows(select(Slot.state, Slot.reason).where(Slot.id == worker.id))[0])
        return next(answers)

    worker.rest("disk full", check)
    assert [(str(s.state), s.reason) for s in seen] == [
        ("refusing", "disk full"),
        ("refusing", "still full"),
    ]
    assert str(rows(select(Slot.state).where(Slot.id == worker.id))[0].state) == "up"


def test_a_slot_whose_children_fail_at_once_has_to_prove_itself(queued, worker, post, monkeypatch):
    def broken(*_):
        raise ChildError(Failure.DATA, "unreadable")

    rested = []
    monkeypatch.setattr(train, "perform", broken)
    monkeypatch.setattr(probes, "probe_slot", lambda _config: "a known child fails, too")
    monkeypatch.setattr(worker.__class__, "rest", lambda _s, reason, _check: rested.append(reason))
    worker.early_failures = probes.EARLY_FAILURES - 1
    train.train(queued)
    assert rested == ["a known child fails, too"]
    assert worker.early_failures == 0


def test_the_probe_takes_one_step_of_a_known_child(queued):
    assert probes.probe_slot(queued) is None
    assert probes.probe_slot(queued + 1000) is None  # of a run that was deleted: nothing to prove


def test_a_finish_queues_nothing_of_a_search_that_was_paused_meanwhile(
    queued, worker, monkeypatch
):
    perform = train.perform

    def paused_meanwhile(*arguments):
        with transaction() as connection:
            search_id = connection.scalar(select(Run.search_id).where(Run.id == queued))
            searches.pause(connection, search_id, "by hand")
        return perform(*arguments)

    monkeypatch.setattr(train, "perform", paused_meanwhile)
    train.train(queued)
    assert state(queued).state is RunState.DONE
    assert rows(select(Run).where(Run.state == RunState.QUEUED)) == []


def test_reconcile_frees_nothing_right_after_the_machine_slept(queued, worker, post):
    """Every lease looks ended then: the workers are to speak first."""
    with transaction() as connection:
        connection.execute(
            update(Run)
            .where(Run.id == queued)
            .values(state="running", slot_id=worker.id, attempt=1, lease_until=clock(-1))
        )
        connection.execute(update(Tick).values(ticked_at=clock(-2 * get_settings().lease)))
    assert reconcile.take_turn("me")
    assert state(queued).state is RunState.RUNNING
    with transaction() as connection:
        connection.execute(update(Tick).values(grace_until=clock(-1)))
    assert reconcile.take_turn("me")
    assert state(queued).state is not RunState.RUNNING


def test_two_reconcilers_take_turns(worker):
    with transaction() as connection:
        assert slots.take_turn(connection, reconcile.TURN, "a", 15) is not None
    with transaction() as connection:
        assert slots.take_turn(connection, reconcile.TURN, "b", 15) is None
        assert slots.take_turn(connection, reconcile.TURN, "a", 15) is not None


def slot(worker):
    return rows(select(Slot.state, Slot.reason).where(Slot.id == worker.id))[0]


def test_a_slot_that_rests_goes_on_resting_while_the_database_is_away(worker, monkeypatch):
    worker.lease = 0.01
    answers = [OperationalError("select", {}, OSError("connection refused")), "no room", None]
    asked = []

    def check():
        asked.append(slot(worker).reason)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    worker.rest("too warm", check)
    assert asked[0] == "too warm"
    assert "away" in asked[1]
    assert asked[2:] == ["no room"]
    assert slot(worker).state is SlotState.UP


def test_a_result_that_waits_for_the_database_is_no_training_that_hangs(
    queued, worker, monkeypatch
):
    hung = []

    def asking(function):
        def called(*arguments):
            hung.append(worker._hold.hangs(time.monotonic() + 1e6, since_look=1.0))
            return function(*arguments)

        return called

    monkeypatch.setattr(train, "perform", asking(train.perform))
    monkeypatch.setattr(train, "_write", asking(train._write))
    train.train(queued)
    assert hung == [True, False]
    assert state(queued).state is RunState.DONE
