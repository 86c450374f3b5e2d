"""Any value of an exported search's file may be another: it is refused, or all goes on."""

import json
import os
import shutil
import time

import pytest
from fastapi.testclient import TestClient
from hypothesis import event, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from db.lifecycle import epochs
from db.reads import soundness
from db.schema.enums import Arm
from db.schema.session import get_engine, transaction
from pipeline import cli
from pipeline.actions.search_files import Form
from pipeline.cli.search_files import export, import_
from pipeline.dashboard.access import make_access
from pipeline.dashboard.app import make_app
from pipeline.errors import Failure, UserError
from pipeline.search_files import importing
from pipeline.settings import get_settings
from pipeline.spaces import NASNetSpace
from tests.conftest import _forget_process_state
from tests.factories import (
    attempts,
    claim,
    finish,
    make_search,
    make_slot,
    make_version,
    propose,
    queue_run,
    run_of,
)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
ZONES = ("Pacific/Kiritimati", "Etc/GMT+12")
# Commands that read what was imported, once in each zone.
COMMANDS = (
    ("search", "list"),
    ("search", "show", "digits"),
    ("search", "watch", "digits"),
    ("genotype", "list", "--search", "digits"),
    ("leaderboard",),
    ("db", "check"),
)
PAGES = (
    *("/", "/searches/digits", "/searches/digits/genotypes", "/failures", "/workers"),
    *("/searches/digits/genotypes.csv", "/api/searches/digits", "/metrics"),
)


def fill():
    """A search with what a file can hold: rewards, a repeat, a failure, curves, what runs."""
    search_id = make_search("digits", control=0.25)
    make_version(search_id)
    slot = make_slot()
    ids = propose(search_id, (0, 1, 2, 1, 3))
    ids += propose(search_id, (5,), arm=Arm.CONTROL)
    for number, child_id in enumerate((ids[0], ids[1], ids[2], ids[5])):
        run = run_of(child_id)
        queue_run(run.id)
        held = claim(run.id, slot)
        with transaction() as connection:
            point = {"loss": 2.5, "train_accuracy": 0.1, "accuracy": 0.25}
            times = {"learning_rate": 0.1, "seconds": 1.5, "waited": 0.5}
            epochs.put(connection, run.id, held.attempt, epoch=1, **point, **times)
            if number == 2:
                attempts.fail(
                    connection, run.id, held.attempt, Failure.DIVERGED, message="no number"
                )
        if number != 2:
            finish(run.id, held.attempt, 0.25 + number / 8, parameters=2**30, macs=5)
    held = run_of(ids[4])
    queue_run(held.id)
    claim(held.id, slot)
    shares = [[1 / d.choices] * d.choices for d in NASNetSpace(2).decisions]
    make_version(
        search_id,
        1,
        learned=4,
        total_learned=4,
        consumed=ids[:4],
        diagnostics={
            "entropy": 20.0,
            "kl": 0.01,
            "clip_fraction": 0.0,
            "baseline": 0.5,
            "mean_reward": 0.5,
            "staleness": 0.0,
            "duplicates": 1,
            "loss": -0.5,
            "probabilities": shares,
        },
    )


class Honest:
    """A file's lines; not shown where a test fails, since they are long."""

    def __init__(self, path):
        self.lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.lines[0]["digest"] = "0" * 64


@pytest.fixture(scope="module")
def honest(sqlite_template, tmp_path_factory):
    """An honest file's lines."""
    folder = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASNET_HOME", str(folder))
        _forget_process_state()
        shutil.copy(sqlite_template, folder / "nasnet.db")
        fill()
        export("digits", Form.JSONL, folder / "digits.jsonl")
        _forget_process_state()
    return Honest(folder / "digits.jsonl")


def places(value, before=()):
    """Where a value stands in a line, with it; and every value within it."""
    yield before, value
    inner = {dict: dict.items, list: enumerate}.get(type(value), lambda _: ())(value)
    for key, part in inner:
        yield from places(part, (*before, key))


