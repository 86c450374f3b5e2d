"""Whatever names and texts hold, a terminal is told nothing by them: it shows them, escaped."""

import datetime as dt
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from rich.text import Text
from sqlalchemy import text, update

from db.lifecycle import searches
from db.schema.models import Attempt, Run, Search, Slot
from db.schema.session import transaction
from pipeline import cli
from pipeline.cli import console
from pipeline.cli.output import shown
from pipeline.io.terminal import escape_output
from tests.factories import (
    claim,
    finish,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    run_of,
)

# A title, a cleared screen, a line that runs backwards, two of one byte, one that begins anew, a
# line of its own; nothing of no width.
EVIL = "x\x1b]0;title\x07\x1b[2J\u202e\x9b31m\rz\x08\nnasnet: all is well\u200b\x7f"

# How each command meets it: by a store that is full of it, or as an argument.
COMMANDS = {
    "run": [EVIL],
    "init": [EVIL],
    "up": None,  # what they start prints nothing of the store, and does not end
    "down": [],
    "retrain": [EVIL, "--top", "1"],
    "transfer": [EVIL, "--dataset", EVIL],
    "baseline": [EVIL, "--like", EVIL],
    "leaderboard": [],
    "predict": [EVIL, EVIL],
    "query": ["SELECT name, note, reason FROM searches"],
    "report": [EVIL, "--out", "r.html"],
    "dashboard": ["--host", EVIL],
    "network": [EVIL],
    "doctor": [],
    "search create": [EVIL],
    "search list": [],
    "search show": [EVIL],
    "search watch": [EVIL],
    "search pause": [EVIL],
    "search resume": [EVIL],
    "search stop": [EVIL],
    "search extend": [EVIL, "--children", "3"],
    "search accept-data": [EVIL],
    "search digest": [EVIL],
    "search delete": [f"{EVIL}2", "--yes"],
    "search rename": [EVIL, EVIL],
    "search note": [EVIL],
    "search tag": [EVIL],
    "search export": [EVIL, "--out", f"{EVIL}/x"],
    "search import": [EVIL],
    "genotype list": ["--search", EVIL],
    "genotype show": [f"{EVIL}:1"],
    "genotype export": [f"{EVIL}:1", "--out", EVIL],
    "genotype import": [EVIL],
    "genotype draw": [f"{EVIL}:1", "--out", f"{EVIL}.png"],
    "genotype compare": [f"{EVIL}:1", EVIL],
    "worker start": [EVIL],
    "worker list": [],
    "db upgrade": [],
    "db backup": [EVIL],
    "db check": [],
    "preset list": [],
    "preset show": ["digits", "--set", f"dataset={EVIL}"],
    "data check": [EVIL],
}


def commands(command, path=()):
    """Every command there is, by name."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path)


@pytest.fixture
def evil_store(sqlite_store, tmp_path, monkeypatch):
    """A store of a search with evil words in each column of text that may hold any."""
    search_id = make_search("s")
    make_version(search_id)
    slot = make_slot()
    for number, child_id in enumerate(propose(search_id, range(3))):
        run = run_of(child_id)
        queue_run(run.id)
        held = claim(run.id, slot)
        if number:
            finish(run.id, held.attempt, number / 4)
    with transaction() as connection:
        searches.pause(connection, search_id, EVIL)
        connection.execute(update(Search).values(name=EVIL, note=EVIL))
        connection.execute(text("INSERT INTO search_tags VALUES (1, :tag)"), {"tag": EVIL})
        words = {"message": EVIL, "device": EVIL, "traceback": EVIL}
        connection.execute(update(Attempt).values(versions={EVIL: EVIL}, failure="oom", **words))
        connection.execute(update(Run).values(message=EVIL))
        names = {"host": EVIL, "name": EVIL, "device_names": EVIL, "reason": EVIL}
        connection.execute(update(Slot).values(**names))
    make_search("another")
    with transaction() as connection:
        connection.execute(
            update(Search).where(Search.name == "another").values(name=f"{EVIL}2", state="paused")
        )
    monkeypatch.chdir(tmp_path)


def run_main(*arguments):
    """What a command prints, as bytes; and its exit code."""
    printed = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, io.TextIOWrapper(printed, "utf-8", write_through=True))
        patch.setattr(sys, "argv", ["nasnet", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            return printed.getvalue().decode(), ended.code or 0
    return printed.getvalue().decode(), 0


def assert_clean(printed, what):
    odd = {c for c in printed if not c.isprintable() and c != "\n"}
    assert not odd, (what, odd)
    # a note may have lines, and is all that is printed where it is asked for
    assert what == "search note" or "\nnasnet: all is well" not in printed, what


def test_no_command_prints_a_control_character(evil_store):
    assert set(commands(typer.main.get_command(cli.app))) == set(COMMANDS)
    for name, arguments in COMMANDS.items():
        if arguments is None:
            continue
        printed, code = run_main(*name.split(), *arguments)
        assert_clean(printed, name)
        assert code in {0, 1, 2}, (name, code, printed)


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--{EVIL}"],
        [EVIL],
        ["search", EVIL],
        ["search", "list", EVIL],
        ["search", "show", EVIL, EVIL],
    ],
)
def test_an_argument_that_is_refused_is_escaped(home, arguments):
    printed, code = run_main(*arguments)
    assert code == 2
    assert_clean(printed, arguments)
    assert "\\x1b]0;title" in printed


def test_json_and_csv_for_programs_have_what_is_stored(evil_store):
    printed, _ = run_main("search", "list", "--json")
    assert {row["name"] for row in json.loads(printed)} == {EVIL, f"{EVIL}2"}
    printed, _ = run_main("query", "SELECT note FROM searches WHERE note IS NOT NULL", "--csv")
    assert EVIL in printed


def test_a_terminal_s_own_colours_stay_and_texts_move_nothing():
    written = io.StringIO()
    out = console.EscapingConsole(file=written, force_terminal=True, color_system="standard")
    out.print(Text(EVIL, "bold"))
    assert "\x1b[1m" in written.getvalue()
    for piece in ("\x1b]", "\x1b[2J", "\x9b", "\r", "\u202e"):
        assert piece not in written.getvalue()


def test_what_anybody_writes_is_escaped_once_output_is_the_command_line_s(monkeypatch):
    printed = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(printed, "utf-8", write_through=True))
    escape_output()
    escape_output()  # twice is once
    sys.stdout.write(f"{EVIL}\n")
    sys.stderr.writelines([EVIL, "\n"])
    assert printed.getvalue().decode() == 2 * (
        "x\\x1b]0;title\\x07\\x1b[2J\\u202e\\x9b31m\\rz\\x08\nnasnet: all is well\\u200b\\x7f\n"
    )


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "UTC"])
def test_a_time_that_some_zones_have_not_is_shown(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for year, month, day in ((1, 1, 1), (9999, 12, 31)):
            for hour in (0, 23):
                moment = dt.datetime(year, month, day, hour, tzinfo=dt.UTC)
                assert shown(moment).count("-") == 2
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_shell_that_completes_gets_its_tabs(home):
    asked = {
        "_NASNET_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "nasnet se",
    }
    command = Path(sys.executable).with_name("nasnet")
    done = subprocess.run([command], env={**os.environ, **asked}, capture_output=True, text=True)
    assert "search\tCreate, list" in done.stdout
