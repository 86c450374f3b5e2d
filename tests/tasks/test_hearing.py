"""A worker that lives and takes no messages: it says so, and leaves."""

import socket
import time

import pytest
from celery.signals import task_postrun, task_prerun
from redis import Redis

from db.lifecycle import slots
from db.schema.enums import SlotState
from db.schema.session import transaction
from pipeline.machine.doctor import diagnose
from pipeline.settings import get_settings
from tasks import app as tasks_app
from tasks import hearing
from tasks.hearing import ENDS, EXIT_DEAF, SAYS_SO, Hearing
from tasks.messages import train_queue
from tasks.transport import Client
from tests import deaf
from tests.processes import TINY, Home
from tests.servers import Broker

QUEUE = train_queue("cpu", 1)


class LeftError(Exception):
    """The process would have ended."""


@pytest.fixture
def broker(sqlite_store, tmp_path, monkeypatch):
    broker = Broker(tmp_path)
    monkeypatch.setenv("NASNET_BROKER_URL", broker.url)
    get_settings.cache_clear()
    tasks_app.connect.cache_clear()
    tasks_app.store_uid.cache_clear()
    tasks_app.connect()
    yield broker
    broker.kill()


@pytest.fixture
def ring(broker):
    """Put something into the queue."""

    def ring():
        with Redis.from_url(broker.url) as client:
            client.lpush(f"nasnet:{tasks_app.store_uid()}:{QUEUE}", b"a message")

    return ring


@pytest.fixture
def slot(broker, start_worker):
    return start_worker()


@pytest.fixture
def look(slot, monkeypatch):
    """Look as if so many seconds had passed since the broker last answered; what the row says."""

    def leave(code):
        assert code == EXIT_DEAF
        raise LeftError

    monkeypatch.setattr(hearing.os, "_exit", leave)
    ear = Hearing(slot, QUEUE)

    def look(after, since_look=1.0):
        ear.look(time.monotonic() + after, since_look)
        settings = get_settings()
        with transaction(read_only=True) as connection:
            [row] = slots.by_home(connection, socket.gethostname(), settings.home_text)
        return row.state, row.reason

    return look


def test_a_slot_that_takes_no_messages_though_some_wait_says_so_and_leaves(look, ring):
    ring()
    state, reason = look(SAYS_SO + 1)
    assert (state, reason) == (
        SlotState.REFUSING,
        f"it takes no messages, of which 1 wait in {QUEUE}",
    )
    assert any(str(reason) in finding.problem for finding in diagnose(get_settings()))
    with pytest.raises(LeftError):
        look(ENDS + 1)


def test_a_slot_that_hears_again_takes_runs_again(look, ring, monkeypatch):
    ring()
    assert look(SAYS_SO + 1)[0] is SlotState.REFUSING
    monkeypatch.setattr(Client, "answered_at", time.monotonic() + SAYS_SO)
    assert look(SAYS_SO + 1) == (SlotState.UP, None)


def test_a_slot_with_nothing_to_hear_or_a_task_in_hand_or_no_broker_is_well(look, ring, broker):
    assert look(ENDS + 1) == (SlotState.UP, None)  # its queue is empty
    ring()
    task_prerun.send(sender=None)
    assert look(3 * ENDS) == (SlotState.UP, None)
    task_postrun.send(sender=None)
    assert look(4 * ENDS, since_look=3600.0) == (SlotState.UP, None)  # the machine slept
    broker.kill()
    assert look(6 * ENDS) == (SlotState.UP, None)


@pytest.mark.slow
def test_processes_that_take_no_messages_are_started_again_and_the_search_ends(
    tmp_path, undisturbed
):
    home = Home(tmp_path / "home", free="64K")
    (home.folder / "tiny.toml").write_text(TINY)
    (tmp_path / "deaf").mkdir()
    home.environment |= {"DEAF": str(tmp_path / "deaf"), "PYTHONPATH": deaf.__path__[0]}
    try:
        home.nasnet("run", "tiny.toml", timeout=400)
        assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
        for name in ("control", "cpu-0"):
            assert "no message is taken" in (home.folder / "logs" / f"{name}.log").read_text()
    finally:
        home.close()
