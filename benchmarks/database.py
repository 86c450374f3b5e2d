"""How long the store and the dashboard take to answer with a million genotypes in them.

    python benchmarks/database.py                             # everything, both databases
    python benchmarks/database.py --genotypes 100000 --parts fill,pages --databases sqlite

Needs the extra `test`. One search holds all genotypes, an older one a thousand of them. Cells are
drawn from the project's own space; what trainings would have written is drawn, too. Nothing is
analysed in SQLite, since no store of ours is by itself; PostgreSQL does that unasked.
"""

import argparse
import contextlib
import datetime as dt
import functools
import hashlib
import http.client
import itertools
import json
import math
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent))

import psutil
from sqlalchemy import Connection, bindparam, func, insert, literal, select, text, update

from db.lifecycle import searches
from db.reads import lineage, ranking, series
from db.schema import migrations
from db.schema.enums import Arm, CellScope, Order, Outcome, Purpose, RunState
from db.schema.models import Attempt, Child, Epoch, Genotype, PolicyVersion, Run, Slot
from db.schema.session import get_engine, transaction
from pipeline.actions.figures import FIGURES
from pipeline.config.search import SearchConfig, make_config
from pipeline.config.tables import merge, preset_text
from pipeline.errors import Failure
from pipeline.settings import get_settings
from pipeline.spaces import NASNetSpace
from pipeline.spaces.cells.genotype import OPERATIONS, CellGenotype
from tests.processes import wait_until
from tests.servers import Postgres

LARGE, SMALL = "large", "small"  # names of the searches
IN_SMALL = 1000
BATCH = 100  # children of a policy version
PORTION = 10_000  # children written in one transaction
CELLS = 4000  # distinct cells of each kind: a genotype is a pair of them
HELD_OUT = 5000  # images: accuracies are fractions of it, so many rewards tie
ASKED = 200  # times each question is asked
REQUESTS = 40  # times each page is asked for
OPTUNA_TRIALS = 2000
SPACE = NASNetSpace(5)


# --- filling -------------------------------------------------------------------------------


class CellForms(NamedTuple):
    """A cell as a genotype's JSON, as data, as actions and as bits; and what it would cost."""

    json: str
    data: dict[str, Any]
    actions: tuple[int, ...]
    mask: int
    parameters: float


def mask_of(names: Iterable[str]) -> int:
    """Operations of the paper as a bitmask."""
    return sum(1 << OPERATIONS.index(name) for name in names)


