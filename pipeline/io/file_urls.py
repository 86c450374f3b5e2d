"""Paths as the store and fsspec have them, and back: a path may hold what no URL and no text may.

On Linux a name is bytes, any but ``/`` and NUL (path_resolution(7)); a column of text is UTF-8.
"""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes

FILE = "file://"


def url_of_path(path: Path) -> str:
    """An absolute path as text: itself, or where it is not UTF-8 a ``file:`` URL (RFC 8089)."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return path.as_uri()
    return text


def path_of_url(url: str) -> str:
    """The path that ``url_of_path`` was given, or that of another local file's URL."""
    if url.startswith(FILE):
        return os.fsdecode(unquote_to_bytes(url.removeprefix(FILE)))
    return url.partition("://")[2] if "://" in url else url
