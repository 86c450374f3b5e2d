"""``nasnet worker``: the processes that do the work. A table of its commands."""

import typer

from pipeline.cli.lazy import Entry, LazyGroup


class WorkerCommands(LazyGroup):
    """What can be done with worker processes."""

    entries = {
        "start": Entry("pipeline.cli.worker_start:start", "Be one worker process."),
        "list": Entry("pipeline.cli.worker_list:list_workers", "List worker processes."),
    }


app = typer.Typer(cls=WorkerCommands, help="The processes that do the work.", no_args_is_help=True)
