"""The first tables."""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "genotypes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("ops_normal", sa.Integer(), nullable=True),
        sa.Column("ops_reduction", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_genotypes")),
        sa.UniqueConstraint("digest", name=op.f("uq_genotypes_digest")),
    )
    op.create_table(
        "searches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "running",
                "paused",
                "stopping",
                "finished",
                "failed",
                "imported",
                name="searchstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
        sa.UniqueConstraint("name", name=op.f("uq_searches_name")),
        sa.UniqueConstraint("uid", name=op.f("uq_searches_uid")),
    )
    with op.batch_alter_table("searches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_searches_state"), ["state"], unique=False)

    op.create_table(
        "slots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("home", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("device_names", sa.String(), nullable=True),
        sa.Column(
            "state",
            sa.Enum("up", "refusing", "down", name="slotstate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("versions", JSON, nullable=True),
        sa.Column("lease", sa.Double(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
        sa.UniqueConstraint("host", "home", "name", name=op.f("uq_slots_host_home_name")),
    )
    op.create_table(
        "store",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_store_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_store")),
    )
    op.create_table(
        "ticks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("ticked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("grace_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ticks")),
    )
    op.create_table(
        "policy_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("learned", sa.Integer(), nullable=False),
        sa.Column("total_learned", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("entropy", sa.Double(), nullable=True),
        sa.Column("kl", sa.Double(), nullable=True),
        sa.Column("clip_fraction", sa.Double(), nullable=True),
        sa.Column("baseline", sa.Double(), nullable=True),
        sa.Column("mean_reward", sa.Double(), nullable=True),
        sa.Column("staleness", sa.Double(), nullable=True),
        sa.Column("duplicates", sa.Integer(), nullable=True),
        sa.Column("probabilities", JSON, nullable=True),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_policy_versions_search_id_searches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_versions")),
        sa.UniqueConstraint(
            "search_id", "version", name=op.f("uq_policy_versions_search_id_version")
        ),
    )
    op.create_table(
        "children",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "arm",
            sa.Enum("policy", "control", "derive", name="arm", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("actions", JSON, nullable=False),
        sa.Column("log_probs", sa.LargeBinary(), nullable=False),
        sa.Column("genotype_id", sa.Integer(), nullable=False),
        sa.Column("ops_normal", sa.Integer(), nullable=True),
        sa.Column("ops_reduction", sa.Integer(), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "open", "rewarded", "skipped", name="childstate", native_enum=False, length=16
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reward", sa.Double(), nullable=True),
        sa.Column(
            "reward_kind",
            sa.Enum("trained", "shared", "table", name="rewardkind", native_enum=False, length=16),
            nullable=True,
        ),
        sa.Column("stopped_epoch", sa.Integer(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("macs", sa.BigInteger(), nullable=True),
        sa.Column(
            "failure",
            sa.Enum(
                "oom",
                "diverged",
                "invalid",
                "timeout",
                "lost",
                "data",
                "error",
                name="failure",
                native_enum=False,
                length=16,
            ),
            nullable=True,
        ),
        sa.Column("duplicate_of", sa.Integer(), nullable=True),
        sa.Column("score_run_id", sa.Integer(), nullable=True),
        sa.Column("learned_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["duplicate_of"], ["children.id"], name=op.f("fk_children_duplicate_of_children")
        ),
        sa.ForeignKeyConstraint(
            ["genotype_id"], ["genotypes.id"], name=op.f("fk_children_genotype_id_genotypes")
        ),
        sa.ForeignKeyConstraint(
            ["score_run_id"],
            ["runs.id"],
            name=op.f("fk_children_score_run_id_runs"),
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(
            ["search_id", "learned_by"],
            ["policy_versions.search_id", "policy_versions.version"],
            name=op.f("fk_children_search_id_learned_by_policy_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["search_id", "version"],
            ["policy_versions.search_id", "policy_versions.version"],
            name=op.f("fk_children_search_id_version_policy_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_children_search_id_searches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_children")),
        sa.UniqueConstraint(
            "search_id", "version", "arm", "k", name=op.f("uq_children_search_id_version_arm_k")
        ),
    )
    with op.batch_alter_table("children", schema=None) as batch_op:
        batch_op.create_index(
            "ix_children_ranked",
            [
                "search_id",
                "reward",
                "ops_normal",
                "ops_reduction",
                "accuracy",
                "parameters",
                "macs",
                "genotype_id",
                "arm",
            ],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_children_score_run_id"), ["score_run_id"], unique=False
        )
        batch_op.create_index(
            "ix_children_search_genotype", ["search_id", "genotype_id"], unique=False
        )
        batch_op.create_index(
            "ix_children_search_state", ["search_id", "state", "ended_at"], unique=False
        )
        batch_op.create_index(
            "ix_children_unlearned",
            ["search_id", "state", "arm", "learned_by", "ended_at", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'rewarded' AND learned_by IS NULL AND arm = 'policy'"),
            postgresql_where=sa.text(
                "state = 'rewarded' AND learned_by IS NULL AND arm = 'policy'"
            ),
        )
        batch_op.create_index(
            "ix_children_waiting",
            ["duplicate_of"],
            unique=False,
            sqlite_where=sa.text("state = 'open'"),
            postgresql_where=sa.text("state = 'open'"),
        )

    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum(
                "search",
                "retrain",
                "transfer",
                "baseline",
                "shared",
                "score",
                name="purpose",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("search_id", sa.Integer(), nullable=True),
        sa.Column("child_id", sa.Integer(), nullable=True),
        sa.Column("genotype_id", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=True),
        sa.Column("start_artifact_id", sa.Integer(), nullable=True),
        sa.Column("config", JSON, nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "queued",
                "running",
                "done",
                "failed",
                "cancelled",
                name="runstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("test_accuracy", sa.Double(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("macs", sa.BigInteger(), nullable=True),
        sa.Column("images_trained", sa.BigInteger(), nullable=True),
        sa.Column("images_scored", sa.BigInteger(), nullable=True),
        sa.Column(
            "failure",
            sa.Enum(
                "oom",
                "diverged",
                "invalid",
                "timeout",
                "lost",
                "data",
                "error",
                name="failure",
                native_enum=False,
                length=16,
            ),
            nullable=True,
        ),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(purpose = 'search') = (child_id IS NOT NULL)", name=op.f("ck_runs_child")
        ),
        sa.CheckConstraint(
            "(purpose IN ('shared', 'score')) = (genotype_id IS NULL)",
            name=op.f("ck_runs_genotype"),
        ),
        sa.ForeignKeyConstraint(
            ["child_id"], ["children.id"], name=op.f("fk_runs_child_id_children")
        ),
        sa.ForeignKeyConstraint(
            ["genotype_id"], ["genotypes.id"], name=op.f("fk_runs_genotype_id_genotypes")
        ),
        sa.ForeignKeyConstraint(
            ["search_id", "version"],
            ["policy_versions.search_id", "policy_versions.version"],
            name=op.f("fk_runs_search_id_version_policy_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_runs_search_id_searches")
        ),
        sa.ForeignKeyConstraint(["slot_id"], ["slots.id"], name=op.f("fk_runs_slot_id_slots")),
        sa.ForeignKeyConstraint(
            ["start_artifact_id"],
            ["artifacts.id"],
            name=op.f("fk_runs_start_artifact_id_artifacts"),
            use_alter=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("child_id", name=op.f("uq_runs_child_id")),
        sa.UniqueConstraint("key", name=op.f("uq_runs_key")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_genotype_id", ["genotype_id"], unique=False)
        batch_op.create_index(
            "ix_runs_ordinal",
            ["search_id", "purpose", "version", "ordinal"],
            unique=True,
            sqlite_where=sa.text("version IS NOT NULL"),
            postgresql_where=sa.text("version IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_runs_pending",
            ["device", "devices", "priority", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            "ix_runs_queued",
            ["device", "devices"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )
        batch_op.create_index(
            "ix_runs_running",
            ["slot_id"],
            unique=False,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        )
        batch_op.create_index(
            "ix_runs_unfinished",
            ["search_id", "purpose", "state"],
            unique=False,
            sqlite_where=sa.text("state IN ('pending', 'queued', 'running')"),
            postgresql_where=sa.text("state IN ('pending', 'queued', 'running')"),
        )

    op.create_table(
        "artifacts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("search_id", sa.Integer(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "checkpoint",
                "weights",
                "shared",
                name="artifactkind",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("uri", sa.String(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_artifacts_run_id_runs")),
        sa.ForeignKeyConstraint(
            ["search_id"], ["searches.id"], name=op.f("fk_artifacts_search_id_searches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
    )
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.create_index("ix_artifacts_run_id", ["run_id", "id"], unique=False)
        batch_op.create_index(
            "ix_artifacts_shared",
            ["search_id", "number"],
            unique=True,
            sqlite_where=sa.text("kind = 'shared'"),
            postgresql_where=sa.text("kind = 'shared'"),
        )

    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=True),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("versions", JSON, nullable=True),
        sa.Column("images_trained", sa.BigInteger(), nullable=True),
        sa.Column("images_scored", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(
                "done", "failed", "lost", "returned", name="outcome", native_enum=False, length=16
            ),
            nullable=True,
        ),
        sa.Column(
            "failure",
            sa.Enum(
                "oom",
                "diverged",
                "invalid",
                "timeout",
                "lost",
                "data",
                "error",
                name="failure",
                native_enum=False,
                length=16,
            ),
            nullable=True,
        ),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("traceback", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_attempts_run_id_runs")),
        sa.ForeignKeyConstraint(["slot_id"], ["slots.id"], name=op.f("fk_attempts_slot_id_slots")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_attempts_run_id_number")),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index("ix_attempts_slot_id", ["slot_id", "id"], unique=False)

    op.create_table(
        "epochs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("train_accuracy", sa.Double(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("learning_rate", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_epochs_run_id_runs")),
        sa.PrimaryKeyConstraint("run_id", "epoch", name=op.f("pk_epochs")),
    )

    # children and runs point at each other, and a run at the artifact it starts from: a database
    # that can alter gets these two afterwards, SQLite has had them in the tables
    if op.get_context().dialect.name != "sqlite":
        op.create_foreign_key(
            op.f("fk_children_score_run_id_runs"), "children", "runs", ["score_run_id"], ["id"]
        )
        op.create_foreign_key(
            op.f("fk_runs_start_artifact_id_artifacts"),
            "runs",
            "artifacts",
            ["start_artifact_id"],
            ["id"],
        )

    store = sa.table(
        "store",
        sa.column("id"),
        sa.column("uid"),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    op.execute(
        store.insert().values(id=1, uid=uuid.uuid4().hex, created_at=sa.func.current_timestamp())
    )
    ticks = sa.table("ticks", sa.column("name"))
    op.execute(ticks.insert().values(name="reconcile"))


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
