"""Log lines of every process: JSON with worker, search, run and attempt where there are such."""

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from pipeline.settings import redacted

KEPT = 3  # older files of each log
LARGE = 10 * 2**20  # bytes after which a log begins anew

# What this process works on: one thing at a time, for all its threads.
_about: dict[str, object] = {}


@contextlib.contextmanager
def about(**what: object) -> Iterator[None]:
    """Say in every line meanwhile, of whatever thread, what is worked on."""
    _about.update(what)
    try:
        yield
    finally:
        _about.clear()


def rotate(path: Path) -> None:
    """Begin a log anew once it is large; the process that writes it goes on writing.

    It is copied and emptied, since the writer has it open and appends; a line that comes
    between the two is lost.
    """
    if not path.exists() or path.stat().st_size < LARGE:
        return
    copy = path.with_name(f".{path.name}.copy")
    try:
        shutil.copyfile(path, copy)
    except OSError:  # no room: nothing may be left of it
        copy.unlink(missing_ok=True)
        raise
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    copy.replace(path.with_name(f"{path.name}.1"))
    with path.open("r+b") as file:
        file.truncate(0)


def _without_secrets(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """What a library's error quotes of a URL is left out, in its traceback too."""
    return {key: redacted(v) if isinstance(v, str) else v for key, v in event.items()}


def configure(worker: str, path: Path | None = None) -> None:
    """Send this process's log, and its libraries' warnings, to a file or to standard error."""

    def name(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {"worker": worker, **_about, **event}

    shared: list[structlog.typing.Processor] = [
        name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _without_secrets,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for ours in ("tasks", "pipeline", "db"):
        logging.getLogger(ours).setLevel(logging.INFO)
