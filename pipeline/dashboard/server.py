"""The dashboard's process."""

import os
import socket
import threading
import time

import uvicorn

from db.lifecycle.queue import LEASES_UNTIL_GONE
from pipeline import logs
from pipeline.dashboard.access import make_access
from pipeline.dashboard.app import make_app
from pipeline.dashboard.connections import Config
from pipeline.errors import UserError
from pipeline.io import locks
from pipeline.settings import Settings
from tasks.slot import DASHBOARD_LOCK, SUPERVISED, SUPERVISOR_LOCK


class Server(uvicorn.Server):
    """A dashboard that listens on an address, and serves once it is run.

    Raises:
        UserError: the address cannot be had, or others could reach it and no token is set.
    """

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self._settings = settings
        self._app = make_app(make_access(settings, host))
        if os.environ.get(SUPERVISED):
            _take_lock(settings)
        self._socket = _listen(host, port)
        super().__init__(Config(self._app))

    def serve_until_ended(self) -> None:
        """Serve until SIGTERM or Ctrl-C; or, if a supervisor started it, until none is left."""
        logs.configure(DASHBOARD_LOCK)
        if os.environ.get(SUPERVISED):
            threading.Thread(target=self._end_when_alone, daemon=True).start()
        self.run(sockets=[self._socket])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those go who watch a search live; they would keep it from ending."""
        self._app.state.ending.set()
        await super().shutdown(sockets)

    def _end_when_alone(self) -> None:
        """End once no supervisor has been there for two leases, as workers do."""
        lease, supervisor = self._settings.lease, self._settings.lock_path(SUPERVISOR_LOCK)
        seen = time.monotonic()
        while time.monotonic() - seen <= LEASES_UNTIL_GONE * lease:
            time.sleep(lease / 4)
            if locks.holder(supervisor) is not None:
                seen = time.monotonic()
        self.should_exit = True


def _take_lock(settings: Settings) -> None:
    """Be the home's own dashboard, which its supervisor looks after; others need no lock."""
    path = settings.lock_path(DASHBOARD_LOCK)
    if locks.acquire(path) is None:
        raise UserError(f"{DASHBOARD_LOCK}: taken already (by process {locks.holder(path)})")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(f"{host}, port {port}: {error.strerror}; --port takes another") from None
    # What is accepted here inherits it. asyncio sets it only where a socket names its protocol,
    # which one of create_server does not: the end of an answer would wait for the client's
    # delayed acknowledgement of its beginning, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
