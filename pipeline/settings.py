"""This machine: where its files, database and broker are. Nothing here can change a result."""

import functools
import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import UserError
from pipeline.io.file_urls import url_of_path
from pipeline.io.refused_values import refusal
from pipeline.io.server_urls import check, password_free, secrets_of, without

# Bytes of a CPU slot: what torch takes as data before its first child, and room for one.
LEAST_MEMORY = 3 * 2**29
NOTICES = {"finished", "paused", "failing", "stalled", "best"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
SECRET = {"database_url", "broker_url", "artifacts", "token", "notify"}
MAX_SOCKET_PATH = 104  # bytes, the least of all systems (macOS)


class Settings(BaseSettings):
    """Read from the environment, ``NASNET_HOME`` and so on: docs/reference/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix="NASNET_", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    home: Path = Path("nasnet-home")
    """Database, artifacts, locks, logs and downloads."""
    database_url: str | None = None
    """The database; none: SQLite in the home."""
    broker_url: str | None = None
    """A Redis server; none: an embedded one, started by `run` and `up`."""
    artifacts: str | None = None
    """Where checkpoints and weights are written, an fsspec URL; none: a folder in the home."""
    data: Path | None = None
    """Downloaded data sets; none: a folder in the home."""
    devices: str | None = None
    """Such as cpu*2 or cuda:0,cuda:1; none: all there is."""
    memory: int | None = Field(None, ge=LEAST_MEMORY)
    """Bytes that a CPU slot may use; none: the memory, shared among the slots."""
    free: int = Field(2**30, ge=0)
    """Bytes that must be free for a run to start."""
    loaders: int = Field(2, ge=0, le=256)
    """Processes of a slot that decode image files ahead."""
    lease: float = Field(90.0, ge=3, le=86_400)
    """Seconds that a silent worker keeps its run."""
    keep: int = Field(5, ge=0)
    """How many children of a search keep their weights: the best ones."""
    disk: int | None = Field(None, ge=0)
    """Bytes that artifacts may take; none: what there is."""
    token: str | None = Field(None, min_length=16)
    """The dashboard's; none: made in the home."""
    dashboard: str = "127.0.0.1:8642"
    """Where `up` serves the dashboard, HOST:PORT, or "off"."""
    notify: str = ""
    """Who is told of searches: apprise URLs, parted by blanks."""
    notify_on: str = "finished paused failing stalled"
    """Of what: finished, paused, failing, stalled, best."""

    @field_validator("home")
    @classmethod
    def _resolved(cls, path: Path) -> Path:
        # rows, locks and the socket know a home by its path: it has one, whatever leads there
        try:
            return path.expanduser().resolve()
        except (OSError, RuntimeError):
            raise ValueError("expected a folder; its links lead nowhere") from None

    @field_validator("data")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("artifacts")
    @classmethod
    def _absolute_folder(cls, url: str | None) -> str | None:
        # the rows keep it, and are read by commands that run elsewhere
        if url is None or "://" in url:
            return url
        return str(Path(url).expanduser().absolute())

    @field_validator("notify_on")
    @classmethod
    def _known_notices(cls, text: str) -> str:
        unknown = set(text.split()) - NOTICES
        if unknown:
            raise ValueError(f"expected some of {' '.join(sorted(NOTICES))}")
        return text

    @field_validator("dashboard")
    @classmethod
    def _address(cls, text: str, info: ValidationInfo) -> str:
        if text == "off":
            return text
        host, _, port = text.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError("expected HOST:PORT or off")
        if host.strip("[]") not in LOOPBACK and info.data.get("token") is None:
            raise ValueError("others can reach it: set NASNET_TOKEN to a long random text first")
        return text

    @field_validator("memory", "free", "disk", mode="before")
    @classmethod
    def _bytes(cls, text: object) -> object:
        units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
        if isinstance(text, str) and text[-1:].upper() in units:
            try:
                return int(float(text[:-1]) * units[text[-1].upper()])
            except (ValueError, OverflowError):
                return text
        return text

    @property
    def database_path(self) -> Path | None:
        """The SQLite database of this home; None where ``database_url`` names another."""
        return self.home / "nasnet.db" if self.database_url is None else None

    @property
    def artifact_url(self) -> str:
        """Where checkpoints and weights are written, without a slash at the end."""
        return (self.artifacts or url_of_path(self.home / "artifacts")).rstrip("/")

    @property
    def home_text(self) -> str:
        """The home as the store's rows name it."""
        return url_of_path(self.home)

    @property
    def broker(self) -> str:
        """The broker's URL; of the embedded server where none is given."""
        return self.broker_url or f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    @property
    def socket(self) -> Path:
        """The embedded broker's socket: in home, or where that path cannot be one, near it.

        It may be too long, or not UTF-8, which kombu's URLs cannot say. The other place is the
        user's own, neither swept like /tmp nor gone at logout like XDG_RUNTIME_DIR.
        """
        socket = self.home / "broker.sock"
        if _may_be_socket(socket):
            return socket
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        for folder in (Path.home() / ".nasnet", Path(f"/var/tmp/nasnet-{os.getuid()}")):
            socket = folder / f"{name}.sock"
            if _may_be_socket(socket):
                return socket
        raise UserError(f"no folder with a short path for the broker's socket (tried {socket})")

    @property
    def addresses(self) -> dict[str, str]:
        """Who is told of searches: apprise URLs by their hash, which is what the store knows."""
        return {hashlib.sha256(url.encode()).hexdigest()[:16]: url for url in self.notify.split()}

    @property
    def dashboard_address(self) -> tuple[str, int] | None:
        """Host and port at which `up` serves the dashboard; None where it shall not."""
        host, _, port = self.dashboard.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None

    def lock_path(self, name: str) -> Path:
        """The lock file that a process of this home holds for as long as it lives."""
        return self.home / "locks" / f"{name}.lock"

    @property
    def data_folder(self) -> Path:
        """Where downloaded data sets lie."""
        return self.data or self.home / "data"


def _may_be_socket(path: Path) -> bool:
    is_utf8 = url_of_path(path) == str(path)
    return is_utf8 and len(os.fsencode(path)) < MAX_SOCKET_PATH


@functools.cache
def get_settings() -> Settings:
    """This process's settings.

    Raises:
        UserError: a variable has a value that cannot be.
    """
    return read_settings()


def read_settings(**given: Any) -> Settings:
    """The environment's settings as they are now, but for those that are given.

    Raises:
        UserError: a variable has a value that cannot be.
    """
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise refusal(error, Settings, name=_variable, got=_as_written) from None
    check_broker_url(settings.broker_url)
    if settings.database_url is not None:
        check("NASNET_DATABASE_URL", settings.database_url)
    if settings.artifacts is not None:
        password_free("NASNET_ARTIFACTS", settings.artifacts)
    return settings


def redacted(text: str) -> str:
    """A text for people or logs, without the passwords and addresses of this process's settings.

    Libraries' errors may quote them. Settings that cannot be read are refused without any.
    """
    try:
        return without(text, _secrets())
    except UserError:
        return text


def _secrets() -> frozenset[str]:
    settings = get_settings()
    urls = [url for url in (settings.database_url, settings.broker_url) if url is not None]
    inside = [secret for url in urls for secret in secrets_of(url)]
    return frozenset([*inside, *settings.notify.split(), settings.token or ""])


def _variable(key: str) -> str:
    return f"NASNET_{key}".upper()


def _as_written(key: str, _value: object) -> str:
    """A setting as the environment has it; what may hold a secret is not shown."""
    return "" if key in SECRET else repr(os.environ.get(_variable(key)))


# What kombu and redis-py both know; a URL has its password before the host, and nothing else.
BROKER_OPTIONS = {
    *("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    "virtual_host",  # of redis+socket://
}


def check_broker_url(url: str | None) -> None:
    """Refuse TLS that verifies nothing: kombu's default for ``rediss://`` is CERT_NONE.

    Raises:
        UserError: the URL is not one of a Redis server, or asks for no certificate checks.
    """
    if url is None:
        return
    scheme, parts = check("NASNET_BROKER_URL", url), urlsplit(url)
    if scheme not in {"redis", "rediss", "redis+socket"}:
        raise UserError("NASNET_BROKER_URL: expected redis://, rediss:// or redis+socket://")
    if (
        scheme != "redis+socket"
        and not parts.path.strip("/").isdecimal()
        and parts.path.strip("/")
    ):
        raise UserError("NASNET_BROKER_URL: expected a database's number after the host's /")
    options = parse_qsl(parts.query, keep_blank_values=True)
    values = dict(options)
    if len(values) < len(options) or values.keys() - BROKER_OPTIONS:
        known = ", ".join(sorted(BROKER_OPTIONS))
        raise UserError(f"NASNET_BROKER_URL: after the ? may be, each once: {known}")
    if scheme == "rediss" and values.get("ssl_cert_reqs") not in {"required", "CERT_REQUIRED"}:
        raise UserError(
            "NASNET_BROKER_URL: rediss:// without certificate checks; "
            "add ?ssl_cert_reqs=required&ssl_ca_certs=/path/to/ca.pem"
        )
