"""An index less for each child: lists have been walking others since 0007."""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # a worker of 0006 ranks by ix_children_by_reward, which has the same columns and more
    op.drop_index("ix_children_ranked", "children")


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
