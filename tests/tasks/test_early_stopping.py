"""Early stopping in a search: what a child is compared with, and what it earns."""

import pytest
from sqlalchemy import select

from db.lifecycle import epochs, versions
from db.reads import digests
from db.schema.enums import ChildState
from db.schema.models import Child, Epoch, Run
from db.schema.session import transaction
from tasks import sample
from tests.factories import (
    claim,
    finish,
    make_children,
    make_search,
    make_slot,
    propose,
    queue_run,
    run_of,
)

SEARCH = {
    "mode": "synchronous",
    "space": {"blocks": 1},
    "controller": {"name": "random", "batch": 4},
    "network": {"num_cells": 1, "num_filters": 2},
    "training": {"epochs": 3, "batch_size": 650, "device": "cpu"},
    "budget": {"children": 12},
    "reward": {"last_epochs": 3, "power": 2.0},
    "early_stopping": {"name": "median", "min_children": 2},
}


def train_with_curve(child_id, accuracies):
    """A child's run, from its claim to its end, by hand."""
    run = run_of(child_id)
    queue_run(run.id)
    held = claim(run.id, make_slot())
    with transaction() as connection:
        for epoch, accuracy in enumerate(accuracies, 1):
            epochs.put(
                connection, run.id, held.attempt, epoch=epoch, accuracy=accuracy, loss=1.0,
                train_accuracy=0.1, learning_rate=0.1, seconds=1.0, waited=0.0,
            )  # fmt: skip
    finish(run.id, held.attempt, reward=accuracies[-1])


def test_a_child_is_compared_with_what_an_earlier_version_had_learned_from(store):
    search_id, first = make_children((1, 2, 3))
    for child_id, curve in zip(first, ([0.1, 0.2], [0.3], [0.5, 0.6]), strict=True):
        train_with_curve(child_id, curve)
    with transaction() as connection:
        for version, consumed in ((1, first[:2]), (2, first[2:])):
            versions.append(
                connection, search_id, version, consumed=consumed, total_learned=version + 1,
                sha256="0" * 64, state=b"", diagnostics={},
            )  # fmt: skip
    later = [propose(search_id, [10 + v], version=v, first=9)[0] for v in (1, 2)]
    with transaction(read_only=True) as connection:
        known = [sorted(epochs.known_curves(connection, child_id)) for child_id in later]
        assert epochs.known_curves(connection, first[0]) == []
    assert known == [[[0.1, 0.2], [0.3]], [[0.1, 0.2], [0.3], [0.5, 0.6]]]


@pytest.mark.usefixtures("worker")
def test_stopped_children_earn_their_accuracy_at_the_stop_and_are_marked(post):
    search_id = make_search(**SEARCH)
    sample.sample(search_id)
    post.drain()
    with transaction(read_only=True) as connection:
        children = connection.execute(
            select(Child).where(Child.search_id == search_id, Child.duplicate_of.is_(None))
        ).all()
        curves = {
            child_id: [row.accuracy for row in rows]
            for child_id in (child.id for child in children)
            for rows in [
                connection.execute(
                    select(Epoch.accuracy)
                    .join(Run, Run.id == Epoch.run_id)
                    .where(Run.child_id == child_id)
                    .order_by(Epoch.epoch)
                ).all()
            ]
        }
        digest = digests.search_digest(connection, search_id)
    stopped = [child for child in children if child.stopped_epoch is not None]
    assert stopped
    assert len(stopped) < len(children)
    assert all(child.version > 0 for child in stopped)
    for child in children:
        curve = curves[child.id]
        assert child.state is ChildState.REWARDED
        assert child.accuracy == curve[-1]
        assert len(curve) == (child.stopped_epoch or 3)
        best = curve[-1] if child.stopped_epoch else max(curve)
        assert child.reward == pytest.approx(best**2)
    assert len(digest) == 64
