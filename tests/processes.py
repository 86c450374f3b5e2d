"""Real processes for tests: the ``nasnet`` command in a home of its own, and ways to kill it."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from pipeline.io import locks
from tests import forked_commands

try:
    from psycopg import OperationalError as PostgresAwayError
    from psycopg.errors import UndefinedTable
except ImportError:  # the extra `postgres`
    PostgresAwayError = UndefinedTable = ConnectionError

# A search of tiny children; some seconds of work, so that there is something to disturb.
COMMAND = [sys.executable, "-m", "pipeline.cli"]
TINY = """
mode = "synchronous"
dataset = "digits"

[space]
blocks = 1

[controller]
batch = 4
units = 8

[network]
num_cells = 1
num_filters = 2

[training]
epochs = 2
batch_size = 128
checkpoint_seconds = 0.2

[budget]
children = 12
"""


def wait_until(condition, seconds=240.0, what="the condition"):
    """Poll; there is no event to wait for across processes."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
    return found


class Home:
    """A home whose processes are ended with the test."""

    def __init__(self, folder, **settings):
        self.folder = folder
        self.command = COMMAND
        folder.mkdir(mode=0o700, exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("NASNET_")}
        self.environment = {
            **clean,
            "NASNET_HOME": str(folder),
            "NASNET_DEVICES": "cpu*2",
            "NASNET_LEASE": "3",
            "NASNET_DASHBOARD": "off",  # homes beside one another would want one port
            **{f"NASNET_{name.upper()}": value for name, value in settings.items()},
        }
        self.started = []

    def nasnet(self, *arguments, check=True, timeout=240):
        """Run a command to its end; returns the finished process."""
        if self.command is COMMAND and "LD_PRELOAD" not in self.environment:
            done = forked_commands.run(
                arguments, environment=self.environment, folder=self.folder, timeout=timeout
            )
        else:
            done = subprocess.run(
                [*self.command, *arguments],
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=self.folder,
            )
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    @property
    def database_url(self):
        """The server's, where the store is not SQLite."""
        return self.environment.get("NASNET_DATABASE_URL")

    def start(self, *arguments, **environment):
        """Start a command in the background."""
        process = subprocess.Popen(
            [*self.command, *arguments],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def json(self, *arguments):
        """A command's JSON."""
        return json.loads(self.nasnet(*arguments, "--json").stdout)

    def pid(self, name):
        """The process that holds a lock of this home, or None."""
        return locks.holder(self.folder / "locks" / f"{name}.lock")

    def kill(self, name, number=signal.SIGKILL):
        """Send a signal to the process of that name, once it is there; returns its id."""
        pid = wait_until(lambda: self.pid(name), what=f"process {name}")
        os.kill(pid, number)
        return pid

    @retry(
        retry=retry_if_exception_type(PostgresAwayError),
        stop=stop_after_delay(60),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    def rows(self, statement):
        """What a SELECT finds in the home's store; a server that is away is waited for."""
        if self.database_url:
            import psycopg

            with psycopg.connect(self.database_url, autocommit=True) as connection:
                return connection.execute(statement).fetchall()
        with contextlib.closing(sqlite3.connect(self.folder / "nasnet.db")) as connection:
            return connection.execute(statement).fetchall()

    def config(self, stored):
        """A configuration's tables, as a row of either database has them."""
        return json.loads(stored) if isinstance(stored, str) else stored

    def completed(self, search):
        """Children of a search that carry a reward; 0 before there is such a search."""
        try:
            return self.rows(
                "SELECT count(*) FROM children JOIN searches ON searches.id = search_id "
                f"WHERE name = '{search}' AND children.state = 'rewarded'"
            )[0][0]
        except (sqlite3.OperationalError, UndefinedTable):  # no table yet
            return 0

    def close(self):
        """End all processes of the home; fail if one is left."""
        self.nasnet("down")
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
            process.communicate()
        names = [path.stem for path in (self.folder / "locks").glob("*.lock")]
        assert [name for name in names if self.pid(name)] == []
        assert not (self.folder / "broker.sock").exists()
