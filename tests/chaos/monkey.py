"""A monkey that disturbs a search, by a seed; ``laws`` says what must hold meanwhile and after.

Everything is real: the ``nasnet`` command, its processes, children that train. The harness does
what systemd would: a supervisor or a PostgreSQL that was killed is started again.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from redis import Redis
from redis.exceptions import RedisError

from tasks.messages import CONTROL_QUEUE, Task, train_queue
from tests.chaos import laws
from tests.chaos.forged import flood, forged
from tests.hosts import Host
from tests.processes import Home, wait_until
from tests.servers import Broker, Postgres, is_root

LEASE = 4.0
NAMES = ("cpu-0", "cpu-1", "control", "reconcile", "broker")
# how many of the draws are of a kind
KILLS = 6
DISK = 2**23  # bytes there are for checkpoints, where a disk can be mounted
CLOCKS = (-420, 0, 0, 600)  # seconds a supervisor's and its workers' clocks are off


class Monkey:
    """Faults for the processes of one home, drawn from a seed.

    A broker over TCP replaces the home's own; another host has one worker, and a link to cut.
    ``images`` is a folder that the search trains on: it moves away and comes back.
    """

    def __init__(
        self,
        home: Home,
        arguments: list[str],
        seed: int,
        *,
        postgres: Postgres | None = None,
        broker: Broker | None = None,
        other: Host | None = None,
        images: Path | None = None,
    ) -> None:
        self.home = home
        self.arguments = arguments
        self.random = random.Random(seed)
        self.postgres = postgres
        self.broker = broker
        self.other = other
        self.done = Counter()
        self.said = ""  # by the command, once it has ended
        self.repaired_since = time.monotonic()  # since when the repairing is left alone
        self._frozen: list[tuple[int, float]] = []  # processes, and until when
        self._full_until: float | None = None
        self._cut_until: float | None = None
        self._images = MovingImages(images) if images else None
        self._disk = _mount(home.folder / "artifacts")
        self.command = home.start(*arguments)

    def keep_running(self) -> int | None:
        """Start what was killed again; the command's exit code once it ended by itself.

        One that finds the database away as it starts says so and ends: that is no end, either.
        """
        if self.other:
            self._keep_the_other_running(self.other)
        code = self.command.poll()
        if code is None:
            return None
        self.said, _ = self.command.communicate(timeout=60)
        if code >= 0 and not self._found_something_away():
            return code
        self.home.started.remove(self.command)
        self.command = self.home.start(*self.arguments, **self._clock())
        return None

    def _found_something_away(self) -> bool:
        """Whether a command refused to start for a fault of ours."""
        if self.postgres and "nasnet: the database:" in self.said:
            return True
        return self._images is not None and "dataset" in self.said and "nasnet: " in self.said

    def _keep_the_other_running(self, other: Host) -> None:
        if other.started and other.started[-1].poll() is None:
            return
        if not self.home.completed("tiny"):
            return  # nobody has made the tables yet
        if other.started:
            other.started.pop().communicate()
        other.start("worker", "start", "cpu-0")

    def disturb(self) -> str:
        """One fault; returns what it was."""
        self._mend()
        faults: list[Callable[[], str]] = [self._kill] * KILLS
        faults += [self._kill_supervisor, self._freeze, self._flush, self._ring_twice]
        faults.append(self.forge)
        if self._disk:
            faults.append(self._fill_disk)
        if self.postgres:
            faults.append(self._kill_postgres)
        if self.other:
            faults.append(self._cut)
        if self._images:
            faults += [self._images.move] * 2
        said = self.random.choice(faults)()
        self.done[said] += 1
        if said.split()[-1] in {"reconcile", "supervisor", "postgresql"}:
            self.repaired_since = time.monotonic()
        return said

    def rest(self) -> None:
        """Mend all that does not mend itself."""
        self._mend(at_once=True)

    def close(self) -> None:
        """Take the disk away."""
        self.rest()
        if self._disk:
            subprocess.run(["umount", self.home.folder / "artifacts"], check=False)

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(count for said, count in self.done.items() if said.startswith("kill"))

    def held_too_long(self) -> list[int]:
        """Runs held past lease + 5 s though whoever repairs was left alone for that long."""
        alone = time.monotonic() - self.repaired_since
        return laws.held_too_long(self.home, 5) if alone > LEASE + 5 else []

    def _clock(self) -> dict[str, str]:
        """What shifts the clock of a supervisor and all it starts; PostgreSQL's decides.

        SQLite has no clock but its callers', who are on one host.
        """
        seconds = self.random.choice(CLOCKS) if self.postgres else 0
        if not seconds:
            return {}
        import libfaketime

        self.done["clock off"] += 1
        library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME": f"{seconds:+}s",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def _kill(self) -> str:
        name = self.random.choice(NAMES)
        if name == "broker" and self.broker:
            return self._kill_broker(self.broker)
        pid = self.home.pid(name)
        if not pid:
            return f"absent {name}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"kill {name}"

    def _kill_broker(self, broker: Broker) -> str:
        broker.kill()
        time.sleep(self.random.uniform(0, 2))
        broker.start()
        return "kill broker"

    def _kill_supervisor(self) -> str:
        self.command.kill()
        self.command.wait()
        return "kill supervisor"

    def _kill_postgres(self) -> str:
        self.postgres.kill()
        time.sleep(self.random.uniform(0, 2))
        self.postgres.restart()
        return "kill postgresql"

    def _freeze(self) -> str:
        """SIGSTOP for longer than a lease: the run goes to another, and the fence must hold."""
        name = self.random.choice(NAMES[:2])
        pid = self.home.pid(name)
        if not pid:
            return f"absent {name}"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._frozen.append((pid, time.monotonic() + 1.5 * LEASE))
        return f"freeze {name}"

    def _cut(self) -> str:
        """The other host's link is down for longer than a lease, and nobody is told."""
        self.other.cut()
        self._cut_until = time.monotonic() + 1.5 * LEASE
        return "cut network"

    def _fill_disk(self) -> str:
        with contextlib.suppress(OSError), (self._filler).open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**12))
        self._full_until = time.monotonic() + 1.5 * LEASE
        return "fill disk"

    @property
    def _filler(self) -> Path:
        return self.home.folder / "artifacts" / "filler"

    def _mend(self, *, at_once: bool = False) -> None:
        now = time.monotonic()
        for pid, until in self._frozen:
            if at_once or now > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        self._frozen = [(p, until) for p, until in self._frozen if not (at_once or now > until)]
        if self._full_until and (at_once or now > self._full_until):
            self._filler.unlink()
            self._full_until = None
        if self._images:
            self._images.come_back(at_once=at_once)
        if self._cut_until and (at_once or now > self._cut_until):
            self.other.mend()
            self._cut_until = None

    def _client(self) -> Redis:
        url = self.broker.url if self.broker else f"unix://{self.home.folder / 'broker.sock'}"
        return Redis.from_url(url, socket_timeout=5)

    def _queues(self) -> list[str]:
        [(uid,)] = self.home.rows("SELECT uid FROM store")
        return [f"nasnet:{uid}:{name}" for name in (CONTROL_QUEUE, train_queue("cpu", 1))]

    def _flush(self) -> str:
        try:
            with self._client() as client:
                client.delete(*self._queues())
        except (RedisError, OSError):
            return "absent broker"
        return "flush broker"

    def forge(self, count: int | None = None) -> str:
        """Messages as somebody may write them who should not be able to: one of each kind."""
        trap = self.home.folder / "forged"
        try:
            with self._client() as client:
                for queue in self._queues():
                    task = Task.SAMPLE if queue.endswith(CONTROL_QUEUE) else Task.TRAIN
                    items = forged(task, trap) if count is None else flood(task, trap, count)
                    for item in items:
                        client.lpush(queue, item)
        except (RedisError, OSError):
            return "absent broker"
        return "forge messages"

    def _ring_twice(self) -> str:
        """Every message that waits is put into its queue once more."""
        try:
            with self._client() as client:
                for queue in self._queues():
                    for _ in range(client.llen(queue)):
                        if found := client.brpop([queue], timeout=0.1):
                            client.lpush(queue, found[1], found[1])
        except (RedisError, OSError):
            return "absent broker"
        return "double messages"


