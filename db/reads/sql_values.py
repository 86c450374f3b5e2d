"""Values that a SELECT can give, as both databases give them and every format can hold them."""

import datetime as dt
import decimal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Row = Sequence[object]  # of a statement of a user's
# PostgreSQL's types that are numbers, truths, bytes or texts in Python; of all others its own
# words are kept: Python has no infinite dates, and nothing for most ranges and composites.
KEPT = {
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric"),
    *("text", "varchar", "bpchar", "name", "bytea", "timestamp", "timestamptz"),
}
# Digits before the point of a number; a double has 309, and Python prints no more than 4300.
MOST_DIGITS = 300


def prefer_text(psycopg: Any, connection: Any) -> None:
    """Let a connection hand out texts for all that is not kept."""
    loader = psycopg.types.string.TextLoader
    adapters = connection.adapters
    for info in adapters.types:
        for oid in (info.oid if info.name not in KEPT else 0, info.array_oid):
            if oid:
                adapters.register_loader(oid, loader)
    times = psycopg.types.datetime
    for name, its_loader in (
        ("timestamp", times.TimestampLoader),
        ("timestamptz", times.TimestamptzLoader),
    ):
        adapters.register_loader(name, _or_text(its_loader, psycopg.DataError))


def _or_text(base: Any, error: type[Exception]) -> Any:
    """A loader that leaves as text what Python cannot say, such as infinity."""

    class Loader(base):  # type: ignore[misc]
        def load(self, data: bytes | memoryview) -> object:
            try:
                return super().load(data)
            except error:
                return bytes(data).decode()

    return Loader


# Bytes that are no UTF-8, as Python's `surrogateescape` reads them. Its `backslashreplace` takes
# a minute for as many as a row may have.
BAD_BYTES = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}


class Texts:
    """SQLite's texts, decoded while a row has not too many bytes of them."""

    def __init__(self, most: int, too_large: Callable[[], Exception]) -> None:
        self._most = most
        self._too_large = too_large
        self._found = 0

    def decode(self, data: bytes) -> str:
        """A text, in which bytes that are no UTF-8 are escaped."""
        self._found += len(data)
        if self._found > self._most:
            raise self._too_large()
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data.decode(errors="surrogateescape").translate(BAD_BYTES)

    def rows(self, cursor: Iterator[Row]) -> Iterator[Row]:
        """A cursor's rows; each is counted by itself."""
        while True:
            self._found = 0
            row = next(cursor, None)
            if row is None:
                return
            yield row


def size(value: object) -> int:
    """Bytes, or letters, of a value that may be large."""
    return len(value) if isinstance(value, str | bytes | memoryview) else 16


def plain(value: object) -> int | float | str | None:
    """A value as both databases give it."""
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, dt.datetime):  # its zone is UTC, or it has none
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, decimal.Decimal):
        return _number(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def _number(value: decimal.Decimal) -> int | float | str:
    if value.is_finite() and value.adjusted() > MOST_DIGITS:
        return str(value)
    is_whole = value.is_finite() and value == value.to_integral_value()
    return int(value) if is_whole else float(value)
