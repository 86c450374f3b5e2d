"""Wrong tokens: after some, each further one has to wait, longer and longer."""

import hashlib
import ipaddress
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

FREE = 10  # different wrong tokens of a client before it has to wait
FREE_OF_ALL = 100  # of all clients together, before those not known have to wait
LONGEST = 60.0  # seconds
LONGEST_OF_ALL = 2.0
FORGOTTEN = 900.0  # seconds after the last one
MOST = 1000  # clients that are remembered


@dataclass
class _Wrong:
    count: int = 0
    at: float = -math.inf  # of the last
    until: float = -math.inf
    texts: set[bytes] = field(default_factory=set)  # hashes; each counts once


class Guesses:
    """Who has sent wrong tokens, and how long each has to wait.

    The same wrong token again is no further guess: a program with an old one locks nobody out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._salt = os.urandom(16)
        self._wrong: OrderedDict[str, _Wrong] = OrderedDict()
        self._all = _Wrong()
        self._known: OrderedDict[str, None] = OrderedDict()  # who has sent the right one
        self._lock = threading.Lock()

    def check(self, host: str, text: str, is_right: Callable[[str], bool]) -> bool | float:
        """Whether a text is right; or, not looked at, the seconds until it may be sent again."""
        client, now = _client(host), self._clock()
        hashed = hashlib.sha256(self._salt + text.encode(errors="replace")).digest()
        with self._lock:
            own = self._wrong.get(client, _Wrong())
            if hashed in own.texts:
                return False
            until = own.until if client in self._known else max(own.until, self._all.until)
            if until > now:
                return until - now
            if is_right(text):
                self._wrong.pop(client, None)
                _remember(self._known, client, None)
                return True
            if now - own.at > FORGOTTEN:
                own = _Wrong()
            own.texts |= {hashed} if len(own.texts) < FREE else set()
            _remember(self._wrong, client, own)
            _count(own, now, FREE, LONGEST)
            if now - self._all.at > FORGOTTEN:
                self._all = _Wrong()
            _count(self._all, now, FREE_OF_ALL, LONGEST_OF_ALL)
            return False


def _count(wrong: _Wrong, now: float, free: int, longest: float) -> None:
    wrong.count += 1
    wrong.at = now
    if wrong.count >= free:
        wrong.until = now + min(longest, 2.0 ** min(wrong.count - free, 10))


def _remember(table: OrderedDict[str, T], client: str, value: T) -> None:
    table[client] = value
    table.move_to_end(client)
    while len(table) > MOST:
        table.popitem(last=False)


def _client(host: str) -> str:
    """Whom an address stands for: in IPv6 one owner has 2^64 and more."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
