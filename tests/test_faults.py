"""What reaches the command line's end is one line, whatever it is; ours is loud, in a file."""

import contextlib
import sqlite3
import stat

import pytest

from pipeline import cli
from pipeline.actions import stores as homes
from pipeline.cli import database, preset
from pipeline.errors import MachineError, UserError


def of_sqlite(number):
    """What SQLite's module raises over a number that no column holds."""
    connection = sqlite3.connect(":memory:")
    with contextlib.closing(connection), pytest.raises(OverflowError) as raised:
        connection.execute("SELECT ?", (number,))
    return raised.value


TOO_LARGE = of_sqlite(10**30)


def run(capsys, monkeypatch, error):
    """What `nasnet preset list` says and its exit code, where it raises an error."""

    def raising():
        raise error

    monkeypatch.setattr(preset, "preset_names", raising, raising=False)
    monkeypatch.setattr("pipeline.config.tables.preset_names", raising)
    monkeypatch.setattr("sys.argv", ["nasnet", "preset", "list"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return capsys.readouterr().err, ended.value.code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such thing\x1b[2J"), 2, "nasnet: no such thing\\x1b[2J\n"),
        (MachineError("it is away"), 2, "nasnet: it is away\n"),
        (OSError(28, "No space left on device", "/a"), 2, "nasnet: /a: No space left on device\n"),
        (MemoryError(), 2, "nasnet: memory does not suffice\n"),
        (TOO_LARGE, 2, "nasnet: a number is larger than any that the database holds\n"),
    ],
)
def test_what_somebody_can_mend_is_a_line_and_exit_code_2(
    home, capsys, monkeypatch, error, code, said
):
    assert run(capsys, monkeypatch, error) == (said, code)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("error", [TypeError("a\nb"), RecursionError(), KeyError("\x1b]0;x\x07")])
def test_a_fault_of_ours_is_a_line_and_its_traceback_a_file(home, capsys, monkeypatch, error):
    said, code = run(capsys, monkeypatch, error)
    assert code == 70
    [line] = said.splitlines()
    assert line.startswith(f"nasnet: a fault of ours: {type(error).__name__}: ")
    assert line.isprintable()
    [path] = (home / "logs").iterdir()
    assert line.endswith(f"its traceback is in {path}")
    assert "in raising" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_fault_of_ours_makes_no_home(home, capsys, monkeypatch):
    home.rmdir()
    said, code = run(capsys, monkeypatch, TypeError("a"))
    assert code == 70
    assert said == (
        "nasnet: a fault of ours: TypeError: a; NASNET_TRACEBACK=1 shows its traceback\n"
    )
    assert not home.exists()


def test_the_traceback_of_a_fault_is_shown_where_that_is_asked_for(home, capsys, monkeypatch):
    monkeypatch.setenv("NASNET_TRACEBACK", "1")
    said, code = run(capsys, monkeypatch, TypeError("a"))
    assert code == 70
    assert "Traceback" in said
    assert "in raising" in said
    assert said.endswith("nasnet: a fault of ours: TypeError: a; its traceback is above\n")


def test_a_home_of_ours_lets_nobody_else_in(home):
    home.chmod(0o755)
    homes.open_home()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_backup_is_ours_alone(sqlite_store, tmp_path, monkeypatch):
    import os

    before = os.umask(0o022)
    try:
        database.backup(tmp_path / "copy.db")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
