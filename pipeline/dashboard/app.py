"""The application: pages, JSON, metrics and static files, behind one guard."""

import asyncio
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

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
from pipeline.dashboard.answers import EXPECTED, fault, refusal
from pipeline.dashboard.bodies import Bodies
from pipeline.dashboard.guard import Careful, Guard
from pipeline.dashboard.live import Streams
from pipeline.settings import LOOPBACK


class Page(NamedTuple):
    """A module of pages, and where the navigation leads to it, if it does."""

    module: ModuleType
    link: tuple[str, str] | None = None


HERE = Path(__file__).parent
# Modules with a router, and what leads to their first page: its address and its name. To add a
# page, write its module and template, and add a line here.
PAGES = (
    Page(searches, ("/", "Searches")),
    Page(genotypes, ("/compare", "Compare")),
    Page(workers, ("/workers", "Workers")),
    Page(failures, ("/failures", "Failures")),
    Page(figures),
    Page(signin),
    Page(api),
    Page(metrics),
)


class Dashboard(FastAPI):
    """FastAPI, whose every answer, that to a fault of ours too, has careful headers."""

    def build_middleware_stack(self) -> ASGIApp:
        """What a request goes through."""
        return Careful(super().build_middleware_stack())


def make_app(access: Access) -> FastAPI:
    """The dashboard of the store that the settings name."""
    app = Dashboard(
        title="nasnet",
        docs_url=None,  # its page would come from another site
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,  # they lead wherever the request says that we are
    )
    app.state.access = access
    app.state.ending = asyncio.Event()  # set when the server is told to end
    app.state.streams = Streams()
    # from inside to outside
    app.add_middleware(Bodies)
    app.add_middleware(Guard, access=access)
    if not access.reading_needs_it:  # else a name that leads here would let any site read it
        app.add_middleware(
            TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"], www_redirect=False
        )
    for page in PAGES:
        app.include_router(page.module.router)
    app.state.navigation = [page.link for page in PAGES if page.link is not None]
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for kind in EXPECTED:
        app.add_exception_handler(kind, refusal)
    app.add_exception_handler(Exception, fault)
    return app
