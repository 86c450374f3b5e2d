"""What a column may say, and what a ranked list is asked for by.

The values are text in the store, and part of its public query language.
"""

import enum


class SearchState(enum.StrEnum):
    """What a search is doing."""

    RUNNING = "running"  # -> paused | stopping | finished | failed
    PAUSED = "paused"  # leases given back, nothing queued; -> running by `run` or `resume`
    STOPPING = "stopping"  # no new children; what runs ends, the last update follows; -> finished
    FINISHED = "finished"  # the budget is met, or it was stopped; -> running by `extend`
    FAILED = "failed"  # cannot go on, says why; -> running by `run` or `resume`
    IMPORTED = "imported"  # read only

    @property
    def is_active(self) -> bool:
        """Whether its children are queued and its policy learns."""
        return self in {SearchState.RUNNING, SearchState.STOPPING}


class Arm(enum.StrEnum):
    """Who proposed a child."""

    POLICY = "policy"
    CONTROL = "control"  # uniform choices beside the policy, never learned from
    DERIVE = "derive"  # drawn after a search with shared weights


class ChildState(enum.StrEnum):
    """What has become of a proposal."""

    OPEN = "open"  # -> rewarded | skipped
    REWARDED = "rewarded"
    SKIPPED = "skipped"  # failed for what it is not: teaches nothing


class RewardKind(enum.StrEnum):
    """Where a reward comes from."""

    TRAINED = "trained"
    SHARED = "shared"


class Purpose(enum.StrEnum):
    """Why a run is trained or scored."""

    SEARCH = "search"
    RETRAIN = "retrain"
    TRANSFER = "transfer"
    BASELINE = "baseline"
    SHARED = "shared"  # a pass over the training images with weights that children share
    SCORE = "score"  # children scored with such weights

    @property
    def uses_shared_weights(self) -> bool:
        """Whether it trains or scores with a search's shared weights, and has no own genotype."""
        return self in {Purpose.SHARED, Purpose.SCORE}


class RunState(enum.StrEnum):
    """Where a run is."""

    PENDING = "pending"  # -> queued (reconcile, sample or a finish has room for it)
    QUEUED = "queued"  # -> running (a claim) | pending (message lost, search paused)
    RUNNING = "running"  # -> done | failed | pending (lease ended or given back)
    DONE = "done"
    FAILED = "failed"  # -> pending, by hand only
    CANCELLED = "cancelled"  # -> pending, by hand only


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    LOST = "lost"  # its lease ended, or its slot was found dead
    RETURNED = "returned"  # given back: SIGTERM, pause, a fault of the machine


class SlotState(enum.StrEnum):
    """Whether a worker process takes work."""

    UP = "up"
    REFUSING = "refusing"  # a check failed; says which in `reason`
    DOWN = "down"  # left in order


class NoticeKind(enum.StrEnum):
    """What somebody may want to be told of a search."""

    FINISHED = "finished"
    PAUSED = "paused"  # by itself
    FAILING = "failing"  # it cannot go on, or too many of its children fail
    STALLED = "stalled"  # it is active, and nothing happens
    BEST = "best"  # the best reward so far


class ArtifactKind(enum.StrEnum):
    """What a file is."""

    CHECKPOINT = "checkpoint"
    WEIGHTS = "weights"
    SHARED = "shared"


class Order(enum.StrEnum):
    """By what genotypes are ranked: the best, or the smallest, first."""

    REWARD = "reward"
    ACCURACY = "accuracy"
    PARAMETERS = "parameters"
    MACS = "macs"
    ID = "id"  # in the order they were proposed


class CellScope(enum.StrEnum):
    """The cells in which an operation is looked for."""

    NORMAL = "normal"
    REDUCTION = "reduction"
    EITHER = "either"