def distinct_cells(seed: int) -> list[CellForms]:
    """Random canonical cells, each once."""
    chance = random.Random(seed)
    sizes = [chance.uniform(0, 1) ** 2 for _ in OPERATIONS]
    found: dict[str, CellForms] = {}
    while len(found) < CELLS:
        actions = [chance.randrange(decision.choices) for decision in SPACE.decisions]
        cell = SPACE.decode(actions).normal.canonical()
        form = json.dumps(cell.to_data(), separators=(",", ":"), sort_keys=True)
        size = sum(sizes[OPERATIONS.index(name)] for b in cell.blocks for _, name in b.sides)
        actions = SPACE.encode(CellGenotype(cell, cell))[: len(actions) // 2]
        mask = mask_of(cell.operations)
        found.setdefault(form, CellForms(form, cell.to_data(), actions, mask, size))
    return list(found.values())


def drawn_genotypes(count: int) -> Iterator[tuple[CellForms, CellForms]]:
    """Random pairs of cells, each pair once."""
    normal, reduction = distinct_cells(1), distinct_cells(2)
    for number in random.Random(3).sample(range(CELLS * CELLS), count):
        yield normal[number // CELLS], reduction[number % CELLS]


def genotype_row(pair: tuple[CellForms, CellForms], now: dt.datetime) -> dict[str, Any]:
    """A row of `genotypes`."""
    normal, reduction = pair
    form = f'{{"kind":"cell","normal":{normal.json},"reduction":{reduction.json}}}'
    return {
        "digest": hashlib.sha256(form.encode()).hexdigest(),
        "kind": "cell",
        "body": {"kind": "cell", "normal": normal.data, "reduction": reduction.data},
        "ops_normal": normal.mask,
        "ops_reduction": reduction.mask,
        "created_at": now,
    }


LOG_PROBS = [math.log(1 / decision.choices) for decision in SPACE.decisions]


def child_row(
    pair: tuple[CellForms, CellForms], genotype_id: int, progress: float, chance: random.Random
) -> dict[str, Any]:
    """What a row of `children` says of a genotype and of its training; rewards grow slowly."""
    normal, reduction = pair
    parameters = round(4e5 * (0.5 + normal.parameters + reduction.parameters))
    good = 0.80 + 0.08 * progress + 0.02 * math.log10(parameters / 1e6)
    accuracy = round(min(0.99, chance.gauss(good, 0.02)) * HELD_OUT) / HELD_OUT
    failure = None
    if chance.random() < 0.01:
        failure = chance.choice([Failure.DIVERGED, Failure.OOM, Failure.TIMEOUT])
    return {
        "arm": Arm.CONTROL if chance.random() < 0.1 else Arm.POLICY,
        "actions": list(normal.actions + reduction.actions),
        "log_probs": struct.pack(f"<{len(LOG_PROBS)}d", *LOG_PROBS),
        "genotype_id": genotype_id,
        "ops_normal": normal.mask,
        "ops_reduction": reduction.mask,
        "reward_kind": "trained",
        "reward": 0.0 if failure else accuracy,
        "accuracy": None if failure else accuracy,
        "parameters": parameters,
        "macs": round(parameters * chance.uniform(80, 160)),
        "failure": failure,
        "stopped_epoch": 5 if chance.random() < 0.2 else None,
        "state": "rewarded",
        "duplicate_of": None,
    }


def with_places(
    rows: list[dict[str, Any]], search_id: int, first: int, controls: Iterator[int]
) -> list[dict[str, Any]]:
    """Children with their search, version, k and times, in the order they were proposed.

    The control arm's k goes on from version to version, and leaves none out.
    """
    for number, row in enumerate(rows, start=first):
        ended = START + dt.timedelta(seconds=number)
        version = number // BATCH
        row |= {
            "search_id": search_id,
            "version": version,
            "k": next(controls) if row["arm"] is Arm.CONTROL else number % BATCH,
            "created_at": ended - dt.timedelta(seconds=60),
            "ended_at": ended,
            "learned_by": None if row["arm"] is Arm.CONTROL else version + 1,
        }
    return rows


START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def create_search(name: str, count: int) -> tuple[int, SearchConfig]:
    """A search with a control arm, its policy versions, and room for more children."""
    changes = {
        "training": {"device": "cpu", "epochs": 20},
        "controller": {"batch": BATCH},
        "budget": {"children": 2 * count},
        "control": 0.1,
        "mode": "rolling",
    }
    config = make_config(merge(tomllib.loads(preset_text("digits")), changes))
    probabilities = [[round(1 / d.choices, 6)] * d.choices for d in SPACE.decisions]
    with transaction() as connection:
        search_id = searches.create(connection, name, config.model_dump(mode="json"))
        versions = [
            {
                "search_id": search_id, "version": version, "created_at": START,
                "learned": BATCH, "total_learned": BATCH * version, "loss": 0.1,
                "entropy": 80.0 - version / 1e4, "kl": 0.01, "clip_fraction": 0.1,
                "baseline": 0.8, "mean_reward": 0.8, "staleness": 1.0, "duplicates": 3,
                "probabilities": probabilities, "sha256": "0" * 64, "state": None,
            }
            for version in range(count // BATCH + 3)
        ]  # fmt: skip
        connection.execute(insert(PolicyVersion), versions)
    return search_id, config


def fill(count: int) -> None:
    """A store of ``count`` genotypes, each a child of the large search; some are found again."""
    chance = random.Random(4)
    small, config = create_search(SMALL, IN_SMALL)
    large, _ = create_search(LARGE, count + count // 32)
    add_slots()
    first, controls = itertools.count(), itertools.count()
    for pairs in portions(drawn_genotypes(count), PORTION):
        begin = next(first) * PORTION
        with transaction() as connection:
            rows = [genotype_row(pair, START) for pair in pairs]
            connection.execute(insert(Genotype), rows)
            ids = range(begin + 1, begin + 1 + len(pairs))
            drawn = [
                child_row(pair, genotype_id, begin / count, chance)
                for pair, genotype_id in zip(pairs, ids, strict=True)
            ]
            if begin == 0:
                kept = [dict(row) for row in drawn[:IN_SMALL]]
                connection.execute(insert(Child), with_places(kept, small, 0, itertools.count()))
            add_children(connection, large, drawn, controls)
    with transaction() as connection:
        add_duplicates(connection, large, count // 32, controls)
        open_last(connection, large, BATCH)
        for search_id in (small, large):
            count_learned(connection, search_id)
        add_runs(connection, config)


def portions(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while portion := list(itertools.islice(items, size)):
        yield portion


def add_children(
    connection: Connection, search_id: int, rows: list[dict[str, Any]], controls: Iterator[int]
) -> None:
    first = connection.scalar(select(func.max(Child.id)).where(Child.search_id == search_id))
    begin = 0 if first is None else first - IN_SMALL
    connection.execute(insert(Child), with_places(rows, search_id, begin, controls))


def add_duplicates(
    connection: Connection, search_id: int, count: int, controls: Iterator[int]
) -> None:
    """Children whose genotype was known: they have its reward."""
    top = connection.scalar(select(func.max(Child.id))) or 0
    chosen = sorted(random.Random(5).sample(range(IN_SMALL + 1, top + 1), count))
    for some in portions(iter(chosen), PORTION):
        found = connection.execute(select(Child).where(Child.id.in_(some))).all()
        rows = [dict(row._mapping) | {"duplicate_of": row.id} for row in found]
        for row in rows:
            del row["id"]
        random.Random(6).shuffle(rows)
        add_children(connection, search_id, rows, controls)


def open_last(connection: Connection, search_id: int, count: int) -> None:
    """A few children have no end yet; one in 500 was skipped."""
    top = connection.scalar(select(func.max(Genotype.id))) or 0
    unset = dict.fromkeys(("reward", "reward_kind", "accuracy", "failure", "learned_by"))
    last = Child.genotype_id > top - count
    of_search = Child.search_id == search_id
    connection.execute(
        update(Child).where(of_search, last).values(**unset, state="open", ended_at=None)
    )
    skipped = (Child.id % 500 == 0) & (Child.state == "rewarded") & Child.duplicate_of.is_(None)
    values = unset | {"state": "skipped", "failure": Failure.DATA}
    connection.execute(update(Child).where(of_search, skipped).values(**values))


def count_learned(connection: Connection, search_id: int) -> None:
    """What each version says of the rewards that it, and all up to it, were learned from."""
    counted = connection.execute(
        select(Child.learned_by, func.count())
        .where(Child.search_id == search_id, Child.learned_by.is_not(None))
        .group_by(Child.learned_by)
    )
    learned = dict(counted.all())
    newest = connection.scalar(
        select(func.max(PolicyVersion.version)).where(PolicyVersion.search_id == search_id)
    )
    versions = range((newest or 0) + 1)
    totals = itertools.accumulate(learned.get(version, 0) for version in versions)
    one = update(PolicyVersion).where(
        PolicyVersion.search_id == search_id, PolicyVersion.version == bindparam("number")
    )
    connection.execute(
        one.values(learned=bindparam("some"), total_learned=bindparam("all")),
        [
            {"number": version, "some": learned.get(version, 0), "all": total}
            for version, total in zip(versions, totals, strict=True)
        ],
    )


def add_slots() -> None:
    with transaction() as connection:
        for number in range(8):
            connection.execute(
                insert(Slot).values(
                    host="host", home="/home", name=f"cpu-{number}", pid=number, device="cpu",
                    devices=1, state="up", lease=90.0, started_at=START, heartbeat_at=START,
                )
            )  # fmt: skip


def add_runs(connection: Connection, config: SearchConfig) -> None:
    """A run of each child that is no duplicate; attempts; epochs of one run in a hundred."""
    run = {
        "purpose": literal(Purpose.SEARCH, Run.purpose.type),
        "search_id": Child.search_id,
        "child_id": Child.id,
        "genotype_id": Child.genotype_id,
        "config": literal(config.run_config().model_dump(mode="json"), Run.config.type),
        "seed": Child.id,
        "device": literal("cpu"),
        "devices": literal(1),
        "key": func.concat(Child.search_id, func.substr(Genotype.digest, 2)),
        "state": literal(RunState.DONE, Run.state.type),
        "state_since": Child.created_at,
        "priority": literal(0),
        "attempt": literal(1),
        "tries": literal(0),
        "accuracy": Child.accuracy,
        "parameters": Child.parameters,
        "macs": Child.macs,
        "created_at": Child.created_at,
        "ended_at": Child.ended_at,
        "failure": Child.failure,
    }
    rows = (
        select(*run.values())
        .join(Genotype, Genotype.id == Child.genotype_id)
        .where(Child.duplicate_of.is_(None))
        .order_by(Child.id)
    )
    connection.execute(insert(Run).from_select(list(run), rows))
    unfinished = select(Child.id).where(Child.state == "open")
    connection.execute(
        update(Run).where(Run.child_id.in_(unfinished)).values(state=RunState.PENDING, attempt=0)
    )
    add_attempts(connection)


def add_attempts(connection: Connection) -> None:
    attempt = {
        "run_id": Run.id,
        "number": literal(1),
        "slot_id": Run.id % 8 + 1,
        "device": literal("cpu"),
        "started_at": Run.created_at,
        "ended_at": Run.ended_at,
    }
    done = literal(Outcome.DONE, Attempt.outcome.type)
    bad = {
        "outcome": literal(Outcome.FAILED, Attempt.outcome.type),
        "failure": literal(Failure.ERROR, Attempt.failure.type),
        "message": literal("RuntimeError: out of luck"),
        "traceback": literal("Traceback (most recent call last):\n" + "  a line of it\n" * 40),
    }
    was_bad = Run.id % 50 == 0
    ended = Run.state == RunState.DONE
    for columns, condition in (
        (attempt | {"outcome": done}, ~was_bad),
        (attempt | bad, was_bad),
        (attempt | {"outcome": done, "number": literal(2)}, was_bad),
    ):
        rows = select(*columns.values()).where(ended, condition).order_by(Run.id)
        connection.execute(insert(Attempt).from_select(list(columns), rows))
    for epoch in range(1, 21):
        point = {
            "run_id": Run.id,
            "epoch": literal(epoch),
            "attempt": literal(1),
            "loss": literal(1 / epoch),
            "train_accuracy": literal(1 - 0.5 / epoch),
            "accuracy": Run.accuracy * (1 - 0.5 / epoch),
            "learning_rate": literal(0.1),
            "seconds": literal(3.0),
            "waited": literal(0.0),
            "created_at": Run.created_at,
        }
        sampled = select(*point.values()).where(ended, Run.id % 100 == 1)
        connection.execute(insert(Epoch).from_select(list(point), sampled))


def settle() -> None:
    """What PostgreSQL does by itself to a store that grows; SQLite only folds its log in."""
    engine = get_engine()
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
                connection.execute(text(statement))
    else:
        with engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


# --- questions -----------------------------------------------------------------------------


class Taken:
    """Milliseconds that calls took: by the clock, and of this or another process's CPU time.

    The second says what a busy machine hides; a PostgreSQL server's is not in it.
    """

    def __init__(self, process: psutil.Process | None = None) -> None:
        self.wall: list[float] = []
        self.cpu = 0.0
        self._process = process or psutil.Process()

    def time(self, call: Callable[[], object]) -> None:
        """Call once."""
        busy, began = self._busy(), time.perf_counter()
        call()
        self.wall.append(1000 * (time.perf_counter() - began))
        self.cpu += 1000 * (self._busy() - busy)

    def _busy(self) -> float:
        used = self._process.cpu_times()
        return used.user + used.system


def times(calls: Sequence[Callable[[], object]]) -> Taken:
    """Each call, one after the other."""
    taken = Taken()
    for call in calls:
        taken.time(call)
    return taken


def asked(question: Callable[[Connection], object]) -> Callable[[], object]:
    """A question in a transaction of its own, as the faces ask it."""

    def ask() -> object:
        with transaction(read_only=True) as connection:
            return question(connection)

    return ask


def show(what: str, database: str, taken: Taken, target: float) -> None:
    """A line of the table."""
    ordered = sorted(taken.wall)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    found = [statistics.median(ordered), p95, ordered[-1], taken.cpu / len(ordered)]
    missed = "" if p95 <= target else " (missed)"
    line(what, database, len(ordered), *(f"{ms:.1f}" for ms in found), f"{target:g} ms{missed}")


def measure_queries(database: str, count: int) -> None:
    chance = random.Random(7)
    with transaction(read_only=True) as connection:
        search_id = searches.get(connection, LARGE).id
        some = connection.execute(
            select(Genotype.id, Genotype.digest).where(
                Genotype.id.in_(chance.sample(range(1, count + 1), ASKED))
            )
        ).all()
    simple: dict[str, list[Callable[[Connection], object]]] = {
        "best 20 of a search": [lambda c: ranking.best(c, search_id, limit=20)] * ASKED,
        "a genotype and its children by id": [
            lambda c, i=row.id: (
                c.execute(select(Genotype).where(Genotype.id == i)).one(),
                lineage.children_of_genotype(c, i),
            )
            for row in some
        ],
        "a genotype by digest": [
            lambda c, d=row.digest: lineage.genotypes_by_prefix(c, d[:12]) for row in some
        ],
    }
    for what, questions in simple.items():
        show(what, database, times([asked(question) for question in questions]), 5)
    measure_filters(database, search_id, chance)
    for order in Order:
        offsets = [chance.randrange(count) for _ in range(ASKED // 10)]
        deep = [
            asked(lambda c, o=o, order=order: page_of(c, search_id, ranking.EVERYTHING, order, o))
            for o in offsets
        ]
        show(f"50 by {order.value}, anywhere in the list", database, times(deep), 300)


def page_of(
    connection: Connection, search_id: int, wanted: Any, order: Order, offset: int = 0
) -> list[Any]:
    """What a page of the dashboard's list asks for."""
    return ranking.ranked(connection, search_id, wanted, order=order, limit=51, offset=offset)


def drawn_filter(chance: random.Random, sizes: list[float]) -> dict[str, Any]:
    """Some of what can be asked of a list."""
    wanted: dict[str, Any] = {"cell": chance.choice(list(CellScope))}
    if chance.random() < 0.6:
        wanted["uses"] = tuple(chance.sample(OPERATIONS, chance.randint(1, 3)))
    if chance.random() < 0.4:
        drawn = chance.sample(OPERATIONS, chance.randint(1, 2))
        wanted["without"] = tuple(name for name in drawn if name not in wanted.get("uses", ()))
    if chance.random() < 0.3:
        wanted["min_accuracy"] = chance.uniform(0.75, 0.95)
    if chance.random() < 0.2:
        wanted["min_reward"] = chance.uniform(0.75, 0.95)
    if chance.random() < 0.3:
        wanted["max_parameters"] = chance.choice(sizes)
    if chance.random() < 0.1:
        wanted["max_macs"] = 120 * chance.choice(sizes)
    if chance.random() < 0.2:
        wanted["arm"] = chance.choice([Arm.POLICY, Arm.CONTROL])
    return wanted


def passes(row: Any, wanted: ranking.Filter) -> bool:
    """Whether a child passes a filter."""
    masks = {CellScope.NORMAL: row.ops_normal, CellScope.REDUCTION: row.ops_reduction}
    mask = masks.get(wanted.cell, row.ops_normal | row.ops_reduction)
    return (
        mask & mask_of(wanted.uses) == mask_of(wanted.uses)
        and not mask & mask_of(wanted.without)
        and wanted.arm in (None, row.arm)
        and row.reward >= (wanted.min_reward or 0)
        and (row.accuracy or 0) >= (wanted.min_accuracy or 0)
        and row.parameters <= (wanted.max_parameters or math.inf)
        and row.macs <= (wanted.max_macs or math.inf)
    )


def drawn_filters(search_id: int, chance: random.Random) -> dict[str, list[ranking.Filter]]:
    """Random filters by the share that they keep of a sample; and some that nothing passes."""
    with transaction(read_only=True) as connection:
        sampled = series.sample(connection, search_id, most=5000)
    sizes = [row.parameters for row in sampled]
    kept: dict[str, list[ranking.Filter]] = {"1 % or more": [], "less than 1 %": []}
    while any(len(filters) < ASKED // 5 for filters in kept.values()):
        wanted = ranking.Filter(**drawn_filter(chance, sizes))
        share = sum(passes(row, wanted) for row in sampled) / len(sampled)
        group = kept["1 % or more" if share >= 0.01 else "less than 1 %"]
        if len(group) < ASKED // 5:
            group.append(wanted)
    kept["nothing"] = [
        ranking.Filter(uses=OPERATIONS, cell=CellScope.NORMAL),
        ranking.Filter(uses=("identity",), without=("identity",)),
        ranking.Filter(min_reward=2.0),
        ranking.Filter(min_accuracy=2.0),
        ranking.Filter(max_parameters=0),
        ranking.Filter(max_macs=0),
        ranking.Filter(arm=Arm.DERIVE),
        ranking.Filter(uses=OPERATIONS, arm=Arm.CONTROL, cell=CellScope.REDUCTION),
    ]
    return kept


def measure_filters(database: str, search_id: int, chance: random.Random) -> None:
    """Pages of filtered lists in every order; asked first, nothing of them is in any cache."""
    drawn = drawn_filters(search_id, chance)
    for when, (what, filters) in itertools.product(("first", "again"), drawn.items()):
        target = 20 if what == "1 % or more" else 300
        for order in Order:
            calls = [asked(lambda c, f=f, o=order: page_of(c, search_id, f, o)) for f in filters]
            label = f"50 by {order.value}, filters that keep {what}, asked {when}"
            show(label, database, times(calls), target)


# --- pages ---------------------------------------------------------------------------------


@contextlib.contextmanager
def dashboard() -> Iterator[tuple[psutil.Process, int]]:
    """A dashboard as users start it, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "dashboard", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE.parent.parent)
    try:
        wait_until(lambda: is_listening(port), 60)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait(30)


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def addresses(count: int) -> dict[str, Callable[[], str]]:
    """Every page, figure and answer; each call gives another address of its kind."""
    chance = random.Random(8)
    with transaction(read_only=True) as connection:
        digests = connection.scalars(
            select(Genotype.digest).where(
                Genotype.id.in_(chance.sample(range(1, count + 1), REQUESTS))
            )
        ).all()
    of = f"/searches/{LARGE}"
    all_operations = "&".join(f"uses={name}" for name in OPERATIONS)

    def wanted() -> str:
        uses, without = chance.sample(OPERATIONS, 2)
        sort, place = chance.choice(list(Order)), chance.choice(list(CellScope))
        return (
            f"uses={uses}&without={without}&place={place}&sort={sort}&page={chance.randint(1, 5)}"
        )

    def any_page() -> str:
        return f"sort={chance.choice(list(Order))}&page={chance.randint(1, count // 50)}"

    found = {
        "searches": lambda: "/",
        "a search": lambda: of,
        "a small search": lambda: f"/searches/{SMALL}",
        "genotypes": lambda: f"{of}/genotypes",
        "genotypes, sorted": lambda: f"{of}/genotypes?sort={chance.choice(list(Order))}",
        "genotypes, filtered": lambda: f"{of}/genotypes?{wanted()}",
        "genotypes, no size passes": lambda: (
            f"{of}/genotypes?max_macs=1&sort={chance.choice(list(Order))}"
        ),
        "genotypes, no cell passes": lambda: (
            f"{of}/genotypes?{all_operations}&place=normal&sort={chance.choice(list(Order))}"
        ),
        "genotypes, any page": lambda: f"{of}/genotypes?{any_page()}",
        "a genotype": lambda: f"/genotypes/{chance.choice(digests)}",
        "compare": lambda: "/compare?a={}&b={}".format(*chance.sample(digests, 2)),
        "workers": lambda: "/workers",
        "failures": lambda: f"/failures?page={chance.randint(1, 100)}",
        "failures of a search": lambda: f"/failures?search={chance.choice([LARGE, SMALL])}",
        "metrics": lambda: "/metrics",
        "JSON: searches": lambda: "/api/searches",
        "JSON: a search": lambda: f"/api{of}",
        "JSON: genotypes": lambda: f"/api{of}/genotypes?{wanted()}",
        "JSON: a genotype": lambda: f"/api/genotypes/{chance.choice(digests)}",
        "JSON: workers": lambda: "/api/workers",
        "JSON: failures": lambda: "/api/failures",
    }
    for figure in FIGURES:
        found[f"figure: {figure}"] = lambda figure=figure: f"{of}/figures/{figure}.json"
    found["figure of a small search"] = lambda: (
        f"/searches/{SMALL}/figures/{chance.choice(list(FIGURES))}.json"
    )
    return found


def measure_pages(database: str, count: int) -> None:
    """Pages in turn, over one connection that stays; and the memory of the server."""
    target = 100 if count <= 100_000 else 300
    with dashboard() as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        get(connection, "/signin")
        memory = {"at start": process.memory_info().rss}
        kinds = addresses(count)
        taken = {kind: Taken(process) for kind in kinds}
        for turn in range(REQUESTS):
            for kind, address in kinds.items():
                taken[kind].time(functools.partial(get, connection, address()))
            if turn in (0, REQUESTS // 2, REQUESTS - 1):
                memory[f"after {(turn + 1) * len(kinds)} requests"] = process.memory_info().rss
        get(connection, f"/searches/{LARGE}/genotypes.csv")
        memory["after a CSV of all"] = process.memory_info().rss
    for kind in kinds:
        show(kind, database, taken[kind], target)
    for when, resident in memory.items():
        line(
            f"dashboard's memory {when}",
            database,
            "",
            f"{resident / 1e6:.0f} MB",
            "",
            "",
            "300 MB",
        )


def get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    while answer.read(1 << 20):
        pass
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status}")


# --- export --------------------------------------------------------------------------------


def measure_export(database: str, count: int) -> None:
    """Rows per second into Parquet, beside Optuna's `trials_dataframe` of as many decisions."""
    peer = optuna_rows_per_second()
    line("Optuna trials_dataframe", database, "", f"{peer:.0f} rows/s", "", "", "", "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "children.parquet"
        select_all = (
            "SELECT children.*, genotypes.digest, genotypes.body FROM children "
            f"JOIN genotypes ON genotypes.id = children.genotype_id LIMIT {min(count, 100_000)}"
        )
        command = [sys.executable, "-m", "pipeline.cli", "query", select_all]
        began = time.perf_counter()
        subprocess.run(
            [*command, "--parquet", str(path), "--timeout", "600"],
            check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent.parent,
        )  # fmt: skip
        rate = min(count, 100_000) / (time.perf_counter() - began)
    line("nasnet query --parquet", database, "", f"{rate:.0f} rows/s", "", "", "", "")
    line("per row, x Optuna", database, "", f"{rate / peer:.0f}", "", "", "", "10 x")


def optuna_rows_per_second() -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {
        f"decision_{number}": optuna.distributions.IntDistribution(0, decision.choices - 1)
        for number, decision in enumerate(SPACE.decisions)
    }
    chance = random.Random(9)
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(storage=f"sqlite:///{folder}/optuna.db")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: chance.randint(0, d.high) for name, d in distributions.items()},
                    distributions=distributions,
                    value=chance.random(),
                )
                for _ in range(OPTUNA_TRIALS)
            ]
        )
        began = time.perf_counter()
        # a study that is loaded, as an export would
        optuna.load_study(
            study_name=study.study_name, storage=f"sqlite:///{folder}/optuna.db"
        ).trials_dataframe()
        return OPTUNA_TRIALS / (time.perf_counter() - began)


# --- all of it -----------------------------------------------------------------------------


def line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


@contextlib.contextmanager
def store(database: str, url: str | None) -> Iterator[None]:
    """A home with a store of its own, or with the one that is named."""
    folder = Path(tempfile.mkdtemp(prefix="nb"))
    os.environ["NASNET_HOME"] = str(folder)
    os.environ.pop("NASNET_DATABASE_URL", None)
    server = None
    if url is not None:
        os.environ["NASNET_DATABASE_URL"] = url
    elif database == "postgresql":
        server = Postgres()
        os.environ["NASNET_DATABASE_URL"] = server.url
    get_settings.cache_clear()
    get_engine.cache_clear()
    migrations.prepare()
    try:
        yield
    finally:
        get_engine().dispose()
        if server is not None:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


def print_fill(database: str, count: int) -> None:
    with transaction(read_only=True) as connection:
        if searches.list_all(connection):
            return
    began = time.perf_counter()
    fill(count)
    settle()
    rate = count / (time.perf_counter() - began)
    line(
        "filled, genotypes with children and runs",
        database,
        count,
        f"{rate:.0f}/s",
        "",
        "",
        "",
        "",
    )


PARTS: dict[str, Callable[[str, int], None]] = {
    "fill": print_fill,
    "queries": measure_queries,
    "pages": measure_pages,
    "export": measure_export,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--genotypes", type=int, default=1_000_000)
    parser.add_argument("--url", help="of a store to measure, filled if it is empty, and left")
    arguments = parser.parse_args()
    line("what", "database", "n", "p50 (ms)", "p95 (ms)", "worst (ms)", "CPU (ms)", "target")
    line(*["---"] * 8)
    for database in arguments.databases.split(","):
        with store(database, arguments.url):
            for part in arguments.parts.split(","):
                PARTS[part](database, arguments.genotypes)


if __name__ == "__main__":
    main()
