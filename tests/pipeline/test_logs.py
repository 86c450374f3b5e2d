"""What a log line says, and how long a log grows."""

import io
import json
import logging
import resource
import threading

import pytest
import structlog

from pipeline import logs


@pytest.fixture
def lines(monkeypatch):
    """What is logged, read back; logging is put back afterwards."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("cpu-0")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_each_line_of_whatever_thread_and_library_says_what_is_worked_on(lines):
    log = structlog.get_logger("tasks")
    with logs.about(search=1, run=2, attempt=3):
        log.info("here")
        thread = threading.Thread(target=lambda: log.info("beside"))
        thread.start()
        thread.join()
        logging.getLogger("celery").warning("of a library")
    log.info("after")
    told = [
        [line[key] for key in ("event", "worker", "search", "run", "attempt")]
        for line in lines()[:3]
    ]
    assert told == [[event, "cpu-0", 1, 2, 3] for event in ("here", "beside", "of a library")]
    assert lines()[3].keys() == {"event", "worker", "level", "timestamp"}


def test_a_large_log_begins_anew_under_the_writer_and_three_older_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "LARGE", 100)
    path = tmp_path / "control.log"
    with path.open("ab", buffering=0) as writer:
        for number in range(6):
            writer.write(f"{number}".encode() * 100)
            logs.rotate(path)
        writer.write(b"on")
        logs.rotate(path)
    assert path.read_bytes() == b"on"
    older = [tmp_path / f"control.log.{number}" for number in (1, 2, 3)]
    assert [file.read_bytes()[:1] for file in older] == [b"5", b"4", b"3"]
    assert sorted(tmp_path.iterdir()) == sorted([path, *older])


@pytest.fixture
def no_room():
    """Files of this process may not grow beyond 50 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_log_whose_copy_finds_no_room_is_left_as_it_was(tmp_path, monkeypatch, request):
    monkeypatch.setattr(logs, "LARGE", 100)
    path = tmp_path / "control.log"
    path.write_bytes(b"0" * 100)
    request.getfixturevalue("no_room")
    with pytest.raises(OSError, match="too large"):
        logs.rotate(path)
    assert path.read_bytes() == b"0" * 100
    assert list(tmp_path.iterdir()) == [path]
