"""What the command line says of errors: the user's in a line, and ours in a line and a file.

The one boundary of all commands: whatever reaches it ends in a line, never in a traceback alone.
"""

import datetime as dt
import os
import sys
import traceback
from typing import Any

import typer.core

from pipeline.errors import NasnetError
from pipeline.io.text import one_line

LONGEST = 2000  # letters of what is said; what was typed may be longer
OURS = 70  # the exit code of a fault of ours: EX_SOFTWARE of sysexits.h


class EscapingGroup(typer.core.TyperGroup):
    """Commands whose refusals of arguments repeat these escaped."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Parse the arguments before a command's name."""
        try:
            return super().make_context(*arguments, **named)
        except Exception as error:
            _escape(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Parse a command's arguments and run it."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            _escape(error)
            raise


def _escape(error: Exception) -> None:
    """Escape what an error of the parser, which has a message apart, says of an argument."""
    message = getattr(error, "message", None)
    if isinstance(message, str) and hasattr(error, "format_message"):
        error.message = one_line(message)  # type: ignore[attr-defined]


def end(error: Exception) -> None:
    """Say what went wrong, and end the process."""
    if isinstance(error, NasnetError):
        _say(str(error))
    if isinstance(error, UnicodeEncodeError):  # an argument that the store shall keep
        _say(f"{error.object}: not UTF-8")
    if isinstance(error, BrokenPipeError):  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    if isinstance(error, OSError):
        _say(f"{error.filename or 'this machine'}: {error.strerror or error}")
    if isinstance(error, OverflowError) and "SQLite" in str(error):
        _say("a number is larger than any that the database holds")
    if isinstance(error, MemoryError):
        _say(f"memory does not suffice{f': {error}' if str(error) else ''}")
    if _is_database_error(error):
        from db.schema.session import fault

        _say(fault(error))
    _say(f"a fault of ours: {_summary(error)}; {_kept(error)}", OURS)


def _say(message: str, code: int = 2) -> None:
    from pipeline.settings import redacted

    line = one_line(redacted(message))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print(f"nasnet: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"[:300]


def _kept(error: Exception) -> str:
    """Where the traceback is: printed, or in a file of the home, where there is one."""
    from pipeline.settings import get_settings, redacted

    text = redacted("".join(traceback.format_exception(error)))
    if os.environ.get("NASNET_TRACEBACK"):
        sys.stderr.write(text)
        return "its traceback is above"
    try:
        home = get_settings().home
        if home.is_dir():
            folder = home / "logs"
            folder.mkdir(mode=0o700, exist_ok=True)
            path = folder / f"fault-{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
            with open(path, "x", opener=_private, errors="backslashreplace") as file:
                file.write(text)
            return f"its traceback is in {path}"
    except Exception as another:  # noqa: BLE001 - the first fault is what is told
        return (
            f"its traceback cannot be kept ({type(another).__name__}): NASNET_TRACEBACK=1 shows it"
        )
    return "NASNET_TRACEBACK=1 shows its traceback"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _is_database_error(error: Exception) -> bool:
    """Whether the database does not answer, is full or is none; a bad statement is our fault."""
    if "sqlalchemy.exc" not in sys.modules:
        return False
    from sqlalchemy.exc import DatabaseError, DataError, OperationalError

    # what is no data for it, such as a number that is too large, somebody has typed
    return isinstance(error, OperationalError | DataError) or (
        isinstance(error, DatabaseError) and "not a database" in str(error.orig)
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0]
