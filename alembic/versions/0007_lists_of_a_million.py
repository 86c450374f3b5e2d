"""Indexes with which lists, counts and figures stay fast in a store of a million genotypes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FILTERED = (
    *("ops_normal", "ops_reduction", "reward", "accuracy", "parameters", "macs"),
    *("arm", "genotype_id", "duplicate_of", "reward_kind"),
)
BAD = "outcome IN ('failed', 'lost')"
INDEXES: tuple[tuple[str, str, list[str], str], ...] = (
    *(
        (
            f"ix_children_by_{order}",
            "children",
            ["search_id", *dict.fromkeys((order, "id", *FILTERED))],
            "reward IS NOT NULL",
        )
        for order in ("reward", "accuracy", "parameters", "macs", "id")
    ),
    ("ix_children_derived", "children", ["search_id", "arm", "state"], "arm = 'derive'"),
    ("ix_children_duplicates", "children", ["search_id"], "duplicate_of IS NOT NULL"),
    ("ix_attempts_bad_id", "attempts", ["id"], BAD),
)


def upgrade() -> None:
    for name, table, columns, condition in INDEXES:
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
