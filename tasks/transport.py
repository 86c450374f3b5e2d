"""Redis as kombu speaks to it, but for this: what is no message of ours never reaches kombu.

A message is a doorbell, so nothing is kept of those that were read: one that is lost is rung
again from the rows. What somebody else may have written where kombu keeps its notes (messages
that were not acknowledged, queues by exchange) is not read, either.
"""

import functools
import time
from collections.abc import Callable

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from redis import Redis
from redis.exceptions import ResponseError

from tasks.messages import NoMessageError, rebuilt

log = structlog.get_logger("tasks")

# All that is asked of a server, beside what says who asks: nobody needs to be let do more.
COMMANDS = ("brpop", "del", "info", "llen", "lpush", "ping", "select")
KEYS = "nasnet:*"


class Client(redis.PrefixedStrictRedis):
    """A client whose queues hold messages of ours, and nothing else."""

    answered_at = float("-inf")  # when this process's last question for a message was

    def parse_response(self, connection: object, command_name: str, **options: object) -> object:
        """What the server answers; to BRPOP, a message built anew, or none."""
        answer = super().parse_response(  # type: ignore[no-untyped-call]
            connection, command_name, **options
        )
        if command_name == "BRPOP":
            Client.answered_at = time.monotonic()
        if command_name != "BRPOP" or not answer:
            return answer
        key, item = answer
        queue = key.decode()
        try:
            return key, rebuilt(queue, item)
        except NoMessageError as error:
            log.warning("a message was dropped", queue=queue, bytes=len(item), error=str(error))
            return None


class Channel(redis.Channel):
    """A channel that survives whatever it finds."""

    ack_emulation = False
    do_restore = False
    priority_steps = [0]  # one key a queue
    supports_fanout = False  # a message goes to the queue that it is sent to by name

    def _get_client(self) -> Callable[..., Redis]:
        return functools.partial(Client, global_keyprefix=self.global_keyprefix)

    def _brpop_read(self, **options: object) -> bool:
        try:
            delivered: bool = super()._brpop_read(**options)  # type: ignore[no-untyped-call]
            return delivered
        except MemoryError:  # the item was taken out of its queue, and is nowhere now
            self.client.connection.disconnect()
            log.warning("a message was dropped", error="it takes more memory than there is")
        except ResponseError as error:
            if not _is_no_list(error):
                raise
            for queue in self.active_queues:
                self._size(queue)
        return False

    def _size(self, queue: str) -> int:
        """How long a queue is; a key of its name that is no list is removed."""
        with self.conn_or_acquire() as client:
            try:
                size: int = client.llen(queue)
                return size
            except ResponseError as error:
                if not _is_no_list(error):
                    raise
                client.delete(queue)
        log.warning("what was no queue was removed", queue=queue)
        return 0


def _is_no_list(error: ResponseError) -> bool:
    return str(error).startswith("WRONGTYPE")


class Transport(redis.Transport):
    """A transport of such channels."""

    Channel = Channel


def use() -> None:
    """Let every connection to Redis be of this transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
