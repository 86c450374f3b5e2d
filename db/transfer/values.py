"""What ``restore`` writes, as plain values: who makes them need not load SQLAlchemy."""

from collections.abc import Sequence
from typing import NamedTuple

Row = Sequence[object]  # in the order of ``Restoration.columns`` of its table
ChildKey = tuple[int, str, int]  # version, arm, k


class RestoredRun(NamedTuple):
    """A run with its attempts, its learning curve, and what was measured at its end."""

    row: Row
    config: str
    attempts: list[tuple[Row, tuple[str, str] | None]]  # with the host and name of a slot
    epochs: list[Row]
    metrics: list[tuple[str, float]]
    digest: str | None = None  # of its genotype, where it is no child's
    key: str | None = None  # likewise


class RestoredChild(NamedTuple):
    """A child, and what was known of it by a number of the other store."""

    row: Row
    key: ChildKey
    digest: str
    duplicate_of: ChildKey | None
    score_run: int | None  # its place among the search's other runs
    run: RestoredRun | None
