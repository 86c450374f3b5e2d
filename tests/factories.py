"""Rows to test with: plain functions with defaults, each in a transaction of its own."""

import itertools
import random
import struct

from sqlalchemy import select

from db.lifecycle import attempts, children, epochs, leases, searches, slots, versions
from db.reads import digests
from db.reads.progress import progress
from db.schema.enums import Arm
from db.schema.models import Child, Run
from db.schema.session import transaction
from pipeline.config.search import load_config, make_config
from pipeline.config.tables import merge
from pipeline.errors import Failure
from pipeline.spaces import NASNetSpace

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
MARKUP = EVIL.replace("</script>", "")  # without a slash, so that it may be a search's name

_numbers = itertools.count()
# Of a search whose children really train, in a fraction of a second each.
CHILDREN = {
    "space": {"blocks": 1},
    "network": {"num_cells": 1, "num_filters": 2},
    "training": {"epochs": 1, "batch_size": 650, "device": "cpu"},
    "budget": {"children": 8},
}


def rows(statement):
    """What a SELECT finds, ordered by its first column where it says no order itself."""
    with transaction(read_only=True) as connection:
        return connection.execute(statement.order_by(statement.selected_columns[0])).all()


def make_search(name="s", **tables):
    base = {
        "mode": "rolling",
        "space": {"blocks": 2},  # as `new_child` proposes
        "controller": {"name": "random", "batch": 4},
        "network": {"num_cells": 1, "num_filters": 4},
        "training": {"epochs": 1, "device": "cpu"},
        "budget": {"children": 12},
    }
    if tables.get("space", {}).get("name", "nasnet") != "nasnet":
        del base["network"], base["space"]  # of NASNet's cells
    config = make_config(merge(base, tables)).model_dump(mode="json")
    with transaction() as connection:
        search_id = searches.create(connection, name, config)
    assert search_id is not None, f"there is a search {name!r} already"
    return search_id


def make_version(search_id, version=0, *, learned=0, total_learned=0, consumed=(), diagnostics=()):
    with transaction() as connection:
        versions.append(
            connection,
            search_id,
            version,
            consumed=consumed,
            total_learned=total_learned,
            sha256="0" * 64,
            state=b"state",
            diagnostics=dict(diagnostics),
        )


def make_slot(name="cpu-0", lease=90.0, **changes):
    holder = dict(
        host="host", home="/home", name=name, pid=1, lease=lease, device="cpu", devices=1,
        device_names="cpu", versions={"torch": "2"},
    )  # fmt: skip
    with transaction() as connection:
        return slots.register(connection, slots.Holder(**(holder | changes)))


def new_child(k, seed=0, arm=Arm.POLICY):
    """A proposal; equal seeds give equal genotypes."""
    space = NASNetSpace(2)
    generator = random.Random(seed)
    actions = tuple(generator.randrange(d.choices) for d in space.decisions)
    genotype = space.decode(actions).canonical()
    return children.NewChild(
        arm=arm,
        k=k,
        actions=actions,
        log_probs=struct.pack(f"<{len(actions)}d", *(-1.0 - i for i in range(len(actions)))),
        digest=genotype.digest,
        kind=genotype.kind,
        body=genotype.to_data(),
        operations=genotype.operations,
        seed=seed,
    )


def propose(search_id, seeds, *, version=0, first=0, arm=Arm.POLICY):
    """Children with one genotype for each distinct seed; returns their ids in order."""
    proposals = [new_child(first + i, seed, arm) for i, seed in enumerate(seeds)]
    with transaction() as connection:
        config = load_config(searches.by_id(connection, search_id).config)
        run_config = config.run_config().model_dump(mode="json")
        template = children.RunTemplate(config=run_config, device="cpu")
        children.propose(connection, search_id, version, proposals, template)
        return list(
            connection.scalars(
                select(Child.id)
                .where(
                    Child.search_id == search_id,
                    Child.version == version,
                    Child.arm == arm,
                    Child.k >= first,
                )
                .order_by(Child.k)
            )
        )


