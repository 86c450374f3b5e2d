"""Networks to be exported: with a search's or a run's weights, or untrained where asked for."""

from db.lifecycle import checkpoints, runs
from db.reads.ranks import Rank
from db.schema.session import transaction
from pipeline.actions.genotypes import Named
from pipeline.actions.networks import (
    SearchNetwork,
    base_of,
    build_for,
    load_kept,
    network_at,
)
from pipeline.actions.stores import open_store
from pipeline.config.run import DataConfig, load_run_config
from pipeline.data.datasets import load_dataset
from pipeline.errors import MachineError, UserError
from pipeline.exports import Exported, describe
from pipeline.settings import get_settings
from pipeline.spaces.base import Genotype
from pipeline.spaces.registry import AnyNetworkConfig

SEED = 0  # of random weights


def untrained(
    named: Named, cells: int | None, filters: int | None, size: int | None, classes: int | None
) -> Exported:
    """A genotype with random weights, in its search's skeleton or the default one.

    Raises:
        UserError: naming the key, what it was given, and what it may be.
    """
    base = base_of(named).changed(cells, filters, size, classes)
    network = build_for(base.genotype, base.config, base.inputs, seed=SEED)
    return Exported(base.genotype, base.config, network, base.inputs, f"random (seed {SEED})")


def of_rank(rank: Rank) -> Exported:
    """A search's own network with the weights that it kept.

    Raises:
        UserError: as ``of_search``; or there is no such search or rank.
    """
    with transaction(read_only=True) as connection:
        own = network_at(connection, rank)
    return of_search(own)


def of_search(found: SearchNetwork) -> Exported:
    """A search's network with the weights that it kept.

    Raises:
        UserError: they are not kept, or the images are not here.
    """
    kept = found.kept()
    whose = (
        f"run {kept.run_id}'s, shared by its search" if kept.is_shared else f"run {kept.run_id}"
    )
    return _trained(found.genotype, found.config, found.data, kept, f"{found.rank}, {whose}")


def of_run(genotype: Genotype, run_id: int) -> Exported:
    """The network that a finished retrain, transfer or baseline run trained.

    Raises:
        UserError: the run has no weights, or is another genotype's.
    """
    open_store()
    with transaction(read_only=True) as connection:
        run = runs.get(connection, run_id) if 0 < run_id < 2**31 else None
        row = None if run is None else checkpoints.weights_of_run(connection, run_id)
        if run is None or row is None or run.genotype_id is None:
            raise UserError(
                f"--run {run_id}: no finished retrain, transfer or baseline run; "
                "`nasnet leaderboard` lists them"
            )
        digest = runs.digest_of(connection, run.genotype_id)
    if digest != genotype.digest:
        raise UserError(f"--run {run_id}: it trained another genotype ({digest[:12]})")
    config = load_run_config(run.config)
    kept = checkpoints.Weights(run_id, row.uri, row.sha256, is_shared=False)
    # built as the worker did, from the canonical form: the weights belong to that order
    return _trained(genotype.canonical(), config.network, config, kept, f"run {run_id}")


def _trained(
    genotype: Genotype,
    config: AnyNetworkConfig | None,
    data: DataConfig,
    kept: checkpoints.Weights,
    weights: str,
) -> Exported:
    """A network with weights, for the images that it was trained on."""
    try:
        images = load_dataset(data, get_settings().data_folder)
    except MachineError as error:
        raise UserError(str(error)) from None
    network = build_for(genotype, config, images.inputs, seed=SEED)
    load_kept(network, kept)
    about = describe(data, images)
    return Exported(genotype, config, network, images.inputs, weights, about)
