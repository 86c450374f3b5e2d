"""What is dear to find is kept for a while, the dearer the longer; the rest is asked anew."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

WORTH = 20  # an answer that took t seconds may be so many times t old
MOST = 64  # answers


class _Answer(NamedTuple):
    value: Any
    stamp: Hashable
    until: float


class Kept:
    """Answers by key. One is found anew once it is too old and its stamp is another.

    A stamp is a cheap look at what an answer depends on: while it stands, the answer does.
    Without one (None) only age counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, find: Callable[[], T], stamp: Hashable = None) -> T:
        """The kept answer, or a new one."""
        with self._lock:
            known = self._answers.get(key)
        began = self._clock()
        if known is not None:
            stands = stamp is not None and stamp == known.stamp
            if stands or began < known.until:
                return known.value  # type: ignore[no-any-return]
        value = find()
        now = self._clock()
        with self._lock:
            self._answers[key] = _Answer(value, stamp, now + WORTH * (now - began))
            self._answers.move_to_end(key)
            while len(self._answers) > MOST:
                self._answers.popitem(last=False)
        return value
