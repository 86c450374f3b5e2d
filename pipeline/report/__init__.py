"""A search's report: one HTML file that needs nothing else, to keep or to send."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.utils import PlotlyJSONEncoder
from sqlalchemy import Connection

from db.lifecycle import searches
from db.reads import ranking, summary
from db.reads.ranked_genotypes import RankedGenotype
from pipeline.actions.figures import FIGURES
from pipeline.actions.summaries import count, progress_of
from pipeline.genotypes.drawing import picture_of, svg_fragment
from pipeline.plots import CONFIG, Figure, template
from pipeline.spaces.registry import genotype_from_data

BEST = 10  # genotypes that are listed
DRAWN = 3  # of them, with their cells

_HERE = Path(__file__).parent  # the template and the script
_environment = Environment(
    loader=FileSystemLoader(_HERE),
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
    now = progress_of(connection, search.id)
    counts = count(connection, search.id)
    best = ranking.best(connection, search.id, limit=BEST)
    figures = {key: figure.draw(connection, search.id) for key, figure in FIGURES.items()}
    scripts = [_plotly(), _drawing_script(figures)]
    return _environment.get_template("report.html").render(
        policy=_policy(scripts),
        search=search,
        now=now,
        counts=counts.states,
        rewards=(counts.rewards.best, counts.rewards.mean),
        control=summary.control_arm(now, counts.control),
        best=best,
        drawings=[_drawing(row, number) for number, row in enumerate(best[:DRAWN], start=1)],
        figures=list(figures),
        scripts=scripts,
        config=json.dumps(search.config, indent=2),
    )


def _drawing(row: RankedGenotype, number: int) -> dict[str, str]:
    genotype = genotype_from_data(row.body)
    return {"digest": row.digest, "svg": svg_fragment(picture_of(genotype), f"best{number}-")}


def _plotly() -> str:
    return resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")


def _drawing_script(figures: Mapping[str, Figure]) -> str:
    values = {
        "figures": {key: json.loads(figure.to_json()) for key, figure in figures.items()},
        "themes": {mode: template(mode == "dark").to_plotly_json() for mode in ("light", "dark")},
        "options": CONFIG,
    }
    given = ", ".join(f"{name} = {_script(value)}" for name, value in values.items())
    return f"const {given};\n" + (_HERE / "report.js").read_text("utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: these scripts run, nothing is loaded, no form is sent."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    # Plotly writes styles of its own, and makes its PNG of a blob
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _script(data: Any) -> str:
    """JSON that may stand inside a script element: no text in it can end that."""
    return json.dumps(data, cls=PlotlyJSONEncoder).replace("<", "\\u003c")
