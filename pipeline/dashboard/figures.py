"""A search's figures as Plotly's JSON, and Plotly's script from its own package."""

import json
from importlib import resources

from fastapi import APIRouter
from fastapi.responses import Response
from plotly.utils import PlotlyJSONEncoder
from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import series
from db.schema.rows import SearchRow
from db.schema.session import transaction
from pipeline.actions.figures import FIGURES
from pipeline.dashboard.cache import Cache
from pipeline.dashboard.turns import in_turn
from pipeline.errors import UserError
from pipeline.plots import CONFIG, template

router = APIRouter(include_in_schema=False)
_drawn: Cache[str] = Cache()  # JSON by a search's uid and the figure's name


@router.get("/searches/{name}/figures/{figure}.json")
@in_turn
def figure(name: str, figure: str) -> Response:
    """A figure's data and layout."""
    if figure not in FIGURES:
        raise UserError(f"no figure {figure!r}; there are {', '.join(FIGURES)}")
    with transaction(read_only=True) as connection:
        text = drawn(connection, searches.get(connection, name), figure)
    return Response(text, media_type="application/json")


def drawn(connection: Connection, search: SearchRow, figure: str) -> str:
    """One of a search's figures as JSON; of a large one perhaps as it was a little ago."""
    wanted = FIGURES[figure]
    return _drawn.get(
        (search.uid, figure),
        lambda: wanted.draw(connection, search.id).to_json(),
        stamp=None if wanted.moves else series.stamp(connection, search.id),
    )


@router.get("/static/themes.json")
def themes() -> Response:
    """What makes a figure fit a light page, and a dark one; and Plotly's options for both."""
    both = {name: template(name == "dark").to_plotly_json() for name in ("light", "dark")}
    text = json.dumps(both | {"options": CONFIG}, cls=PlotlyJSONEncoder)
    return Response(text, media_type="application/json")


@router.get("/static/plotly.min.js")
def script() -> Response:
    """Plotly, as its Python package brings it: no other site is asked."""
    data = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    headers = {"Cache-Control": "public, max-age=86400"}
    return Response(data, media_type="text/javascript", headers=headers)
