"""What a line of an exported search may say: types and ranges, checked before anything is written.

Line 1 is a ``Header``. As many ``Version``, ``OtherRun`` and ``ChildRecord`` lines follow as it
says, in this order, and nothing more. Rows are known by what they are, not by a store's numbers:
a child by (version, arm, k), a genotype by its digest. Column names are those of docs/queries.md.
"""

import datetime as dt
import functools
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime

from db.enums import Arm, ChildState, Outcome, Purpose, RewardKind, RunState, SearchState
from pipeline.errors import Failure

FORMAT = 1

Int = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
BigCount = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """Base: frozen, strict about types, unknown keys and numbers that are none refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SearchRow(Record):
    """The row of `searches`."""

    uid: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    name: str
    config: dict[str, Any]
    state: SearchState
    reason: str | None
    created_at: NaiveDatetime
    resumed_at: NaiveDatetime
    ended_at: NaiveDatetime | None


class Header(Record):
    """The first line: what the file is of, and how much of it must follow."""

    record: Literal["search"] = "search"
    format: Literal[1]  # FORMAT
    exported_at: NaiveDatetime
    digest: Sha256  # `nasnet search digest`
    versions: Count
    runs: Count
    children: Count
    configs: list[dict[str, Any]]  # of runs, which say which by its place
    search: SearchRow

    @functools.cached_property
    def config_texts(self) -> list[str]:
        """The configurations as JSON: most are many runs'."""
        return [json.dumps(config) for config in self.configs]

    @property
    def lines(self) -> int:
        """Lines of the whole file."""
        return 1 + self.versions + self.runs + self.children


class Version(Record):
    """A row of `policy_versions`; its state stays where it was learned."""

    record: Literal["policy_version"] = "policy_version"
    version: Count
    created_at: NaiveDatetime
    learned: Count
    total_learned: Count
    loss: float | None
    entropy: float | None
    kl: float | None
    clip_fraction: float | None
    baseline: float | None
    mean_reward: float | None
    staleness: float | None
    duplicates: Count | None
    probabilities: list[list[float]] | None
    sha256: Sha256


class SlotName(Record):
    """Where an attempt was made."""

    host: str
    name: str


class AttemptRecord(Record):
    """A row of `attempts`."""

    number: Annotated[int, Field(ge=1, lt=2**31)]
    slot: SlotName | None
    device: str | None
    versions: dict[str, Any] | None
    images_trained: BigCount | None
    images_scored: BigCount | None
    started_at: NaiveDatetime
    ended_at: NaiveDatetime | None
    outcome: Outcome | None
    failure: Failure | None
    message: str | None
    traceback: str | None


class EpochRecord(Record):
    """A row of `epochs`."""

    epoch: Annotated[int, Field(ge=1, lt=2**31)]
    attempt: Annotated[int, Field(ge=1, lt=2**31)]
    loss: float | None
    train_accuracy: Share | None
    accuracy: Share | None
    learning_rate: float | None
    seconds: float | None
    waited: float | None
    created_at: NaiveDatetime


class RunRecord(Record):
    """A row of `runs`, with its attempts and its learning curve."""

    purpose: Purpose
    version: Count | None
    ordinal: Count | None
    config: Count  # its place in `Header.configs`
    seed: Count
    device: str
    devices: Annotated[int, Field(ge=1, lt=2**31)]
    state: RunState
    state_since: NaiveDatetime
    priority: Int
    attempt: Count
    tries: Count
    accuracy: Share | None
    test_accuracy: Share | None
    parameters: BigCount | None
    macs: BigCount | None
    images_trained: BigCount | None
    images_scored: BigCount | None
    failure: Failure | None
    message: str | None
    created_at: NaiveDatetime
    ended_at: NaiveDatetime | None
    attempts: list[AttemptRecord]
    epochs: list[EpochRecord]


class OtherRun(RunRecord):
    """A run that is no child's, such as a retraining."""

    record: Literal["run"] = "run"
    key: Sha256
    digest: Sha256 | None
    genotype: dict[str, Any] | None


class ChildKey(Record):
    """Which child of the search."""

    version: Count
    arm: Arm
    k: Count


class ChildRecord(Record):
    """A row of `children`, with its genotype and, where it was trained itself, its run."""

    record: Literal["child"] = "child"
    version: Count
    arm: Arm
    k: Count
    actions: list[Count]
    log_probs: list[float]
    digest: Sha256
    genotype: dict[str, Any]
    state: ChildState
    created_at: NaiveDatetime
    ended_at: NaiveDatetime | None
    reward: float | None
    reward_kind: RewardKind | None
    stopped_epoch: Annotated[int, Field(ge=1, lt=2**31)] | None
    accuracy: Share | None
    parameters: BigCount | None
    macs: BigCount | None
    failure: Failure | None
    duplicate_of: ChildKey | None
    score_run: Count | None  # its place among the file's run lines
    learned_by: Count | None
    run: RunRecord | None


def time_text(time: dt.datetime) -> str:
    """A time in UTC as files and `nasnet query` have it."""
    if time.tzinfo is not None:
        time = time.astimezone(dt.UTC).replace(tzinfo=None)
    return time.isoformat(" ", "microseconds")
