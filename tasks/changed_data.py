"""What is said where images are others than a search or a run was made with."""

import socket

from db.lifecycle import datasets, searches
from db.schema.session import transaction
from pipeline.config.run import DataConfig
from pipeline.data.summary import changes, summary_from_data
from pipeline.errors import DataChangedError


def explain_change(error: DataChangedError, config: DataConfig) -> str:
    """Which images changed, on which host, and what to do, in a line."""
    assert config.fingerprint is not None
    with transaction(read_only=True) as connection:
        before = datasets.summary(connection, config.fingerprint)
        name = searches.made_with(connection, config.fingerprint)
    now = summary_from_data(error.found)
    what = "" if before is None else f": {changes(summary_from_data(before), now)}"
    return (
        f"{error} on {socket.gethostname()}{what}; bring them back, or where it is meant: "
        f"`nasnet search accept-data {name or 'NAME'}`"
    )
