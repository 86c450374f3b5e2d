import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from db.lifecycle import slots
from db.schema.clock import clock
from db.schema.models import Slot
from db.schema.session import transaction
from pipeline.errors import UserError
from pipeline.io import locks
from pipeline.machine import supervisor as supervision
from pipeline.machine.broker import PROBE_KEY, Broker
from pipeline.machine.supervisor import Supervisor, Worker
from pipeline.settings import MAX_SOCKET_PATH, get_settings, read_settings
from tests.servers import fill


@pytest.fixture
def broker(home):
    broker = Broker(get_settings())
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def running_broker(tmp_path_factory):
    """One for all that look only."""
    broker = Broker(read_settings(home=tmp_path_factory.mktemp("b")))
    broker.ensure()
    yield broker
    broker.stop()


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_broker_starts_once_and_answers(broker):
    assert broker.ensure()
    assert not broker.ensure()
    assert broker.answers()
    assert broker.socket.stat().st_mode & 0o077 == 0


def test_a_killed_broker_is_started_again(broker):
    broker.ensure()
    first = broker.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: broker.pid is None)
    assert broker.ensure()
    assert broker.pid != first


def test_a_broker_that_outlived_its_supervisor_is_adopted(broker):
    broker.ensure()
    another = Broker(get_settings())
    assert another.pid == broker.pid
    assert not another.ensure()


def test_a_broker_whose_socket_was_swept_away_is_replaced(broker):
    broker.ensure()
    first = broker.pid
    broker.socket.unlink()
    assert broker.ensure()
    assert broker.pid != first


def test_a_broker_that_is_full_is_replaced_and_takes_messages_again(broker):
    broker.ensure()
    first = broker.pid
    with Redis(unix_socket_path=str(broker.socket)) as client:
        fill(client)
        assert broker.ensure()  # with the client there: what it holds would be room again
    assert broker.pid != first
    with Redis(unix_socket_path=str(broker.socket)) as client:
        assert client.llen("nasnet:junk") == 0
        assert client.lpush("nasnet:key", "value") == 1
    assert not broker.ensure()


def test_a_broker_that_is_in_use_stays_and_nothing_is_left_of_the_question(broker):
    broker.ensure()
    with Redis(unix_socket_path=str(broker.socket)) as client:
        client.lpush("nasnet:key", *[bytes(2**20)] * 200)
        assert not broker.ensure()
        assert client.llen("nasnet:key") == 200
        assert client.llen(PROBE_KEY) == 0


def test_stopping_leaves_no_process_and_no_socket(broker):
    broker.ensure()
    broker.stop()
    assert broker.pid is None
    assert not broker.socket.exists()


def test_the_broker_keeps_nothing_on_disk(broker, home):
    broker.ensure()
    with Redis(unix_socket_path=str(broker.socket)) as client:
        client.lpush("nasnet:key", "value")
    broker.stop()
    assert not list(home.glob("*.rdb"))
    assert not list(home.glob("*.aof"))


REFUSED = (
    "ACL SETUSER default +@all",
    "BGREWRITEAOF",
    "CLIENT KILL TYPE normal",
    "CONFIG SET appendonly yes",
    "CONFIG GET dir",
    "DEBUG SLEEP 0",
    "EVAL return(1) 0",
    "FLUSHALL",
    "FUNCTION LIST",
    "KEYS *",
    "MIGRATE 127.0.0.1 1 nasnet:key 0 1",
    "MODULE LIST",
    "MONITOR",
    "PUBLISH nasnet:key x",
    "REPLICAOF 127.0.0.1 1",
    "SAVE",
    "SCRIPT FLUSH",
    "SET nasnet:key x",
    "SHUTDOWN NOSAVE",
    "LPUSH key x",
)


@pytest.mark.parametrize("command", REFUSED)
def test_the_broker_refuses_whatever_is_not_needed_to_ring(running_broker, command):
    with (
        Redis(unix_socket_path=str(running_broker.socket), socket_timeout=10) as client,
        pytest.raises(ResponseError, match=r"[Nn]o permissions|not allowed"),
    ):
        client.execute_command(*command.split())


def test_a_home_with_a_long_path_has_its_socket_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("NASNET_HOME", str(tmp_path / ("long" * 30)))
    get_settings.cache_clear()
    socket = get_settings().socket
    get_settings.cache_clear()
    assert len(os.fsencode(socket)) < MAX_SOCKET_PATH


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_somebody_else_is_refused(broker, home):
    os.chown(home, 12345, -1)
    with pytest.raises(UserError, match="another user"):
        broker.ensure()


def test_a_lock_is_held_by_one_process_and_tells_which(home):
    path = get_settings().lock_path("x")
    assert locks.holder(path) is None
    held = locks.acquire(path)
    assert locks.holder(path) == os.getpid()
    assert locks.acquire(path, patience=0) is None
    os.close(held)
    assert locks.holder(path) is None


def test_a_process_that_does_not_stay_alive_is_told_once(home, monkeypatch):
    monkeypatch.setattr(supervision, "BACK_OFF", (0.01, 0.02))
    monkeypatch.setattr(supervision, "SETTLED", 1e9)  # a busy machine takes long to start one
    supervisor = Supervisor(get_settings(), [])
    supervisor.workers = [worker := Worker(get_settings(), "no-such-slot", {})]
    supervisor.broker = None
    told = []
    deadline = time.monotonic() + 240
    while not told and time.monotonic() < deadline:
        worker.ensure()
        told += supervisor.notices()
        time.sleep(0.02)
    worker.kill()
    wait_until(lambda: worker.pid is None)
    (notice,) = told
    assert notice.startswith("no-such-slot ended 3 times")
    assert "no slot 'no-such-slot'" in Path(notice.rpartition(" ")[2]).read_text("utf-8")
    assert supervisor.notices() == []


@pytest.fixture
def watched(sqlite_store, monkeypatch):
    """A supervisor of one worker that last spoke long ago, and what the tests may do to both."""
    now, ended = [1000.0], []
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now[0])
    settings = get_settings()
    supervisor = Supervisor(settings, [])
    worker = SimpleNamespace(name="cpu-0", pid=os.getpid(), kill=lambda: ended.append(now[0]))
    supervisor.workers = [worker]
    holder = slots.Holder(
        host=socket.gethostname(),
        home=str(settings.home),
        name="cpu-0",
        pid=os.getpid(),
        lease=0.01,
        versions={},
    )
    with transaction() as connection:
        slots.register(connection, holder)
        connection.execute(update(Slot).values(heartbeat_at=clock(-60.0)))

    def look(after):
        now[0] += after
        supervisor._end_hung()
        return bool(ended)

    return look


def test_a_worker_that_is_silent_while_it_is_listened_to_is_ended(watched):
    assert not watched(after=0)
    assert watched(after=1)


def test_a_supervisor_that_slept_listens_before_it_judges(watched):
    assert not watched(after=0)
    assert not watched(after=3600)
    assert watched(after=1)


def test_a_database_that_was_away_makes_no_worker_silent(watched, monkeypatch):
    assert not watched(after=0)

    def away(*, read_only):
        raise OperationalError(
            "select", {}, OSError("connection refused"), connection_invalidated=True
        )

    with monkeypatch.context() as patch:
        patch.setattr(supervision, "transaction", away)
        assert not watched(after=1)
    assert not watched(after=1)
    assert watched(after=1)
