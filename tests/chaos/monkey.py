"""A monkey that disturbs a search, by a seed, and what must hold afterwards.

Everything is real: the ``nasnet`` command, its processes, children that train. The harness does
what systemd would: a supervisor that was killed is started again.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter

from redis import Redis
from redis.exceptions import RedisError

from tests.processes import Home, wait_until

LEASE = 4.0
NAMES = ("cpu-0", "cpu-1", "control", "reconcile", "broker")


class Monkey:
    """Faults for the processes of one home, drawn from a seed."""

    def __init__(self, home: Home, arguments: list[str], seed: int) -> None:
        self.home = home
        self.arguments = arguments
        self.random = random.Random(seed)
        self.done = Counter()
        self.command = home.start(*arguments)
        self._stopped: list[tuple[int, float]] = []  # frozen processes, and until when

    def keep_running(self) -> int | None:
        """Start the command again if it was killed; its exit code once it ended by itself."""
        code = self.command.poll()
        if code is None or code >= 0:
            return code
        self.home.started.remove(self.command)
        self.command.communicate(timeout=60)
        self.command = self.home.start(*self.arguments)
        return None

    def disturb(self) -> str:
        """One fault; returns what it was."""
        self._thaw()
        fault = self.random.choice(
            [self._kill] * 6 + [self._kill_supervisor, self._freeze, self._flush, self._ring_twice]
        )
        said = fault()
        self.done[said.split()[0]] += 1
        return said

    def rest(self) -> None:
        """Let everything that was frozen go on."""
        self._thaw(at_once=True)

    def _kill(self) -> str:
        name = self.random.choice(NAMES)
        pid = self.home.pid(name)
        if not pid:
            return f"nobody {name} was not there"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"kill {name}"

    def _kill_supervisor(self) -> str:
        self.command.kill()
        self.command.wait()
        return "kill supervisor"

    def _freeze(self) -> str:
        """SIGSTOP for longer than a lease: the run goes to another, and the fence must hold."""
        name = self.random.choice(NAMES[:2])
        pid = self.home.pid(name)
        if not pid:
            return f"nobody {name} was not there"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._stopped.append((pid, time.monotonic() + 1.5 * LEASE))
        return f"freeze {name}"

    def _thaw(self, *, at_once: bool = False) -> None:
        waiting = []
        for pid, until in self._stopped:
            if at_once or time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            else:
                waiting.append((pid, until))
        self._stopped = waiting

    def _broker(self) -> Redis:
        return Redis(unix_socket_path=str(self.home.folder / "broker.sock"), socket_timeout=5)

    def _flush(self) -> str:
        try:
            with self._broker() as client:
                client.flushall()
        except (RedisError, OSError):
            return "nobody the broker was not there"
        return "flush broker"

    def _ring_twice(self) -> str:
        """Every message that waits is put into its queue once more."""
        try:
            with self._broker() as client:
                for key in client.scan_iter("*"):
                    if client.type(key) == b"list":
                        for message in client.lrange(key, 0, -1):
                            client.lpush(key, message)
        except (RedisError, OSError):
            return "nobody the broker was not there"
        return "double messages"


def held_too_long(home: Home) -> list[int]:
    """Runs whose lease ended more than 5 s ago and that are still held."""
    with contextlib.closing(sqlite3.connect(home.folder / "nasnet.db")) as connection:
        rows = connection.execute(
            "SELECT id FROM runs WHERE state = 'running' AND lease_until < "
            "strftime('%Y-%m-%d %H:%M:%f', 'now', '-5 seconds') || '000'"
        )
        return [row[0] for row in rows]


def batches(home: Home) -> list[int]:
    """How many rewards each policy version learned from, in order."""
    rows = home.rows("SELECT learned FROM policy_versions WHERE version > 0 ORDER BY version")
    return [row[0] for row in rows]


def leftovers(home: Home) -> list[str]:
    """What no process of an ended home may leave: temporary files, a socket, a live process."""
    temporary = [str(path) for path in home.folder.rglob(".*") if path.is_file()]
    socket = [str(path) for path in home.folder.glob("*.sock")]
    alive = [path.stem for path in (home.folder / "locks").glob("*.lock") if home.pid(path.stem)]
    return temporary + socket + alive


def disturb_until(monkey: Monkey, seconds: float, every: float, say=lambda _: None) -> int | None:
    """Disturb until the time is over or the command has ended; its exit code, if it has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        code = monkey.keep_running()
        if code is not None:
            return code
        say(monkey.disturb())
        time.sleep(monkey.random.uniform(0.5, 1.5) * every)
    monkey.rest()
    return None


def wait_for_end(monkey: Monkey, seconds: float = 240.0) -> dict:
    """Wait undisturbed until the search has ended; the last thing the command said."""
    codes = []

    def ended():
        code = monkey.keep_running()
        if code is not None:
            codes.append(code)
        return code is not None

    wait_until(ended, seconds, "the search to end by itself")
    output, _ = monkey.command.communicate(timeout=60)
    assert codes == [0], output[-2000:]
    return json.loads(output.splitlines()[-1])


def checked(home: Home) -> None:
    """The laws, from the store alone."""
    found = home.nasnet("db", "check", check=False)
    assert found.returncode == 0, found.stdout
