"""What a line of a file can say: what a search of that configuration could have written.

Types and plain ranges are ``records``'; here each value is held to its neighbours, and to what was
searched for how long. Clocks may differ, and be set back: times are held to each other by a day.
"""

import datetime as dt
import math
import operator
from collections.abc import Mapping, Sequence
from typing import NoReturn

from db.schema.enums import ChildState, Outcome, Purpose, RewardKind, RunState
from pipeline.config.search import load_config
from pipeline.errors import UserError
from pipeline.search_files.records import (
    AttemptRecord,
    ChildRecord,
    EpochRecord,
    Header,
    RunRecord,
    SearchRow,
    Version,
)
from pipeline.spaces import SearchSpace, make_space
from pipeline.spaces.base import MAX_LAYERS, SpaceConfig
from pipeline.spaces.registry import SPACES

DAY = dt.timedelta(days=1)
EARLIEST = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as all times of a file; where unset clocks begin
ROUNDING = 1e-3  # of sums in single precision
ENDED = {RunState.DONE, RunState.FAILED, RunState.CANCELLED}
FAILED_OUTCOMES = {Outcome.FAILED, Outcome.LOST}
IN_FULL = {Purpose.RETRAIN, Purpose.TRANSFER, Purpose.BASELINE}


class Limits:
    """What the lines after the first can say.

    Its methods raise UserError, which begins with the key.
    """

    def __init__(self, header: Header) -> None:
        config = load_config(header.search.config)
        space = make_space(config.space)
        self.kind = SPACES[config.space.name].kind.name
        self.choices = [decision.choices for decision in space.decisions]
        self.lengths = _lengths(space, config.space)
        self.reward = config.reward
        # what is learned from may be more than the reward
        self.adds_to_rewards = getattr(config.controller, "entropy_in", None) == "reward"
        self.epochs = [run["training"]["epochs"] for run in header.configs]
        self.latest = header.exported_at + DAY

    def check_search(self, search: SearchRow) -> None:
        """Check what line 1 says of the search itself."""
        times = {"created_at": search.created_at, "resumed_at": search.resumed_at}
        self._check_times("search.", times | {"ended_at": search.ended_at})

    def check_version(self, record: Version) -> None:
        """Check a policy version."""
        self._check_times("", {"created_at": record.created_at})
        most = sum(map(math.log, self.choices))
        _check_range("entropy", record.entropy, 0, most * (1 + ROUNDING) + ROUNDING)
        _check_range("kl", record.kl, 0, math.inf)
        if not self.adds_to_rewards:
            _check_range("baseline", record.baseline, 0, 1)
        _check_range("staleness", record.staleness, 0, record.version)
        if record.duplicates is not None and record.duplicates > record.learned:
            _refuse("duplicates", f"at most the {record.learned} it learned from")
        if record.probabilities:
            self._check_probabilities(record.probabilities)

    def _check_probabilities(self, probabilities: Sequence[Sequence[float]]) -> None:
        if len(probabilities) not in self.lengths:
            _refuse("probabilities", f"a list for each of {len(self.choices)} decisions")
        for place, (shares, choices) in enumerate(zip(probabilities, self.choices, strict=False)):
            whole = abs(sum(shares) - 1) <= ROUNDING and min(shares, default=-1) >= 0
            if len(shares) != choices or not whole:
                _refuse(f"probabilities[{place}]", f"{choices} shares that are 1 together")

    def check_child(self, record: ChildRecord) -> None:
        """Check a child, and the run that is its own."""
        self._check_times("", {"created_at": record.created_at, "ended_at": record.ended_at})
        self._check_actions(record.actions)
        if max(record.log_probs, default=0.0) > ROUNDING:
            _refuse("log_probs", "logarithms of probabilities, at most 0")
        if (record.reward_kind is not None) != (record.state == ChildState.REWARDED):
            _refuse("reward_kind", "one of a child with a reward, and none of others")
        if record.state == ChildState.OPEN and record.failure is not None:
            _refuse("failure", "none of a child that is open")
        if record.reward is not None:
            self._check_reward(record, record.reward)
        if record.run is not None:
            if record.run.purpose != Purpose.SEARCH:
                _refuse("run.purpose", "'search', as of a child")
            self.check_run(record.run, "run.")

    def _check_actions(self, actions: Sequence[int]) -> None:
        if len(actions) not in self.lengths:
            _refuse("actions", f"one for each of {len(self.choices)} decisions")
        if not all(map(operator.lt, actions, self.choices)):
            place = next(t for t, n in enumerate(self.choices) if actions[t] >= n)
            _refuse(f"actions[{place}]", f"a choice, 0 to {self.choices[place] - 1}")

    def _check_reward(self, record: ChildRecord, reward: float) -> None:
        """Check that it follows from the accuracy, or is that of failures."""
        if record.failure is not None:
            if reward != self.reward.failed:
                _refuse("reward", f"{self.reward.failed}, that of failures")
            return
        if record.accuracy is None or record.reward_kind != RewardKind.TRAINED:
            return
        of_last = record.accuracy**self.reward.power
        is_last = self.reward.last_epochs == 1 or record.stopped_epoch is not None
        if reward < of_last - ROUNDING or (is_last and reward > of_last + ROUNDING):
            _refuse("reward", f"what an accuracy of {record.accuracy:g} earns, {of_last:g}")

    def check_run(self, record: RunRecord, where: str = "") -> None:
        """Check a run with its attempts and its learning curve."""
        times = {"created_at": record.created_at, "ended_at": record.ended_at}
        self._check_times(where, times)
        self._check_times(where, {"state_since": record.state_since})
        if (record.ended_at is not None) != (record.state in ENDED):
            _refuse(f"{where}ended_at", "a time of a run that has ended, and none of others")
        if (record.failure is not None) != (record.state == RunState.FAILED):
            _refuse(f"{where}failure", "one of a run that failed, and none of others")
        of_all = record.purpose.uses_shared_weights
        _check_measured(record, where)
        if (record.version is None, record.ordinal is None) != (not of_all, not of_all):
            _refuse(f"{where}version", "given with ordinal, and of shared weights alone")
        if record.tries > record.attempt:
            _refuse(f"{where}tries", f"at most the {record.attempt} attempts")
        for place, attempt in enumerate(record.attempts):
            self._check_attempt(record, attempt, f"{where}attempts[{place}].")
        self._check_curve(record, where)

    def _check_attempt(self, run: RunRecord, record: AttemptRecord, where: str) -> None:
        if record.number > run.attempt:
            _refuse(f"{where}number", f"at most the run's attempt, {run.attempt}")
        times = {"started_at": record.started_at, "ended_at": record.ended_at}
        self._check_times(where, times, since=run.created_at)
        if (record.outcome is None) != (record.ended_at is None):
            _refuse(f"{where}outcome", "one of an attempt that has ended, and none of others")
        if (record.failure is not None) != (record.outcome in FAILED_OUTCOMES):
            _refuse(f"{where}failure", "one of an attempt that failed or was lost")

    def _check_curve(self, run: RunRecord, where: str) -> None:
        most = self.epochs[run.config]
        if run.purpose == Purpose.SHARED:  # a pass is an epoch, and its version is no earlier
            most = (run.version or 0) + 1
        before = 0
        for place, record in enumerate(run.epochs):
            self._check_epoch(run, record, f"{where}epochs[{place}].")
            if not before < record.epoch <= most:
                _refuse(f"{where}epochs[{place}].epoch", f"{before + 1} to {most}")
            before = record.epoch

    def _check_epoch(self, run: RunRecord, record: EpochRecord, where: str) -> None:
        self._check_times(where, {"created_at": record.created_at}, since=run.created_at)
        if record.attempt > run.attempt:
            _refuse(f"{where}attempt", f"at most the run's attempt, {run.attempt}")

    def _check_times(
        self,
        where: str,
        times: Mapping[str, dt.datetime | None],
        since: dt.datetime = EARLIEST + DAY,
    ) -> None:
        """Check that times come one after another, and none after the export."""
        for key, time in times.items():
            if time is not None:
                if not since - DAY <= time <= self.latest:
                    first, last = f"{since - DAY:%Y-%m-%d}", f"{self.latest:%Y-%m-%d}"
                    _refuse(f"{where}{key}", f"a time from {first} to {last}")
                since = time


