"""Rows as frozen values with types: a class for each table, and the way from a result to them.

What a list shows of several tables has its class beside its query. Both are tuples with names, so
that a million of them cost no more than the database's own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import JsonValue

from db.schema.enums import (
    Purpose,
    RunState,
    SearchState,
    SlotState,
)
from pipeline.config.rules import SearchRules, load_rules
from pipeline.errors import Failure

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult
    from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
    from sqlalchemy.sql import Executable

JsonObject = dict[str, JsonValue]


R = TypeVar("R", bound=NamedTuple)


def from_rows(kind: type[R], result: CursorResult[Any]) -> Iterator[R]:
    """The rows of a result, as they are fetched.

    Raises:
        TypeError: the result's columns are not the fields of ``kind``, in their order.
    """
    _check(kind, result)
    return map(kind._make, result)


def portions(kind: type[R], result: CursorResult[Any]) -> Iterator[list[R]]:
    """The rows of a result, as many at a time as are fetched at once (``yield_per``).

    Raises:
        TypeError: as ``from_rows``.
    """
    _check(kind, result)
    for rows in result.partitions():
        yield [kind._make(row) for row in rows]


def _check(kind: type[R], result: CursorResult[Any]) -> None:
    if tuple(result.keys()) != kind._fields:
        raise TypeError(f"{kind}: the statement gives {', '.join(result.keys())}")


def columns(
    table: type[DeclarativeBase], kind: type[NamedTuple]
) -> list[InstrumentedAttribute[object]]:
    """The columns of a table that have the names of a class's fields, to be selected for it."""
    return [getattr(table, name) for name in kind._fields]


def read_all(
    connection: Connection,
    kind: type[R],
    statement: Executable,
    parameters: Mapping[str, object] | None = None,
) -> list[R]:
    """All rows that a statement gives."""
    return list(from_rows(kind, connection.execute(statement, parameters)))


def read_one(
    connection: Connection,
    kind: type[R],
    statement: Executable,
    parameters: Mapping[str, object] | None = None,
) -> R:
    """The one row that a statement gives.

    Raises:
        NoResultFound, MultipleResultsFound: it gives none, or several.
    """
    result = connection.execute(statement, parameters)
    _check(kind, result)
    return kind._make(result.one())


def read_one_or_none(
    connection: Connection,
    kind: type[R],
    statement: Executable,
    parameters: Mapping[str, object] | None = None,
) -> R | None:
    """The row that a statement gives, if it gives one.

    Raises:
        MultipleResultsFound: it gives several.
    """
    result = connection.execute(statement, parameters)
    _check(kind, result)
    row = result.one_or_none()
    return None if row is None else kind._make(row)


class SearchRow(NamedTuple):
    """A row of `searches`."""

    id: int
    uid: str
    name: str
    config: JsonObject
    state: SearchState
    reason: str | None
    created_at: dt.datetime
    resumed_at: dt.datetime
    ended_at: dt.datetime | None
    note: str | None

    @property
    def rules(self) -> SearchRules:
        """What its configuration says of how it moves."""
        return load_rules(self.config)


class GenotypeRow(NamedTuple):
    """A row of `genotypes`."""

    id: int
    digest: str
    kind: str
    body: JsonObject
    ops_normal: int | None
    ops_reduction: int | None
    created_at: dt.datetime


class RunRow(NamedTuple):
    """A row of `runs`."""

    id: int
    purpose: Purpose
    search_id: int | None
    child_id: int | None
    genotype_id: int | None
    version: int | None
    ordinal: int | None
    start_artifact_id: int | None
    config: JsonObject
    seed: int
    device: str
    devices: int
    key: str
    state: RunState
    state_since: dt.datetime
    priority: int
    not_before: dt.datetime | None
    slot_id: int | None
    lease_until: dt.datetime | None
    attempt: int
    tries: int
    accuracy: float | None
    test_accuracy: float | None
    parameters: int | None
    macs: int | None
    images_trained: int | None
    images_scored: int | None
    failure: Failure | None
    message: str | None
    created_at: dt.datetime
    ended_at: dt.datetime | None


class EpochRow(NamedTuple):
    """A row of `epochs`."""

    run_id: int
    epoch: int
    attempt: int
    loss: float | None
    train_accuracy: float | None
    accuracy: float | None
    learning_rate: float | None
    seconds: float | None
    waited: float | None
    created_at: dt.datetime


class SlotRow(NamedTuple):
    """A row of `slots`."""

    id: int
    host: str
    home: str
    name: str
    pid: int
    device: str | None
    devices: int
    device_names: str | None
    state: SlotState
    reason: str | None
    versions: dict[str, str] | None
    lease: float
    started_at: dt.datetime
    heartbeat_at: dt.datetime
