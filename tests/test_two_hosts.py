"""Two hosts in network namespaces, over PostgreSQL and Redis by TCP: one vanishes, and returns.

Each host has a home of its own; they share nothing but the database, the broker and the folder
of artifacts.
"""

import contextlib
import os
import subprocess

import psycopg
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from tests.hosts import HOSTS, SERVER, Host, network, why_not
from tests.processes import TINY, wait_until
from tests.servers import Broker, Postgres

pytestmark = pytest.mark.slow

SECRET = "hunter2-of-the-database"


@pytest.fixture
def wired():
    """Both hosts and their network."""
    if reason := why_not():
        pytest.skip(reason)
    with network():
        yield


@pytest.fixture
def servers(wired, tmp_path):
    """PostgreSQL and a broker that ask for passwords, by TCP."""
    postgres = Postgres()
    broker = Broker(tmp_path, SERVER)
    yield postgres.listen(SERVER, SECRET), broker.url
    broker.kill()
    postgres.close()


@pytest.fixture
def hosts(servers, tmp_path):
    database, broker = servers
    shared = {
        "database_url": database,
        "broker_url": broker,
        "artifacts": str(tmp_path / "artifacts"),
        "devices": "cpu",
        "lease": "3",
    }
    made = [Host(name, tmp_path / name, **shared) for name in HOSTS]
    yield made
    for host in made:
        with contextlib.suppress(subprocess.CalledProcessError):
            host.mend()
    for host in made:
        host.close()


@retry(stop=stop_after_delay(30), wait=wait_fixed(0.5), reraise=True)
def attempts_of(host, outcome):
    with psycopg.connect(host.environment["NASNET_DATABASE_URL"]) as connection:
        return connection.execute(
            "SELECT count(*) FROM attempts JOIN slots ON slots.id = slot_id"
            " WHERE host = %s AND outcome = %s",
            (host.name, outcome),
        ).fetchone()[0]


def test_a_worker_host_vanishes_and_returns_and_the_search_ends(hosts):
    one, other = hosts
    (one.folder / "tiny.toml").write_text(TINY)
    # children of some seconds, so that one is on its way when the host vanishes
    more = ["--set=budget.children=1000", "--set=training.epochs=20", "--set=mode=rolling"]
    one.nasnet("db", "upgrade")
    one.nasnet("search", "create", "tiny.toml", *more)
    one.start("up")
    other.start("worker", "start", "train")
    wait_until(lambda: attempts_of(other, "done") >= 1, what="a child of the other host")
    done, lost = attempts_of(other, "done"), attempts_of(other, "lost")
    other.cut()
    wait_until(lambda: attempts_of(other, "lost") > lost, what="its run to be taken from it")
    before = attempts_of(one, "done")
    wait_until(lambda: attempts_of(one, "done") > before, what="the first host to go on")
    other.mend()
    wait_until(lambda: attempts_of(other, "done") > done, what="a child after its return")
    one.nasnet("search", "stop", "tiny")
    wait_until(lambda: one.json("search", "show", "tiny")["state"] == "finished")
    check = one.json("db", "check")
    assert check["problems"] == []
    assert not (other.folder / "nasnet.db").exists()
    told = "".join(path.read_text() for host in hosts for path in host.folder.rglob("*.log"))
    assert told
    assert SECRET not in told
    assert SECRET not in commands()


def commands():
    """Every command line of this machine."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            found.append(file.read().decode(errors="replace"))
    return "".join(found)
