"""The images that a command is to train on: fetched, looked at, and written down as they are."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from db.lifecycle import datasets
from db.schema.rows import JsonObject
from pipeline.config.run import DataConfig
from pipeline.data.check import LOOKED_AT, DataReport, OnFile, check_source
from pipeline.data.dataset_names import absolute_name, check_dataset
from pipeline.data.decoding import raise_unreadable
from pipeline.data.downloads import fetch_dataset
from pipeline.data.sources import Source, read_source
from pipeline.errors import DataChangedError, MachineError, UserError
from pipeline.settings import get_settings
from tasks.changed_data import explain_change

C = TypeVar("C", bound=DataConfig)


@dataclass(frozen=True, slots=True)
class CheckedData(Generic[C]):
    """A configuration with what its images are."""

    config: C  # with an absolute path, the split by name, and the fingerprint
    report: DataReport
    summary: JsonObject  # the table datasets

    def note(self, connection: Connection) -> None:
        """Write down what the images are, in the transaction that first asks for them."""
        datasets.put(connection, self.report.fingerprint, self.config.dataset, self.summary)


def check_data(config: C, on_file: OnFile | None = None) -> CheckedData[C]:
    """Fetch the data set if it must be, and look at it: nothing on bad images must begin.

    Args:
        on_file: called with the numbers of files looked at and of all, while it looks.

    Raises:
        UserError: it is not here, cannot be used, has images that cannot be decoded, or is another
            than the configuration's fingerprint says.
    """
    config, source, report = _looked_at(config, LOOKED_AT, on_file)
    raise_unreadable(report.unreadable, report.looked_at)
    found = {"split": report.split, "fingerprint": report.fingerprint}
    sizes = {"smallest": list(report.smallest), "largest": list(report.largest)}
    summary = {**source.summary.to_data(), **sizes}
    return CheckedData(config.model_copy(update=found), report, summary)


def look_at(config: DataConfig, *, every: bool, on_file: OnFile | None = None) -> DataReport:
    """What a data set is, its damaged files included.

    Args:
        every: whether all files are decoded, however many there are.
        on_file: called with the numbers of files looked at and of all, while it looks.

    Raises:
        UserError: it is not here, or cannot be used at all.
    """
    return _looked_at(config, None if every else LOOKED_AT, on_file, decode=False)[2]


def _looked_at(
    config: C, limit: int | None, on_file: OnFile | None, *, decode: bool = True
) -> tuple[C, Source, DataReport]:
    """A data set as it lies here, and a report of it; the configuration with its whole path."""
    config = config.model_copy(update={"dataset": absolute_name(config.dataset)})
    folder = get_settings().data_folder
    fetch_dataset(config.dataset, folder)
    with _told(config):
        source = read_source(config, folder, decode=decode)
        return config, source, check_source(source, config, limit=limit, on_file=on_file)


def check_unchanged(config: DataConfig) -> None:
    """Check that the images are here, and what they were when this was made.

    Raises:
        UserError: they are not; says what changed.
    """
    with _told(config):
        check_dataset(config.dataset)
        if config.fingerprint is not None:
            read_source(config, get_settings().data_folder, decode=False)


@contextlib.contextmanager
def _told(config: DataConfig) -> Iterator[None]:
    """Turn what is this machine's fault into what its user is told."""
    try:
        yield
    except DataChangedError as error:
        raise UserError(explain_change(error, config)) from None
    except MachineError as error:
        raise UserError(str(error)) from None
