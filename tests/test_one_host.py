"""One home and its SQLite store: by two names, from two hosts, on a disk that takes nothing."""

import datetime as dt
import functools
import shutil
import subprocess

import pytest
import tenacity
from sqlalchemy import update

from db.schema.models import Slot
from db.schema.session import transaction
from pipeline.errors import UserError
from pipeline.settings import read_settings
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


def two_names(tmp_path):
    (tmp_path / "a link").symlink_to(tmp_path / "home")
    return tmp_path / "home", tmp_path / "a link"


def test_a_home_behind_a_link_is_the_home_itself(tmp_path):
    home, link = two_names(tmp_path)
    by_link, by_name = read_settings(home=link), read_settings(home=home)
    assert by_link == by_name
    assert by_link.socket == by_name.socket
    assert by_link.lock_path("cpu-0") == by_name.lock_path("cpu-0")
    assert by_link.artifact_url == by_name.artifact_url


def test_a_link_that_leads_to_itself_is_no_home(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="NASNET_HOME"):
        read_settings(home=tmp_path / "loop")


@pytest.mark.slow
def test_processes_started_by_a_link_are_ended_by_the_home_s_name_though_the_link_moved(
    made, tmp_path
):
    home, link = two_names(tmp_path)
    made.nasnet("db", "upgrade")
    made.start("up", NASNET_HOME=str(link))
    wait_until(lambda: len(made.json("worker", "list")) == 4, what="its processes")
    assert {row["home"] for row in made.json("worker", "list")} == {str(home)}
    link.unlink()
    link.symlink_to(tmp_path)
    assert "ended supervisor" in made.nasnet("down").stdout


@pytest.mark.slow
@needs_root
def test_a_disk_that_turns_read_only_rests_the_slots_and_the_search_goes_on_after_it(
    made, undisturbed
):
    artifacts = made.folder / "artifacts"
    artifacts.mkdir(mode=0o700)
    made.environment["NASNET_FREE"] = "64K"
    mount = functools.partial(subprocess.run, check=True)
    mount(["mount", "-t", "tmpfs", "-o", "size=64M,mode=0700", "tmpfs", artifacts])
    try:
        command = made.start("run", "tiny.toml")
        wait_until(lambda: made.completed("tiny") >= 1)
        turn(artifacts, "ro")
        reasons = wait_until(
            lambda: made.rows("SELECT reason FROM slots WHERE state = 'refusing'"),
            what="a slot to rest",
        )
        assert "Read-only file system" in reasons[0][0]
        turn(artifacts, "rw")
        assert command.wait(240) == 0
        assert made.nasnet("search", "digest", "tiny").stdout == undisturbed
    finally:
        made.nasnet("down")
        mount(["umount", "-l", artifacts])


@tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.02))
def turn(folder, how):
    """Remount a disk; it is busy while a file is being written."""
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True, capture_output=True)


@needs_root
def test_a_command_at_a_home_on_a_read_only_disk_says_so_in_a_line(made, tmp_path):
    made.nasnet("db", "upgrade")
    here = made.command
    script = f"mount --bind {made.folder} {made.folder} && mount -o remount,ro,bind {made.folder}"
    made.command = [*ELSEWHERE, f'{script}; exec "$@"', "sh", *here]
    for arguments in (["run", "tiny.toml"], ["worker", "start", "cpu-0"]):
        done = made.nasnet(*arguments, check=False)
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert str(made.folder) in line
        assert "read-only" in line.lower()
    done = made.nasnet("down", check=False)
    made.command = here
    assert done.returncode == 0, done.stderr
