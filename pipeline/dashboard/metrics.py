"""``/metrics`` for Prometheus, counted in the store when it is asked for."""

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import at_work
from db.schema.session import transaction
from pipeline.actions.summaries import progress_of
from pipeline.dashboard import summaries, workers

router = APIRouter(include_in_schema=False)


class StoreCollector(Collector):
    """The store's numbers as they are now."""

    def collect(self) -> Iterator[Metric]:
        """Each metric, with a sample a search, a state of slots or a queue."""
        with transaction(read_only=True) as connection:
            yield from _of_searches(connection)
            yield from _of_slots(connection)
            yield from _of_queues(connection)


def _of_searches(connection: Connection) -> Iterator[Metric]:
    children = GaugeMetricFamily(
        "nasnet_children", "Children by state.", labels=["search", "state"]
    )
    lag = GaugeMetricFamily(
        "nasnet_unlearned_rewards", "Rewards that wait for an update.", labels=["search"]
    )
    version = GaugeMetricFamily(
        "nasnet_policy_version", "The newest policy version.", labels=["search"]
    )
    best = GaugeMetricFamily("nasnet_best_reward", "The best reward so far.", labels=["search"])
    for row in searches.list_all(connection):
        now = progress_of(connection, row.id)
        counts = summaries.counted(connection, row, now)
        for state in ("done", "skipped", "failed", "duplicates", "running"):
            children.add_metric([row.name, state], counts.states[state])
        children.add_metric([row.name, "open"], now.open)
        lag.add_metric([row.name], now.unlearned)
        version.add_metric([row.name], -1 if now.version is None else now.version)
        if counts.rewards.best is not None:
            best.add_metric([row.name], counts.rewards.best)
    yield from (children, lag, version, best)


def _of_slots(connection: Connection) -> Iterator[Metric]:
    rows = [row for row in workers.slots(connection) if row["device"] is not None]
    states = GaugeMetricFamily("nasnet_slots", "Training slots by state.", labels=["state"])
    for state in ("up", "refusing", "down", "gone"):
        states.add_metric([state], sum(row["state"] == state for row in rows))
    yield states
    busy = sum(row["run"] is not None for row in rows)
    yield GaugeMetricFamily("nasnet_slots_busy", "Training slots that hold a run.", value=busy)


def _of_queues(connection: Connection) -> Iterator[Metric]:
    labels = ["device", "devices"]
    waiting = GaugeMetricFamily("nasnet_runs_waiting", "Runs that no slot holds.", labels=labels)
    oldest = GaugeMetricFamily(
        "nasnet_queue_age_seconds", "How long the oldest of them has waited.", labels=labels
    )
    for row in at_work.waiting_by_queue(connection):
        names = [row.device, str(row.devices)]
        waiting.add_metric(names, row.pending + row.queued)
        oldest.add_metric(names, row.oldest_seconds)
    yield from (waiting, oldest)


_registry = CollectorRegistry(auto_describe=False)
_registry.register(StoreCollector())


@router.get("/metrics")
def metrics() -> Response:
    """All of it, in Prometheus' text format."""
    return Response(generate_latest(_registry), media_type=CONTENT_TYPE_LATEST)
