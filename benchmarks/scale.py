"""500 slots against one PostgreSQL and one Redis: what a child costs, and where it would break.

    python benchmarks/scale.py                       # 500 slots, time compressed 20 times
    python benchmarks/scale.py --slots 1000 --compress 10 --seconds 120

Needs the extra `test`. Control and reconcile are the real processes. Slots are threads of a few
processes that call what a worker calls: a message from Redis, claim, a renewed lease each quarter
of one, an epoch's row now and then, finish, the next run queued, ring. A child takes 1 to 30
minutes, divided by `--compress`, as leases are; nothing is trained. So the load is that of
`slots x compress` slots in real time, and a figure per child needs no conversion.
"""

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))

from benchmarks.pipeline import create_search, home, processes

PLAYERS = 8  # processes that play slots
CHILD_SECONDS = (60.0, 1800.0)
LEASE = 90.0
EPOCHS = 20  # rows a child


# --- a slot --------------------------------------------------------------------------------


def be_player(number: int, slots_of_it: int, compress: float) -> None:
    """A process that plays some slots, a thread each."""
    from db.schema.session import get_engine

    get_engine()  # once, before the threads ask for it at one moment
    threads = [
        threading.Thread(target=play, args=(f"p{number}-{i}", compress), daemon=True)
        for i in range(slots_of_it)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def play(name: str, compress: float) -> None:
    """One slot, for ever."""
    from redis import Redis

    from db.lifecycle import queue, slots
    from db.schema.session import transaction
    from pipeline.settings import get_settings
    from tasks.app import send_runs, store_uid
    from tasks.messages import train_queue

    holder = slots.Holder(
        host="players", home="/players", name=name, pid=os.getpid(), lease=LEASE,
        device="cpu", devices=1, device_names="cpu", versions={},
    )  # fmt: skip
    with transaction() as connection:
        slot_id = slots.register(connection, holder)
        queued = queue.queue_for_idle(connection)
    send_runs(queued)
    key = f"nasnet:{store_uid()}:{train_queue('cpu', 1)}"
    chance = random.Random(name)
    with Redis(unix_socket_path=str(get_settings().socket)) as client:
        while True:
            message = client.brpop(key, timeout=LEASE / 4 / compress)
            if message is None:
                with transaction() as connection:
                    slots.beat(connection, slot_id, os.getpid())
                continue
            body = json.loads(base64.b64decode(json.loads(message[1])["body"]))
            train(body[0][0], slot_id, chance.uniform(*CHILD_SECONDS) / compress, compress)


def train(run_id: int, slot_id: int, seconds: float, compress: float) -> None:
    """A run from its claim to its end, but for the training."""
    from db.lifecycle import attempts, epochs, leases, queue, slots
    from db.schema.session import transaction
    from tasks.app import ring, send_runs

    with transaction() as connection:
        claim = leases.claim(
            connection, run_id, slot_id=slot_id, lease=LEASE, device="cpu", versions={}
        )
    if claim is None:
        return
    ends = time.monotonic() + seconds
    beat, epoch = LEASE / 4 / compress, 0
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(beat, left))
        with transaction() as connection:
            slots.beat(connection, slot_id, os.getpid())
            leases.renew(connection, run_id, claim.attempt, lease=LEASE)
            due = int(EPOCHS * (1 - max(0.0, ends - time.monotonic()) / seconds))
            for epoch in range(epoch + 1, due + 1):  # noqa: B020 - goes on where it was
                epochs.put(
                    connection, run_id, claim.attempt, epoch=epoch, loss=1.0, accuracy=0.5,
                    train_accuracy=0.5, learning_rate=0.1, seconds=1.0, waited=0.0,
                )  # fmt: skip
    reward = (claim.seed % 1000) / 1000
    with transaction() as connection:
        result = attempts.Result(accuracy=reward, parameters=1, macs=1)
        attempts.finish(
            connection, run_id, claim.attempt, result, attempts.Work(), attempts.Earned(reward)
        )
        queued = queue.queue_next(connection, "cpu", 1)
    send_runs([(queued_id, "cpu", 1) for queued_id in queued])
    assert claim.search_id is not None
    ring(claim.search_id, again=False)


# --- measuring -----------------------------------------------------------------------------


