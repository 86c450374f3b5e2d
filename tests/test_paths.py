"""Folders with names that no URL has as they are: all that the file system allows works."""

import os
import stat
from contextlib import closing

import pytest
from sqlalchemy import select

from db.lifecycle.attempts import fail
from db.lifecycle.slots import set_state
from db.reads.sql import ask
from db.schema import migrations
from db.schema.enums import SlotState
from db.schema.models import Run, Slot
from db.schema.session import database_url, get_engine, transaction
from pipeline.errors import Failure, UserError
from pipeline.io import files
from pipeline.machine.broker import Broker, try_message
from pipeline.settings import get_settings
from tasks.messages import Task
from tests.conftest import _forget_process_state
from tests.factories import claim, make_children, make_slot, queue_run, run_of
from tests.processes import TINY, Home
from tests.tasks.test_transport import Reader

NAMES = [
    "hash#tag",
    "question?mark=1&x",
    "percent%41%zz",
    "semi;colon, comma @at :colon",
    "blank and 'quotes\" `$HOME` \\back",
    "line\nend\ttab",
    "Größe 数据 😀",
    os.fsdecode(b"not utf-8 \xff\xfe %FF"),
    "~",
    "d" * 200,
]


@pytest.fixture(params=NAMES, ids=ascii)
def strange(request, home, tmp_path, monkeypatch):
    """A home in a folder of a strange name."""
    folder = tmp_path / request.param
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("NASNET_HOME", str(folder))
    _forget_process_state()
    return folder


def test_a_database_lies_in_its_home_whatever_that_is_called(strange, tmp_path):
    before = set(tmp_path.iterdir())
    migrations.upgrade()
    assert (strange / "nasnet.db").stat().st_size > 0
    with ask("SELECT count(*) FROM searches", seconds=10) as answer:
        assert list(answer.rows) == [(0,)]
    assert set(tmp_path.iterdir()) == before


def test_a_message_arrives_by_the_broker_of_a_home_whatever_that_is_called(strange):
    migrations.upgrade()
    settings = get_settings()
    with closing(Stopped(settings)):
        assert stat.S_ISSOCK(settings.socket.stat().st_mode)
        try_message(settings)
        with closing(Reader(settings.broker, global_keyprefix="nasnet:store:")) as reader:
            reader.send(Task.SAMPLE, 7)
            assert reader.read_until(7) == [(Task.SAMPLE, 7)]


class Stopped(Broker):
    """A broker that runs until it is closed."""

    def __init__(self, settings):
        super().__init__(settings)
        self.ensure()
        self.close = self.stop


def test_an_artifact_is_written_found_and_deleted_whatever_its_folder_is_called(strange):
    url = f"{get_settings().artifact_url}/store/run-1/weights.pt"
    url.encode()  # a column of text takes it
    files.write(url, memoryview(b"weights"))
    assert (strange / "artifacts/store/run-1/weights.pt").read_bytes() == b"weights"
    assert files.read(url) == b"weights"
    assert len(files.names_in(url.rpartition("/")[0])) == 1
    files.delete(url)
    assert not (strange / "artifacts/store/run-1").exists()


def test_artifacts_given_by_a_path_or_a_file_url_lie_where_that_says(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given, folder in (("some#where", "some#where"), (f"file://{tmp_path}/a%20b", "a b")):
        monkeypatch.setenv("NASNET_ARTIFACTS", given)
        _forget_process_state()
        files.write(f"{get_settings().artifact_url}/file", memoryview(b""))
        assert (tmp_path / folder / "file").exists()


def test_a_broker_s_socket_given_by_a_url_may_be_quoted(home, tmp_path, monkeypatch):
    with closing(Stopped(get_settings())) as broker:
        (tmp_path / "a#b?c").symlink_to(broker.socket.parent)
        url = f"redis+socket://{tmp_path}/a%23b%3Fc/{broker.socket.name}"
        monkeypatch.setenv("NASNET_BROKER_URL", url)
        _forget_process_state()
        try_message(get_settings())


def test_a_home_whose_path_is_longer_than_sqlite_opens_is_refused_in_words(home, monkeypatch):
    monkeypatch.setenv("NASNET_HOME", str(home / ("x" * 200) / ("y" * 200) / ("z" * 200)))
    _forget_process_state()
    with pytest.raises(UserError, match="SQLite opens no file whose path is longer than 504"):
        get_engine()


def test_no_two_homes_share_a_database(home, tmp_path, monkeypatch):
    found = set()
    for name in ("x?1", "x?2", "x", "x#1"):
        monkeypatch.setenv("NASNET_HOME", str(tmp_path / name))
        _forget_process_state()
        found.add(database_url(get_settings()).database)
    assert len(found) == 4


@pytest.mark.parametrize("message", ["b\udcff\udcfe.png: cut off", "a NUL \0 in it"])
def test_what_a_file_name_brings_into_an_error_message_is_stored(store, message):
    _, [child_id] = make_children()
    run_id, slot = run_of(child_id).id, make_slot()
    queue_run(run_id)
    held = claim(run_id, slot)
    with transaction() as connection:
        fail(connection, run_id, held.attempt, Failure.DATA, message=message, traceback=message)
        set_state(connection, slot, 1, SlotState.REFUSING, message)
    with transaction(read_only=True) as connection:
        assert "\\" in connection.scalar(select(Run.message))
        assert "\\" in connection.scalar(select(Slot.reason))


def test_a_search_runs_in_a_folder_of_a_name_that_is_no_utf_8(tmp_path):
    home = Home(tmp_path / os.fsdecode(b"a #?%41;\xff\n'\"$"))
    (home.folder / "tiny.toml").write_text(TINY)
    try:
        done = home.nasnet("run", "tiny.toml", "--set=budget.children=1")
        assert '"event": "finished"' in done.stdout
        assert home.nasnet("db", "check").stdout.endswith("sound\n")
        assert [path for path in tmp_path.iterdir() if path != home.folder] == []
    finally:
        home.close()
