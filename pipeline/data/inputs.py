"""What networks for a data set are built for."""

from pathlib import Path

from pipeline.config.run import DataConfig
from pipeline.data.datasets import load_dataset
from pipeline.networks.inputs import Inputs

# Of sets that never change: nothing need be downloaded to know it.
BUILT_IN = {
    "digits": Inputs((1, 8, 8), 10),
    "cifar10": Inputs((3, 32, 32), 10),
    "cifar100": Inputs((3, 32, 32), 100),
    "mnist": Inputs((1, 28, 28), 10),
    "fashion-mnist": Inputs((1, 28, 28), 10),
    "svhn": Inputs((3, 32, 32), 10),
}


def inputs_of(config: DataConfig, folder: Path) -> Inputs:
    """The shape of a configuration's images; one's own images are looked at.

    Raises:
        UserError: an unknown data set, images that cannot be used.
        MachineError: the images are not on this machine.
    """
    if config.dataset in BUILT_IN:
        return BUILT_IN[config.dataset]
    data = load_dataset(config, folder)
    return data.inputs
