"""Searches whose children share weights, task by task: passes, scores and what is derived."""

import random
from collections import Counter

import pytest
from sqlalchemy import func, select, update

from db.lifecycle import searches
from db.reads import soundness
from db.schema.clock import clock
from db.schema.enums import Arm, ArtifactKind, Outcome, Purpose, RewardKind, RunState, SearchState
from db.schema.models import Artifact, Attempt, Child, Epoch, PolicyVersion, Run
from db.schema.session import transaction
from pipeline.errors import Failure
from pipeline.io import files
from pipeline.training import checkpoint
from pipeline.training.loop import Loop
from pipeline.training.scoring import Scorer
from tasks import policies, reconcile, runs, steering, train
from tasks.app import app, ring
from tasks.work import supernet
from tests.factories import make_search, rows, search_digest, search_progress

# Two phases, each of a pass of two minibatches and two updates from three children; four derived.
MACRO = {
    "mode": "synchronous",
    "space": {"name": "enas-macro", "layers": 2},
    "network": {"filters": 2, "reductions": [1]},
    "controller": {"name": "reinforce", "batch": 3, "units": 8, "learning_rate": 0.1},
    "shared": {"updates": 2, "chunk": 2, "score_batch": 32, "derive": 4},
    "training": {
        "batch_size": 650,
        "schedule": "restarts",
        "device": "cpu",
        "checkpoint_seconds": 0,
    },
    "budget": {"children": 12},
}
MICRO = MACRO | {
    "space": {"name": "enas-micro", "blocks": 1},
    "network": {"num_cells": 1, "num_filters": 2, "widen": False},
}
TRAINED = 1297  # images of the data set


