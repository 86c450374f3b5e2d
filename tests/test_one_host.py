"""One home and its SQLite store: by two names, from two hosts, on a disk that takes nothing."""

import datetime as dt
import shutil
import subprocess

import pytest
from sqlalchemy import update

from db.models import Slot
from db.session import transaction
from pipeline.errors import UserError
from tasks.worker import check_alone
from tests.factories import make_slot
from tests.processes import TINY, Home, wait_until
from tests.servers import is_root

ELSEWHERE = ("unshare", "--uts", "--pid", "--mount", "--fork", "--mount-proc", "sh", "-c")
AS_OTHER = (*ELSEWHERE, 'hostname elsewhere; exec "$@"', "sh")


def may_unshare():
    """Whether this machine lets us be another host, and mount."""
    return (
        is_root()
        and shutil.which("unshare") is not None
        and subprocess.run([*AS_OTHER, "true"], capture_output=True).returncode == 0
    )


needs_root = pytest.mark.skipif(not may_unshare(), reason="needs root, to be another host")


@pytest.fixture
def made(tmp_path):
    home = Home(tmp_path / "home")
    (home.folder / "tiny.toml").write_text(TINY)
    yield home
    home.close()


def test_a_sqlite_store_at_which_another_host_works_is_refused_until_that_is_silent(store):
    check_alone()
    make_slot(host="far")
    if store == "postgresql":
        check_alone()
        return
    with pytest.raises(UserError, match=r"cpu-0 of host far works on it, and SQLite serves one"):
        check_alone()
    with transaction() as connection:
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        connection.execute(update(Slot).values(heartbeat_at=long_ago))
    check_alone()


@pytest.mark.slow
@needs_root
def test_workers_of_another_host_are_refused_at_a_sqlite_store(made):
    home = made
    home.nasnet("db", "upgrade")
    home.start("up")
    wait_until(lambda: len(home.json("worker", "list")) == 4, what="its processes")
    here = home.command
    home.command = [*AS_OTHER, *here]
    for arguments in (["up"], ["run", "tiny.toml"], ["worker", "start", "cpu-7"]):
        done = home.nasnet(*arguments, check=False)
        assert done.returncode == 2
        assert "SQLite serves one host" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    home.command = here
    assert {row["host"] for row in home.json("worker", "list")} != {"elsewhere"}
