"""Rich's console, with the texts it is given escaped: its own colours and moves are not."""

import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.io.terminal import unescaped
from pipeline.io.text import escaped


class EscapingConsole(Console):
    """A console in which no text moves the cursor, whatever is in it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """The segments of something to print; those that are text are escaped."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(escaped(segment.text), segment.style)


def make_console(*, to_stderr: bool = False, **how: Any) -> Console:
    """A console on standard output, or on standard error."""
    return EscapingConsole(file=unescaped(sys.stderr if to_stderr else sys.stdout), **how)
