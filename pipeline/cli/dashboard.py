"""``nasnet dashboard``: pages over the store, in a browser."""

import importlib.util
from typing import Annotated

import typer

from pipeline.actions.stores import open_home, open_store
from pipeline.cli.output import say
from pipeline.errors import UserError
from pipeline.settings import Settings

NEEDS = ("fastapi", "jinja2", "plotly", "prometheus_client", "pygraphviz", "uvicorn")


def dashboard(
    host: Annotated[
        str,
        typer.Option(
            "--host", help="The address to listen on; one that others reach needs NASNET_TOKEN."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")
    ] = 8642,
) -> None:
    """Serve the dashboard until Ctrl-C (extra `dashboard`).

    Whoever reaches a loopback address may read; changes need the token, which is NASNET_TOKEN or
    lies in the home.
    """
    try:
        from pipeline.dashboard.server import Server  # an extra
    except ImportError as error:
        raise UserError(
            f"the dashboard needs the extra `dashboard` ({error.name} is missing): "
            "pip install 'nasnet-pipeline[dashboard]'"
        ) from None
    open_store()
    settings = open_home()
    server = Server(settings, host, port)
    say(f"{address(host, port)} shows {settings.home}; its token is in {token(settings)}")
    server.serve_until_ended()


def address(host: str, port: int) -> str:
    """What is typed into a browser."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def token(settings: Settings) -> str:
    """Where the token is."""
    return "NASNET_TOKEN" if settings.token else str(settings.home / "dashboard.token")


def is_installed() -> bool:
    """Whether the extra `dashboard` is there; nothing of it is imported."""
    return all(importlib.util.find_spec(name) for name in NEEDS)
