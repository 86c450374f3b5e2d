"""A search as TensorBoard's scalars (extra `tensorboard`)."""

import datetime as dt
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from db.schema.enums import Arm
from db.transfer import dump
from pipeline.errors import UserError

OF_VERSIONS = (
    *("mean_reward", "baseline", "entropy", "loss", "kl", "clip_fraction", "staleness"),
    *("duplicates", "total_learned"),
)


def write_scalars(connection: Connection, search_id: int, folder: Path) -> int:
    """Write rewards over children and policy health over versions; returns the children.

    Steps are the number of the child that ended, arm by arm, and the version; times are the rows'.

    Raises:
        UserError: the extra `tensorboard` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # an extra
    except ImportError:
        raise UserError(
            "--format tensorboard needs the extra `tensorboard`: "
            "pip install 'nasnet-pipeline[tensorboard]'"
        ) from None
    with SummaryWriter(str(folder)) as writer:
        for version in dump.versions(connection, search_id):
            for name in OF_VERSIONS:
                value, at = getattr(version, name), version.created_at
                _add(writer, f"policy/{name}", value, version.version, at)
        return _add_children(writer, connection, search_id)


def _add_children(writer: Any, connection: Connection, search_id: int) -> int:
    best: dict[Arm, float] = {}
    steps: dict[Arm, int] = {}
    for row in dump.ended(connection, search_id):
        step = steps[row.arm] = steps.get(row.arm, 0) + 1
        best[row.arm] = max(best.get(row.arm, row.reward), row.reward)
        for name in ("reward", "accuracy", "parameters", "macs"):
            _add(writer, f"{row.arm}/{name}", getattr(row, name), step, row.ended_at)
        _add(writer, f"{row.arm}/best_reward", best[row.arm], step, row.ended_at)
    return sum(steps.values())


def _add(writer: Any, tag: str, value: float | None, step: int, at: dt.datetime) -> None:
    if value is not None:
        writer.add_scalar(tag, value, step, walltime=at.timestamp())
