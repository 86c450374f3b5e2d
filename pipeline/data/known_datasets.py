"""The data sets that are known by their names; a line here adds one."""

import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.networks.inputs import Inputs

if TYPE_CHECKING:  # numpy, which names alone do without
    from pipeline.data.image_arrays import Arrays


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set that is the same everywhere."""

    inputs: Inputs  # known without the images
    reader: str
    """``module:function`` of (folder, download=) that reads the images; imported when called."""
    validation: int | None = None
    """Images held out for rewards where a configuration does not say; None: a tenth."""
    is_downloaded: bool = True

    def read(self, folder: Path, *, download: bool = False) -> "Arrays":
        """The images of a folder, downloaded into it if asked; raises what its reader does."""
        arrays: Arrays = pkgutil.resolve_name(self.reader)(folder, download=download)
        return arrays


_TORCHVISION = "pipeline.data.torchvision_datasets"

DATASETS = {
    "digits": KnownDataset(
        Inputs((1, 8, 8), 10), "pipeline.data.digits:read", 250, is_downloaded=False
    ),
    "cifar10": KnownDataset(Inputs((3, 32, 32), 10), f"{_TORCHVISION}:cifar10", 5000),
    "cifar100": KnownDataset(Inputs((3, 32, 32), 100), f"{_TORCHVISION}:cifar100", 5000),
    "mnist": KnownDataset(Inputs((1, 28, 28), 10), f"{_TORCHVISION}:mnist"),
    "fashion-mnist": KnownDataset(Inputs((1, 28, 28), 10), f"{_TORCHVISION}:fashion_mnist"),
    "svhn": KnownDataset(Inputs((3, 32, 32), 10), f"{_TORCHVISION}:svhn"),
}
