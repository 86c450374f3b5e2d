"""The genotype that a word stands for, and filters of a search's genotypes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from db.reads import lineage, ranking
from db.reads.ranks import Rank, look_up
from db.schema.enums import Arm, CellScope
from db.schema.session import transaction
from pipeline.actions.stores import open_store
from pipeline.errors import UserError
from pipeline.genotypes.genotype_files import read_genotype
from pipeline.io.reading import HANDED
from pipeline.io.text import whole_number
from pipeline.spaces.base import Genotype
from pipeline.spaces.cells.published import PUBLISHED
from pipeline.spaces.registry import genotype_from_data

LEAST_PREFIX = 6  # letters of a digest
# What a list of genotypes shows of each: attributes of the rows of ``db.reads.ranking``.
COLUMNS = (
    *("digest", "reward", "accuracy", "parameters", "macs", "found", "arm", "version", "k"),
    *("failure", "stopped_epoch", "reward_kind"),
)


@dataclass(frozen=True, slots=True)
class Named:
    """What a word stands for: a genotype, and its rank in a search, if it has one."""

    genotype: Genotype
    rank: Rank | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A genotype of the store, and the id of its row."""

    genotype: Genotype
    id: int


def resolve(text: str) -> Genotype:
    """The genotype that a word on the command line stands for.

    Raises:
        UserError: none, or more than one; says what was tried.
    """
    return find(text).genotype


def find(text: str) -> Named:
    """What a word stands for: a published name, a file, a rank, or a digest's first letters.

    Raises:
        UserError: nothing, or more than one thing; says what was tried.
    """
    if text in PUBLISHED:
        return Named(PUBLISHED[text])
    path = Path(text)
    if text.endswith(".json") or text.startswith(HANDED) or path.is_file():
        return Named(read_genotype(path))
    name, colon, rank = text.rpartition(":")
    if colon:
        return _by_rank(name, rank)
    if not _is_prefix(text):
        raise UserError(
            f"no genotype {text!r}: expected one of {', '.join(PUBLISHED)}, {LEAST_PREFIX} or "
            "more letters of a digest, a JSON file, or SEARCH:RANK"
        )
    open_store()
    with transaction(read_only=True) as connection:
        return Named(find_stored(connection, text).genotype)


def _is_prefix(text: str) -> bool:
    return len(text) >= LEAST_PREFIX and all(c in "0123456789abcdef" for c in text)


def _by_rank(name: str, rank: str) -> Named:
    number = whole_number(rank)
    if number is None:
        raise UserError(f"{name}:{rank}: a rank is a number from 1, the best")
    open_store()
    found = Rank(name, number)
    with transaction(read_only=True) as connection:
        row = look_up(connection, found)
    return Named(genotype_from_data(row.body), found)


def find_stored(connection: Connection, prefix: str) -> Stored:
    """A genotype of the store by the first letters of its digest.

    Raises:
        UserError: they are too few, or none or more than one begins so.
    """
    if not _is_prefix(prefix):
        raise UserError(
            f"no genotype {prefix!r}: expected {LEAST_PREFIX} or more letters of a digest"
        )
    rows = lineage.genotypes_by_prefix(connection, prefix)
    if len(rows) != 1:
        found = "none" if not rows else "more than one"
        raise UserError(f"no genotype {prefix!r}: {found} in this store begins so")
    return Stored(genotype_from_data(rows[0].body), rows[0].id)


def make_filter(
    *,
    uses: Iterable[str] = (),
    without: Iterable[str] = (),
    place: CellScope = CellScope.EITHER,
    arm: Arm | None = None,
    min_reward: float | None = None,
    min_accuracy: float | None = None,
    max_parameters: float | None = None,
    max_macs: float | None = None,
) -> ranking.Filter:
    """A filter of a search's genotypes, as the store is asked; bounds include.

    Args:
        uses: names of operations that a genotype must have ...
        without: ... and of those that it must not have, in its normal cell, its reduction cell,
            or either: ``place``.
        arm: who proposed it; None: the derived children where there are any, else all.
    """
    return ranking.Filter(
        uses=tuple(uses),
        without=tuple(without),
        cell=place,
        arm=arm,
        min_reward=min_reward,
        min_accuracy=min_accuracy,
        max_parameters=max_parameters,
        max_macs=max_macs,
    )
