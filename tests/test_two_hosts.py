"""Two hosts in network namespaces, over PostgreSQL and Redis by TCP: one vanishes, and returns.

Each host has a home of its own; they share nothing but the database, the broker and the folder
of artifacts.
"""

import contextlib
import os
import shutil
import subprocess
import sys

import psycopg
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from tests.processes import TINY, Home, wait_until
from tests.servers import Broker, Postgres, is_root

pytestmark = pytest.mark.slow

SERVER = "10.213.7.1"
HOSTS = {"nasnet-a": "10.213.7.2", "nasnet-b": "10.213.7.3"}
BRIDGE = "nasnet-br"
SECRET = "hunter2-of-the-database"


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


@pytest.fixture
def network():
    """A bridge to which both hosts are wired; the servers are on its own address."""
    if not is_root() or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs root, ip (iproute2) and unshare, to make network namespaces")
    if ip("link", "add", BRIDGE, "type", "bridge", check=False).returncode:
        pytest.skip("this machine does not let us make a network")
    try:
        ip("addr", "add", f"{SERVER}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for name, address in HOSTS.items():
            ip("netns", "add", name)
            ip("link", "add", f"{name}-v", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}-v", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield
    finally:
        for name in HOSTS:
            ip("netns", "del", name, check=False)
            ip("link", "del", f"{name}-v", check=False)
        ip("link", "del", BRIDGE, check=False)


class Host(Home):
    """A home whose processes live in a network, and under a host name, of their own."""

    def __init__(self, name, folder, **settings):
        super().__init__(folder, **settings)
        self.name = name
        self.command = [
            *("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c"),
            f'hostname {name}; exec "$@"',
            *("sh", sys.executable, "-m", "pipeline.cli"),
        ]

    def cut(self):
        """Nothing goes out any more, nothing comes in, and nobody is told."""
        ip("link", "set", f"{self.name}-v", "down")

    def mend(self):
        ip("link", "set", f"{self.name}-v", "up")


@pytest.fixture
def servers(network, tmp_path):
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
