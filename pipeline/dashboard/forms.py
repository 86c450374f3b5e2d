"""Forms of pages, as browsers send them: urlencoded, which is UTF-8 whatever is said of it."""

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

KIND = "application/x-www-form-urlencoded"
MOST = 20  # fields


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form; none where there is no body.

    Raises:
        HTTPException: 415 or 400.
    """
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise HTTPException(415, f"expected a form as {KIND}")
    try:
        text = body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST))
    except ValueError:
        raise HTTPException(400, f"expected a form as {KIND}, in UTF-8") from None


Fields = Annotated[dict[str, str], Depends(_fields)]
