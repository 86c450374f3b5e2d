"""A search's report: one HTML file that needs nothing else, to keep or to send."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.utils import PlotlyJSONEncoder
from sqlalchemy import Connection

from db import queries, ranking, searches
from db.progress import progress
from pipeline.drawing import picture_of, svg_fragment
from pipeline.genotype import genotype_from_data
from pipeline.plots import template
from pipeline.search_figures import FIGURES

BEST = 10  # genotypes that are listed
DRAWN = 3  # of them, with their cells

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "dashboard" / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def make_report(connection: Connection, name: str) -> str:
    """The report as HTML.

    Raises:
        UserError: there is no such search.
    """
    search = searches.get(connection, name)
    now = progress(connection, search.id)
    assert now is not None
    rewards, control = queries.rewards(connection, search.id)
    best = ranking.best(connection, search.id, limit=BEST)
    figures = {key: draw(connection, search.id) for key, draw in FIGURES.items()}
    return _environment.get_template("report.html").render(
        search=search,
        now=now,
        counts=queries.state_counts(connection, search.id),
        rewards=(rewards.best, rewards.mean),
        control=queries.control_arm(now, control),
        best=best,
        drawings=[_drawing(row, number) for number, row in enumerate(best[:DRAWN], start=1)],
        figures=list(figures),
        data=_script({key: json.loads(figure.to_json()) for key, figure in figures.items()}),
        themes=_script(
            {mode: template(mode == "dark").to_plotly_json() for mode in ("light", "dark")}
        ),
        plotly=resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(),
        config=json.dumps(search.config, indent=2),
    )


def _drawing(row: Any, number: int) -> dict[str, str]:
    genotype = genotype_from_data(row.body)
    return {"digest": row.digest, "svg": svg_fragment(picture_of(genotype), f"best{number}-")}


def _script(data: Any) -> str:
    """JSON that may stand inside a script element: no text in it can end that."""
    return json.dumps(data, cls=PlotlyJSONEncoder).replace("<", "\\u003c")
