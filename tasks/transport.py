"""Redis as kombu speaks to it, but for this: what cannot be read as a message is dropped.

kombu lets the error end the worker, once for each such message: whoever can write to the broker
could keep control from working.
"""

from typing import Any

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import DataError

log = structlog.get_logger("tasks")

# what reading, and handing on, raise for bytes that are no message
UNREADABLE = (AttributeError, DataError, KeyError, TypeError, ValueError)


class Channel(redis.Channel):
    """A channel that survives what it reads."""

    def _brpop_read(self, **options: Any) -> bool:
        try:
            delivered: bool = super()._brpop_read(**options)  # type: ignore[no-untyped-call]
            return delivered
        except UNREADABLE as error:
            log.warning("a message was dropped", error=f"{type(error).__name__}: {error}")
            return False


class Transport(redis.Transport):
    """A transport of such channels."""

    Channel = Channel


def use() -> None:
    """Let every connection to Redis be of this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
