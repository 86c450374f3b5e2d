"""Trainings in full as rows: what a search, a user or a search's own end asks for."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection

from db.lifecycle import queue, runs
from db.lifecycle.children import run_key
from db.lifecycle.genotypes import NewGenotype, find_or_add
from db.reads import ranking
from db.schema.enums import Arm, Purpose
from db.schema.session import transaction
from pipeline.config.formats import without_later_keys
from pipeline.config.run import RecipeConfig, RunConfig
from pipeline.config.search import SearchConfig
from pipeline.spaces.base import Genotype
from tasks.app import send_runs


def add_genotype(connection: Connection, canonical: Genotype) -> int:
    """The row of a genotype in its canonical form, added unless the store has it; returns its id.

    That form is found before the transaction: it may take seconds.
    """
    new = NewGenotype(
        digest=canonical.literal_digest,
        kind=canonical.kind,
        body=canonical.to_data(),
        operations=canonical.operations,
    )
    return find_or_add(connection, [new])[new.digest].id


def ask(
    connection: Connection,
    purpose: Purpose,
    genotype: tuple[int, str],
    config: RunConfig,
    *,
    seed: int,
    search_id: int | None = None,
    start_artifact_id: int | None = None,
) -> int:
    """Ask for one training; the same one asked for again is the same run. Returns its id.

    Args:
        genotype: its id and digest.
        seed: which of several trainings of the genotype; what is drawn also depends on the digest.
    """
    genotype_id, digest = genotype
    device = config.training.device
    assert device is not None  # filled in before anything is asked for
    stored = config.model_dump(mode="json")
    as_asked = without_later_keys(stored)
    asked = {"genotype": digest, "config": as_asked, "seed": seed, "search": search_id}
    drawn = hashlib.sha256(f"{purpose}:{seed}:{digest}".encode()).digest()
    return runs.ask(
        connection,
        runs.RunRequest(
            purpose=purpose,
            genotype_id=genotype_id,
            config=stored,
            seed=int.from_bytes(drawn[:4], "little") >> 1,
            device=device,
            devices=config.training.devices,
            key=run_key(purpose, **asked, start=start_artifact_id),
            search_id=search_id,
            start_artifact_id=start_artifact_id,
        ),
    )


def retrain_config(search: SearchConfig, recipe: RecipeConfig) -> RunConfig:
    """A search's data, trained on by a recipe, on the kind of device the search uses."""
    training = recipe.training
    if training.device is None:
        training = training.model_copy(update={"device": search.training.device})
    return search.run_config().model_copy(update={"network": recipe.network, "training": training})


def ask_retrain(
    connection: Connection,
    search_id: int,
    config: RunConfig,
    *,
    top: int,
    seeds: int,
    arm: Arm | None = None,
) -> list[int]:
    """Ask for the best genotypes of a search to be trained in full; returns the runs."""
    best = ranking.best(connection, search_id, limit=top, arm=arm)
    return [
        ask(
            connection,
            Purpose.RETRAIN,
            (row.genotype_id, row.digest),
            config,
            seed=seed,
            search_id=search_id,
        )
        for row in best
        if row.failure is None
        for seed in range(seeds)
    ]


def ask_then(connection: Connection, search_id: int, config: SearchConfig) -> None:
    """Ask for what a search does by itself when its budget is met (its table ``then``)."""
    wanted = config.then.retrain
    if wanted is not None and config.retrain is not None:
        ask_retrain(
            connection,
            search_id,
            retrain_config(config, config.retrain),
            top=wanted.top,
            seeds=wanted.seeds,
        )


def start() -> None:
    """Queue pending runs for the slots that are idle now, and ring."""
    with transaction() as connection:
        queued = queue.queue_for_idle(connection)
    send_runs(queued)


def unfinished(search_id: int) -> Sequence[int]:
    """A search's trainings in full that have not ended."""
    with transaction(read_only=True) as connection:
        return runs.of_search(connection, search_id, Purpose.RETRAIN)
