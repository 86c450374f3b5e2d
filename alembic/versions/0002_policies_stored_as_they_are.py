"""PostgreSQL does not try to compress policies: weights are noise, and the try costs 40 ms."""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE policy_versions ALTER COLUMN state SET STORAGE EXTERNAL")


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
