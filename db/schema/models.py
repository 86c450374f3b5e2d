"""The tables: a class for each kind of row; the values of their states are in ``enums``.

Column names are a public query language: users write SQL against them.
"""

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.schema.base import Base, Big
from db.schema.conditions import (
    FAILED_OR_LOST,
    IN_FULL,
    PRESENT,
    PRESENT_CHECKPOINT,
    UNFINISHED,
    partial_index,
)
from db.schema.enums import (
    Arm,
    ArtifactKind,
    ChildState,
    NoticeKind,
    Outcome,
    Purpose,
    RewardKind,
    RunState,
    SearchState,
    SlotState,
)
from db.schema.rows import JsonObject
from pipeline.errors import Failure

# What a filter of a ranked list may ask of a child.
FILTERED = (
    *("ops_normal", "ops_reduction", "reward", "accuracy", "parameters", "macs"),
    *("arm", "genotype_id", "duplicate_of", "reward_kind"),
)


class Store(Base):
    """This store itself: one row. Its uid is the broker's key prefix."""

    __tablename__ = "store"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    uid: Mapped[str]
    created_at: Mapped[dt.datetime]


class Search(Base):
    """A search and its whole configuration."""

    __tablename__ = "searches"

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(unique=True)
    config: Mapped[JsonObject]
    state: Mapped[SearchState] = mapped_column(index=True)
    reason: Mapped[str | None]
    created_at: Mapped[dt.datetime]
    resumed_at: Mapped[dt.datetime]  # stop rules count only what ended since
    ended_at: Mapped[dt.datetime | None]
    note: Mapped[str | None]  # what its owner wrote about it


class SearchTag(Base):
    """A word that somebody marked a search with."""

    __tablename__ = "search_tags"

    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True)


class Dataset(Base):
    """What images were when something was first trained on them."""

    __tablename__ = "datasets"

    fingerprint: Mapped[str] = mapped_column(primary_key=True)  # configurations name it
    name: Mapped[str]  # as the first configuration that asked for them had it
    summary: Mapped[JsonObject]  # classes with their counts, sizes: pipeline.training
    created_at: Mapped[dt.datetime]


class PolicyVersion(Base):
    """A state of the controller, and what the update that made it reported."""

    __tablename__ = "policy_versions"
    __table_args__ = (UniqueConstraint("search_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"))
    version: Mapped[int]
    created_at: Mapped[dt.datetime]
    learned: Mapped[int]  # rewards this version was learned from
    total_learned: Mapped[int]  # rewards all versions up to this one were learned from
    loss: Mapped[float | None]
    entropy: Mapped[float | None]
    kl: Mapped[float | None]
    clip_fraction: Mapped[float | None]
    baseline: Mapped[float | None]
    mean_reward: Mapped[float | None]
    staleness: Mapped[float | None]  # versions between sampling and learning, mean
    duplicates: Mapped[int | None]
    probabilities: Mapped[list[list[float]] | None]  # per decision, of each choice
    sha256: Mapped[str]
    state: Mapped[bytes | None]


class Operation(Base):
    """An operation of cells, and its bit in the bitmasks of this store's genotypes."""

    __tablename__ = "operations"

    name: Mapped[str] = mapped_column(primary_key=True)
    bit: Mapped[int] = mapped_column(unique=True)  # from 0


class Genotype(Base):
    """An architecture, once in the store whoever found it."""

    __tablename__ = "genotypes"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    body: Mapped[JsonObject]  # canonical
    ops_normal: Mapped[int | None]  # the operations of its normal cell, by their bits
    ops_reduction: Mapped[int | None]
    created_at: Mapped[dt.datetime]


