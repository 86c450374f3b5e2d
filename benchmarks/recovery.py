"""How long a search stands still after a fault: a worker killed by -9, a broker that was away.

    python benchmarks/recovery.py
    python benchmarks/recovery.py --leases 3,30,90 --outages 2,5,20,60 --repeat 3

Needs the extra `test`. Processes are started one by one, as on a cluster, so that nothing but
the lease frees what a dead worker held. SQLite, a broker over TCP, two CPU slots.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))

from tests.processes import TINY, Home, wait_until
from tests.servers import Broker

PROCESSES = ("control", "reconcile", "cpu-0", "cpu-1")


def searching(folder: Path, lease: float, *sets: str) -> tuple[Home, Broker]:
    """A home whose processes work on a search without an end."""
    broker = Broker(folder)
    home = Home(folder / "home", lease=f"{lease:g}", broker_url=broker.url)
    (home.folder / "tiny.toml").write_text(TINY)
    more = ("mode=rolling", "budget.children=1000000", "stop.duplicates=1.0", *sets)
    home.nasnet("db", "upgrade")
    home.nasnet("search", "create", "tiny.toml", *(f"--set={assignment}" for assignment in more))
    for name in PROCESSES:
        home.start("worker", "start", name)
    wait_until(lambda: attempts(home) >= 2, 120)
    return home, broker


def attempts(home: Home) -> int:
    """How often a run was taken."""
    return int(home.rows("SELECT count(*) FROM attempts")[0][0])


def are_ready(home: Home, names: tuple[str, ...]) -> bool:
    """Whether processes have begun to work, and are no predecessors' rows."""
    rows = dict(home.rows("SELECT name, pid FROM slots WHERE state = 'up'"))
    return all(home.pid(name) and rows.get(name) == home.pid(name) for name in names)


def seconds_until(condition: Callable[[], object], patience: float) -> float:
    """How long it takes until something is so."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > patience:
            raise TimeoutError
        time.sleep(0.02)
    return time.monotonic() - started


def after_a_kill(folder: Path, lease: float, repeat: int) -> list[float]:
    """Seconds from the kill of a worker until an idle one holds its run."""
    home, broker = searching(folder, lease, "training.epochs=100000", "budget.children=2")
    held = "SELECT runs.id, runs.attempt, name FROM runs JOIN slots ON slots.id = slot_id"
    took = []
    try:
        home.start("worker", "start", "cpu-2")
        for number in range(repeat):
            wait_until(lambda: are_ready(home, (*PROCESSES, "cpu-2")))
            wait_until(lambda: len(home.rows(held)) == 2, 60, "both runs to be held")
            time.sleep(lease * (number + 1) / (repeat + 1))  # somewhere between two heartbeats
            run, attempt, name = home.rows(held)[0]
            home.kill(name)
            again = f"SELECT 1 FROM runs WHERE id = {run} AND attempt > {attempt}"
            took.append(seconds_until(lambda again=again: home.rows(again), lease + 60))
            home.start("worker", "start", name)
    finally:
        home.close()
        broker.kill()
    return took


def after_an_outage(folder: Path, outage: float, repeat: int) -> list[float]:
    """Seconds from the return of a broker until a run is taken."""
    home, broker = searching(folder, 90)
    took = []
    try:
        for _ in range(repeat):
            broker.kill()
            time.sleep(outage)
            before = attempts(home)
            broker.start()
            took.append(seconds_until(lambda before=before: attempts(home) > before, 120))
            time.sleep(3)
    finally:
        home.close()
        broker.kill()
    return took


def told(took: list[float]) -> str:
    """Median and worst."""
    return f"{statistics.median(took):5.1f} s, at most {max(took):.1f} s, of {len(took)}"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--leases", default="3,30", help="seconds")
    parser.add_argument("--outages", default="2,5,20,60", help="seconds")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    for lease in map(float, filter(None, arguments.leases.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            took = after_a_kill(Path(folder), lease, arguments.repeat)
            print(f"worker killed, lease {lease:3g} s: its run is held again after {told(took)}")
    for outage in map(float, filter(None, arguments.outages.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            took = after_an_outage(Path(folder), outage, arguments.repeat)
            print(f"broker away for {outage:3g} s: a run is taken after {told(took)}")


if __name__ == "__main__":
    main()
