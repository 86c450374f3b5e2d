"""Bodies of requests: small ones, read whole before anything looks at them."""

import asyncio
import contextlib

from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.dashboard.answers import refusal

LARGEST = 64 * 2**10  # bytes; a form has a secret, a key and a number
LINGER = 2.0  # seconds in which what is refused may still arrive


class Bodies:
    """Middleware: what is behind it finds the whole body there; one that is too large is refused.

    A body that does not come, or not in time, ends with its connection (``connections``).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then let the application have it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole(scope, receive)
        except HTTPException as error:
            request = Request(scope)
            await refuse(refusal(request, error), request, receive, send)
            return
        if body is not None:
            await self._app(scope, _again(body, receive), send)


async def _whole(scope: Scope, receive: Receive) -> bytes | None:
    """The body; None where the client went away.

    Raises:
        HTTPException: 413.
    """
    too_large = HTTPException(413, f"the body is larger than {LARGEST} bytes")
    declared = Headers(scope=scope).get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > LARGEST):
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > LARGEST:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body in one piece."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def refuse(response: Response, request: Request, receive: Receive, send: Send) -> None:
    """Answer a request whose body is not read, and end its connection.

    A client reads the answer only after it has sent its body, so for a while that is taken and
    dropped; a connection that ends with unread data takes the answer along.
    """
    if not _has_body(request):
        await response(request.scope, receive, send)
        return

    async def send_then_linger(message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last:
            await send({**message, "more_body": True})
            await _drop(receive)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    response.headers["Connection"] = "close"
    await response(request.scope, receive, send_then_linger)


def _has_body(request: Request) -> bool:
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _drop(receive: Receive) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body", False):
                pass
