"""The images that a run trains on, kept by this process from one run to the next."""

import functools

from pipeline.config.run import DataConfig, RunConfig
from pipeline.data.datasets import ImageData, load_dataset
from pipeline.data.image_files import ImageFiles
from pipeline.errors import ChildError, DataChangedError, Failure, MachineError, UserError
from pipeline.settings import get_settings
from tasks.changed_data import explain_change


@functools.lru_cache(maxsize=2)
def _loaded(config: DataConfig) -> ImageData | ImageFiles:
    return load_dataset(config, get_settings().data_folder)


def load(config: RunConfig) -> ImageData | ImageFiles:
    """The images of a run's configuration.

    Raises:
        MachineError: they are not on this machine, or others than the run was made with.
        ChildError: of class data: they are here, and cannot be read.
    """
    wanted = {name: getattr(config, name) for name in DataConfig.model_fields}
    try:
        return _loaded(DataConfig(**wanted))
    except DataChangedError as error:
        raise MachineError(explain_change(error, config)) from None
    except UserError as error:
        raise ChildError(Failure.DATA, str(error)) from error


def load_in_memory(config: RunConfig) -> ImageData:
    """The same, where weights are shared: `image_size` is refused there.

    Raises: as ``load``.
    """
    data = load(config)
    if not isinstance(data, ImageData):
        raise TypeError(f"{config.dataset}: children that share weights need images in memory")
    return data


def forget() -> None:
    """Look for images anew: those that are kept may have gone from the machine."""
    _loaded.cache_clear()
