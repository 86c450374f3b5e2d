"""Pages of searches: the list, one of them live, and what can be done to it."""

import json
from collections.abc import Mapping
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from db.lifecycle import searches
from db.lifecycle import searches as stored
from db.schema.session import transaction
from pipeline.actions.figures import FIGURES
from pipeline.config.search import load_config
from pipeline.dashboard import summaries
from pipeline.dashboard.access import Access
from pipeline.dashboard.forms import Fields
from pipeline.dashboard.live import Streams
from pipeline.dashboard.pages import page
from pipeline.errors import UserError
from tasks import steering

router = APIRouter(include_in_schema=False)

SHOWN = 200  # searches, the newest


@router.get("/")
def list_searches(request: Request) -> Response:
    """All searches, the newest first."""
    with transaction(read_only=True) as connection:
        rows = searches.list_all(connection)[::-1]
        shown = [summaries.overview(connection, row) for row in rows[:SHOWN]]
    return page(request, "searches.html", searches=shown, more=max(0, len(rows) - SHOWN))


@router.get("/searches/{name}")
def show(request: Request, name: str) -> Response:
    """One search: progress, figures, configuration, and what can be done to it."""
    with transaction(read_only=True) as connection:
        now = summaries.status(connection, name)
        config = load_config(stored.get(connection, name).config).model_dump(mode="json")
    return page(
        request,
        "search.html",
        now=now,
        config=json.dumps(config, indent=2),
        budget=config["budget"],
        figures=FIGURES,
    )


@router.get("/searches/{name}/events")
async def events(request: Request, name: str) -> Response:
    """The search's status whenever it has changed, for as long as somebody looks."""
    streams: Streams = request.app.state.streams
    return await streams.open(request, name)


@router.post("/searches/{name}/{verb}")
def change(request: Request, name: str, verb: str, fields: Fields) -> Response:
    """Pause, resume, stop, or extend a search, then show it again."""
    access: Access = request.app.state.access
    access.require_form(request, fields.get("csrf", ""))
    key = fields.get("key", "")
    steer(name, verb, {key: fields.get("value", "")} if key else {})
    return RedirectResponse(f"/searches/{quote(name, safe='')}", 303)


def steer(name: str, verb: str, budget: Mapping[str, float | str]) -> str:
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


def _budget(asked: Mapping[str, float | str]) -> dict[str, float]:
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
