"""What this process prints: a terminal obeys control characters, and names may hold some.

Standard output and error escape whatever is no letter, sign or blank, whoever writes. Consoles of
rich, which colour and move the cursor, write past that and escape what they are given themselves
(``pipeline.cli.console``).
"""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from pipeline.io.text import escaped


class EscapingStream:
    """A stream that passes letters, signs, blanks and ends of lines, and escapes the rest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def rich_proxied_file(self) -> TextIO:
        """The stream itself; a console of rich looks for it under this name."""
        return self._stream

    def write(self, text: str) -> int:
        """Write text, escaped."""
        self._stream.write(escaped(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_output() -> None:
    """Let standard output and error escape; names are printed that their encoding may lack."""
    for name in ("stdout", "stderr"):
        stream = unescaped(getattr(sys, name))
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
        setattr(sys, name, EscapingStream(stream))


def unescaped(stream: TextIO) -> TextIO:
    """The stream behind one that escapes: for data that a program reads, for bars that move."""
    while hasattr(stream, "rich_proxied_file"):
        stream = stream.rich_proxied_file
    return stream