class MovingImages:
    """A folder of images that goes away, comes back with one of them replaced, and is mended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.away = folder.with_name("away")
        self.original = folder.with_name("original")
        self._until: float | None = None

    def move(self) -> str:
        """Move it away, unless it is on its way back."""
        if self._until is not None:
            return "absent images"
        self.folder.rename(self.away)
        self._until = time.monotonic() + 1.5 * LEASE
        return "move images"

    def come_back(self, *, at_once: bool) -> None:
        """One step back, when it is time; all of them at once."""
        if self._until is None or not (at_once or time.monotonic() > self._until):
            return
        if self.away.exists():
            self.away.rename(self.folder)
            replaced = min(self.folder.rglob("*.png"))
            replaced.rename(self.original)
            Image.new("RGB", (40, 40)).save(replaced)
            self._until = time.monotonic() + 1.5 * LEASE
            if not at_once:
                return
        self.original.rename(min(self.folder.rglob("*.png")))
        self._until = None


def _mount(folder: Path) -> bool:
    """Put a small disk where checkpoints go; whether this machine lets us."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_root():
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", folder]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def nothing(found: list, what: str) -> None:
    """Fail, and say what was found."""
    assert found == [], f"{what}: {found}"


def disturb_until(monkey: Monkey, seconds: float, every: float, say=lambda _: None) -> int | None:
    """Disturb until the time is over or the command has ended; its exit code, if it has.

    After each round the laws must hold.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        code = monkey.keep_running()
        if code is not None:
            return code
        say(monkey.disturb())
        time.sleep(monkey.random.uniform(0.5, 1.5) * every)
        nothing(monkey.held_too_long(), "held too long")
        nothing(laws.broken_laws(monkey.home), "broken")
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
    assert codes == [0], monkey.said[-2000:]
    return json.loads(monkey.said.splitlines()[-1])


def check_the_end(home: Home) -> None:
    """What must hold once a search has ended, and once its processes have."""
    nothing(laws.broken_laws(home), "broken")
    nothing(home.rows("SELECT id FROM children WHERE state = 'open'"), "open children")
    nothing(laws.orphaned_files(home), "files without a row")
    checked = home.nasnet("db", "check", check=False)
    assert checked.returncode == 0, checked.stdout
    home.nasnet("down")
    nothing(laws.leftovers(home), "left over")
