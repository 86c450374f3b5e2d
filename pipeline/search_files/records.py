"""What a line of an exported search may say: types and ranges, checked before anything is written.

Line 1 is a ``Header``. As many ``Version``, ``OtherRun`` and ``ChildRecord`` lines follow as it
says, in this order, and nothing more. Rows are known by what they are, not by a store's numbers:
a child by (version, arm, k), a genotype by its digest. Column names are those of
docs/reference/tables.md.
"""

import datetime as dt
import functools
import json
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from db.schema.enums import Arm, ChildState, Outcome, Purpose, RewardKind, RunState, SearchState
from pipeline.errors import Failure

FORMAT = 1
TAG = r"^[\w.+/@#=-]{1,50}\Z"  # no blanks, commas or colons
MOST_LETTERS = 10_000  # of a note
MOST_CONFIGS = 10_000  # each takes some kilobytes once its defaults are filled in
MOST_METRICS = 100  # of a run
MOST_ACTIONS = 10_000  # 64 layers that may each read all before them take 2,400

# Numbers that stay exact where sums of a million of them are taken, in any database or browser.
LARGEST_SIZE = 2**52  # parameters, multiply-adds
MOST_IMAGES = 2**43
SINGLE = 3.4028235e38  # the largest number of single precision: no network computes a larger one

Int = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
Count = Annotated[int, Meta(ge=0, lt=2**31)]
Ordinal = Annotated[int, Meta(ge=1, lt=2**31)]
Size = Annotated[int, Meta(ge=0, le=LARGEST_SIZE)]
Images = Annotated[int, Meta(ge=0, le=MOST_IMAGES)]
Single = Annotated[float, Meta(ge=-SINGLE, le=SINGLE)]
Rate = Annotated[float, Meta(ge=0, le=SINGLE)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Uid = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Tag = Annotated[str, Meta(pattern=TAG)]
MetricName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
Share = Annotated[float, Meta(ge=0, le=1)]
Time = Annotated[dt.datetime, Meta(tz=False)]
Name = Annotated[str, Meta(max_length=255)]  # of a host, a device, a library
Words = Annotated[str, Meta(max_length=2**20)]  # what an error said


class Record(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: strict about types, unknown keys and numbers that are none refused."""


class SearchRow(Record):
    """The row of `searches`."""

    uid: Uid
    name: Name
    config: dict[str, Any]
    state: SearchState
    reason: Words | None
    created_at: Time
    resumed_at: Time
    ended_at: Time | None
    note: Annotated[str, Meta(max_length=MOST_LETTERS)] | None = None  # of releases that had none
    tags: list[Tag] = []


class Header(Record, tag_field="record", tag="search", dict=True):
    """The first line: what the file is of, and how much of it must follow."""

    format: Literal[1]  # FORMAT
    exported_at: Time
    digest: Sha256  # `nasnet search digest`
    versions: Count
    runs: Count
    children: Count
    configs: Annotated[
        list[dict[str, Any]], Meta(max_length=MOST_CONFIGS)
    ]  # of runs, which say which by its place
    search: SearchRow

    @functools.cached_property
    def config_texts(self) -> list[str]:
        """The configurations as JSON: most are many runs'."""
        return [json.dumps(config) for config in self.configs]

    @property
    def lines(self) -> int:
        """Lines of the whole file."""
        return 1 + self.versions + self.runs + self.children


class Version(Record, tag_field="record", tag="policy_version"):
    """A row of `policy_versions`; its state stays where it was learned."""

    version: Count
    created_at: Time
    learned: Count
    total_learned: Count
    loss: Single | None
    entropy: Single | None
    kl: Single | None
    clip_fraction: Share | None
    baseline: Single | None
    mean_reward: Share | None
    staleness: Rate | None
    duplicates: Count | None
    probabilities: list[list[Single]] | None
    sha256: Sha256


class SlotName(Record):
    """Where an attempt was made."""

    host: Name
    name: Name


class AttemptRecord(Record):
    """A row of `attempts`."""

    number: Ordinal
    slot: SlotName | None
    device: Words | None  # the names of all that it was made on
    versions: Annotated[dict[Name, Name], Meta(max_length=100)] | None
    images_trained: Images | None
    images_scored: Images | None
    started_at: Time
    ended_at: Time | None
    outcome: Outcome | None
    failure: Failure | None
    message: Words | None
    traceback: Words | None


class EpochRecord(Record):
    """A row of `epochs`."""

    epoch: Ordinal
    attempt: Ordinal
    loss: Single | None
    train_accuracy: Share | None
    accuracy: Share | None
    learning_rate: Rate | None
    seconds: Seconds | None
    waited: Seconds | None
    created_at: Time


class RunRecord(Record, omit_defaults=True):  # metrics: files of before 0011 have none
    """A row of `runs`, with its attempts, its learning curve and its metrics."""

    purpose: Purpose
    version: Count | None
    ordinal: Count | None
    config: Count  # its place in `Header.configs`
    seed: Count
    device: Literal["cpu", "cuda"]
    devices: Annotated[int, Meta(ge=1, le=64)]
    state: RunState
    state_since: Time
    priority: Int
    attempt: Count
    tries: Count
    accuracy: Share | None
    test_accuracy: Share | None
    parameters: Size | None
    macs: Size | None
    images_trained: Images | None
    images_scored: Images | None
    failure: Failure | None
    message: Words | None
    created_at: Time
    ended_at: Time | None
    attempts: list[AttemptRecord]
    epochs: list[EpochRecord]
    metrics: Annotated[dict[MetricName, Single], Meta(max_length=MOST_METRICS)] = {}


class OtherRun(RunRecord, tag_field="record", tag="run", kw_only=True):
    """A run that is no child's, such as a retraining."""

    key: Sha256
    digest: Sha256 | None
    genotype: dict[str, Any] | None


class ChildKey(Record):
    """Which child of the search."""

    version: Count
    arm: Arm
    k: Count


class ChildRecord(Record, tag_field="record", tag="child"):
    """A row of `children`, with its genotype and, where it was trained itself, its run."""

    version: Count
    arm: Arm
    k: Count
    actions: Annotated[list[Count], Meta(max_length=MOST_ACTIONS)]
    log_probs: Annotated[list[Single], Meta(max_length=MOST_ACTIONS)]
    digest: Sha256
    genotype: dict[str, Any]
    state: ChildState
    created_at: Time
    ended_at: Time | None
    reward: Share | None
    reward_kind: RewardKind | None
    stopped_epoch: Ordinal | None
    accuracy: Share | None
    parameters: Size | None
    macs: Size | None
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
