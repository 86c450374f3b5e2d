"""Drawing keeps a processor busy: a few at a time, and who waits takes no other page's thread."""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE = 2
_limiter = CapacityLimiter(AT_ONCE)


def in_turn(do: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Make a route of a function that draws: one of a few at a time, in a thread."""

    @functools.wraps(do)
    async def wait(*args: P.args, **kwargs: P.kwargs) -> T:
        return await to_thread.run_sync(functools.partial(do, *args, **kwargs), limiter=_limiter)

    return wait
