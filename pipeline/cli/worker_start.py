"""``nasnet worker start``: be one worker process."""

from typing import Annotated

import typer

from pipeline.actions.stores import keep_private
from tasks import worker


def start(
    name: Annotated[
        str,
        typer.Argument(
            help="control, reconcile, train (the first free slot), or a slot such as cuda-0."
        ),
    ],
) -> None:
    """Be one worker process, until SIGTERM: for systemd, a Procfile, or `nasnet up` itself."""
    keep_private()
    raise typer.Exit(worker.main(name))
