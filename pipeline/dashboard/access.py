"""Who may do what: reading by anybody who reaches a loopback address, all else by token.

A browser signs in once and carries a cookie; a program sends ``Authorization: Bearer TOKEN``.
What changes something takes, from a browser, also the form's own secret (CSRF).
"""

import contextlib
import hashlib
import hmac
import math
import secrets
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request

from pipeline.dashboard.guesses import Guesses
from pipeline.dashboard.sessions import Sessions
from pipeline.errors import UserError
from pipeline.io import locks
from pipeline.settings import LOOPBACK, Settings

OPEN = ("/signin", "/static/")  # what is shown before anybody signs in
READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Asker:
    """Who sent a request."""

    sends_token: bool = False
    session: str = ""  # the id of one that stands

    @property
    def is_known(self) -> bool:
        """Whether they have signed in, or send the token."""
        return self.sends_token or bool(self.session)


def asker_of(request: Request) -> Asker:
    """Who sent a request, as the guard found it."""
    asker: Asker = getattr(request.state, "asker", Asker())
    return asker


class Access:
    """The secret of one dashboard, and what follows from it."""

    def __init__(self, token: str, home: Path, *, reading_needs_it: bool) -> None:
        self.token = token
        self.reading_needs_it = reading_needs_it
        self.sessions = Sessions(home, token)
        self._guesses = Guesses()
        # browsers keep cookies by host, not port: two dashboards beside one another have two
        self.cookie = f"nasnet_{self._derived('cookie')[:8]}"

    def _derived(self, what: str) -> str:
        return hmac.new(self.token.encode(), what.encode(), hashlib.sha256).hexdigest()

    def csrf(self, session: str) -> str:
        """The secret of the forms of one session."""
        return self._derived(f"csrf {session}") if session else ""

    def is_token(self, request: Request, text: str) -> bool:
        """Whether somebody knows the token.

        Raises:
            HTTPException: 429, they have sent too many others.
        """
        host = request.client.host if request.client else ""
        found = self._guesses.check(host, text, self._is_right)
        if found is True or found is False:
            return found
        seconds = math.ceil(found)
        said = f"too many wrong tokens; try again in {seconds} s"
        raise HTTPException(429, said, {"Retry-After": str(seconds)})

    def _is_right(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(errors="replace"), self.token.encode())

    def asker(self, request: Request) -> Asker:
        """Who sends a request: somebody with the token, with a session, or a stranger.

        Raises:
            HTTPException: 429, they have sent too many wrong tokens.
        """
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(request, text.strip()):
            return Asker(sends_token=True)
        session = request.cookies.get(self.cookie, "")
        return Asker(session=session if session and self.sessions.stands(session) else "")

    def require_form(self, request: Request, csrf: str) -> None:
        """Refuse a change that another site made a browser ask for.

        Raises:
            HTTPException: 403.
        """
        asker = asker_of(request)
        own = self.csrf(asker.session)
        is_own = hmac.compare_digest(csrf.encode(errors="replace"), own.encode())
        if not asker.sends_token and not (own and is_own):
            raise HTTPException(403, "this form is not of this dashboard")

    def check(self, request: Request) -> None:
        """Find who asks, before anything of the body is read; refuse who may not.

        Raises:
            HTTPException: 401, 403 or 429; or 303, which leads to where they may sign in.
        """
        path = request.url.path
        request.state.asker = Asker()  # of a request that is refused here, too
        request.state.asker = asker = self.asker(request)
        if asker.is_known or path.startswith(OPEN):
            return
        if request.method not in READING:
            raise HTTPException(403, "sign in first: changes need the token")
        if not self.reading_needs_it:
            return
        if path.startswith(("/api/", "/metrics")):
            said = "a token is needed: Authorization: Bearer ..."
            raise HTTPException(401, said, {"WWW-Authenticate": "Bearer"})
        raise HTTPException(303, "sign in first", {"Location": "/signin"})


def make_access(settings: Settings, host: str) -> Access:
    """The access of a dashboard on an address.

    Raises:
        UserError: the address is no loopback one, and no token is set.
    """
    if host not in LOOPBACK and settings.token is None:
        raise UserError(
            f"{host} can be reached by others: set NASNET_TOKEN to a long random text first"
        )
    token = settings.token or _own_token(settings)
    return Access(token, settings.home, reading_needs_it=host not in LOOPBACK)


def _own_token(settings: Settings) -> str:
    """The home's token: made once, read by its owner alone."""
    path = settings.home / "dashboard.token"
    # who comes second waits, and reads no empty one
    with contextlib.closing(locks.Waiting(path)):
        token = path.read_text("ascii").strip()
        if not token:
            token = secrets.token_urlsafe(24)
            path.write_text(token + "\n", "ascii")
    return token