def replaced(value, place, new):
    if not place:
        return new
    parts = dict(value) if isinstance(value, dict) else list(value)
    parts[place[0]] = replaced(parts[place[0]], place[1:], new)
    return parts


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.floats(0, 1),
    st.integers(0, 3),
    st.sampled_from([2**31 - 1, 2**52, 2**53, 2**63 - 1, 10**400, 1.7e308, 5e-324, -0.0, 3e38]),
)
TIMES = st.one_of(
    st.datetimes(),
    st.sampled_from(["0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999", "1970-01-01"]),
).map(str)
VALUES = st.one_of(
    NUMBERS,
    st.text(),
    TIMES,
    st.none(),
    st.booleans(),
    st.sampled_from(["done", "failed", "cancelled", "lost", "rewarded", "skipped", "finished"]),
    st.lists(NUMBERS, max_size=20),
    st.recursive(
        st.none() | NUMBERS | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
)


# In place of a value one of its type, which is taken more often.
ALIKE = {
    int: st.integers(0, 3) | st.integers(0, 2**53),
    float: st.floats(0, 1) | st.floats(allow_nan=False, allow_infinity=False),
    str: TIMES | st.text(),
}


@st.composite
def changes(draw, lines):
    """A line's number, a place in it, and what shall stand there."""
    number = draw(st.integers(0, len(lines) - 1))
    all_places = dict(places(lines[number]))
    in_config = draw(st.integers(0, 3)) == 0  # most of line 1 is
    chosen = [place for place in all_places if ("config" in place) == in_config]
    place = draw(st.sampled_from(chosen or list(all_places)))
    return number, place, draw(ALIKE.get(type(all_places[place]), VALUES) | VALUES)


@pytest.fixture
def zone(monkeypatch):
    """Moves this process to another time zone, and back at the end."""

    def move(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def try_file(home, sqlite_template, tmp_path, monkeypatch, zone):
    """Import a file; where it is taken, ask for all that reads it."""
    # whoever writes a file can write the digest that fits
    monkeypatch.setattr(importing.digests, "search_digest", lambda *_: "0" * 64)
    # the same process, whatever the command
    monkeypatch.setattr("pipeline.logs.configure", lambda *_, **__: None)
    path = tmp_path / "digits.jsonl"

    def attempt(lines):
        get_engine().dispose()
        shutil.copy(sqlite_template, home / "nasnet.db")
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            import_(path, name="digits")
        except UserError as error:
            return said_in_one_line(str(error))
        read_all(zone, tmp_path)
        return True

    yield attempt
    get_engine().dispose()


def said_in_one_line(text):
    """A refusal: not taken."""
    assert len(text.splitlines()) == 1
    assert len(text) < 1000
    return False


def read_all(zone, folder):
    for name in ZONES:
        zone(name)
        for command in COMMANDS:
            run_well(*command)
    out = str(folder / "again")
    run_well("report", "digits", "--out", f"{out}.html")
    run_well("search", "export", "digits", "--out", f"{out}.jsonl")
    client = TestClient(
        make_app(make_access(get_settings(), "127.0.0.1")), base_url="http://127.0.0.1"
    )
    for page in PAGES:  # the report has had all figures
        assert client.get(page).status_code == 200, page
    with transaction(read_only=True) as connection:
        assert soundness.impossible(connection) == []
    run_well("search", "delete", "digits", "--yes")
    import_(folder / "again.jsonl", name="digits")


def run_well(*arguments):
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)


def test_the_honest_file_is_taken(honest, try_file):
    assert try_file(honest.lines)


@settings(max_examples=EXAMPLES or 25)  # what is taken is read for a second
@given(data=st.data())
def test_a_file_with_another_value_is_refused_or_all_that_reads_it_works(honest, try_file, data):
    number, place, value = data.draw(changes(honest.lines))
    lines = [*honest.lines]
    lines[number] = replaced(lines[number], place, value)
    taken = try_file(lines)
    event("taken" if taken else "refused")
