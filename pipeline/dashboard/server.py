"""The dashboard's process."""

import uvicorn

from pipeline.dashboard.access import make_access
from pipeline.dashboard.app import make_app
from pipeline.settings import Settings


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        UserError: others could reach the address, and no token is set.
    """
    app = make_app(make_access(settings, host))
    # who is watched live would otherwise keep it from ending; the log has no line a request
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
