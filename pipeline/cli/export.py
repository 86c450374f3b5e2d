"""Networks to be exported: a run's with its weights, or one that nobody trained."""

from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.exports import Exported
    from pipeline.genotype import Genotype


def untrained(
    genotype: "Genotype", cells: int | None, filters: int | None, size: int, classes: int
) -> "Exported":
    """A genotype in its default skeleton or another size of it, weights of seed 0."""
    import torch

    from pipeline.config import make_network_config
    from pipeline.exports import Exported
    from pipeline.networks import build

    counts = {"num_cells": cells, "num_filters": filters}
    given = {key: count for key, count in counts.items() if count is not None}
    config = None if genotype.kind == "known" else make_network_config(genotype.kind, given)
    torch.manual_seed(0)
    shape = 3, size, size
    network = build(genotype, config, image_shape=shape, classes=classes)
    return Exported(genotype, config, network, shape, classes)


def of_run(genotype: "Genotype", run_id: int) -> "Exported":
    """The network that a finished retrain, transfer or baseline run trained.

    Raises:
        UserError: the run has no weights, or is another genotype's.
    """
    from db import checkpoints, runs
    from db.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.config import load_run_config
    from pipeline.exports import Exported, describe
    from pipeline.networks import build
    from pipeline.training import checkpoint
    from pipeline.training.datasets import load_dataset

    settings = open_store()
    with transaction(read_only=True) as connection:
        run = runs.get(connection, run_id) if 0 < run_id < 2**31 else None
        weights = None if run is None else checkpoints.weights_of_run(connection, run_id)
        digest = None if run is None else runs.digest_of(connection, run.genotype_id)
    if run is None or weights is None:
        raise UserError(f"--run {run_id}: no finished retrain, transfer or baseline run")
    if digest != genotype.digest:
        raise UserError(f"--run {run_id}: it trained another genotype ({str(digest)[:12]})")
    config = load_run_config(run.config)
    data = load_dataset(config, settings.data_folder)
    # built as the worker did, from the canonical form: the weights belong to that order
    network = build(
        genotype.canonical(), config.network, image_shape=data.image_shape, classes=data.classes
    )
    network.load_state_dict(checkpoint.read(weights.uri, weights.sha256))
    return Exported(
        *(genotype.canonical(), config.network, network, data.image_shape, data.classes),
        data=describe(config, data),
    )
