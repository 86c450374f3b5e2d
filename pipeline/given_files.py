"""Small files that a user names: read whole, as long as they may be."""

from pathlib import Path

from pipeline.errors import UserError


def read_given(path: Path, most: int) -> bytes:
    """A file's bytes; what never ends, as a device or a pipe may, is not read to its end either.

    Raises:
        UserError: the file cannot be read, or has more bytes than ``most``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UserError(f"{path}: cannot be read: {reason or error}") from None
    if len(data) > most:
        raise UserError(f"{path}: is longer than the {most:,} bytes that such a file may have")
    return data
