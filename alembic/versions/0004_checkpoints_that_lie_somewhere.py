"""An index of the checkpoints that still lie somewhere: those of ended runs are swept."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LYING = sa.text("kind = 'checkpoint' AND uri IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_artifacts_lying", "artifacts", ["run_id"], sqlite_where=LYING, postgresql_where=LYING
    )


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
