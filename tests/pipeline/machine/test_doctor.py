"""The doctor names the cause, and one that is not there it does not name."""

import contextlib
import datetime as dt
import socket
import subprocess
import sys

import pytest
from redis import Redis
from sqlalchemy import text, update

from db.lifecycle import searches
from db.schema.enums import RunState, SlotState
from db.schema.models import Run, Slot
from db.schema.session import transaction
from pipeline.machine import doctor
from pipeline.machine.broker import Broker, server_binary
from pipeline.machine.doctor import diagnose
from pipeline.settings import get_settings
from tasks import app as tasks_app
from tests.factories import make_children, make_search, make_slot, queue_run, run_of
from tests.processes import wait_until
from tests.servers import fill


@pytest.fixture
def broker(tmp_path, monkeypatch):
    """A real broker on a socket of its own."""
    path = tmp_path / "b.sock"
    process = subprocess.Popen(
        [server_binary(), "--port", "0", "--unixsocket", str(path), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    monkeypatch.setenv("NASNET_BROKER_URL", f"redis+socket://{path}?virtual_host=0")
    get_settings.cache_clear()
    tasks_app.connect.cache_clear()

    def answers():
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            return True

    wait_until(answers)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def well(sqlite_store, broker, home):
    """A store whose processes live."""
    host, folder = socket.gethostname(), str(home)
    slot = make_slot(host=host, home=folder)
    for name in ("control", "reconcile"):
        make_slot(name, host=host, home=folder, device=None, devices=0)
    return slot


def found():
    return [(finding.check, finding.problem) for finding in diagnose(get_settings())]


def only(check):
    ((name, problem),) = found()
    assert name == check
    return problem


def change_slots(name=None, **values):
    with transaction() as connection:
        statement = update(Slot).values(**values)
        connection.execute(statement if name is None else statement.where(Slot.name == name))


def test_a_store_that_is_well_has_no_findings(well):
    make_search()
    assert found() == []


def test_a_broker_that_is_dead(well, broker):
    broker.kill()
    broker.wait()
    assert "does not answer" in only("broker")


@pytest.fixture
def client(broker, tmp_path):
    with Redis(unix_socket_path=str(tmp_path / "b.sock")) as client:
        yield client


def test_a_broker_that_is_full(well, client):
    client.config_set("maxmemory", "4mb")
    fill(client)
    (finding,) = diagnose(get_settings())
    assert finding.check == "broker"
    assert finding.problem.startswith("the broker takes no messages: ")
    assert "'maxmemory'" in finding.problem
    assert finding.cure == "make room in that server, or raise its maxmemory"


def test_a_broker_that_is_a_replica(well, client):
    client.replicaof("127.0.0.1", 1)
    (finding,) = diagnose(get_settings())
    assert "takes no messages: You can't write against a read only replica" in finding.problem
    assert "primary" in finding.cure


def test_a_broker_that_lets_us_look_only(well, client):
    client.execute_command("ACL", "SETUSER", "default", "-lpush")
    (finding,) = diagnose(get_settings())
    assert "takes no messages: " in finding.problem
    assert "LPUSH" in finding.cure


def test_an_embedded_broker_that_is_full(well, monkeypatch):
    monkeypatch.delenv("NASNET_BROKER_URL")
    get_settings.cache_clear()
    embedded = Broker(get_settings())
    embedded.ensure()
    try:
        assert found() == []
        with Redis(unix_socket_path=str(embedded.socket)) as client:
            fill(client)
        assert "takes no messages" in only("broker")
    finally:
        embedded.stop()


@pytest.mark.parametrize(
    ("name", "check"), [("control", "control"), ("reconcile", "reconcile"), ("cpu-0", "slots")]
)
def test_a_process_that_was_never_started(well, name, check):
    change_slots(name, state=SlotState.DOWN)
    assert "is alive" in only(check)


def test_a_slot_that_refuses_runs(well):
    change_slots("cpu-0", state=SlotState.REFUSING, reason="the disk is full")
    assert only("slots").endswith("takes no runs: the disk is full")


def test_a_worker_that_vanished_without_a_word(well):
    make_slot("cpu-1", host="far")
    change_slots("cpu-1", heartbeat_at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    assert only("slots").startswith("far cpu-1 has been silent for 36")


def test_a_lease_that_ended_and_a_message_that_was_lost(well):
    _, (one, two) = make_children(seeds=(0, 1))
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    running, queued = run_of(one).id, run_of(two).id
    with transaction() as connection:
        connection.execute(
            update(Run)
            .where(Run.id == running)
            .values(state=RunState.RUNNING, lease_until=long_ago)
        )
    assert str(running) in only("leases")
    queue_run(queued)
    with transaction() as connection:
        connection.execute(
            update(Run).where(Run.id == running).values(state=RunState.PENDING, lease_until=None)
        )
        connection.execute(update(Run).where(Run.id == queued).values(state_since=long_ago))
    assert str(queued) in only("queue")


def test_runs_that_no_slot_can_take(well):
    _, [child_id] = make_children()
    with transaction() as connection:
        connection.execute(update(Run).values(devices=2, device="cuda"))
    problem = only("slots")
    assert problem.startswith("no slot has 2 x cuda")
    assert str(run_of(child_id).id) in problem


def test_the_cure_of_a_missing_slot_is_one_that_helps(well, monkeypatch):
    """`nasnet up` starts CPU slots here: that helps a run on the CPU, and none on CUDA."""
    monkeypatch.setattr(doctor, "cuda_count", lambda: 0)
    monkeypatch.setenv("NASNET_DEVICES", "cpu")
    get_settings.cache_clear()
    make_children()
    change_slots("cpu-0", state=SlotState.DOWN)
    [finding] = diagnose(get_settings())
    assert finding.problem == "no training slot is alive"
    assert finding.cure.startswith("nasnet up, or")
    with transaction() as connection:
        connection.execute(update(Run).values(device="cuda"))
    none_alive, no_such = diagnose(get_settings())
    assert none_alive.problem == "no training slot is alive"
    assert no_such.problem.startswith("no slot has 1 x cuda")
    assert none_alive.cure == no_such.cure
    assert no_such.cure.startswith("nasnet up on a machine with 1 x cuda")
    monkeypatch.setattr(doctor, "cuda_count", lambda: 1)
    assert {f.cure for f in diagnose(get_settings())} == {"NASNET_DEVICES=cuda:N, then nasnet up"}


def test_a_disk_that_is_full(well, monkeypatch):
    monkeypatch.setenv("NASNET_FREE", "999999T")
    get_settings.cache_clear()
    assert "GiB are free" in only("disk")


def test_a_clock_that_is_off(well, monkeypatch):
    monkeypatch.setattr(doctor, "CLOCK_SKEW", -1.0)  # whatever the clocks say is too much
    assert "clock is" in only("clock")


def test_workers_with_other_libraries(well):
    host = socket.gethostname()
    make_slot("cpu-1", host=host, versions={"torch": "1"})
    assert f"different torch: 1 on {host}, 2 on {host}" in only("versions")


def test_two_hosts_at_a_store_that_serves_one(well):
    make_slot("cpu-1", host="far")
    assert "far" in only("hosts")


def test_images_that_are_missing_here(well):
    make_search(dataset="npz:/nowhere/images.npz")
    assert "/nowhere/images.npz" in only("data")


def test_a_search_that_paused_itself(well):
    search_id = make_search("mine")
    with transaction() as connection:
        searches.pause(connection, search_id, "all children failed")
    assert only("searches") == "search 'mine' is paused: all children failed"


def test_a_schema_that_is_old(well):
    with transaction() as connection:
        connection.execute(text("UPDATE nasnet_schema SET version_num = '0001'"))
    assert "older than this release's" in only("schema")


def test_a_database_that_is_away(home, monkeypatch):
    monkeypatch.setenv("NASNET_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    get_settings.cache_clear()
    assert "127.0.0.1" in only("database")


def test_the_command_says_the_cause_and_its_cure_and_exits_with_1(well, broker, home):
    broker.kill()
    broker.wait()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "doctor"], capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("broker: the broker does not answer")
    assert line.endswith("-> start the server")


@pytest.mark.parametrize("devices", ["gpu0", "cpu*0", "cpu*-1", "cuda:x"])
def test_devices_that_no_machine_has(well, monkeypatch, devices):
    monkeypatch.setenv("NASNET_DEVICES", devices)
    get_settings.cache_clear()
    assert "NASNET_DEVICES" in only("devices")
