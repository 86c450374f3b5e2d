"""Operations by name, and the bit that this store has for each of them.

The bitmasks of a genotype (`ops_normal`, `ops_reduction`) say which operations its cells use, so
that a list can be filtered by an index alone. The operations of NASNet's paper have the same bits
in every store; any other gets the next free bit when a genotype that uses it is first written.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select, text

from db.schema.models import Operation
from pipeline.errors import UserError

# The bits of a column, which in PostgreSQL is a signed integer of 32 bits.
BITS = 31

# What a genotype uses in its normal cell, and in its reduction cell.
CellOperations = tuple[frozenset[str], frozenset[str]]

_known = select(Operation.name, Operation.bit).order_by(Operation.bit)
_hand_out = text(
    "INSERT INTO operations (name, bit)"
    " SELECT CAST(:name AS VARCHAR), coalesce(max(bit) + 1, 0) FROM operations WHERE true"
    " ON CONFLICT DO NOTHING"
)


def known(connection: Connection) -> dict[str, int]:
    """The bit of each operation that some genotype of this store may use, in their order."""
    return {row.name: row.bit for row in connection.execute(_known)}


def bits_for(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The bits of all known operations, after those of these names that are new got one.

    Where no bit is left, a new operation gets none: it is stored and searched like the others,
    and no list can be filtered by it.
    """
    bits = known(connection)
    for name in sorted(set(names)):  # in one order: two writers cannot deadlock
        # another writer may take the bit first, so that the next one is tried
        while name not in bits and max(bits.values(), default=-1) < BITS - 1:
            connection.execute(_hand_out, {"name": name})
            bits = known(connection)
    return bits


def mask(bits: Mapping[str, int], names: Iterable[str]) -> int:
    """Operations as a bitmask; one without a bit is left out."""
    return sum(1 << bits[name] for name in set(names) if name in bits)


def masks(
    bits: Mapping[str, int], operations: CellOperations | None
) -> tuple[int | None, int | None]:
    """The columns `ops_normal` and `ops_reduction`; none where there are no such operations."""
    if operations is None:
        return None, None
    normal, reduction = operations
    return mask(bits, normal), mask(bits, reduction)


def wanted_mask(connection: Connection, names: Iterable[str]) -> int:
    """The bitmask of operations that somebody asks for.

    Raises:
        UserError: this store has no bit for one of them; lists those that it has.
    """
    wanted = tuple(names)
    if not wanted:
        return 0
    bits = known(connection)
    for name in wanted:
        if name not in bits:
            raise UserError(f"no operation {name!r}; there are: {', '.join(bits)}")
    return mask(bits, wanted)