class Meter:
    """What was used since it was made."""

    def __init__(self, search_id: int, control: int, reconcile: int, server: int) -> None:
        self.search_id = search_id
        self.processes = {"control": [control], "reconcile": [reconcile]}
        self.server = server
        self.before = self._read()

    def _read(self) -> dict[str, float]:
        from redis import Redis
        from sqlalchemy import text

        from benchmarks.pipeline import completed
        from db.schema.session import transaction
        from pipeline.settings import get_settings

        with transaction(read_only=True) as connection:
            transactions = connection.execute(
                text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            ).scalar_one()
            busy = connection.execute(
                text("SELECT count(*) FROM runs WHERE state = 'running'")
            ).scalar_one()
        with Redis(unix_socket_path=str(get_settings().socket)) as client:
            pushed = client.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"]
        return {
            "children": completed(self.search_id),
            "transactions": transactions,
            "messages": pushed,
            "busy": busy,
            "time": time.monotonic(),
            **{name: cpu_of(pids) for name, pids in self.processes.items()},
            "postgresql": cpu_of(family(self.server)),
        }

    def since(self) -> dict[str, float]:
        """Differences since it was made; `busy` is now's."""
        now = self._read()
        return {k: v - (0 if k == "busy" else self.before[k]) for k, v in now.items()}


def cpu_of(pids: list[int]) -> float:
    """Seconds of CPU that processes have used."""
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def family(pid: int) -> list[int]:
    """A process and all below it."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def postmaster() -> int:
    """The server's process."""
    from sqlalchemy import text

    from db.schema.session import transaction

    with transaction(read_only=True) as connection:
        folder = connection.execute(text("SHOW data_directory")).scalar_one()
    return int(Path(folder, "postmaster.pid").read_text().splitlines()[0])


def measure(arguments: argparse.Namespace) -> None:
    """Play, and print what a child costs."""
    with home("postgresql"):
        search_id = create_search(arguments.controller)
        share = arguments.slots // PLAYERS
        players = [
            ["--player", str(i), "--slots", str(share), "--compress", str(arguments.compress)]
            for i in range(PLAYERS)
        ]
        workers = [["--worker", name] for name in ("control", "reconcile")]
        with processes(workers) as started, processes_of_this(players):
            warm_up(search_id, share * PLAYERS)
            meter = Meter(search_id, *(process.pid for process in started), postmaster())
            time.sleep(arguments.seconds)
            used = meter.since()
    report(arguments, share * PLAYERS, used)


def processes_of_this(commands: list[list[str]]) -> Any:
    """Players, ended at the end."""
    import contextlib

    @contextlib.contextmanager
    def playing() -> Any:
        started = [
            subprocess.Popen([sys.executable, str(HERE), *c], stderr=subprocess.DEVNULL)
            for c in commands
        ]
        try:
            yield
        finally:
            for process in started:
                process.kill()
            for process in started:
                process.wait()

    return playing()


def warm_up(search_id: int, slots: int) -> None:
    """Wait until every slot has had its first run."""
    from sqlalchemy import text

    from db.schema.session import transaction

    deadline = time.monotonic() + 300
    busy = 0
    while busy < 0.9 * slots and time.monotonic() < deadline:
        time.sleep(2)
        with transaction(read_only=True) as connection:
            busy = connection.execute(
                text("SELECT count(*) FROM runs WHERE state = 'running'")
            ).scalar_one()
        print(f"  {busy} of {slots} slots busy", file=sys.stderr)


def report(arguments: argparse.Namespace, slots: int, used: dict[str, float]) -> None:
    """Per child, and what follows for real time."""
    children, seconds = max(1.0, used["children"]), used["time"]
    mean = sum(CHILD_SECONDS) / 2
    print(
        f"{slots} slots, {arguments.controller}, children of {CHILD_SECONDS[0] / 60:.0f} to "
        f"{CHILD_SECONDS[1] / 60:.0f} minutes, time compressed {arguments.compress:g} x, "
        f"{seconds:.0f} s"
    )
    print(f"children                     {children:.0f}, {children / seconds:.2f} /s")
    print(f"slots busy at the end        {used['busy'] / slots:.1%}")
    print(f"messages a child             {used['messages'] / children:.2f}")
    print(f"transactions a child         {used['transactions'] / children:.1f}")
    for name in ("control", "reconcile", "postgresql"):
        spent = used[name] / children
        print(
            f"CPU of {name:<20}  {1000 * spent:.1f} ms a child, {used[name] / seconds:.0%} of a "
            f"core; one core is enough for {mean / spent:,.0f} slots in real time"
        )


def main() -> None:
    """Be a player, or measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slots", type=int, default=500)
    parser.add_argument("--compress", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--controller", default="ppo", choices=["ppo", "random"])
    parser.add_argument("--player", type=int)
    arguments = parser.parse_args()
    if arguments.player is not None:
        be_player(arguments.player, arguments.slots, arguments.compress)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