def _check_measured(record: RunRecord, where: str) -> None:
    done = record.state == RunState.DONE
    if (record.accuracy is not None) != (done and not record.purpose.uses_shared_weights):
        _refuse(f"{where}accuracy", "one of a training that is done, and none of others")
    if record.test_accuracy is not None and record.purpose not in IN_FULL:
        _refuse(f"{where}test_accuracy", "none but of a training in full")
    if record.metrics and not done:
        _refuse(f"{where}metrics", "none but of a training that is done")


def check_header(header: Header) -> None:
    """Check the first line.

    Raises:
        UserError: beginning with the key.
    """
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    if not EARLIEST <= header.exported_at <= now + DAY:
        _refuse("exported_at", f"a time until now, {now:%Y-%m-%d %H:%M} by this machine's clock")
    Limits(header).check_search(header.search)


def _lengths(space: SearchSpace, config: SpaceConfig) -> set[int]:
    """How many decisions a child can have taken: a space may grow with its search."""
    every = getattr(config, "grow_every", 1)
    return {space.length(step * every) for step in range(MAX_LAYERS + 1)}


def _check_range(key: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least - ROUNDING <= value <= most + ROUNDING:
        _refuse(key, f"{least:g} and more" if most == math.inf else f"{least:g} to {most:g}")


def _refuse(key: str, expected: str) -> NoReturn:
    raise UserError(f"{key}: expected {expected}")
