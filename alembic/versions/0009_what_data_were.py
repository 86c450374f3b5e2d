"""What the images were that a search was made with; a note and tags of searches."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "summary",
            sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_datasets")),
    )
    op.create_table(
        "search_tags",
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_search_tags_search_id_searches")
        ),
        sa.PrimaryKeyConstraint("search_id", "tag", name=op.f("pk_search_tags")),
    )
    op.add_column("searches", sa.Column("note", sa.String(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
