"""Trainings in full: asked for as rows, trained like any run, tested once."""

import contextlib
import json
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from db.lifecycle import checkpoints, queue, runs, searches
from db.schema.enums import ArtifactKind, Purpose, RunState, SearchState
from db.schema.models import Artifact, Run
from db.schema.session import transaction
from pipeline.cli import app
from pipeline.config.run import make_run_config
from pipeline.config.search import load_config
from pipeline.errors import Failure, UserError
from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.training import checkpoint
from tasks import reconcile, train
from tasks.app import ring
from tasks.recorder import Recorder
from tasks.runs import add_genotype, ask, ask_retrain, ask_then, retrain_config
from tests.factories import finish, make_children, make_search, make_slot
from tests.tasks.test_search import TINY

CELL = Cell.with_unused_concat([Block(0, "sep_conv_3x3", 1, "conv_1x1")])
SMALL = CellGenotype(CELL, CELL)
NETWORK = {"num_cells": 1, "num_filters": 2}
TRAINING = {"epochs": 2, "batch_size": 650, "device": "cpu"}


def config(**changes):
    tables = {"dataset": "digits", "network": NETWORK, "training": {**TRAINING, **changes}}
    return make_run_config(tables)


def ask_one(genotype=SMALL, purpose=Purpose.TRANSFER, seed=0, start=None, **changes):
    with transaction() as connection:
        genotype_id = add_genotype(connection, genotype.canonical())
        named = genotype_id, genotype.digest
        return ask(
            connection, purpose, named, config(**changes), seed=seed, start_artifact_id=start
        )


def row(run_id):
    with transaction(read_only=True) as connection:
        return runs.get(connection, run_id)


def set_state(run_id, state):
    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == run_id).values(state=state, tries=3))


def train_one(run_id):
    set_state(run_id, RunState.QUEUED)
    train.train(run_id)
    return row(run_id)


@pytest.mark.usefixtures("store")
def test_asking_twice_adds_no_run_and_anything_else_that_is_asked_does():
    first = ask_one()
    assert ask_one() == first
    others = [ask_one(seed=1), ask_one(epochs=3), ask_one(purpose=Purpose.BASELINE)]
    assert len({first, *others}) == 4
    assert len({row(run_id).seed for run_id in (first, others[0])}) == 2


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_asking_again_opens_what_failed_or_was_cancelled(state):
    run_id = ask_one()
    set_state(run_id, state)
    assert ask_one() == run_id
    assert (row(run_id).state, row(run_id).tries) == (RunState.PENDING, 0)
    for untouched in (RunState.RUNNING, RunState.DONE):
        set_state(run_id, untouched)
        ask_one()
        assert row(run_id).state is untouched


def test_a_training_in_full_is_tested_and_keeps_its_weights(worker, post):
    ended = train_one(ask_one())
    assert ended.state is RunState.DONE
    assert 0 <= ended.test_accuracy <= 1
    with transaction(read_only=True) as connection:
        kept = checkpoints.weights_of_run(connection, ended.id)
        (view,) = runs.leaderboard(connection, limit=10)
        assert runs.leaderboard(connection, limit=10)[0].run == ended.id
    weights = checkpoint.read(kept.uri, kept.sha256)
    assert "classifier.weight" in weights
    assert (view.epochs, view.accuracy, view.search) == (2, ended.accuracy, None)
    assert 0 <= view.waited < view.seconds
    listed = CliRunner().invoke(app, ["leaderboard", "--json"])
    [row] = json.loads(listed.stdout)
    network, training = ended.config["network"], ended.config["training"]
    assert (row["cells"], row["filters"]) == (network["num_cells"], network["num_filters"])
    assert (row["epochs"], row["batch_size"]) == (2, training["batch_size"])
    assert row["seed"] == ended.seed
    printed = CliRunner().invoke(app, ["leaderboard"]).stdout
    assert "cells" in printed
    assert str(ended.seed) in printed


def test_a_known_network_is_trained_like_any_other(worker, post):
    run_id = ask_one(KnownNetwork("mobilenet_v3_small"), Purpose.BASELINE, epochs=1)
    ended = train_one(run_id)
    assert (ended.state, ended.parameters) == (RunState.DONE, 1_527_818)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_run_starts_from_another_s_weights(worker, post, freeze):
    source = train_one(ask_one())
    with transaction(read_only=True) as connection:
        kept = checkpoints.weights_of_run(connection, source.id)
    run_id = ask_one(start=kept.id, freeze=freeze, epochs=1)
    assert train_one(run_id).state is RunState.DONE
    with transaction(read_only=True) as connection:
        target = checkpoints.weights_of_run(connection, run_id)
    before = checkpoint.read(kept.uri, kept.sha256)
    after = checkpoint.read(target.uri, target.sha256)
    same = {name for name in before if before[name].equal(after[name])}
    assert ("stem.0.weight" in same) is freeze
    assert ("stem.1.running_mean" in same) is freeze
    assert "classifier.weight" not in same


def test_weights_to_start_from_that_are_gone_are_a_failure_of_the_data(worker, post):
    source = train_one(ask_one())
    with transaction(read_only=True) as connection:
        kept = checkpoints.weights_of_run(connection, source.id)
    run_id = ask_one(start=kept.id, epochs=1)
    with transaction() as connection:
        checkpoints.forget_files(connection, [kept.id])
    ended = train_one(run_id)
    assert (ended.state, ended.failure) == (RunState.FAILED, Failure.DATA)


