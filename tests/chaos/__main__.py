"""``python -m tests.chaos --minutes M --seed S``: the monkey for as long as you like.

The search has no end of its own; when the time is over it is stopped, and everything that a
store can tell is checked. Prints each fault, and a summary.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.monkey import (
    LEASE,
    Monkey,
    batches,
    checked,
    disturb_until,
    held_too_long,
    leftovers,
    wait_for_end,
)
from tests.processes import TINY, Home, wait_until


def main() -> None:
    """Run the monkey, and check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between faults, about")
    parser.add_argument("--mode", choices=["rolling", "synchronous"], default="rolling")
    parser.add_argument("--children", type=int, help="let the search end by itself after so many")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        home = Home(Path(folder) / "home", lease=str(LEASE))
        (home.folder / "tiny.toml").write_text(TINY)
        try:
            print(json.dumps(run(home, arguments)))
        finally:
            home.close()


def run(home: Home, arguments: argparse.Namespace) -> dict:
    """One search under the monkey; what was done and found."""
    budget = arguments.children or 1_000_000
    command = ["run", "tiny.toml", f"--set=budget.children={budget}", "--json"]
    command += [f"--set=mode={arguments.mode}", "--set=stop.duplicates=1.0"]
    monkey = Monkey(home, command, arguments.seed)
    wait_until(lambda: home.completed("tiny") >= 1)
    started = time.monotonic()

    def say(fault: str) -> None:
        done = home.completed("tiny")
        print(f"{time.monotonic() - started:7.1f} s  {done:5} children  {fault}", file=sys.stderr)

    code = disturb_until(monkey, 60 * arguments.minutes, arguments.every, say)
    monkey.rest()
    if code is None and not arguments.children:
        home.nasnet("search", "extend", "tiny", "--children", str(budget), check=False)
        target = home.completed("tiny") + 8
        wait_until(lambda: home.completed("tiny") >= target, what="children after the last fault")
        home.nasnet("search", "stop", "tiny")
        wait_until(lambda: monkey.keep_running() is not None, what="the search to end")
        monkey.command.communicate(timeout=60)
    else:
        wait_for_end(monkey)
    checked(home)
    assert held_too_long(home) == []
    learned = batches(home)
    assert all(count == 4 for count in learned[:-1]), learned
    home.nasnet("down")
    assert leftovers(home) == []
    return {
        "seed": arguments.seed,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "faults": dict(monkey.done),
        "children": home.completed("tiny"),
        "versions": len(learned),
        "attempts": dict(home.rows("SELECT outcome, count(*) FROM attempts GROUP BY outcome")),
        "failures": dict(
            home.rows("SELECT failure, count(*) FROM children WHERE failure NOT NULL GROUP BY 1")
        ),
    }


if __name__ == "__main__":
    main()
