"""A search's figures: its rows from the store, drawn by ``pipeline.plots``.

Used by the notebook, the dashboard and the report; each function reads in one transaction.
"""

import copy
import datetime as dt
import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from sqlalchemy import Connection

from db.lifecycle import operations as operations_of_store
from db.lifecycle import searches
from db.reads import ranking, series
from db.schema.rows import EpochRow
from pipeline import plots
from pipeline.config.search import load_config
from pipeline.spaces import make_space

SETTLES = dt.timedelta(minutes=1)
CURVES = 12  # of the best children
QUANTILES = ("worst quarter", "2nd quarter", "3rd quarter", "best quarter")


class _Rewards:
    """What this process has read of a search's rewards; children ended so far are not read again.

    All but those of the last minute: a transaction that is slow may add one among them.
    """

    def __init__(self) -> None:
        self._read_until: dt.datetime | None = None
        self._arms: dict[str, plots.GrowingHistory] = {}
        self._lock = threading.Lock()

    def read(self, connection: Connection, search_id: int) -> list[plots.History]:
        """The histories of all arms as they are now, the policy's first."""
        with self._lock:
            last = series.last_ended(connection, search_id)
            if last is None:
                return []
            until = last - SETTLES
            if self._read_until is None or until > self._read_until:
                found = series.rewards(connection, search_id, self._read_until, until)
                _add(self._arms, found)
                self._read_until = until
            arms = copy.deepcopy(self._arms)
            _add(arms, series.rewards(connection, search_id, self._read_until))
        return [arms[arm].history() for arm in sorted(arms, reverse=True)]


def _add(arms: dict[str, plots.GrowingHistory], found: Iterable[tuple[str, float | None]]) -> None:
    for arm, reward in found:
        if arm not in arms:
            arms[arm] = plots.GrowingHistory(arm, series.MOST // 2)
        arms[arm].add(reward)


@functools.lru_cache(maxsize=16)
def _rewards_of(_store: str, _uid: str) -> _Rewards:
    return _Rewards()


def rewards(connection: Connection, search_id: int) -> go.Figure:
    """Rewards in the order children ended, best so far, means of the best 5 and 25, by arm."""
    uid = searches.by_id(connection, search_id).uid
    known = _rewards_of(str(connection.engine.url), uid)
    return plots.reward_history(known.read(connection, search_id))


def curves(connection: Connection, search_id: int) -> go.Figure:
    """The learning curves of the best children."""
    best = ranking.best(connection, search_id, limit=CURVES)
    runs = series.runs_of_children(connection, [row.child_id for row in best])
    labels = {
        runs[row.child_id]: f"{rank}. {row.digest[:8]}"
        for rank, row in enumerate(best, start=1)
        if row.child_id in runs
    }
    return plots.learning_curves(curves_of(connection, labels))


def curves_of(connection: Connection, labels: Mapping[int, str]) -> list[plots.Curve]:
    """The learning curves of some runs, each under its label."""
    found: dict[int, list[EpochRow]] = {run_id: [] for run_id in labels}
    for row in series.curves_of(connection, list(labels)):
        found[row.run_id].append(row)
    return [
        plots.Curve(
            labels[run_id],
            [row.epoch for row in rows],
            [row.accuracy for row in rows],
            [row.train_accuracy for row in rows],
            [row.loss for row in rows],
        )
        for run_id, rows in found.items()
    ]


def policy(connection: Connection, search_id: int) -> go.Figure:
    """What each update of the policy reported."""
    rows = series.versions(connection, search_id)
    return plots.policy_health([plots.VersionHealth(**row._asdict()) for row in rows])


def probabilities(connection: Connection, search_id: int) -> go.Figure:
    """How likely the policy finds each choice of each decision, over its versions."""
    config = load_config(searches.by_id(connection, search_id).config)
    decisions = make_space(config.space).labels
    rows = series.probabilities(connection, search_id)
    return plots.decision_probabilities(
        [row.version for row in rows], [row.probabilities for row in rows], decisions
    )


def accuracy_by_parameters(connection: Connection, search_id: int) -> go.Figure:
    """Accuracy against the number of parameters, and the front of the best of each size."""
    return plots.accuracy_against(_points(connection, search_id), "parameters")


def accuracy_by_macs(connection: Connection, search_id: int) -> go.Figure:
    """Accuracy against multiply-accumulates of an image, and the front."""
    return plots.accuracy_against(_points(connection, search_id), "macs")


def _points(connection: Connection, search_id: int) -> list[plots.Point]:
    return [
        plots.Point(row.digest[:12], row.accuracy, row.parameters, row.macs, row.arm.value)
        for row in series.sample(connection, search_id)
    ]


def operations(connection: Connection, search_id: int) -> go.Figure:
    """How often each operation is used in the cells of each quarter of the children by reward."""
    rows = sorted(series.sample(connection, search_id), key=lambda row: row.reward)
    rows = [row for row in rows if row.ops_normal is not None]
    known = operations_of_store.known(connection)
    quarters = [
        rows[len(rows) * q // len(QUANTILES) : len(rows) * (q + 1) // len(QUANTILES)]
        for q in range(len(QUANTILES))
    ]
    return plots.operation_use(
        [
            plots.OperationShare(name, operation, _share(quarter, bit))
            for name, quarter in zip(QUANTILES, quarters, strict=True)
            for operation, bit in known.items()
            if rows
        ]
    )


def _share(rows: Sequence[series.SampledChild], bit: int) -> float | None:
    """Of the children's normal and reduction cells, those that use an operation."""
    if not rows:
        return None
    masks = [mask or 0 for row in rows for mask in (row.ops_normal, row.ops_reduction)]
    return sum(mask >> bit & 1 for mask in masks) / len(masks)


def workers(connection: Connection, search_id: int) -> go.Figure:
    """Which slot held which of the search's runs, lately."""
    return timeline(series.holds(connection, search_id))


def timeline(rows: Sequence[series.Hold]) -> go.Figure:
    """Holds as bars."""
    holds = [
        plots.Hold(
            f"{row.host} {row.name}",
            row.started_at,
            row.ended_at,
            row.outcome and row.outcome.value,
            f"run {row.run_id}, attempt {row.number}",
        )
        for row in rows
    ]
    return plots.worker_timeline(holds, now=dt.datetime.now(dt.UTC))


def failures(connection: Connection, search_id: int) -> go.Figure:
    """Attempts and children that failed, by class."""
    return plots.failures_by_class(*series.failures(connection, search_id))


class SearchFigure(NamedTuple):
    """A figure of a search, as all faces offer it."""

    title: str
    draw: Callable[[Connection, int], go.Figure]  # of a search's id
    is_broad: bool = False  # whether a page gives it its whole width
    moves: bool = False  # whether it changes with the time alone, while something is held


# All figures of a search: to add one, add it here.
FIGURES = {
    "rewards": SearchFigure("Rewards", rewards),
    "curves": SearchFigure("Learning curves of the best", curves),
    "policy": SearchFigure("Policy health", policy),
    "parameters": SearchFigure("Accuracy and parameters", accuracy_by_parameters),
    "macs": SearchFigure("Accuracy and multiply-accumulates", accuracy_by_macs),
    "operations": SearchFigure("Operations", operations),
    "probabilities": SearchFigure("Choices of the policy", probabilities, is_broad=True),
    "workers": SearchFigure("Workers", workers, is_broad=True, moves=True),
    "failures": SearchFigure("Failures", failures),
}
