"""What is answered to a request that cannot be done: a page of one line, or JSON."""

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from db.schema.session import AWAY, is_away
from pipeline.dashboard.pages import page
from pipeline.errors import UserError
from pipeline.io.text import one_line
from pipeline.settings import redacted

LONGEST = 400  # characters of what is said
EXPECTED = (UserError, HTTPException, RequestValidationError, *AWAY)


def refusal(request: Request, error: Exception) -> Response:
    """An error that is expected, as a page, or as JSON where JSON was asked for.

    Raises:
        Exception: the error, which is none of those.
    """
    return _answer(request, *_told(error))


def fault(request: Request, _error: Exception) -> Response:
    """An error of ours; the server logs its traceback."""
    return _answer(request, 500, "a fault of the dashboard; its log has more", {})


def _answer(request: Request, code: int, text: str, headers: dict[str, str]) -> Response:
    text = one_line(redacted(text)[:LONGEST])
    if request.url.path.startswith(("/api/", "/metrics")):
        return JSONResponse({"error": text}, code, headers=headers)
    answer = page(request, "error.html", code=code, error=text, status_code=code)
    answer.headers.update(headers)
    return answer


def _told(error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        return 422, _of_value(error.errors()[0]), {}
    if isinstance(error, DataError):  # such as a zero byte, which PostgreSQL has in no text
        return 400, "the database knows no such value", {}
    if isinstance(error, UserError):
        return (404 if str(error).startswith("no ") else 400), str(error), {}
    if isinstance(error, AWAY) and is_away(error):
        return 503, "the database does not answer; it is asked again with the next request", {}
    raise error


def _of_value(problem: dict[str, Any]) -> str:
    """Which value cannot be; what has parts of its own may be too deep to be shown."""
    where, value = problem["loc"][-1], problem.get("input")
    if isinstance(value, str | int | float | None):
        return f"{where}: cannot be {str(value)[:LONGEST]!r}"
    return f"{where}: cannot be read"
