"""Signing in and out with the dashboard's token."""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.dashboard.access import Access, asker_of
from pipeline.dashboard.forms import Fields
from pipeline.dashboard.pages import page

router = APIRouter(include_in_schema=False)


@router.get("/signin")
def form(request: Request) -> Response:
    """Where the token is typed in."""
    return page(request, "signin.html")


@router.post("/signin")
def sign_in(request: Request, fields: Fields) -> Response:
    """A session for whoever knows the token."""
    access: Access = request.app.state.access
    if not access.is_token(request, fields.get("token", "").strip()):
        raise HTTPException(403, "this is not the token that `nasnet dashboard` printed")
    response = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    session = access.sessions.begin()
    response.set_cookie(access.cookie, session, httponly=True, samesite="strict", secure=secure)
    return response


@router.post("/signout")
def sign_out(request: Request, fields: Fields) -> Response:
    """The session ends, and the cookie goes."""
    access: Access = request.app.state.access
    access.require_form(request, fields.get("csrf", ""))
    access.sessions.end(asker_of(request).session)
    response = RedirectResponse("/", 303)
    response.delete_cookie(access.cookie)
    return response