class KilledError(BaseException):
    """As SIGKILL: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def sound(worker):
    """After each of these tests nothing stands in the store that cannot be."""
    supernet.forget()
    yield
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []


def search(post, name="s", tables=MACRO, **changes):
    """A search at its end, or where it rests."""
    search_id = make_search(name, **(tables | changes))
    ring(search_id)
    post.drain()
    return search_id


@pytest.mark.parametrize("tables", [MACRO, MICRO], ids=["macro", "micro"])
def test_a_search_is_phases_of_a_pass_and_of_children_that_are_scored(post, tables):
    search_id = search(post, tables=tables)
    assert search_progress(search_id).state is SearchState.FINISHED
    passes = rows(select(Run).where(Run.purpose == Purpose.SHARED).order_by(Run.id))
    assert [run.version for run in passes] == [0, 2]
    assert [run.images_trained for run in passes] == [TRAINED, TRAINED]
    weights = rows(select(Artifact).where(Artifact.kind == ArtifactKind.SHARED))
    assert [a.number for a in weights] == [0, 1]
    assert [run.start_artifact_id for run in passes] == [None, weights[0].id]
    by_arm = Counter((c.arm, c.version) for c in rows(select(Child)))
    policy = {(Arm.POLICY, version): 3 for version in range(4)}
    assert by_arm == {**policy, (Arm.DERIVE, 4): 4}
    scored = rows(
        select(Child.arm, Child.version, Run.start_artifact_id, Run.version)
        .join(Run, Run.id == Child.score_run_id)
        .where(Child.arm == Arm.POLICY)
    )
    assert {(version, start) for _, version, start, _ in scored} == {
        (0, weights[0].id), (1, weights[0].id), (2, weights[1].id), (3, weights[1].id),
    }  # fmt: skip
    assert rows(select(func.max(PolicyVersion.version), func.sum(PolicyVersion.learned))) == [
        (4, 12)
    ]
    assert [epoch.epoch for epoch in rows(select(Epoch).order_by(Epoch.run_id))] == [1, 2]


def test_a_score_is_no_accuracy_and_says_what_it_is(post):
    search(post)
    for child in rows(select(Child)):
        assert child.reward_kind is RewardKind.SHARED
        assert child.accuracy is None
        assert 0 <= child.reward <= 1


def test_images_are_counted_apart_trained_and_scored(post):
    search(post)
    scored = {
        row.arm: row.images
        for row in rows(
            select(Child.arm, func.sum(Run.images_scored).label("images"))
            .join(Run, Run.id == Child.score_run_id)
            .where(Child.id.in_(select(func.min(Child.id)).group_by(Child.score_run_id)))
            .group_by(Child.arm)
        )
    }
    derived = rows(select(Child.id).where(Child.arm == Arm.DERIVE, Child.duplicate_of.is_(None)))
    assert scored == {Arm.POLICY: 12 * 32, Arm.DERIVE: len(derived) * 250}
    attempts = rows(select(func.sum(Attempt.images_trained), func.sum(Attempt.images_scored)))
    assert attempts == [(2 * TRAINED, sum(scored.values()))]


@pytest.mark.parametrize("tables", [MACRO, MICRO], ids=["macro", "micro"])
def test_a_search_is_the_same_whoever_was_killed_and_wherever(post, worker, monkeypatch, tables):
    """In a pass, after any checkpoint, in a scoring; and the process that proposes and learns."""
    undisturbed = search_digest(search(post, "undisturbed", tables))
    chance = random.Random(0)

    def dying(real):
        first = iter([True])

        def call(*arguments, **keywords):
            done = real(*arguments, **keywords)
            if next(first, False) or chance.random() < 0.2:
                raise KilledError
            return done

        return call

    monkeypatch.setattr(Loop, "_save", dying(Loop._save))
    monkeypatch.setattr(Scorer, "score", dying(Scorer.score))
    monkeypatch.setattr(train, "perform", dying(train.perform))
    monkeypatch.setattr(policies, "read", dying(policies.read))
    search_id = make_search("disturbed", **tables)
    ring(search_id)
    for _ in range(300):
        try:
            post.drain()
            break
        except KilledError:
            supernet.forget()  # as the next process finds it
            policies._kept.clear()
            worker.register()
            runs.start()
            ring(search_id)
    assert search_progress(search_id).state is SearchState.FINISHED
    assert search_digest(search_id) == undisturbed
    lost = rows(select(Attempt).where(Attempt.outcome == Outcome.LOST))
    purposes = rows(select(Run.purpose).where(Run.id.in_([attempt.run_id for attempt in lost])))
    assert {row.purpose for row in purposes} == {Purpose.SHARED, Purpose.SCORE}


def test_lost_messages_are_found_by_reconcile(post):
    search_id = make_search(**MACRO)
    for _ in range(300):
        post.sent.clear()  # the broker was flushed
        with transaction() as connection:
            connection.execute(update(Run).values(state_since=clock(-31)))
        reconcile.take_turn("me")
        while post.sent:  # each message's consequences are lost
            name, (subject,) = post.sent.pop(0)
            sent, post.sent = post.sent, []
            app.tasks[name](subject)
            post.sent = sent
        if search_progress(search_id).state is SearchState.FINISHED:
            break
    assert search_progress(search_id).state is SearchState.FINISHED
    assert all(run.attempt == 1 for run in rows(select(Run)))


def test_a_second_draw_is_scored_again_but_a_derived_genotype_once(post):
    """With one layer there are six architectures: eight children repeat some."""
    search_id = search(
        post,
        space={"name": "enas-macro", "layers": 1},
        controller={"name": "random", "batch": 8},
        shared={"updates": 1, "chunk": 3, "score_batch": 32, "derive": 12},
        budget={"children": 8},
    )
    children = rows(select(Child).where(Child.search_id == search_id, Child.arm == Arm.POLICY))
    assert len({c.genotype_id for c in children}) < len(children)
    assert all(c.duplicate_of is None and c.score_run_id is not None for c in children)
    derived = rows(select(Child).where(Child.arm == Arm.DERIVE))
    scored = [c for c in derived if c.score_run_id is not None]
    assert len(scored) == len({c.genotype_id for c in derived}) < len(derived) == 12
    rewards = {c.genotype_id: c.reward for c in scored}
    assert all(c.reward == rewards[c.genotype_id] for c in derived)


def test_a_control_arm_is_scored_with_the_weights_and_never_learned_from(post):
    search_id = search(post, control=0.25, budget={"children": 16})
    assert search_progress(search_id).state is SearchState.FINISHED
    control = rows(select(Child).where(Child.arm == Arm.CONTROL))
    assert len(control) == 4
    assert all(c.reward is not None and c.learned_by is None for c in control)


@pytest.mark.parametrize(
    "controller",
    [
        {"name": "ppo", "units": 8},
        {"name": "evolution", "population": 3, "tournament": 2},
        {"name": "predictor", "start": 3, "pool": 20},
    ],
    ids=lambda controller: controller["name"],
)
def test_whatever_samples_may_share_weights(post, controller):
    search_id = search(post, controller={**controller, "batch": 3})
    assert search_progress(search_id).state is SearchState.FINISHED


def test_a_child_without_finite_logits_earns_the_penalty_and_its_chunk_goes_on(post, monkeypatch):
    real = Scorer.score

    def score(self, child, chosen):
        if child.layers[0].operation == "conv_3x3":
            for parameter in self.supernet.parameters():
                parameter.detach().mul_(float("nan"))  # of this call alone
        return real(self, child, chosen)

    def with_own_weights(self, child, chosen):
        weights = {k: v.clone() for k, v in self.supernet.state_dict().items()}
        try:
            return score(self, child, chosen)
        finally:
            self.supernet.load_state_dict(weights)

    monkeypatch.setattr(Scorer, "score", with_own_weights)
    search_id = search(post, controller={"name": "random", "batch": 12},
                       shared={"updates": 1, "score_batch": 32, "derive": 0})  # fmt: skip
    assert search_progress(search_id).state is SearchState.FINISHED
    failures = Counter(child.failure for child in rows(select(Child)))
    assert 0 < failures[Failure.DIVERGED] < 12
    assert failures.total() == 12
    for child in rows(select(Child).where(Child.failure.is_not(None))):
        assert child.reward == 0.0


def test_a_pass_that_diverges_pauses_its_search_and_resume_tries_it_again(post, monkeypatch):
    real = supernet.build

    def broken(*arguments):
        network = real(*arguments)
        for parameter in network.parameters():
            parameter.detach().fill_(float("nan"))
        return network

    monkeypatch.setattr(supernet, "build", broken)
    search_id = search(post)
    assert search_progress(search_id).state is SearchState.PAUSED
    with transaction(read_only=True) as connection:
        reason = searches.by_id(connection, search_id).reason
    assert "(shared)" in reason
    assert "the loss is nan" in reason
    [run] = rows(select(Run))
    assert (run.state, run.failure) == (RunState.FAILED, Failure.DIVERGED)
    monkeypatch.setattr(supernet, "build", real)
    steering.resume("s")
    ring(search_id)
    reconcile.take_turn("me")
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED


def test_a_scoring_that_fails_pauses_its_search_and_resume_tries_it_again(post, monkeypatch):
    real = Scorer.score

    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Scorer, "score", broken)
    search_id = search(post)
    assert search_progress(search_id).state is SearchState.PAUSED
    monkeypatch.setattr(Scorer, "score", real)
    steering.resume("s")
    reconcile.take_turn("me")
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED


def test_weights_of_the_last_two_phases_are_kept(post):
    search_id = search(post, budget={"children": 24})
    weights = (
        select(Artifact).where(Artifact.kind == ArtifactKind.SHARED).order_by(Artifact.number)
    )
    before = [a.uri for a in rows(weights)]
    reconcile.take_turn("me")
    places = [a.uri for a in rows(weights)]
    assert [place is None for place in places] == [True, True, False, False]
    assert places[2:] == before[2:]
    for gone in before[:2]:
        with pytest.raises(FileNotFoundError):
            files.read(gone)
    assert all(files.read(place) for place in places[2:])
    assert search_progress(search_id).state is SearchState.FINISHED


def test_a_worker_reads_no_weights_that_it_has(post, monkeypatch):
    read = []
    real = checkpoint.read

    def counting(uri, sha256):
        read.append(uri)
        return real(uri, sha256)

    monkeypatch.setattr(checkpoint, "read", counting)
    search(post)
    weights = [a.uri for a in rows(select(Artifact).where(Artifact.kind == ArtifactKind.SHARED))]
    # the second pass alone begins with what a file holds: its momentum is in no network
    assert read == [weights[0]]


def test_a_stopped_search_is_finished_and_can_be_extended(post):
    search_id = make_search(**MACRO)
    ring(search_id)
    for _ in range(3):  # the first children wait for their scores
        name, (subject,) = post.sent.pop(0)
        app.tasks[name](subject)
    steering.stop("s")
    ring(search_id)
    post.drain()
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED
    assert not rows(select(Child).where(Child.arm == Arm.DERIVE))
    steering.extend("s", {"children": 24})
    ring(search_id)
    reconcile.take_turn("me")
    post.drain()
    now = search_progress(search_id)
    assert (now.state, now.completed) == (SearchState.FINISHED, 24)
    assert len(rows(select(Child).where(Child.arm == Arm.DERIVE))) == 4


def test_an_extended_search_derives_again(post):
    search_id = search(post)
    steering.extend("s", {"children": 24})
    ring(search_id)
    post.drain()
    assert search_progress(search_id).state is SearchState.FINISHED
    derived = Counter(c.version for c in rows(select(Child).where(Child.arm == Arm.DERIVE)))
    assert derived == {4: 4, 8: 4}


def test_the_best_of_the_derived_are_retrained(post):
    search(
        post,
        retrain={"network": {"filters": 2, "reductions": [1]}, "training": {
            "epochs": 1, "batch_size": 650, "device": "cpu"}},
        then={"retrain": {"top": 2}},
    )  # fmt: skip
    retrained = {r.genotype_id for r in rows(select(Run).where(Run.purpose == Purpose.RETRAIN))}
    derived = rows(
        select(Child.genotype_id, Child.reward)
        .where(Child.arm == Arm.DERIVE, Child.duplicate_of.is_(None))
        .order_by(Child.reward.desc())
    )
    assert len(retrained) == 2
    least = derived[1].reward
    assert all(row.reward >= least for row in derived if row.genotype_id in retrained)
    assert retrained <= {row.genotype_id for row in derived}


def test_a_damaged_file_of_weights_pauses_the_search(post, monkeypatch):
    real = checkpoint.write

    def damaged(uri, state):
        written = real(uri, state)
        if uri.endswith("-weights.pt"):
            files.write(uri, b"damaged")
        return written

    monkeypatch.setattr(checkpoint, "write", damaged)
    monkeypatch.setattr(supernet, "keep", lambda *_: None)  # a worker that does not have them
    search_id = search(post)
    assert search_progress(search_id).state is SearchState.PAUSED
    [run] = rows(select(Run).where(Run.state == RunState.FAILED).limit(1))
    assert run.failure is Failure.DATA
