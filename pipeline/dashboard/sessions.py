"""Who has signed in: kept in a file of the home, which all its dashboards share.

A line is a hash of a session's random id, keyed by the token, and when it ends. So a session
outlives the dashboard, ends when it is signed out of, and another token ends all of them.
"""

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.io import files, locks

LASTS = 7 * 86_400.0  # seconds
MOST = 100  # sessions; the oldest goes


class Sessions:
    """The sessions of a home, for whoever knows one token."""

    def __init__(self, home: Path, token: str, clock: Callable[[], float] = time.time) -> None:
        self._path = home / "dashboard.sessions"
        self._lock = home / ".dashboard.sessions.lock"
        self._token = token.encode()
        self._clock = clock

    def begin(self) -> str:
        """A new session's id, for its owner's cookie alone."""
        session = secrets.token_urlsafe(32)
        self._change(lambda known: known | {self._hash(session): self._clock() + LASTS})
        return session

    def stands(self, session: str) -> bool:
        """Whether a session has begun and not ended."""
        return self._hash(session) in self._read()

    def end(self, session: str) -> None:
        """Nobody comes in by it any more."""
        ended = self._hash(session)
        self._change(lambda known: {one: until for one, until in known.items() if one != ended})

    def _hash(self, session: str) -> str:
        text = session.encode(errors="replace")
        return hmac.new(self._token, b"session " + text, hashlib.sha256).hexdigest()

    def _change(self, change: Callable[[dict[str, float]], dict[str, float]]) -> None:
        with contextlib.closing(locks.Waiting(self._lock)):
            known = sorted(change(self._read()).items(), key=lambda one: one[1])[-MOST:]
            with files.replacing(self._path) as file:
                file.writelines(f"{one} {until:.0f}\n".encode() for one, until in known)

    def _read(self) -> dict[str, float]:
        try:
            lines = self._path.read_text("ascii").splitlines()
        except FileNotFoundError:
            return {}
        known = {one: float(until) for one, _, until in (line.partition(" ") for line in lines)}
        return {one: until for one, until in known.items() if until > self._clock()}
