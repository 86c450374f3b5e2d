"""The outbox of notices; an index of all files that still lie somewhere, for their sum."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

UNSENT = sa.text("sent_at IS NULL")
PRESENT = sa.text("uri IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "finished",
                "paused",
                "failing",
                "stalled",
                "best",
                name="noticekind",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("reward", sa.Double(), nullable=True),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_notices_search_id_searches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index("ix_notices_search_id", "notices", ["search_id", "kind", "id"])
    op.create_index(
        "ix_notices_unsent", "notices", ["target"], sqlite_where=UNSENT, postgresql_where=UNSENT
    )
    op.create_index(
        "ix_artifacts_present",
        "artifacts",
        ["bytes"],
        sqlite_where=PRESENT,
        postgresql_where=PRESENT,
    )
    ticks = sa.table("ticks", sa.column("name", sa.String))
    op.bulk_insert(ticks, [{"name": "notices"}, {"name": "leftovers"}])


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
