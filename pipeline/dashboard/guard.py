"""What stands before the application: careful headers, and who may ask for what."""

from urllib.parse import parse_qsl

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.dashboard.access import Access
from pipeline.dashboard.answers import refusal
from pipeline.dashboard.bodies import refuse

MOST_PARAMETERS = 100  # of an address; a filter has one for each operation and some more
HEADERS = {
    # Plotly writes styles of its own; scripts come from files only
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Careful:
    """Careful headers on every answer; no websocket, for there is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, and add them."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Guard:
    """Nothing behind it sees a request of somebody who may not make it, nor an odd address."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at it before its body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            _check_address(request)
            self._access.check(request)
        except HTTPException as error:
            await refuse(refusal(request, error), request, receive, send)
        else:
            await self._app(scope, receive, send)


def _check_address(request: Request) -> None:
    """Refuse an address that no page of ours leads to, and that could not be asked of the store.

    Raises:
        HTTPException: 400.
    """
    query = request.scope["query_string"].decode("latin-1")
    if "\0" in request.url.path or "%00" in query or "\0" in query:
        raise HTTPException(400, "the address has a zero byte")
    try:
        parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise HTTPException(400, f"the address has more than {MOST_PARAMETERS} parts") from None
