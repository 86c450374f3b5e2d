"""Tasks as functions: messages are caught in a list, and drained, each of them twice."""

import pytest

from db.lifecycle import attempts
from pipeline.settings import get_settings
from tasks import probes, train
from tasks import slot as slots
from tasks.app import app, ring
from tasks.devices import SlotSpec
from tasks.work import run_data
from tests.factories import CHILDREN, make_search


class Post:
    """The messages that were sent and not yet delivered."""

    def __init__(self):
        self.sent = []

    def drain(self, limit=10_000, *, copies=2):
        """Deliver every message ``copies`` times, oldest first, and those they cause."""
        for _ in range(limit):
            if not self.sent:
                return
            name, (subject_id,) = self.sent.pop(0)
            for _ in range(copies):
                app.tasks[name](subject_id)
        raise AssertionError("messages without end")


@pytest.fixture
def post(monkeypatch):
    import tasks.reconcile
    import tasks.sample
    import tasks.update  # noqa: F401

    post = Post()
    monkeypatch.setattr(app, "send_task", lambda name, args, queue: post.sent.append((name, args)))
    monkeypatch.setattr("tasks.app._rung", {})  # of another test's search
    return post


@pytest.fixture
def start_worker():
    """Make this process the slot cpu-0 of the store that is there; no threads."""

    def start():
        slot = slots.Slot(get_settings(), "cpu-0", SlotSpec("cpu-0", "cpu", (0,)))
        slots.become(slot)
        slot.register()
        return slot

    yield start
    slots.become(None)
    run_data.forget()


@pytest.fixture
def worker(store, start_worker):
    """This process as the slot cpu-0 of an empty store."""
    return start_worker()


@pytest.fixture
def searched(worker, post):
    """A store in which a real search has ended, with a control arm."""
    search_id = make_search(
        name="digits",
        control=0.25,
        **{**CHILDREN, "controller": {"name": "random", "batch": 4}, "budget": {"children": 16}},
    )
    ring(search_id)
    post.drain()
    return search_id


@pytest.fixture
def quick(monkeypatch):
    """Children that train nothing; the accuracy follows from the seed, as a real one does."""

    def perform(attempt, recorder):
        accuracy = attempt.seed % 997 / 997
        earned = attempt.child and attempt.child.earned({"accuracy": [accuracy]}, stopped=False)
        return recorder.done(attempts.Result(accuracy=accuracy), earned)

    monkeypatch.setattr(train, "perform", perform)
    monkeypatch.setattr(probes, "probe_slot", lambda _config: None)
