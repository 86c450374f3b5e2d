"""A bar on the terminal while images are looked at."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.progress import Progress

from pipeline.cli.console import make_console

if TYPE_CHECKING:
    from pipeline.data.check import OnFile


@contextlib.contextmanager
def image_bar() -> Iterator["OnFile | None"]:
    """A bar on a terminal that says how many files were looked at; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=make_console(to_stderr=True), transient=True) as bar:
        task = bar.add_task("looking at images", total=None)
        yield lambda seen, total: bar.update(task, completed=seen, total=total)
