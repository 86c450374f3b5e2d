"""How fast a search goes out to a file and comes in again, and what memory that takes.

    python benchmarks/search_files.py                       # 20,000 children, SQLite
    python benchmarks/search_files.py --children 1000000 --database postgresql

Needs the extra `test`. The search is made up: its children are random cells, each trained by one
run of one attempt and one epoch, a version for each 20. It goes out, and comes into another store;
each half is a process of its own, as the command is. CPU seconds are its and its checkers', not
the server's; the memory is that of the process that reads or writes the store.
"""

import argparse
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))

BATCH = 20
FORMS = ("jsonl", "csv", "parquet")
TIME = "2026-01-31 12:00:00.000000"


def write_file(path: Path, children: int) -> None:
    """A file as `nasnet search export` writes them; only the digest is still to be found."""
    from pipeline.config.search import make_config
    from pipeline.spaces import NASNetSpace

    config = make_config(
        {"controller": {"name": "random"}, "training": {"device": "cpu"}, "seed": 1}
    )
    versions = math.ceil(children / BATCH) + 1
    header = {
        "record": "search", "format": 1, "exported_at": TIME, "digest": "0" * 64,
        "versions": versions, "runs": 0, "children": children,
        "configs": [config.run_config().model_dump(mode="json")],
        "search": {
            "uid": f"{children:032x}", "name": "made-up",
            "config": config.model_dump(mode="json"), "state": "finished", "reason": None,
            "created_at": TIME, "resumed_at": TIME, "ended_at": TIME,
        },
    }  # fmt: skip
    space, chance = NASNetSpace(5), random.Random(0)
    with path.open("w") as file:
        file.write(json.dumps(header) + "\n")
        for version in range(versions):
            total = min(BATCH * version, children)
            learned = total - BATCH * (version - 1) if version else 0
            file.write(json.dumps(version_of(version, learned, total)) + "\n")
        for number in range(children):
            file.write(json.dumps(child_of(number, space, chance)) + "\n")


def version_of(version: int, learned: int, total: int) -> dict[str, Any]:
    """A policy version that learned from the children of the one before."""
    nothing = ("loss", "entropy", "kl", "clip_fraction", "baseline", "staleness", "probabilities")
    return {
        "record": "policy_version", "version": version, "created_at": TIME, "learned": learned,
        "total_learned": total, "mean_reward": 0.5, "duplicates": 0,
        "sha256": "0" * 64, **dict.fromkeys(nothing),
    }  # fmt: skip


def child_of(number: int, space: Any, chance: random.Random) -> dict[str, Any]:
    """A child that was trained."""
    actions = [chance.randrange(decision.choices) for decision in space.decisions]
    genotype = space.decode(tuple(actions)).canonical()
    version, accuracy = number // BATCH, chance.random()
    sizes = {"parameters": chance.randrange(10**7), "macs": chance.randrange(10**9)}
    nothing = ("test_accuracy", "failure", "message", "version", "ordinal", "images_scored")
    attempt = {
        "number": 1, "slot": {"host": "host", "name": "cpu-0"}, "device": "cpu",
        "versions": {"torch": "2.14"}, "images_trained": 1000, "images_scored": 0,
        "started_at": TIME, "ended_at": TIME, "outcome": "done", "failure": None,
        "message": None, "traceback": None,
    }  # fmt: skip
    epoch = {
        "epoch": 1, "attempt": 1, "loss": chance.random(), "train_accuracy": accuracy,
        "accuracy": accuracy, "learning_rate": 0.1, "seconds": 1.0, "waited": 0.0,
        "created_at": TIME,
    }  # fmt: skip
    run = {
        "purpose": "search", "config": 0, "seed": number, "device": "cpu", "devices": 1,
        "state": "done", "state_since": TIME, "priority": 0, "attempt": 1, "tries": 0,
        "accuracy": accuracy, **sizes, "images_trained": 1000, "created_at": TIME,
        "ended_at": TIME, "attempts": [attempt], "epochs": [epoch], **dict.fromkeys(nothing),
    }  # fmt: skip
    return {
        "record": "child", "version": version, "arm": "policy", "k": number % BATCH,
        "actions": actions, "log_probs": [-chance.random() for _ in actions],
        "digest": genotype.literal_digest, "genotype": genotype.to_data(), "state": "rewarded",
        "created_at": TIME, "ended_at": TIME, "reward": accuracy, "reward_kind": "trained",
        "stopped_epoch": None, "accuracy": accuracy, **sizes, "failure": None,
        "duplicate_of": None, "score_run": None, "learned_by": version + 1, "run": run,
    }  # fmt: skip


def bring_in(path: Path) -> None:
    """Be a process that imports a file, whose digest is not looked at if it is made up."""
    from db.reads import digests
    from pipeline.cli.search_files import import_
    from pipeline.search_files import importing

    if importing.read_header(path).digest == "0" * 64:
        digests.search_digest = lambda *_: "0" * 64
    import_(path)


def take_out(path: Path, form: str) -> None:
    """Be a process that exports the search."""
    from pipeline.actions.search_files import Form
    from pipeline.cli.search_files import export

    export("made-up", Form(form), path)


@contextlib.contextmanager
def stores(database: str, folder: Path) -> Iterator[Iterator[dict[str, str]]]:
    """The environments of as many empty stores as are asked for."""
    with contextlib.ExitStack() as stack:
        server = None
        if database == "postgresql":
            from tests.servers import Postgres

            server = Postgres()
            stack.callback(server.close)

        def fresh() -> Iterator[dict[str, str]]:
            for number in range(100):
                home = folder / f"home{number}"
                environment = {"NASNET_HOME": str(home)}
                if server is not None:
                    from tests.conftest import database as fresh_database

                    url = stack.enter_context(fresh_database(server.url))
                    environment["NASNET_DATABASE_URL"] = url
                yield environment

        yield fresh()


def timed(environment: dict[str, str], *arguments: str) -> tuple[float, float, int]:
    """Seconds, seconds of the CPU, and the most memory in MB of one process of these."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(HERE), *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{arguments}: failed")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, int(said[-1])


def most_memory() -> int:
    """MB of this process so far (Linux); ru_maxrss would begin with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main() -> None:
    """Make up a search, bring it in, take it out in each form, bring that in elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--children", type=int, default=20_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--bring-in", type=Path)
    parser.add_argument("--take-out", type=Path)
    parser.add_argument("--form", default="jsonl")
    arguments = parser.parse_args()
    if arguments.bring_in is not None:
        bring_in(arguments.bring_in)
        print(most_memory())
    elif arguments.take_out is not None:
        take_out(arguments.take_out, arguments.form)
        print(most_memory())
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments.children, arguments.database, Path(folder))


def measure(children: int, database: str, folder: Path) -> None:
    """Print a line for each way."""

    def report(what: str, found: tuple[float, float, int]) -> None:
        seconds, cpu, memory = found
        print(
            f"{what:<22}{children / seconds:>10,.0f}/s{children / cpu:>10,.0f} per CPU second"
            f"{memory:>8,} MB",
            flush=True,
        )

    made_up, exported = folder / "made-up.jsonl", folder / "exported.jsonl"
    write_file(made_up, children)
    with stores(database, folder) as empty:
        first = next(empty)
        timed(first, "--bring-in", str(made_up))
        made_up.unlink()
        for form in FORMS:
            out = exported if form == "jsonl" else folder / f"out.{form}"
            report(f"export, {form}", timed(first, "--take-out", str(out), "--form", form))
        report("import", timed(next(empty), "--bring-in", str(exported)))


if __name__ == "__main__":
    main()
