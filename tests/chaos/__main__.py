"""``python -m tests.chaos --minutes M --seed S``: the monkey for as long as you like.

The search gets its end when the time is over, unless --children gave it one; the laws are
checked after each fault and at the end. Prints each fault, and a summary as JSON.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from pipeline.config.run import DataConfig
from pipeline.data.datasets import load_dataset
from tests.chaos import bad_children
from tests.chaos.laws import TRUE_CLASS
from tests.chaos.monkey import LEASE, Monkey, check_the_end, disturb_until, wait_for_end
from tests.hosts import SERVER, Host, network, why_not
from tests.processes import TINY, Home, wait_until
from tests.servers import Broker, Postgres

ROOT = Path(__file__).parents[2]
# of a step; longer than a worker is frozen, and than a new one takes to import what it trains with
TIMEOUT = 20
# those of which a single process can tell what becomes of them
DETERMINATE = ("raise", "nan")


def parsed() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between faults, about")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--mode", choices=["rolling", "synchronous"], default="rolling")
    parser.add_argument("--children", type=int, help="let the search end by itself then")
    parser.add_argument("--control", type=float, default=0.0, help="share of random search")
    parser.add_argument("--epochs", type=int, default=2, help="of a child")
    parser.add_argument(
        "--images", action="store_true", help="train on a folder, which moves away and comes back"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there, and leave it")
    return parser.parse_args()


def kept(folder: Path | None):
    """The folder that was asked for, or one that goes."""
    if folder is None:
        return tempfile.TemporaryDirectory()
    folder.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(folder)


def main() -> None:
    """Run the monkey, and check."""
    arguments = parsed()
    with kept(arguments.keep) as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        kinds = TRUE_CLASS if arguments.mode == "rolling" else DETERMINATE
        settings = {"memory": "1536M", "free": "64K", "lease": str(LEASE), "loaders": "0"}
        servers = start_servers(stack, folder, settings) if arguments.database != "sqlite" else {}
        home = Home(folder / "home", **settings)
        stack.callback(home.close)
        if "broker" in servers:
            shared = {"artifacts": str(home.folder / "artifacts"), "devices": "cpu"}
            servers["other"] = Host("nasnet-b", folder / "other", **settings, **shared)
            stack.callback(servers["other"].close)
        os.environ["CHAOS_BAD"] = ",".join(kinds)
        for host in (home, *filter(None, [servers.get("other")])):
            host.environment |= {
                "CHAOS_BAD": ",".join(kinds),
                "PYTHONPATH": os.pathsep.join([*bad_children.__path__, str(ROOT)]),
            }
        images = folder / "images" if arguments.images else None
        (home.folder / "tiny.toml").write_text(TINY if images is None else on_images(images))
        budget = arguments.children or 1_000_000
        monkey = Monkey(home, command(arguments, budget), arguments.seed, images=images, **servers)
        try:
            print(json.dumps(run(home, monkey, arguments)))
        finally:
            monkey.rest()
            stack.close()
            monkey.close()


def on_images(folder: Path) -> str:
    """The search TINY on image files; draws them."""
    data = load_dataset(DataConfig(), folder)
    for number, (image, label) in enumerate(zip(*data.test, strict=True)):
        path = folder / str(label.item()) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    dataset = f'dataset = "imagefolder:{folder}"\nimage_size = 8'
    return TINY.replace('dataset = "digits"', dataset)


def start_servers(stack: contextlib.ExitStack, folder: Path, settings: dict[str, str]) -> dict:
    """PostgreSQL; where the machine allows it, by TCP, with a broker, on a network of hosts."""
    postgres = Postgres()
    stack.callback(postgres.close)
    if reason := why_not():
        print(f"no network is cut: {reason}", file=sys.stderr)
        settings["database_url"] = postgres.url
        return {"postgres": postgres}
    stack.enter_context(network())
    broker = Broker(folder, SERVER)
    stack.callback(broker.kill)
    settings |= {"database_url": postgres.listen(SERVER, "secret"), "broker_url": broker.url}
    return {"postgres": postgres, "broker": broker}


def command(arguments: argparse.Namespace, budget: int) -> list[str]:
    """What is run, and typed again after each kill."""
    sets = {
        "mode": arguments.mode,
        "control": arguments.control,
        "budget.children": budget,
        "early_stopping.name": "median",
        "stop.duplicates": 1.0,
        "stop.failures": 1.0,
        "training.timeout": TIMEOUT,
        "training.epochs": arguments.epochs,
    }
    return ["run", "tiny.toml", "--json", *(f"--set={k}={v}" for k, v in sets.items())]


def run(home: Home, monkey: Monkey, arguments: argparse.Namespace) -> dict:
    """One search under the monkey; what was done and found."""
    started = time.monotonic()
    wait_until(lambda: home.completed("tiny") >= 1, 300, "the first child")

    def say(fault: str) -> None:
        done = home.completed("tiny")
        print(f"{time.monotonic() - started:7.1f} s  {done:5} children  {fault}", file=sys.stderr)

    code = disturb_until(monkey, 60 * arguments.minutes, arguments.every, say)
    budget = arguments.children
    if code is None and not budget:
        budget = home.completed("tiny") + 8
        monkey.arguments = command(arguments, budget)
        monkey.command.kill()
    wait_for_end(monkey)
    minutes = (time.monotonic() - started) / 60
    if arguments.mode == "synchronous":
        ours = home.nasnet("search", "digest", "tiny").stdout
        theirs = undisturbed(home, command(arguments, budget))
        assert ours == theirs, f"another digest: {ours!r}, undisturbed {theirs!r}"
    check_the_end(home)
    return {
        **{name: getattr(arguments, name) for name in ("database", "mode", "seed")},
        "minutes": round(minutes, 1),
        "kills": monkey.kills,
        "faults": dict(sorted(monkey.done.items())),
        "children": home.completed("tiny"),
        "versions": home.rows("SELECT count(*) - 1 FROM policy_versions")[0][0],
        "attempts": dict(home.rows("SELECT outcome, count(*) FROM attempts GROUP BY outcome")),
        "failures": dict(
            home.rows(
                "SELECT failure, count(*) FROM children WHERE failure IS NOT NULL GROUP BY 1"
            )
        ),
    }


def undisturbed(home: Home, typed: list[str]) -> str:
    """The digest of the same search in one process, with the same bad children."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [argument.removeprefix("--set=") for argument in typed if "--set=" in argument]
        done = subprocess.run(
            [sys.executable, ROOT / "tests/search_digest.py", home.folder / "tiny.toml", *sets],
            env={
                **home.environment,
                "NASNET_HOME": folder,
                "NASNET_DATABASE_URL": "",
                "NASNET_LEASE": "86400",  # it has no heartbeat
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[-1] + "\n"


if __name__ == "__main__":
    main()
