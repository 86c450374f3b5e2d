"""SEARCH:RANK, by which people name one of a search's best genotypes."""

from dataclasses import dataclass

from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import ranking
from db.reads.ranked_genotypes import RankedGenotype
from pipeline.errors import UserError


@dataclass(frozen=True, slots=True)
class Rank:
    """One of a search's best genotypes."""

    search: str
    number: int  # from 1, the best

    def __str__(self) -> str:
        return f"{self.search}:{self.number}"


def look_up(connection: Connection, rank: Rank) -> RankedGenotype:
    """The genotype that stands there.

    Raises:
        UserError: there is no such search, or it has fewer genotypes.
    """
    if not 1 <= rank.number < 2**31:
        raise UserError(f"{rank}: a rank is a number from 1, the best")
    search = searches.get(connection, rank.search)
    rows = ranking.best(connection, search.id, limit=1, offset=rank.number - 1)
    if not rows:
        raise UserError(
            f"search {rank.search!r} has fewer than {rank.number} genotypes with a reward"
        )
    return rows[0]
