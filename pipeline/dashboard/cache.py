"""Answers that took long to find are kept for a while, the longer it took the longer."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

WORTH = 20  # an answer that took t seconds to find may be this many times t old
MOST = 64  # answers


class _Entry(NamedTuple, Generic[T]):
    value: T
    stamp: Hashable
    until: float


class Cache(Generic[T]):
    """Answers by key. One is found anew once it is too old and its stamp is another.

    A stamp is a cheap look at what an answer depends on: while it stands, the answer does.
    Without one (None) only age counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, find: Callable[[], T], stamp: Hashable = None) -> T:
        """The kept answer, or a new one."""
        with self._lock:
            known = self._entries.get(key)
        began = self._clock()
        if known is not None:
            stands = stamp is not None and stamp == known.stamp
            if stands or began < known.until:
                return known.value
        value = find()
        now = self._clock()
        with self._lock:
            self._entries[key] = _Entry(value, stamp, now + WORTH * (now - began))
            self._entries.move_to_end(key)
            while len(self._entries) > MOST:
                self._entries.popitem(last=False)
        return value