class Child(Base):
    """A proposal of a policy version, and what became of it."""

    __tablename__ = "children"
    __table_args__ = (
        UniqueConstraint("search_id", "version", "arm", "k"),
        ForeignKeyConstraint(
            ["search_id", "version"], ["policy_versions.search_id", "policy_versions.version"]
        ),
        ForeignKeyConstraint(
            ["search_id", "learned_by"], ["policy_versions.search_id", "policy_versions.version"]
        ),
        Index("ix_children_search_genotype", "search_id", "genotype_id"),
        Index("ix_children_search_state", "search_id", "state", "ended_at"),
        # what an update learns next, oldest first; the condition's columns stand in it, too,
        # since SQLite takes the index with the most equalities and knows nothing of sizes
        partial_index(
            "ix_children_unlearned",
            "search_id",
            "state",
            "arm",
            "learned_by",
            "ended_at",
            "id",
            where="state = 'rewarded' AND learned_by IS NULL AND arm = 'policy'",
        ),
        partial_index("ix_children_waiting", "duplicate_of", where="state = 'open'"),
        partial_index("ix_children_control", "search_id", "arm", "state", where="arm = 'control'"),
        partial_index("ix_children_derived", "search_id", "arm", "state", where="arm = 'derive'"),
        partial_index("ix_children_duplicates", "search_id", where="duplicate_of IS NOT NULL"),
        partial_index("ix_children_failed", "search_id", "failure", where="failure IS NOT NULL"),
        # a ranked list walks the one of its order, and each has all that a filter asks for; of
        # children with a reward only: a proposal costs nothing here
        *(
            partial_index(
                f"ix_children_by_{order}",
                "search_id",
                *dict.fromkeys((order, "id", *FILTERED)),
                where="reward IS NOT NULL",
            )
            for order in ("reward", "accuracy", "parameters", "macs", "id")
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = mapped_column(ForeignKey("searches.id"))
    version: Mapped[int]
    arm: Mapped[Arm]
    k: Mapped[int]
    actions: Mapped[list[int]]
    log_probs: Mapped[bytes]  # little-endian float64, one a decision
    genotype_id: Mapped[int] = mapped_column(ForeignKey("genotypes.id"))
    ops_normal: Mapped[int | None]
    ops_reduction: Mapped[int | None]
    state: Mapped[ChildState]
    created_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]
    reward: Mapped[float | None]
    reward_kind: Mapped[RewardKind | None]
    stopped_epoch: Mapped[int | None]  # None where trained in full
    accuracy: Mapped[float | None]  # on held-out training images; None where not trained
    parameters: Mapped[Big | None]
    macs: Mapped[Big | None]
    failure: Mapped[Failure | None]
    duplicate_of: Mapped[int | None] = mapped_column(ForeignKey("children.id"))
    score_run_id: Mapped[int | None] = mapped_column(
        ForeignKey("runs.id", use_alter=True), index=True
    )
    learned_by: Mapped[int | None]  # the policy version that consumed the reward


class Run(Base):
    """All work on a device: a training or a scoring."""

    __tablename__ = "runs"
    __table_args__ = (
        partial_index(
            "ix_runs_ordinal",
            "search_id",
            "purpose",
            "version",
            "ordinal",
            unique=True,
            where="version IS NOT NULL",
        ),
        ForeignKeyConstraint(
            ["search_id", "version"], ["policy_versions.search_id", "policy_versions.version"]
        ),
        CheckConstraint(
            "(purpose IN ('shared', 'score')) = (genotype_id IS NULL)", name="genotype"
        ),
        CheckConstraint("(purpose = 'search') = (child_id IS NOT NULL)", name="child"),
        # the next of a queue
        partial_index(
            "ix_runs_pending", "device", "devices", "priority", "id", where="state = 'pending'"
        ),
        partial_index("ix_runs_unfinished", "search_id", "purpose", "state", where=UNFINISHED),
        partial_index("ix_runs_queued", "device", "devices", where="state = 'queued'"),
        partial_index("ix_runs_running", "slot_id", where="state = 'running'"),
        Index("ix_runs_genotype_id", "genotype_id"),
        # the leaderboard, among a million runs for a reward
        partial_index("ix_runs_in_full", "purpose", "id", where=IN_FULL),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    purpose: Mapped[Purpose]
    search_id: Mapped[int | None] = mapped_column(ForeignKey("searches.id"))
    child_id: Mapped[int | None] = mapped_column(ForeignKey("children.id"), unique=True)
    genotype_id: Mapped[int | None] = mapped_column(ForeignKey("genotypes.id"))
    version: Mapped[int | None]  # shared and score runs: of the policy
    ordinal: Mapped[int | None]
    start_artifact_id: Mapped[int | None] = mapped_column(
        ForeignKey("artifacts.id", use_alter=True)
    )
    config: Mapped[JsonObject]
    seed: Mapped[int]
    device: Mapped[str]  # cpu or cuda; with `devices` it names the queue
    devices: Mapped[int]
    key: Mapped[str] = mapped_column(unique=True)
    state: Mapped[RunState]
    state_since: Mapped[dt.datetime]
    priority: Mapped[int]  # lower first
    not_before: Mapped[dt.datetime | None]
    slot_id: Mapped[int | None] = mapped_column(ForeignKey("slots.id"))  # who holds it
    lease_until: Mapped[dt.datetime | None]
    attempt: Mapped[int]  # of the last claim: the fencing token
    tries: Mapped[int]  # attempts in a row that ended badly, without a newer checkpoint
    accuracy: Mapped[float | None]
    test_accuracy: Mapped[float | None]  # None until touched, once
    parameters: Mapped[Big | None]
    macs: Mapped[Big | None]
    images_trained: Mapped[Big | None]
    images_scored: Mapped[Big | None]
    failure: Mapped[Failure | None]
    message: Mapped[str | None]
    created_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]


class Attempt(Base):
    """One holding of a run."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        Index("ix_attempts_slot_id", "slot_id", "id"),
        # the newest failures, however many attempts went well since
        partial_index("ix_attempts_bad_id", "id", where=FAILED_OR_LOST),
        partial_index("ix_attempts_bad", "failure", "run_id", where=FAILED_OR_LOST),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    number: Mapped[int]
    slot_id: Mapped[int | None] = mapped_column(ForeignKey("slots.id"))
    device: Mapped[str | None]
    versions: Mapped[dict[str, str] | None]  # of the libraries
    images_trained: Mapped[Big | None]  # by this attempt, repeated ones too
    images_scored: Mapped[Big | None]
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]
    outcome: Mapped[Outcome | None]
    failure: Mapped[Failure | None]
    message: Mapped[str | None]
    traceback: Mapped[str | None]


class Artifact(Base):
    """A file."""

    __tablename__ = "artifacts"
    __table_args__ = (
        Index("ix_artifacts_run_id", "run_id", "id"),
        partial_index("ix_artifacts_lying", "run_id", where=PRESENT_CHECKPOINT),
        partial_index("ix_artifacts_present", "bytes", where=PRESENT),
        partial_index(
            "ix_artifacts_shared", "search_id", "number", unique=True, where="kind = 'shared'"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    attempt: Mapped[int | None]
    search_id: Mapped[int | None] = mapped_column(ForeignKey("searches.id"))
    kind: Mapped[ArtifactKind]
    epoch: Mapped[int | None]
    step: Mapped[int | None]
    number: Mapped[int | None]  # of shared weights
    uri: Mapped[str | None]  # None once deleted
    sha256: Mapped[str]
    bytes: Mapped[Big]
    created_at: Mapped[dt.datetime]


class Epoch(Base):
    """A learning curve's point."""

    __tablename__ = "epochs"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    loss: Mapped[float | None]
    train_accuracy: Mapped[float | None]
    accuracy: Mapped[float | None]
    learning_rate: Mapped[float | None]
    seconds: Mapped[float | None]
    waited: Mapped[float | None]  # seconds of them spent waiting for data
    created_at: Mapped[dt.datetime]


class Metric(Base):
    """Something measured of a network when its training ended, which has no column of its own."""

    __tablename__ = "metrics"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class Slot(Base):
    """A worker process: a training slot, the control worker or the reconciler of a machine."""

    __tablename__ = "slots"
    __table_args__ = (UniqueConstraint("host", "home", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    host: Mapped[str]
    home: Mapped[str]
    name: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str | None]  # kind; None where it trains nothing
    devices: Mapped[int]
    device_names: Mapped[str | None]
    state: Mapped[SlotState]
    reason: Mapped[str | None]
    versions: Mapped[dict[str, str] | None]
    lease: Mapped[float]  # seconds
    started_at: Mapped[dt.datetime]
    heartbeat_at: Mapped[dt.datetime]


class Notice(Base):
    """The outbox: what is to be told to one address, and whether it was."""

    __tablename__ = "notices"
    __table_args__ = (
        Index("ix_notices_search_id", "search_id", "kind", "id"),
        partial_index("ix_notices_unsent", "target", where="sent_at IS NULL"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int | None] = mapped_column(ForeignKey("searches.id"))
    kind: Mapped[NoticeKind]
    title: Mapped[str]
    body: Mapped[str]
    reward: Mapped[float | None]  # of `best`
    target: Mapped[str]  # the address's hash: addresses hold secrets, and stay in the settings
    created_at: Mapped[dt.datetime]
    sent_at: Mapped[dt.datetime | None]
    tries: Mapped[int]
    not_before: Mapped[dt.datetime | None]


class Tick(Base):
    """A lease on doing something periodic."""

    __tablename__ = "ticks"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str | None]
    ticked_at: Mapped[dt.datetime | None]
    grace_until: Mapped[dt.datetime | None]  # frees no lease before: the machine slept
    until: Mapped[dt.datetime | None]