def make_children(seeds=(0,), **tables):
    """A search with a first version and children; returns (search, children)."""
    search_id = make_search(f"s{next(_numbers)}", **tables)
    make_version(search_id)
    return search_id, propose(search_id, seeds)


def run_of(child_id):
    with transaction(read_only=True) as connection:
        return connection.execute(select(Run).where(Run.child_id == child_id)).one_or_none()


def child(child_id):
    with transaction(read_only=True) as connection:
        return connection.execute(select(Child).where(Child.id == child_id)).one()


def queue_run(run_id):
    from sqlalchemy import update

    with transaction() as connection:
        connection.execute(update(Run).where(Run.id == run_id).values(state="queued"))


def claim(run_id, slot_id, lease=90.0):
    with transaction() as connection:
        return leases.claim(
            connection, run_id, slot_id=slot_id, lease=lease, device="cpu", versions={}
        )


def finish(run_id, attempt, reward=0.5, **result):
    with transaction() as connection:
        attempts.finish(
            connection,
            run_id,
            attempt,
            attempts.Result(accuracy=reward, **result),
            attempts.Work(images_trained=10),
            attempts.Earned(reward),
        )


def search_progress(search_id):
    """How far a search is."""
    with transaction(read_only=True) as connection:
        return progress(connection, search_id)


def search_digest(search_id):
    """The digest of all that a search has."""
    with transaction(read_only=True) as connection:
        return digests.search_digest(connection, search_id)


def fill_search(name="digits", children=60, *, different=40):
    """A search with rewards, a control arm, repeats and failures that speak in markup."""
    chance = random.Random(0)
    search_id = make_search(name, budget={"children": 100}, control=0.2)
    make_version(search_id)
    slot = make_slot(device_names=EVIL)
    ids = propose(search_id, [chance.randrange(different) for _ in range(children)])
    ids += propose(search_id, range(100, 112), arm=Arm.CONTROL)
    for child_id in ids[:-4]:
        run = run_of(child_id)
        if run is None:
            continue
        queue_run(run.id)
        held = claim(run.id, slot)
        if chance.random() < 0.1:
            with transaction() as connection:
                attempts.fail(
                    connection,
                    run.id,
                    held.attempt,
                    Failure.DIVERGED,
                    message=EVIL,
                    traceback=f"Traceback\n{EVIL}",
                )
        else:
            sizes = {"parameters": chance.randrange(10_000), "macs": chance.randrange(10**6)}
            metrics = {"validation_loss": 0.5}
            finish(run.id, held.attempt, chance.random(), **sizes, metrics=metrics)
    return search_id


def fill_dashboard():
    """What every page of the dashboard can show: two searches that rest, one named in markup."""
    search_id = fill_search("digits", 90, different=200)
    for version in range(1, 6):
        health = dict(entropy=30.0 - version, kl=0.01, baseline=0.5, duplicates=version)
        make_version(search_id, version, diagnostics=health)
    other = make_search(MARKUP)
    make_version(other)
    [child_id] = propose(other, [5000])
    run_id = run_of(child_id).id
    queue_run(run_id)
    held = claim(run_id, make_slot("cpu-1", host=MARKUP, device_names=MARKUP))
    with transaction() as connection:
        for epoch in range(1, 4):
            point = {"loss": 1 / epoch, "train_accuracy": 0.3 * epoch, "accuracy": 0.2 * epoch}
            times = {"learning_rate": 0.1, "seconds": 1.0, "waited": 0.0}
            epochs.put(connection, run_id, held.attempt, epoch=epoch, **point, **times)
    finish(run_id, held.attempt)
    with transaction() as connection:
        searches.pause(connection, search_id, searches.PAUSED_BY_HAND)
        searches.pause(connection, other, MARKUP)
