"""Conditions of partial indexes, which statements repeat word for word to be answered by them."""

import enum
import re
from typing import TypeVar

from sqlalchemy import ColumnElement, Index, literal_column
from sqlalchemy.orm import InstrumentedAttribute

UNFINISHED = "runs.state IN ('pending', 'queued', 'running')"
PRESENT_CHECKPOINT = "artifacts.kind = 'checkpoint' AND artifacts.uri IS NOT NULL"
PRESENT = "artifacts.uri IS NOT NULL"
FAILED_OR_LOST = "attempts.outcome IN ('failed', 'lost')"
IN_FULL = "runs.purpose IN ('retrain', 'transfer', 'baseline')"

E = TypeVar("E", bound=enum.StrEnum)


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows that meet a condition, in both databases' words."""
    condition: ColumnElement[bool] = literal_column(
        re.sub(r"\b[a-z]+\.", "", where)
    )  # of its own table's columns
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def is_state(
    column: InstrumentedAttribute[E] | InstrumentedAttribute[E | None] | ColumnElement[E],
    *states: E,
) -> ColumnElement[bool]:
    """``column IN states`` with the values written into the statement.

    A partial index is used only by a statement that shows its condition, not by a parameter.
    """
    values: list[ColumnElement[E]] = [literal_column(f"'{state.value}'") for state in states]
    return column == values[0] if len(values) == 1 else column.in_(values)
