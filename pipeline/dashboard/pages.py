"""How pages are rendered: one environment, everything escaped, numbers as people read them."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.dashboard.access import Access, asker_of

NOTHING = "\N{EN DASH}"

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    request: Request, template: str, *, status_code: int = 200, **values: object
) -> HTMLResponse:
    """A page, with what every page needs."""
    access: Access = request.app.state.access
    asker = asker_of(request)
    values |= {
        "path": request.url.path,
        "navigation": request.app.state.navigation,
        "query": request.query_params.multi_items(),
        "signed_in": asker.is_known,
        "csrf": access.csrf(asker.session),
    }
    return HTMLResponse(_environment.get_template(template).render(values), status_code)


def number(value: float | None, digits: int = 4) -> str:
    """A number as people read it; a dash where there is none."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}"


def moment(value: dt.datetime | None) -> str:
    """A time in UTC; a dash where there is none."""
    return NOTHING if value is None else value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Seconds as people read them."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def address(pairs: Sequence[tuple[str, str]], **changes: object) -> str:
    """A link to this page with some of its query changed; what is None or empty goes."""
    kept = [(key, value) for key, value in pairs if key not in changes and value != ""]
    return "?" + urlencode([*kept, *((k, v) for k, v in changes.items() if v is not None)])


_environment.filters |= {"number": number, "moment": moment, "duration": duration}
_environment.globals["address"] = address
