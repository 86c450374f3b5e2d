"""Whether a worker hears its messages: one that takes none while some wait is started again.

Celery's main thread asks the broker each second. Where it has not been answered for a while,
though nothing is in hand and the broker tells us of messages, it never will be: the slot says so,
and its process ends.
"""

import contextlib
import os
import time
from typing import Protocol

import structlog
from celery.signals import task_postrun, task_prerun
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from db.lifecycle import slots
from db.schema.enums import SlotState
from db.schema.session import AWAY, transaction
from tasks.app import app
from tasks.transport import Client

log = structlog.get_logger("tasks")

SAYS_SO = 30.0  # seconds without an answer until the slot's row says that it takes no messages
ENDS = 60.0  # seconds without an answer until its process ends
ASKS = 5.0  # seconds between questions to the broker
STOPPED = 5.0  # seconds between two looks from which on the whole process stood still
EXIT_DEAF = 76


class Row(Protocol):
    """A slot of the store."""

    id: int


class Hearing:
    """What is known of the main thread, by a thread beside it."""

    def __init__(self, slot: Row, queue: str) -> None:
        self._slot = slot
        self._queue = queue
        self._in_hand = False
        self._excused = time.monotonic()  # whatever was before is no sign
        self._asked = 0.0
        self._noted = False
        task_prerun.connect(self._begin)
        task_postrun.connect(self._end)

    def _begin(self, **_: object) -> None:
        self._in_hand = True

    def _end(self, **_: object) -> None:
        self._excused = time.monotonic()
        self._in_hand = False

    def look(self, now: float, since_look: float) -> None:
        """Find out whether messages are heard; to be called about each second."""
        if since_look > STOPPED:
            self._excused = now
        silent = now - max(Client.answered_at, self._excused)
        if self._in_hand or silent < SAYS_SO:
            self._note(None)
            return
        if now - self._asked < ASKS:
            return
        self._asked = now
        waiting = self._waiting()
        if not waiting:
            self._excused = now
            return
        self._note(f"it takes no messages, of which {waiting} wait in {self._queue}")
        if silent > ENDS:
            log.error("no message is taken", queue=self._queue, waiting=waiting)
            os._exit(EXIT_DEAF)

    def _waiting(self) -> int:
        """Messages in the queue; 0 where the broker is away."""
        try:
            with app.connection_for_read() as connection:
                return int(connection.channel().queue_declare(self._queue).message_count)
        except (OperationalError, RedisError, OSError):
            return 0

    def _note(self, reason: str | None) -> None:
        """Let the slot's row say it, or say no longer, for the doctor and the lists."""
        if reason is None and not self._noted:
            return
        state = SlotState.UP if reason is None else SlotState.REFUSING
        with contextlib.suppress(*AWAY), transaction() as connection:
            slots.set_state(connection, self._slot.id, os.getpid(), state, reason)
            self._noted = reason is not None
