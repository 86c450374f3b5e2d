"""Runs in full: what they waited for data, and an index of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

IN_FULL = sa.text("purpose IN ('retrain', 'transfer', 'baseline')")


def upgrade() -> None:
    op.add_column("epochs", sa.Column("waited", sa.Double(), nullable=True))
    op.create_index(
        "ix_runs_in_full",
        "runs",
        ["purpose", "id"],
        sqlite_where=IN_FULL,
        postgresql_where=IN_FULL,
    )


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
