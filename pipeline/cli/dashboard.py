"""``nasnet dashboard``: pages over the store, in a browser."""

from typing import Annotated

import typer


def dashboard(
    host: Annotated[
        str, typer.Option("--host", help="Other than this machine's own needs NASNET_TOKEN.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8642,
) -> None:
    """Serve the dashboard until Ctrl-C (extra `dashboard`).

    Whoever reaches a loopback address may read; changes need the token, which is NASNET_TOKEN or
    lies in the home.
    """
    from pipeline.cli.home import open_home, open_store
    from pipeline.errors import UserError

    try:
        from pipeline.dashboard.server import serve
    except ImportError as error:
        raise UserError(
            f"the dashboard needs the extra `dashboard` ({error.name} is missing): "
            "pip install 'nasnet-pipeline[dashboard]'"
        ) from None
    settings = open_home()
    open_store()
    where = "NASNET_TOKEN" if settings.token else settings.home / "dashboard.token"
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{shown}:{port} shows {settings.home}; its token is in {where}")
    serve(settings, host, port)
