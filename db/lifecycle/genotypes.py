"""Genotypes: each architecture is one row of the store, whoever finds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from db.lifecycle.operations import CellOperations, bits_for, masks
from db.schema.clock import clock
from db.schema.models import Genotype
from db.schema.rows import JsonObject
from db.schema.upserts import Upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGenotype:
    """A genotype in columns."""

    digest: str
    kind: str
    body: JsonObject
    operations: CellOperations | None  # None: a kind without cells


class GenotypeKey(NamedTuple):
    """A stored genotype: what its children's rows copy of it."""

    id: int
    ops_normal: int | None
    ops_reduction: int | None


_known = select(Genotype.id, Genotype.digest, Genotype.ops_normal, Genotype.ops_reduction).where(
    Genotype.digest.in_(bindparam("digests", expanding=True))
)
_GENOTYPE = ("digest", "kind", "body", "ops_normal", "ops_reduction")
# Adds a genotype unless the store has it, whoever adds it meanwhile.
_add = Upsert(
    Genotype,
    lambda add: add.values(
        **{name: bindparam(name) for name in _GENOTYPE}, created_at=clock()
    ).on_conflict_do_nothing(index_elements=["digest"]),
)


def find_or_add(
    connection: Connection, genotypes: Sequence[NewGenotype]
) -> dict[str, GenotypeKey]:
    """By digest, genotypes that are in the store afterwards."""
    bits = bits_for(
        connection, (name for g in genotypes for cell in g.operations or () for name in cell)
    )
    rows = {}
    for g in genotypes:
        normal, reduction = masks(bits, g.operations)
        rows[g.digest] = {
            "digest": g.digest,
            "kind": g.kind,
            "body": g.body,
            "ops_normal": normal,
            "ops_reduction": reduction,
        }
    # in the order of digests: two samplers that add the same ones cannot deadlock
    connection.execute(_add.on(connection), [rows[digest] for digest in sorted(rows)])
    found = connection.execute(_known, {"digests": sorted(rows)})
    return {row.digest: GenotypeKey(row.id, row.ops_normal, row.ops_reduction) for row in found}
