"""A command that is refused has written nothing, and says why in one line."""

import contextlib
import json
import shutil
import sqlite3

import pytest

from db.schema.session import fault
from tests.processes import TINY, Home

SPLIT = "a\r\n\x1b[31mb\u2028c"


@pytest.fixture
def home(tmp_path):
    """A home that is not there yet; commands run in a folder beside it."""
    home = Home(tmp_path / "home")
    home.folder.rmdir()
    home.folder = tmp_path / "here"
    home.folder.mkdir()
    (home.folder / "tiny.toml").write_text(TINY)
    return home


def refused(home, *arguments, **environment):
    """Why a command is refused."""
    home.environment |= environment
    done = home.nasnet(*arguments, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert line.isprintable()
    assert done.stdout == ""
    return line


NOWHERE = "dataset=imagefolder:/nowhere"
UNKNOWN = {"NASNET_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["run", "digits", "--set", NOWHERE], {}, "there is no folder /nowhere"),
        (["search", "create", "digits", "--set", NOWHERE], {}, "there is no folder /nowhere"),
        (
            ["transfer", "nasnet-a", "--preset=digits", "--dataset=imagefolder:/nowhere"],
            {},
            "there is no folder /nowhere",
        ),
        (
            ["baseline", "resnet18", "--preset=digits", "--set=training.epochs=x"],
            {},
            "training.epochs",
        ),
        (["run", "digits"], {"NASNET_DEVICES": "abacus"}, "NASNET_DEVICES"),
        (["up"], {"NASNET_DEVICES": "abacus"}, "NASNET_DEVICES"),
        (["run", "digits"], {"NASNET_NOTIFY": "nobody"}, "NASNET_NOTIFY"),
        (["run", "digits"], {"NASNET_DATABASE_URL": "mysql://x/y"}, "NASNET_DATABASE_URL"),
        (["run", "digits"], UNKNOWN, "the database:"),
        (["db", "upgrade"], UNKNOWN, "the database:"),
        (["search", "import", "tiny.toml"], {}, "not a search"),
        (["genotype", "import", "tiny.toml"], {}, "tiny.toml"),
        (["worker", "start", "cuda-9"], {}, "no slot 'cuda-9'"),
        (["worker", "start", "control"], {}, "run `nasnet db upgrade`"),
        (["dashboard"], {}, "no store in"),
        (["search", "export", "digits", "--out", "file"], {}, "no store in"),
        (["db", "backup", "file"], {}, "no store in"),
    ],
)
def test_a_command_that_is_refused_leaves_nothing_behind(
    home, tmp_path, arguments, environment, said
):
    assert said in refused(home, *arguments, **environment)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["here", "tiny.toml"]


def test_a_search_file_whose_last_line_is_refused_leaves_no_store_behind(home, tmp_path):
    other = Home(tmp_path / "other")
    other.nasnet("search", "create", str(home.folder / "tiny.toml"))
    file = home.folder / "tiny.jsonl"
    other.nasnet("search", "export", "tiny", "--out", str(file))
    shutil.rmtree(other.folder)
    whole = file.read_text()
    file.write_text(whole + '{"record": "child"}\n')
    assert "line 1 announces no more than" in refused(home, "search", "import", "tiny.jsonl")
    header = {**json.loads(whole), "extra\r\n\x1b[0m": 1}
    file.write_text(json.dumps(header))
    refused(home, "search", "import", "tiny.jsonl")
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == ["here", "tiny.jsonl", "tiny.toml"]
    file.write_text(whole)
    assert "imported search 'tiny'" in home.nasnet("search", "import", "tiny.jsonl").stdout


def test_a_command_that_is_refused_leaves_a_store_as_it_was(tmp_path):
    home = Home(tmp_path / "home")
    (home.folder / "tiny.toml").write_text(TINY)
    home.nasnet("search", "create", "tiny.toml")
    before = sorted(home.folder.rglob("*"))
    for arguments in (
        ["run", "tiny.toml", "--set", "seed=5"],
        ["run", "tiny.toml", "--name", "b", "--set", NOWHERE],
        ["search", "create", "tiny.toml"],
        ["retrain", "tiny", "--preset", "digits"],
    ):
        refused(home, *arguments)
        assert sorted(home.folder.rglob("*")) == before
    assert home.rows("SELECT count(*) FROM searches")[0][0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "digits", "--set", f"{SPLIT}=1"],
        ["run", "digits", "--set", f"training.epochs={SPLIT}"],
        ["run", "digits", "--set", f"dataset=imagefolder:/{SPLIT}"],
        ["run", "digits", "--name", SPLIT],
        ["run", SPLIT],
        ["genotype", "show", SPLIT],
        ["search", "import", SPLIT],
        ["baseline", SPLIT],
        ["worker", "start", SPLIT],
    ],
)
def test_what_is_typed_in_several_lines_is_refused_in_one(home, arguments):
    assert "\\x1b[31mb" in refused(home, *arguments)


def test_what_a_store_is_asked_for_in_several_lines_is_refused_in_one(tmp_path):
    home = Home(tmp_path / "home")
    (home.folder / "tiny.toml").write_text(TINY)
    home.nasnet("search", "create", "tiny.toml")
    for arguments in (["search", "show", SPLIT], ["query", SPLIT], ["query", "\udcff"]):
        refused(home, *arguments)
    assert "not UTF-8" in refused(home, "search", "show", "\udcff")


def test_who_waits_too_long_for_others_is_told_what_they_may_be(tmp_path):
    path = tmp_path / "a.db"
    first, second = (sqlite3.connect(path, timeout=0) for _ in range(2))
    with contextlib.closing(first), contextlib.closing(second):
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as raised:
            second.execute("BEGIN IMMEDIATE")
    assert "search import`; try again" in fault(raised.value)
