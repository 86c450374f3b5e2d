"""Views to ask of, the same on both databases; indexes of the control arm and of failures.

A view's columns are a public query language, like the tables': documented in docs/reference/tables.md.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A row for each side of each block. Both databases unfold the genotype's JSON, each in its words.
BLOCKS = {
    "sqlite": """
        SELECT
            genotypes.id AS genotype_id,
            genotypes.digest AS digest,
            cells.name AS cell,
            blocks.key AS block,
            blocks.key + 2 AS state,
            sides.name AS side,
            json_extract(blocks.value, '$[' || sides.place || ']') AS input,
            json_extract(blocks.value, '$[' || (sides.place + 1) || ']') AS operation,
            json_extract(blocks.value, '$[4]') AS combine,
            (
                SELECT count(*) FROM json_each(genotypes.body, '$.' || cells.name || '.concat') c
                WHERE c.value = blocks.key + 2
            ) AS concatenated
        FROM genotypes
        CROSS JOIN (SELECT 'normal' AS name UNION ALL SELECT 'reduction') cells
        CROSS JOIN json_each(genotypes.body, '$.' || cells.name || '.blocks') blocks
        CROSS JOIN (SELECT 'left' AS name, 0 AS place UNION ALL SELECT 'right', 2) sides
        WHERE genotypes.kind = 'cell'
    """,
    "postgresql": """
        SELECT
            genotypes.id AS genotype_id,
            genotypes.digest AS digest,
            cells.name AS cell,
            CAST(blocks.number - 1 AS integer) AS block,
            CAST(blocks.number + 1 AS integer) AS state,
            sides.name AS side,
            CAST(blocks.value ->> sides.place AS integer) AS input,
            blocks.value ->> (sides.place + 1) AS operation,
            blocks.value ->> 4 AS combine,
            CAST(
                genotypes.body -> cells.name -> 'concat' @> to_jsonb(blocks.number + 1) AS integer
            ) AS concatenated
        FROM genotypes
        CROSS JOIN (VALUES ('normal'), ('reduction')) AS cells (name)
        CROSS JOIN LATERAL jsonb_array_elements(genotypes.body -> cells.name -> 'blocks')
            WITH ORDINALITY AS blocks (value, number)
        CROSS JOIN (VALUES ('left', 0), ('right', 2)) AS sides (name, place)
        WHERE genotypes.kind = 'cell'
    """,
}
CURVES = """
    SELECT
        epochs.run_id, runs.purpose, runs.search_id, searches.name AS search, runs.child_id,
        runs.genotype_id, genotypes.digest, epochs.epoch, epochs.attempt, epochs.loss,
        epochs.train_accuracy, epochs.accuracy, epochs.learning_rate, epochs.seconds,
        epochs.waited, epochs.created_at
    FROM epochs
    JOIN runs ON runs.id = epochs.run_id
    LEFT JOIN searches ON searches.id = runs.search_id
    LEFT JOIN genotypes ON genotypes.id = runs.genotype_id
"""
POLICY = """
    SELECT
        policy_versions.search_id, searches.name AS search, policy_versions.version,
        policy_versions.created_at, policy_versions.learned, policy_versions.total_learned,
        policy_versions.loss, policy_versions.entropy, policy_versions.kl,
        policy_versions.clip_fraction, policy_versions.baseline, policy_versions.mean_reward,
        policy_versions.staleness, policy_versions.duplicates
    FROM policy_versions
    JOIN searches ON searches.id = policy_versions.search_id
"""
FAILURES = """
    SELECT
        attempts.id AS attempt_id, attempts.run_id, attempts.number, runs.purpose,
        runs.search_id, searches.name AS search, runs.child_id, runs.genotype_id,
        genotypes.digest, attempts.outcome, attempts.failure, attempts.message,
        attempts.traceback, attempts.device, slots.host, slots.name AS slot,
        attempts.started_at, attempts.ended_at, runs.state AS run_state
    FROM attempts
    JOIN runs ON runs.id = attempts.run_id
    LEFT JOIN searches ON searches.id = runs.search_id
    LEFT JOIN genotypes ON genotypes.id = runs.genotype_id
    LEFT JOIN slots ON slots.id = attempts.slot_id
    WHERE attempts.outcome IN ('failed', 'lost')
"""
LEADERBOARD = """
    SELECT
        runs.id AS run_id, runs.purpose, runs.search_id, searches.name AS search,
        runs.genotype_id, genotypes.digest, {dataset} AS dataset, {epochs} AS epochs,
        runs.accuracy, runs.test_accuracy, runs.parameters, runs.macs, runs.images_trained,
        runs.seed, runs.created_at, runs.ended_at
    FROM runs
    JOIN genotypes ON genotypes.id = runs.genotype_id
    LEFT JOIN searches ON searches.id = runs.search_id
    WHERE runs.purpose IN ('retrain', 'transfer', 'baseline') AND runs.state = 'done'
"""
OF_CONFIG = {
    "sqlite": {
        "dataset": "json_extract(runs.config, '$.dataset')",
        "epochs": "json_extract(runs.config, '$.training.epochs')",
    },
    "postgresql": {
        "dataset": "(runs.config ->> 'dataset')",
        "epochs": "CAST(runs.config -> 'training' ->> 'epochs' AS integer)",
    },
}
INDEXES = (
    ("ix_children_control", "children", ["search_id", "arm", "state"], "arm = 'control'"),
    ("ix_children_failed", "children", ["search_id", "failure"], "failure IS NOT NULL"),
    ("ix_attempts_bad", "attempts", ["failure", "run_id"], "outcome IN ('failed', 'lost')"),
)


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    views = {
        "blocks": BLOCKS[dialect],
        "curves": CURVES,
        "policy": POLICY,
        "failures": FAILURES,
        "leaderboard": LEADERBOARD.format(**OF_CONFIG[dialect]),
    }
    for name, query in views.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
    for name, table, columns, condition in INDEXES:
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    raise NotImplementedError("migrations only add: restore a backup instead")
