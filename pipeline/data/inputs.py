"""What networks for a data set are built for."""

from pathlib import Path

from pipeline.config.run import DataConfig
from pipeline.data.datasets import load_dataset
from pipeline.data.known_datasets import DATASETS
from pipeline.networks.inputs import Inputs


def inputs_of(config: DataConfig, folder: Path) -> Inputs:
    """What a network for a configuration's images is built for; one's own images are looked at.

    Raises:
        UserError: an unknown data set, images that cannot be used.
        MachineError: the images are not on this machine.
    """
    known = DATASETS.get(config.dataset)
    return load_dataset(config, folder).inputs if known is None else known.inputs