def test_nobody_can_ask_to_start_from_weights_that_were_deleted_meanwhile(worker, post):
    source = train_one(ask_one(epochs=1))
    with transaction() as connection:
        kept = checkpoints.weights_of_run(connection, source.id)
        checkpoints.forget_files(connection, [kept.id])
    with pytest.raises(UserError, match="deleted meanwhile"):
        ask_one(start=kept.id)
    with transaction(read_only=True) as connection:
        assert connection.scalars(select(Run.id)).all() == [source.id]


@pytest.mark.parametrize(
    ("changes", "failure"),
    [({"learning_rate": 1e30, "grad_clip": None}, Failure.DIVERGED)],
)
def test_a_worker_is_healthy_after_a_training_that_failed(worker, post, changes, failure):
    broken, healthy = ask_one(**changes), ask_one()
    assert train_one(broken).failure is failure
    assert train_one(healthy).state is RunState.DONE


def test_a_search_retrains_its_best_by_itself_and_once(worker, post):
    tables = {
        "retrain": {"network": NETWORK, "training": TRAINING | {"device": None}},
        "then": {"retrain": {"top": 2, "seeds": 2}},
    }
    search_id = make_search(**TINY | tables)
    ring(search_id)
    post.drain()
    while any(reconcile.take_turn(f"r{turn}") and post.sent for turn in range(3)):
        post.drain()
    with transaction(read_only=True) as connection:
        search = searches.by_id(connection, search_id)
        found = connection.execute(select(Run).where(Run.purpose == Purpose.RETRAIN)).all()
    assert search.state is SearchState.FINISHED
    assert len(found) == 4
    assert {run.state for run in found} == {RunState.DONE}
    assert all(run.search_id == search_id and run.test_accuracy is not None for run in found)
    with transaction() as connection:
        ask_then(connection, search_id, load_config(search.config))
        assert runs.of_search(connection, search_id, Purpose.RETRAIN) == []
    with transaction(read_only=True) as connection:
        files = connection.execute(
            select(Artifact.id)
            .join(Run, Run.id == Artifact.run_id)
            .where(Artifact.kind == ArtifactKind.WEIGHTS, Run.purpose == Purpose.RETRAIN)
        ).all()
    assert len(files) == 4


def test_weights_of_a_run_that_was_lost_at_its_end_are_not_left_behind(worker, post, monkeypatch):
    run_id = ask_one(epochs=1)
    keep, kept = Recorder.keep_weights, []

    def lose(recorder, weights):
        keep(recorder, weights)
        kept.append(Path(recorder._weights[0]))
        with transaction() as connection:  # as another slot's claim
            connection.execute(update(Run).where(Run.id == run_id).values(attempt=9))

    monkeypatch.setattr(Recorder, "keep_weights", lose)
    train_one(run_id)
    assert len(kept) == 1
    assert not kept[0].exists()


@pytest.mark.usefixtures("store")
def test_retraining_takes_the_best_and_no_failure_and_the_search_s_device():
    search_id, children = make_children(
        seeds=(0, 1, 2), retrain={"network": NETWORK, "training": {"epochs": 1}}
    )
    slot = make_slot()
    from tests.factories import claim, queue_run, run_of

    for child_id, reward in zip(children, (0.2, 0.9, 0.5), strict=True):
        queue_run(run_of(child_id).id)
        finish(run_of(child_id).id, claim(run_of(child_id).id, slot).attempt, reward)
    with transaction() as connection:
        stored = load_config(searches.by_id(connection, search_id).config)
        wanted = retrain_config(stored, stored.retrain)
        asked = ask_retrain(connection, search_id, wanted, top=2, seeds=1)
    genotypes = [row(run_id).genotype_id for run_id in asked]
    assert genotypes == [run_of(children[1]).genotype_id, run_of(children[2]).genotype_id]
    assert row(asked[0]).config["training"]["device"] == "cpu"


@pytest.mark.usefixtures("store")
def test_a_run_that_no_slot_can_take_is_named():
    make_slot()
    one, two = ask_one(), ask_one(devices=2)
    with transaction(read_only=True) as connection:
        lonely = runs.without_slot(connection, run_ids=[one, two])
    assert [(run.id, run.device, run.devices) for run in lonely] == [(two, "cpu", 2)]
    make_slot("cpu-1+2", devices=2)
    with transaction() as connection:
        assert runs.without_slot(connection, run_ids=[one, two]) == []
        assert queue.queue_for_idle(connection) == [(one, "cpu", 1), (two, "cpu", 2)]


def test_weights_stay_where_the_end_was_written_and_nobody_heard(worker, post, monkeypatch):
    """The connection breaks as the end is committed: the next try finds the run ended."""
    run_id = ask_one(epochs=1)
    real, broken = train.transaction, []

    @contextlib.contextmanager
    def breaks_at_the_end(**options):
        with real(**options) as connection:
            yield connection
        if row(run_id).state is RunState.DONE and not broken:
            broken.append(run_id)
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    monkeypatch.setattr(train, "transaction", breaks_at_the_end)
    assert train_one(run_id).state is RunState.DONE
    assert broken
    with transaction(read_only=True) as connection:
        weights = checkpoints.weights_of_run(connection, run_id)
    assert Path(weights.uri).exists()
