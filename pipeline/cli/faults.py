"""What the command line says of errors: the user's in a line, and ours in a line and a file.

The one boundary of all commands: whatever reaches it ends in a line, never in a traceback alone.
"""

import datetime as dt
import os
import sys
import traceback
from typing import NoReturn

import typer

from pipeline.errors import NasnetError
from pipeline.io.text import one_line
from pipeline.settings import get_settings, redacted

LONGEST = 2000  # letters of what is said; what was typed may be longer
OURS = 70  # the exit code of a fault of ours: EX_SOFTWARE of sysexits.h


def end(error: Exception) -> NoReturn:
    """Say what went wrong, and end the process."""
    if _is_usage_error(error):
        _end_usage(error)
    if isinstance(error, typer.Abort):  # the end of input at a question
        _say("aborted", 1)
    if isinstance(error, BrokenPipeError):  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    said = _of_users(error)
    if said is not None:
        _say(said)
    _say(f"a fault of ours: {_summary(error)}; {_kept(error)}", OURS)


def _of_users(error: Exception) -> str | None:
    """What is said of an error that whoever typed the command can mend; None of any other."""
    if isinstance(error, NasnetError):
        return str(error)
    if isinstance(error, UnicodeEncodeError):  # an argument that the store shall keep
        return f"{error.object}: not UTF-8"
    if isinstance(error, OSError):
        return f"{error.filename or 'this machine'}: {error.strerror or error}"
    if isinstance(error, OverflowError) and "SQLite" in str(error):
        return "a number is larger than any that the database holds"
    if isinstance(error, MemoryError):
        return f"memory does not suffice{f': {error}' if str(error) else ''}"
    if _is_database_error(error):
        from db.schema.session import fault  # loaded already where the database raised it

        return fault(error)
    return None


def _is_usage_error(error: Exception) -> bool:
    """Whether the parser of the arguments refuses them; its class is private in typer."""
    return isinstance(error, typer.BadParameter.__mro__[2])


def _end_usage(error: Exception) -> NoReturn:
    """Say which argument is wrong, and of which command; without any arguments show the help."""
    context: typer.Context | None = getattr(error, "ctx", None)
    message: str = error.format_message()  # type: ignore[attr-defined]
    if context is not None and message == context.get_help():
        typer.echo(message, err=True)
        sys.exit(2)
    said = (message[:1].lower() + message[1:]).rstrip(".")
    if context is None:
        _say(said)
    command = context.command_path
    where = command.removeprefix("nasnet").lstrip()
    _say(f"{where}{': ' if where else ''}{said} (see `{command} --help`)")


def _say(message: str, code: int = 2) -> NoReturn:
    line = one_line(redacted(message))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print(f"nasnet: {line}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"[:300]


def _kept(error: Exception) -> str:
    """Where the traceback is: printed, or in a file of the home, where there is one."""
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
    from sqlalchemy.exc import DatabaseError, DataError, OperationalError  # loaded already

    # what is no data for it, such as a number that is too large, somebody has typed
    return isinstance(error, OperationalError | DataError) or (
        isinstance(error, DatabaseError) and "not a database" in str(error.orig)
    )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0]
