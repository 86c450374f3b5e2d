"""Signing in and out with the dashboard's token."""

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.dashboard.access import Access
from pipeline.dashboard.pages import page

router = APIRouter(include_in_schema=False)


@router.get("/signin")
def form(request: Request) -> Response:
    """Where the token is typed in."""
    return page(request, "signin.html")


@router.post("/signin")
def sign_in(request: Request, token: Annotated[str, Form(max_length=1000)]) -> Response:
    """A cookie for whoever knows the token."""
    access: Access = request.app.state.access
    if not access.is_token(token.strip()):
        raise HTTPException(403, "this is not the token that `nasnet dashboard` printed")
    response = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    response.set_cookie(
        access.cookie, access.session, httponly=True, samesite="strict", secure=secure
    )
    return response


@router.post("/signout")
def sign_out(request: Request, csrf: Annotated[str, Form()] = "") -> Response:
    """The cookie goes."""
    access: Access = request.app.state.access
    access.require_change(request, csrf)
    response = RedirectResponse("/", 303)
    response.delete_cookie(access.cookie)
    return response
