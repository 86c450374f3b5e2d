"""The genotype that a word on the command line stands for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.io.text import whole_number

if TYPE_CHECKING:
    from db.reads.ranks import Rank
    from pipeline.spaces.cells.genotype import Genotype

LEAST_PREFIX = 6  # letters of a digest

GenotypeArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|DIGEST|FILE|SEARCH:RANK",
        help="nasnet-a, six letters or more of a digest, a JSON file, or digits:1 (the best).",
    ),
]


@dataclass(frozen=True, slots=True)
class Named:
    """What a word stands for: a genotype, and its rank in a search, if it has one."""

    genotype: "Genotype"
    rank: "Rank | None" = None


def resolve(text: str) -> "Genotype":
    """The genotype that a word on the command line stands for.

    Raises:
        UserError: none, or more than one; says what was tried.
    """
    return find(text).genotype


def find(text: str) -> Named:
    """What a word on the command line stands for.

    Raises:
        UserError: nothing, or more than one thing; says what was tried.
    """
    from pipeline.errors import UserError
    from pipeline.genotypes.genotype_files import read_genotype
    from pipeline.io.reading import HANDED
    from pipeline.spaces.cells.published import PUBLISHED

    if text in PUBLISHED:
        return Named(PUBLISHED[text])
    path = Path(text)
    if text.endswith(".json") or text.startswith(HANDED) or path.is_file():
        return Named(read_genotype(path))
    name, colon, rank = text.rpartition(":")
    if colon:
        return _by_rank(name, rank)
    is_hex = all(c in "0123456789abcdef" for c in text)
    if len(text) >= LEAST_PREFIX and is_hex:
        return Named(_by_digest(text))
    raise UserError(
        f"no genotype {text!r}: expected one of {', '.join(PUBLISHED)}, {LEAST_PREFIX} or more "
        "letters of a digest, a JSON file, or SEARCH:RANK"
    )


def _by_rank(name: str, rank: str) -> Named:
    from db.reads.ranks import Rank, look_up
    from db.schema.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.errors import UserError
    from pipeline.spaces.cells.genotype import genotype_from_data

    number = whole_number(rank)
    if number is None:
        raise UserError(f"{name}:{rank}: a rank is a number from 1, the best")
    open_store()
    place = Rank(name, number)
    with transaction(read_only=True) as connection:
        row = look_up(connection, place)
    return Named(genotype_from_data(row.body), place)


def _by_digest(prefix: str) -> "Genotype":
    from db.reads import queries
    from db.schema.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.errors import UserError
    from pipeline.spaces.cells.genotype import genotype_from_data

    open_store()
    with transaction(read_only=True) as connection:
        rows = queries.genotypes_by_prefix(connection, prefix)
    if len(rows) != 1:
        found = "none" if not rows else "more than one"
        raise UserError(f"digest {prefix}: {found} in this store begins so")
    return genotype_from_data(rows[0].body)
