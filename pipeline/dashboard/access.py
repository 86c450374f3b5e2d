"""Who may do what: reading by anybody who reaches a loopback address, all else by token.

A browser signs in once and carries a cookie; a program sends ``Authorization: Bearer TOKEN``.
What changes something takes, from a browser, also the form's own secret (CSRF).
"""

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from pipeline import locks
from pipeline.errors import UserError
from pipeline.settings import LOOPBACK, Settings

OPEN = ("/signin", "/static/")  # what is shown before anybody signs in
HEADERS = {
    # Plotly writes styles of its own; scripts come from files only
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Access:
    """The secret of one dashboard, and what follows from it."""

    def __init__(self, token: str, *, reading_needs_it: bool) -> None:
        self.token = token
        self.reading_needs_it = reading_needs_it
        self.session = self._derived("session")
        self.csrf = self._derived("csrf")
        # browsers keep cookies by host, not port: two dashboards beside one another have two
        self.cookie = f"nasnet_{self._derived('cookie')[:8]}"

    def _derived(self, what: str) -> str:
        return hmac.new(self.token.encode(), what.encode(), hashlib.sha256).hexdigest()

    def is_token(self, text: str) -> bool:
        """Whether somebody knows the token."""
        return hmac.compare_digest(text.encode(), self.token.encode())

    def knows(self, request: Request) -> bool:
        """Whether whoever asks has signed in, or sends the token."""
        return self._sends_token(request) or hmac.compare_digest(
            request.cookies.get(self.cookie, "").encode(), self.session.encode()
        )

    def _sends_token(self, request: Request) -> bool:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(text)

    def require_change(self, request: Request, csrf: str) -> None:
        """Refuse a change by a stranger, or one that another site made a browser ask for.

        Raises:
            HTTPException: 403.
        """
        if self._sends_token(request):
            return
        if not self.knows(request):
            raise HTTPException(403, "sign in first: changes need the token")
        if not hmac.compare_digest(csrf.encode(), self.csrf.encode()):
            raise HTTPException(403, "this form is not of this dashboard")

    async def guard(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Middleware: a page for those who may read it; careful headers on every answer."""
        response: Response
        reads = request.url.path.startswith(OPEN) or not self.reading_needs_it
        if reads or self.knows(request):
            response = await call_next(request)
        elif request.url.path.startswith(("/api/", "/metrics")):
            response = Response("a token is needed: Authorization: Bearer ...\n", 401)
        else:
            response = RedirectResponse("/signin", 303)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


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
    return Access(token, reading_needs_it=host not in LOOPBACK)


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
