"""Searches followed live: one look at the store for all who follow a search, and not too many."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from db.schema.session import AWAY, transaction
from pipeline.dashboard import summaries
from pipeline.errors import UserError

EVERY = 2.0  # seconds between looks at a search that is followed
MOST = 100  # streams of a dashboard
RETRY = 30  # seconds after which one that was refused may try again


@dataclass
class _Seen:
    """A search as it was when somebody last looked."""

    status: str = ""
    at: float = -math.inf  # when that look began
    followers: int = 0
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Streams:
    """All that are open."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    async def open(self, request: Request, name: str) -> "Stream":
        """A stream of a search.

        Raises:
            HTTPException: 503, there are too many.
            UserError: there is no such search.
        """
        if sum(seen.followers for seen in self._seen.values()) >= MOST:
            said = "too many pages follow searches live; this one asks now and then"
            raise HTTPException(503, said, {"Retry-After": str(RETRY)})
        self._seen.setdefault(name, _Seen()).followers += 1
        try:
            await self.status(name, age=0)
        except BaseException:
            self.close(name)
            raise
        return Stream(self, request, name)

    def close(self, name: str) -> None:
        """One follower less."""
        self._seen[name].followers -= 1
        if self._seen[name].followers == 0:
            del self._seen[name]

    async def status(self, name: str, age: float = EVERY) -> str:
        """A search as it was ``age`` seconds ago or later; one look at it serves all who wait.

        Raises:
            UserError: there is no such search.
        """
        seen, since = self._seen[name], time.monotonic() - age
        async with seen.looking:
            if seen.at < since:
                began = time.monotonic()
                try:
                    seen.status = await run_in_threadpool(_status, name)
                except AWAY:
                    if not seen.status:
                        raise
                seen.at = began  # who follows it keeps what was there while the store is away
            return seen.status


class Stream(StreamingResponse):
    """A search's status whenever it has changed, for as long as somebody looks."""

    def __init__(self, streams: Streams, request: Request, name: str) -> None:
        super().__init__(self._events(request), media_type="text/event-stream")
        self._streams = streams
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until nobody looks."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._name)

    async def _events(self, request: Request) -> AsyncIterator[str]:
        sent = ""
        ending: asyncio.Event = request.app.state.ending
        while not ending.is_set():
            try:
                status = await self._streams.status(self._name)
            except UserError:
                return
            # what is sent finds out whether anybody listens
            yield f"data: {status}\n\n" if status != sent else ": nothing new\n\n"
            sent = status
            try:
                await asyncio.wait_for(ending.wait(), EVERY)
            except TimeoutError:
                continue


def _status(name: str) -> str:
    with transaction(read_only=True) as connection:
        return json.dumps(summaries.status(connection, name), default=str)
