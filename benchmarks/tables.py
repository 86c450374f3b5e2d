"""A published benchmark as a search space: its rewards are looked up, nothing is trained."""

import csv
import gzip
import itertools
import math
import operator
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.errors import UserError
from pipeline.spaces.base import Decision, Turn


class TableSpace:
    """Decisions given by their sizes, and nothing else: each is of a kind of its own.

    What the actions mean only the table knows, so every one is its own canonical form.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.decisions = tuple(Decision(f"decision_{t}", n) for t, n in enumerate(sizes))
        self.turns = tuple(Turn((decision,)) for decision in self.decisions)

    def length(self, learned: int) -> int:
        """All decisions, whatever was learned."""
        return len(self.decisions)

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The actions themselves."""
        return tuple(actions)

    def digest(self, actions: Sequence[int]) -> str:
        """The actions as a text."""
        return "-".join(map(str, actions))


@dataclass(frozen=True, slots=True)
class Table:
    """A benchmark's rows, by their actions: (reward, what is reported of it)."""

    space: TableSpace
    rows: dict[tuple[int, ...], tuple[float, float]]

    @property
    def best(self) -> float:
        """The highest reward there is."""
        return max(reward for reward, _ in self.rows.values())

    @property
    def worst(self) -> float:
        """The lowest reward there is: that of a candidate without a row, as of one that fails."""
        return min(reward for reward, _ in self.rows.values())

    def reward(self, actions: Sequence[int]) -> float:
        """The reward of a candidate."""
        row = self.rows.get(tuple(actions))
        return self.worst if row is None else row[0]


def read_table(
    path: Path, *, key: Sequence[str], sizes: Sequence[int], reward: str, report: str
) -> Table:
    """Read a CSV file (``.gz``, too) with a header.

    ``key`` names the columns that hold a candidate's choices, counted from 0: as many as there
    are sizes, or one with all of them in it, as digits ("031204") or with something between
    ("0-3-12"). Empty lines are passed over.

    Raises:
        UserError: the file cannot be read; a column is missing; a value is no number, or no
            choice; a candidate has two rows; there is no row. Names the file and the line.
    """
    rows: dict[tuple[int, ...], tuple[float, float]] = {}
    try:
        with _opened(path) as file:
            lines = csv.DictReader(file)
            _check_columns(path, lines.fieldnames or (), (*key, reward, report))
            for line in lines:
                where = f"{path}, line {lines.line_num}"
                actions = _actions(where, [line[name] for name in key], sizes)
                if actions in rows:
                    raise UserError(f"{where}: {'-'.join(map(str, actions))} is there already")
                rows[actions] = _number(where, line, reward), _number(where, line, report)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not rows:
        raise UserError(f"{path}: there is no row in it")
    return Table(TableSpace(sizes), rows)


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _check_columns(path: Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in there:
            raise UserError(f"{path}: no column {name!r}; there are: {', '.join(there)}")


def _actions(where: str, texts: Sequence[str | None], sizes: Sequence[int]) -> tuple[int, ...]:
    numbers = list(itertools.chain.from_iterable(re.findall(r"\d+", t or "") for t in texts))
    if len(numbers) == 1 < len(sizes):
        numbers = list(numbers[0])
    actions = tuple(map(int, numbers))
    if len(actions) != len(sizes) or not all(map(operator.lt, actions, sizes)):
        shown = ",".join(text or "" for text in texts)
        raise UserError(
            f"{where}: {shown!r} does not name one choice for each of "
            f"{len(sizes)} decisions of {', '.join(map(str, sizes))} choices"
        )
    return actions


def _number(where: str, line: dict[str, str | None], column: str) -> float:
    try:
        number = float(line[column] or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: {column} is {line[column]!r}, not a number")
    return number
