"""The bit that a store has for each operation; those of before keep theirs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The operations of every release before this one, by their bits in the columns ops_normal and
# ops_reduction.
BITS = (
    "identity",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)


def upgrade() -> None:
    operations = op.create_table(
        "operations",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("bit", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_operations")),
        sa.UniqueConstraint("bit", name=op.f("uq_operations_bit")),
    )
    op.bulk_insert(operations, [{"name": name, "bit": bit} for bit, name in enumerate(BITS)])


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
