"""The Celery application, and how a message is sent.

Redis is a doorbell: a message carries one integer, goes out after the commit that caused it,
and may be lost or doubled. Measured reasons for the settings stand beside them.
"""

import functools
import time

import celery.signals
import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from db.lifecycle import slots
from db.reads.progress import Progress, progress
from db.schema.session import transaction
from pipeline.settings import get_settings
from tasks import transport
from tasks.messages import CONTROL_QUEUE as CONTROL_QUEUE
from tasks.messages import Task as Task
from tasks.messages import train_queue as train_queue

log = structlog.get_logger("tasks")


transport.use()  # before the first connection: kombu remembers which transport a scheme has
app = Celery("nasnet")
app.conf.update(
    # whoever can write to Redis must not be able to run code: never pickle
    task_serializer="json",
    accept_content=["json"],
    result_serializer="json",
    event_serializer="json",
    task_ignore_result=True,  # results are rows
    task_acks_late=True,  # a worker has one message in hand and hoards none ...
    worker_prefetch_multiplier=1,
    task_acks_on_failure=True,  # ... and never has one redelivered: retries are rows, too
    task_acks_on_timeout=True,
    task_publish_retry=False,  # fail fast; reconcile rings again
    worker_cancel_long_running_tasks_on_connection_loss=False,  # a lost broker aborts no training
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # the default gives up after 46 minutes
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    task_default_queue=CONTROL_QUEUE,
)


@celery.signals.setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Being connected is all it takes to keep Celery from replacing our log handlers."""


@functools.cache
def store_uid() -> str:
    """The store's random name: the prefix of its keys in the broker and of its artifacts."""
    with transaction(read_only=True) as connection:
        return slots.store_uid(connection)


@functools.cache
def connect() -> None:
    """Point the application at this store's broker; once a process, before the first message."""
    app.conf.update(
        broker_url=get_settings().broker,
        broker_transport_options={
            "global_keyprefix": f"nasnet:{store_uid()}:",  # several stores may share a Redis
            "health_check_interval": 25,
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
            "socket_timeout": 30,
        },
    )


def send(task: Task, subject_id: int, queue: str = CONTROL_QUEUE) -> None:
    """Ring, after the commit. A broker that is away costs a log line: reconcile rings again."""
    try:
        connect()
        app.send_task(task.value, args=(subject_id,), queue=queue)
    except (OperationalError, RedisError, OSError) as error:
        log.warning("message not sent", task=task.value, id=subject_id, error=str(error))


def send_runs(runs: list[tuple[int, str, int]]) -> None:
    """Ring for runs that have been queued: (run, device kind, number of devices)."""
    for run_id, device, devices in runs:
        send(Task.TRAIN, run_id, train_queue(device, devices))


# What this process last rang for, of each search, and when.
_rung: dict[int, tuple[tuple[object, ...], float]] = {}
SAME_RING = 1.0  # seconds


def ring(search_id: int, *, again: bool = True) -> Progress | None:
    """Ask what is due for a search, and ring for it.

    In a transaction of its own, after the commit of whatever ended: of two children that end at
    once each would else take the other for open, and nobody would ring.

    While a controller learns, every child that ends finds the same due: where not ``again``, what
    this process rang for a moment ago is not rung for a second time. Reconcile makes that safe.
    """
    with transaction(read_only=True) as connection:
        now = progress(connection, search_id)
    if now is None or (task := _due(now)) is None:
        return now
    reason = task, now.version, now.stored, now.control_stored, now.sharing
    at = time.monotonic()
    before, when = _rung.get(search_id, (None, 0.0))
    if again or reason != before or at - when > SAME_RING:
        send(task, search_id)
        _rung[search_id] = reason, at
    return now


def _due(now: Progress) -> Task | None:
    if now.sample_is_due:
        return Task.SAMPLE
    if now.update_is_due or now.is_over:
        return Task.UPDATE
    return None
