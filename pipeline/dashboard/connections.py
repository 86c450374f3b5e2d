"""Connections to the dashboard: what may arrive in one, and how long it may take."""

import asyncio

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVES = 20.0  # seconds in which a request has to be there, with its body
TAKEN = 60.0  # seconds in which a client takes the next part of an answer
MOST = 1000  # connections
LARGEST_HEAD = 32 * 2**10  # bytes of a request's address and headers


class Connection(H11Protocol):
    """Uvicorn's, which ends when the client lets it wait."""

    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """A part of a request has come."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        super().pause_writing()
        if self._stuck is None:
            self._stuck = self.loop.call_later(TAKEN, self.transport.abort)

    def resume_writing(self) -> None:
        """The client goes on."""
        super().resume_writing()
        self._stuck = _cancelled(self._stuck)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._late, self._stuck = _cancelled(self._late), _cancelled(self._stuck)
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Be patient with a request that is not whole, but not for ever."""
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._late = _cancelled(self._late)
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(ARRIVES, self.transport.abort)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None


class Config(uvicorn.Config):
    """Uvicorn's, with what is above."""

    def __init__(self, app: object) -> None:
        super().__init__(
            app,  # type: ignore[arg-type]
            http=Connection,
            ws="none",
            lifespan="off",
            limit_concurrency=MOST,
            h11_max_incomplete_event_size=LARGEST_HEAD,
            # its log is ours, and has no line a request
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
