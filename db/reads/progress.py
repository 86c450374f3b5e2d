"""How far a search is, and what is due: asked by every task, answered in one place.

Everything due follows from the rows: no phase is stored, so nothing can disagree with it.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import Connection, Integer, Text, bindparam, cast, func, literal_column, select

from db.lifecycle.queue import LEASES_UNTIL_GONE
from db.lifecycle.searches import STOPPED_BY_HAND
from db.schema import config_keys
from db.schema.clock import clock
from db.schema.conditions import UNFINISHED, is_state
from db.schema.enums import (
    Arm,
    ArtifactKind,
    ChildState,
    Purpose,
    RunState,
    SearchState,
    SlotState,
)
from db.schema.models import Artifact, Child, PolicyVersion, Run, Search, Slot
from db.schema.rows import read_one, read_one_or_none
from pipeline.config.rules import rules_from_text
from pipeline.config.sharing import SharedConfig

WAITING_FOR_WORKERS = "waiting for workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How far a search's shared weights are (``db.lifecycle.shared_weights`` has the words)."""

    updates: int  # policy versions a phase
    asked: int  # passes asked for
    weights: int  # passes done
    derive: int  # children to derive at the end; 0 where the search was stopped by hand
    derived: int  # of the newest version


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A search's counts, and what follows from them."""

    search_id: int
    uid: str = ""  # a number may be another search's, once this one has been deleted
    state: SearchState
    synchronous: bool
    batch: int
    budget: int  # children that carry a reward; failed attempts do not count
    share: Fraction = Fraction(0)  # of the budget that is the control arm's
    version: int | None  # the newest; None before the first
    learned: int  # rewards that versions were learned from
    unlearned: int  # rewards that wait for an update
    open: int  # children without an end, of both arms
    stored: int  # the policy's children of the newest version
    control_stored: int = 0  # the control arm's of all versions: the next one's k
    control_open: int = 0
    control_skipped: int = 0
    unstarted: int  # runs that no slot has taken
    slots: int  # that could take them
    sharing: Sharing | None = None  # None: each child is trained

    @property
    def status(self) -> str:
        """The state as people read it: an active search that no slot can work on waits."""
        waits = self.state.is_active and self.slots == 0
        return WAITING_FOR_WORKERS if waits else str(self.state)

    @property
    def control(self) -> int:
        """Children of the control arm that carry a reward."""
        return self.control_stored - self.control_open - self.control_skipped

    @property
    def completed(self) -> int:
        """Children that carry a reward, of both arms."""
        return self.learned + self.unlearned + self.control

    @property
    def lacking(self) -> int:
        """Children to propose until the budget is met, if all those open end well."""
        return max(0, self.budget - self.completed - self.open)

    @property
    def phases(self) -> int:
        """How many phases of shared weights the budget makes; 0 where each child is trained."""
        if self.sharing is None:
            return 0
        of_policy = self.budget - math.floor(self.share * self.budget)
        return math.ceil(of_policy / (self.batch * self.sharing.updates))

    @property
    def update_is_due(self) -> bool:
        """Whether the next policy version can be learned.

        In synchronous mode once each child of the newest version has ended, in rolling mode once
        a batch of rewards is there, or the last ones are.
        """
        if self.version is None or not self.state.is_active:
            return False
        if self.synchronous:  # also where no child of the version carries a reward
            return self.open == 0 and self.stored > 0
        last = self.open == 0 and (self.lacking == 0 or self.state is SearchState.STOPPING)
        return self.unlearned >= self.batch or (last and self.unlearned > 0)

    @property
    def children_due(self) -> int:
        """How many proposals both arms should make now."""
        return self.policy_due + self.control_due

    @property
    def policy_due(self) -> int:
        """How many proposals the newest version should make now."""
        if not self._may_propose or self._lacks_weights:
            return 0
        reserved = max(0, math.floor(self.share * self.budget) - self._control_alive)
        return max(0, min(self.batch - self.stored % self.batch, self.lacking - reserved))

    @property
    def control_due(self) -> int:
        """How many uniform proposals go with them, so that the arms keep pace.

        A function of the share and of the children that are not skipped, in exact fractions: in
        synchronous mode it follows from the configuration, whatever the budget is yet.
        """
        if not self.share or not self._may_propose or self._lacks_weights:
            return 0
        due = self.policy_due
        policy = self.learned + self.unlearned + self.open - self.control_open + due
        pace = math.floor(policy * self.share / (1 - self.share))
        return max(0, min(pace - self._control_alive, self.lacking - due))

    @property
    def _control_alive(self) -> int:
        """Children of the control arm that are not skipped."""
        return self.control_stored - self.control_skipped

    @property
    def _may_propose(self) -> bool:
        """Whether this is the moment for more children, should the budget lack some."""
        if self.version is None or self.state is not SearchState.RUNNING:
            return False
        if self.synchronous:
            return self.stored == 0 and self.open == 0
        # Half a batch ahead costs no freshness, since a version lasts for a batch. No slot waits
        # while the controller learns, unless learning lags a whole batch behind.
        ahead = max(1, self.slots, self.batch // 2)
        return self.unlearned < 2 * self.batch and self.unstarted < ahead

    @property
    def _lacks_weights(self) -> bool:
        """Whether the phase of the newest version has no shared weights yet."""
        sharing, version = self.sharing, self.version
        return (
            sharing is not None
            and version is not None
            and sharing.weights <= version // sharing.updates
        )

    @property
    def pass_is_due(self) -> bool:
        """Whether the pass that the phase begins with is still to be asked for."""
        return (
            self._lacks_weights
            and self._may_propose
            and self.lacking > 0
            and self.sharing is not None
            and self.sharing.asked == self.sharing.weights
        )

    @property
    def derive_due(self) -> int:
        """How many children are to be derived: once all that was asked for has been learned."""
        sharing = self.sharing
        if sharing is None or not sharing.weights or sharing.derived:
            return 0
        ends = self.lacking == 0 or self.state is SearchState.STOPPING
        rests = not (self.open or self.unlearned or self.stored)
        return sharing.derive if self.state.is_active and ends and rests else 0

    @property
    def sample_is_due(self) -> bool:
        """Whether the sample task has something to do."""
        first = self.version is None and self.state is SearchState.RUNNING
        return first or self.pass_is_due or self.children_due > 0 or self.derive_due > 0

    @property
    def is_over(self) -> bool:
        """Whether the search has done all it was asked for."""
        if not self.state.is_active or self.open or self.unlearned or self.update_is_due:
            return False
        if self.derive_due:
            return False
        return self.state is SearchState.STOPPING or self.completed >= self.budget


class _Counts(NamedTuple):
    """A search's counts at one moment."""

    uid: str
    state: SearchState
    config: str
    version: int | None
    learned: int | None
    unlearned: int
    open: int
    stored: int
    unstarted: int
    slots: int
    control_stored: int | None
    control_open: int
    control_skipped: int


class _SharedCounts(NamedTuple):
    """How many passes and derived children a search with shared weights has."""

    reason: str | None
    asked: int
    weights: int
    derived: int


_search_id = bindparam("search_id", type_=Integer)
_newest = (
    select(PolicyVersion.version, PolicyVersion.total_learned)
    .where(PolicyVersion.search_id == _search_id)
    .order_by(PolicyVersion.version.desc())
    .limit(1)
)
_version = _newest.with_only_columns(PolicyVersion.version).scalar_subquery()
_all_but_control = select(
    Search.uid,
    Search.state,
    cast(Search.config, Text).label("config"),
    _version.label("version"),
    _newest.with_only_columns(PolicyVersion.total_learned).scalar_subquery().label("learned"),
    select(func.count())
    .select_from(Child)
    .where(
        Child.search_id == _search_id,
        is_state(Child.state, ChildState.REWARDED),
        Child.learned_by.is_(None),
        is_state(Child.arm, Arm.POLICY),
    )
    .scalar_subquery()
    .label("unlearned"),
    select(func.count())
    .select_from(Child)
    .where(Child.search_id == _search_id, is_state(Child.state, ChildState.OPEN))
    .scalar_subquery()
    .label("open"),
    select(func.count())
    .select_from(Child)
    .where(
        Child.search_id == _search_id,
        Child.version == _version,
        is_state(Child.arm, Arm.POLICY),
    )
    .scalar_subquery()
    .label("stored"),
    select(func.count())
    .select_from(Run)
    .where(
        Run.search_id == _search_id,
        literal_column(UNFINISHED),
        is_state(Run.purpose, Purpose.SEARCH, Purpose.SHARED, Purpose.SCORE),
        is_state(Run.state, RunState.PENDING, RunState.QUEUED),
    )
    .scalar_subquery()
    .label("unstarted"),
    select(func.count())
    .select_from(Slot)
    .where(
        Slot.device == config_keys.search_device,
        Slot.devices == config_keys.search_devices,
        is_state(Slot.state, SlotState.UP),
        Slot.heartbeat_at > clock(-LEASES_UNTIL_GONE * Slot.lease),
    )
    .correlate(Search)
    .scalar_subquery()
    .label("slots"),
).where(Search.id == _search_id)
_sharing = select(
    Search.reason,
    select(func.count())
    .select_from(Run)
    .where(Run.search_id == _search_id, is_state(Run.purpose, Purpose.SHARED))
    .scalar_subquery()
    .label("asked"),
    select(func.count())
    .select_from(Artifact)
    .where(Artifact.search_id == _search_id, is_state(Artifact.kind, ArtifactKind.SHARED))
    .scalar_subquery()
    .label("weights"),
    select(func.count())
    .select_from(Child)
    .where(
        Child.search_id == _search_id,
        Child.version == _version,
        is_state(Child.arm, Arm.DERIVE),
    )
    .scalar_subquery()
    .label("derived"),
).where(Search.id == _search_id)
_of_control = (Child.search_id == _search_id, is_state(Child.arm, Arm.CONTROL))
_control_count = select(func.count()).select_from(Child).where(*_of_control)
_counts = _all_but_control.add_columns(
    *(
        literal_column("0").label(name)
        for name in ("control_stored", "control_open", "control_skipped")
    )
)
_counts_with_control = _all_but_control.add_columns(
    # k counts them all, from version to version: a million rewards need not be counted
    select(Child.k + 1)
    .where(*_of_control)
    .order_by(Child.version.desc(), Child.k.desc())
    .limit(1)
    .scalar_subquery()
    .label("control_stored"),
    _control_count.where(is_state(Child.state, ChildState.OPEN))
    .scalar_subquery()
    .label("control_open"),
    _control_count.where(is_state(Child.state, ChildState.SKIPPED))
    .scalar_subquery()
    .label("control_skipped"),
)


def progress(connection: Connection, search_id: int) -> Progress | None:
    """Where a search is now, or None where there is no such search."""
    asked = {"search_id": search_id}
    row = read_one_or_none(connection, _Counts, _counts, asked)
    if row is None:
        return None
    rules = rules_from_text(row.config)
    if rules.control:  # all counts once more, as they are at one moment
        row = read_one(connection, _Counts, _counts_with_control, asked)
    return Progress(
        search_id=search_id,
        uid=row.uid,
        state=row.state,
        synchronous=rules.mode == "synchronous",
        batch=rules.controller.batch,
        budget=rules.budget.children,
        share=rules.control_share,
        version=row.version,
        learned=row.learned or 0,
        unlearned=row.unlearned,
        open=row.open,
        stored=row.stored,
        control_stored=row.control_stored or 0,
        control_open=row.control_open,
        control_skipped=row.control_skipped,
        unstarted=row.unstarted,
        slots=row.slots,
        sharing=_sharing_now(connection, search_id, rules.shared),
    )


def _sharing_now(
    connection: Connection, search_id: int, shared: SharedConfig | None
) -> Sharing | None:
    if shared is None:
        return None
    row = read_one(connection, _SharedCounts, _sharing, {"search_id": search_id})
    return Sharing(
        updates=shared.updates,
        asked=row.asked,
        weights=row.weights,
        derive=0 if row.reason == STOPPED_BY_HAND else shared.derive,
        derived=row.derived,
    )
