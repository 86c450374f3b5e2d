"""What a network is built for: the shape of a data set's images, and its number of classes."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.run import DataConfig
from pipeline.data.datasets import load_dataset


@dataclass(frozen=True, slots=True)
class DataShape:
    """The shape of a data set."""

    image_shape: tuple[int, int, int]  # (channels, height, width)
    classes: int


# Of sets that never change: nothing need be downloaded to know it.
BUILT_IN = {
    "digits": DataShape((1, 8, 8), 10),
    "cifar10": DataShape((3, 32, 32), 10),
    "cifar100": DataShape((3, 32, 32), 100),
    "mnist": DataShape((1, 28, 28), 10),
    "fashion-mnist": DataShape((1, 28, 28), 10),
    "svhn": DataShape((3, 32, 32), 10),
}


def data_shape(config: DataConfig, folder: Path) -> DataShape:
    """The shape of a configuration's images; one's own images are looked at.

    Raises:
        UserError: an unknown data set, images that cannot be used.
        MachineError: the images are not on this machine.
    """
    if config.dataset in BUILT_IN:
        return BUILT_IN[config.dataset]
    data = load_dataset(config, folder)
    return DataShape(data.image_shape, data.classes)
