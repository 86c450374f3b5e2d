"""URLs of servers: refused where a password in one could be read in two ways, and never shown.

A library that reads a password's tail as a host prints it (RFC 3986, 3.2: the authority ends at
the first ``/``, ``?`` or ``#``, and a password has no ``@``).
"""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from pipeline.errors import UserError

HIDDEN = "***"
LEAST = 3  # letters of what is hidden; less would be found in any text
SECRET_OPTIONS = {"password", "sslpassword", "passwd", "secret", "key", "token"}
_URL = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_HOSTS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:(?P<port>[0-9]{0,5}))?")
MOST_PORT = 2**16 - 1
# what has to be escaped beside the signs that end it
_ODD = re.compile(r"[^!-~]|[\[\]]|%(?![0-9A-Fa-f]{2})")


def check(variable: str, url: str) -> str:
    """Look at a server's URL before any library does; returns its scheme.

    Raises:
        UserError: it is none, or its password is not escaped; none of it is shown.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise UserError(f"{variable}: no URL; it begins like redis:// or postgresql://")
    authority, rest = found["authority"], found["rest"]
    user, at, hosts = authority.rpartition("@")
    unescaped = "@" in user or _ODD.search(user) or ("@" in rest and authority)
    if unescaped:
        raise UserError(
            f"{variable}: a sign in its user or password must be escaped: "
            "@ is %40, / is %2F, ? is %3F, # is %23, [ is %5B, ] is %5D, % is %25, a blank is %20"
        )
    place = _HOSTS.fullmatch(hosts)
    if place is None or int(place["port"] or 0) > MOST_PORT:
        raise UserError(f"{variable}: expected HOST:PORT {'after the @' if at else 'after ://'}")
    return found["scheme"].lower()


def password_free(variable: str, url: str) -> str:
    """A URL that is kept in rows, as it is.

    Raises:
        UserError: it holds a password.
    """
    if not url.startswith("file:") and re.search(r"://[^@]*:[^@]*@", url):
        raise UserError(
            f"{variable}: has a password, and the store would keep it; "
            "give it in the file system's own way (fsspec's configuration, its environment)"
        )
    return url


def secrets_of(url: str) -> Iterator[str]:
    """What must not be shown of a URL: its password, as written and as meant."""
    found = _URL.fullmatch(url)
    if found is None:
        return
    user, _, _ = found["authority"].rpartition("@")
    password = user.partition(":")[2]
    query = found["rest"].partition("?")[2]
    options = [value for name, value in parse_qsl(query) if name.lower() in SECRET_OPTIONS]
    for secret in (password, *options):
        yield from (secret, unquote(secret))


def without(text: str, secrets: frozenset[str]) -> str:
    """A text in which no secret is left."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= LEAST:
            text = text.replace(secret, HIDDEN)
    return text
