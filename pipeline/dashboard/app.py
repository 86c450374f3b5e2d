"""The application: pages, JSON, metrics and static files, behind one guard."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from db.session import AWAY, is_away
from pipeline.dashboard import (
    api,
    failures,
    figures,
    genotypes,
    metrics,
    searches,
    signin,
    workers,
)
from pipeline.dashboard.access import Access
from pipeline.dashboard.pages import page
from pipeline.errors import UserError
from pipeline.settings import LOOPBACK

HERE = Path(__file__).parent


def make_app(access: Access) -> FastAPI:
    """The dashboard of the store that the settings name."""
    app = FastAPI(
        title="nasnet",
        docs_url=None,  # its page would come from another site
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.access = access
    app.state.ending = asyncio.Event()  # set when the server is told to end
    app.add_middleware(BaseHTTPMiddleware, dispatch=access.guard)
    if not access.reading_needs_it:  # else a name that leads here would let any site read it
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    for family in (searches, genotypes, workers, failures, figures, signin, api, metrics):
        app.include_router(family.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for kind in (UserError, HTTPException, RequestValidationError, *AWAY):
        app.add_exception_handler(kind, _say)
    app.add_exception_handler(Exception, _say_fault)
    return app


def _say(request: Request, error: Exception) -> Response:
    """An error as a page, or as JSON where JSON was asked for."""
    return _answer(request, *_told(error))


def _say_fault(request: Request, error: Exception) -> Response:
    """A fault of ours, likewise: no page is a bare 500. The server goes on, and logs it whole."""
    text = f"a fault of ours: {type(error).__name__}; its traceback is in the dashboard's log"
    return _answer(request, 500, text, {})


def _answer(request: Request, code: int, text: str, headers: dict[str, str]) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": text}, code, headers=headers)
    return page(request, "error.html", code=code, error=text, status_code=code)


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        first: dict[str, Any] = error.errors()[0]
        return 422, f"{first['loc'][-1]}: cannot be {first.get('input')!r}", {}
    if isinstance(error, DataError):  # such as a zero byte, which PostgreSQL has in no text
        return 400, "the database knows no such value", {}
    if isinstance(error, AWAY):
        if not is_away(error):
            raise error
        return 503, "the database does not answer; it is asked again with the next request", {}
    return (404 if str(error).startswith("no ") else 400), str(error), {}
