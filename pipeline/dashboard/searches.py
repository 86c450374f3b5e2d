"""Pages of searches: the list, one of them live, and what can be done to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy.exc import DBAPIError

from db import queries
from db import searches as stored
from db.session import transaction
from pipeline.config import load_config
from pipeline.dashboard import observed
from pipeline.dashboard.access import Access
from pipeline.dashboard.pages import page
from pipeline.errors import UserError
from pipeline.search_figures import FIGURES
from tasks import steering

router = APIRouter(include_in_schema=False)

SHOWN = 200  # searches, the newest
EVERY = 2.0  # seconds between looks at a search that is watched
TITLES = {
    "rewards": "Rewards",
    "curves": "Learning curves of the best",
    "policy": "Policy health",
    "parameters": "Accuracy and parameters",
    "macs": "Accuracy and multiply-accumulates",
    "operations": "Operations",
    "probabilities": "Choices of the policy",
    "workers": "Workers",
    "failures": "Failures",
}
assert TITLES.keys() == FIGURES.keys()


@router.get("/")
def list_searches(request: Request) -> Response:
    """All searches, the newest first."""
    with transaction(read_only=True) as connection:
        rows = queries.list_searches(connection)[::-1]
        shown = [observed.overview(connection, row) for row in rows[:SHOWN]]
    return page(request, "searches.html", searches=shown, more=max(0, len(rows) - SHOWN))


@router.get("/searches/{name}")
def show(request: Request, name: str) -> Response:
    """One search: progress, figures, configuration, and what can be done to it."""
    with transaction(read_only=True) as connection:
        now = observed.status(connection, name)
        config = load_config(stored.get(connection, name).config).model_dump(mode="json")
    return page(
        request,
        "search.html",
        now=now,
        config=json.dumps(config, indent=2),
        budget=config["budget"],
        figures=TITLES,
    )


@router.get("/searches/{name}/events")
async def events(request: Request, name: str) -> Response:
    """The search's status whenever it has changed, for as long as somebody looks."""
    first = await run_in_threadpool(_status, name)
    return StreamingResponse(_follow(request, name, first), media_type="text/event-stream")


async def _follow(request: Request, name: str, status: str) -> AsyncIterator[str]:
    sent = ""
    ending: asyncio.Event = request.app.state.ending
    while not ending.is_set() and not await request.is_disconnected():
        if status != sent:
            yield f"data: {status}\n\n"
            sent = status
        else:
            yield ": nothing new\n\n"  # finds out whether anybody listens
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), EVERY)
        try:
            status = await run_in_threadpool(_status, name)
        except DBAPIError:  # the database is away: the page shows what it has
            continue
        except UserError:
            return


def _status(name: str) -> str:
    with transaction(read_only=True) as connection:
        return json.dumps(observed.status(connection, name), default=str)


@router.post("/searches/{name}/{verb}")
def change(
    request: Request,
    name: str,
    verb: str,
    csrf: Annotated[str, Form()] = "",
    key: Annotated[str, Form()] = "",
    value: Annotated[str, Form()] = "",
) -> Response:
    """Pause, resume, stop, or extend a search, then show it again."""
    access: Access = request.app.state.access
    access.require_change(request, csrf)
    steer(name, verb, {key: value} if key else {})
    return RedirectResponse(f"/searches/{quote(name, safe='')}", 303)


def steer(name: str, verb: str, budget: dict[str, Any]) -> str:
    """Do something to a search; returns what was done.

    Raises:
        UserError: it cannot be done; says why.
    """
    if verb == "extend":
        return steering.extend(name, _budget(budget))
    verbs = {"pause": steering.pause, "resume": steering.resume, "stop": steering.stop}
    if verb not in verbs:
        raise UserError(f"no such thing to do: {verb}; there are {', '.join(verbs)} and extend")
    return verbs[verb](name)


def _budget(asked: dict[str, Any]) -> dict[str, float]:
    """Budgets as numbers.

    Raises:
        UserError: one is none, or has another name.
    """
    found: dict[str, float] = {}
    for key, text in asked.items():
        if key not in steering.BUDGETS:
            raise UserError(f"{key!r} is no budget; there are {', '.join(steering.BUDGETS)}")
        try:
            found[key] = int(text) if key in {"children", "plateau"} else float(text)
        except (TypeError, ValueError):
            raise UserError(f"{key}: expected a number, got {text!r}") from None
    if not found:
        raise UserError(f"say what to extend: one of {', '.join(steering.BUDGETS)}")
    return found
