"""The command line as its users meet it: most of what they can do wrong, and the lists."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import COMMANDS
from pipeline.cli.lazy import LoadedCommands
from pipeline.cli.output import shown
from pipeline.cli.search import SearchCommands
from pipeline.cli.typed import TypedCommand
from pipeline.spaces.cells.genotype import OPERATIONS
from tests.processes import Home

NASNET = Path(sys.executable).with_name("nasnet")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing"], "no preset 'nothing'; there are: cifar10-final, digits"),
        (["run", "missing.toml"], "missing.toml: cannot be read"),
        (["run", "bad.toml"], "bad.toml: not TOML"),
        (["run", "digits", "--set", "training.epochs=many"], "training.epochs"),
        (["run", "digits", "--set", "colour=red"], "colour: there is no such key"),
        (["run", "digits", "--name", "a:b"], "--name"),
        (["run", "digits", "--name", ""], "--name ''"),
        (["run", "digits", "--name=-a"], "--name '-a'"),
        (["run", "digits", "--name", "a\nb"], "--name 'a\\nb'"),
        (["run", "empty.toml"], "empty.toml: has no keys; `nasnet preset show digits`"),
        (["run", "empty.toml", "--set", "seed=1"], "empty.toml: has no keys"),
        (["run", ".toml"], "--name ''"),
        (["search", "create", "digits", "--set", "traning.epochs=1"], "do you mean training?"),
        (
            ["run", "digits", "--set", "space.name=nas"],
            "space.name = 'nas': does not go with preset digits, which sets network.num_cells, "
            "network.num_filters, retrain.network.num_cells",
        ),
        (["run", "digits", "--set", "space.name=nas"], "preset nas-cifar10 or nas-digits has it"),
        (
            ["run", "of_preset.toml"],
            "controller.name = 'evolution': does not go with preset nasnet",
        ),
        (["search", "import", "home.json", "--name=-a"], "home.json"),
        (
            ["run", "digits", "--set", "dataset=imagefolder:/nowhere"],
            "there is no folder /nowhere",
        ),
        (["run", "digits", "--set", "dataset=birds"], "dataset 'birds' is unknown"),
        (["search", "show", "x"], "no store in"),
        (["genotype", "show", "abc"], "no genotype 'abc'"),
        (["genotype", "show", "home.json"], "home.json"),
        (["worker", "start", "cuda-9"], "no slot 'cuda-9'"),
        (["preset", "show", "x"], "no preset 'x'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(home, arguments, said):
    (home.folder / "bad.toml").write_text("a = = 1")
    (home.folder / "home.json").write_text("{}")
    (home.folder / "empty.toml").write_text("# nothing yet\n")
    (home.folder / ".toml").write_text("seed = 1")
    (home.folder / "of_preset.toml").write_text(
        "preset = 'nasnet-cifar10'\ncontroller.name = 'evolution'"
    )
    done = home.nasnet(*arguments, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--set", "colour=red"], ["--set", "dataset=imagefolder:/nowhere"]]
)
def test_bad_input_creates_no_search(home, arguments):
    home.nasnet("run", "digits", *arguments, check=False)
    done = home.nasnet("search", "list", "--json", check=False)
    assert done.returncode == 2 or json.loads(done.stdout) == []


def test_a_database_that_does_not_answer_is_one_line(tmp_path):
    home = Home(tmp_path / "home", database_url="postgresql://nobody@127.0.0.1:1/nothing")
    done = home.nasnet("run", "digits", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("nasnet: the database:")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_no_database_is_one_line(home):
    (home.folder / "nasnet.db").write_bytes(
        b"not a database, but long enough to be looked at" * 99
    )
    done = home.nasnet("search", "list", check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_tls_without_certificate_checks_is_refused(tmp_path):
    home = Home(tmp_path / "home", broker_url="rediss://h:1/0")
    done = home.nasnet("run", "digits", check=False)
    assert (done.returncode, "ssl_cert_reqs=required" in done.stderr) == (2, True)


def test_a_key_that_differs_from_the_stored_search_is_refused(home):
    home.nasnet("search", "create", "digits")
    done = home.nasnet("run", "digits", "--set", "seed=5", check=False)
    assert done.returncode == 2
    assert "has seed = 0, not 5" in done.stderr


def test_a_search_is_created_listed_shown_extended_and_stopped(home):
    home.nasnet("search", "create", "digits", "--name", "a", "--set", "budget.children=5")
    [row] = home.json("search", "list")
    assert (row["name"], row["state"], row["budget"]) == ("a", "running", 5)
    assert home.nasnet("search", "create", "digits", "--name", "a", check=False).returncode == 2
    home.nasnet("search", "extend", "a", "--children", "9", "--device-hours", "2.5")
    budget = home.json("search", "show", "a")["config"]["budget"]
    assert (budget["children"], budget["device_hours"], budget["hours"]) == (9, 2.5, None)
    nothing = home.nasnet("search", "extend", "a", check=False)
    assert (nothing.returncode, "--plateau" in nothing.stderr) == (2, True)
    assert home.json("search", "show", "a")["config"]["budget"]["children"] == 9
    home.nasnet("search", "pause", "a")
    assert home.json("search", "show", "a")["reason"] == "paused by hand"
    home.nasnet("search", "resume", "a")
    home.nasnet("search", "stop", "a")
    assert home.json("search", "show", "a")["state"] == "stopping"
    assert home.json("genotype", "list", "--search", "a") == []
    assert home.json("db", "check")["problems"] == []


def test_a_command_is_said_again_as_it_was_typed():
    typed = TypedCommand(
        "my searches/mine.toml", "a", ("seed=1", "dataset=npz:/x y.npz"), as_json=True
    )
    words = shlex.split(typed.line())
    assert words == [
        *("nasnet", "run", "my searches/mine.toml", "--name", "a"),
        *("--set", "seed=1", "--set", "dataset=npz:/x y.npz", "--json"),
    ]
    moved = TypedCommand("digits", None, ("budget.children=4", "budget={children=4}", "seed=1"))
    assert moved.line(budget=False) == "nasnet run digits --set seed=1"


def test_a_published_genotype_is_shown_without_a_store(home):
    shown = home.json("genotype", "show", "nasnet-a")
    assert shown["genotype"]["normal"]["concat"] == [1, 2, 3, 4, 5, 6]
    assert not (home.folder / "nasnet.db").exists()


def test_an_operation_has_one_name_in_all_that_is_said(home):
    """The one that it can be asked for with `genotype list --uses`."""
    shown = home.nasnet("genotype", "show", "nasnet-a").stdout
    compared = home.nasnet("genotype", "compare", "nasnet-a", "amoebanet-a").stdout
    for text in (shown, compared):
        named = set(re.findall(r"([a-z]\w*)\(\d", text)) - {"concat"}
        assert len(named) > 3
        assert named <= set(OPERATIONS)


def test_an_older_schema_is_not_started_on(home):
    import sqlite3

    home.nasnet("db", "upgrade")
    with sqlite3.connect(home.folder / "nasnet.db") as connection:
        connection.execute("DELETE FROM nasnet_schema")
    connection.close()
    for command in (["run", "digits"], ["worker", "start", "control"], ["search", "list"]):
        done = home.nasnet(*command, check=False)
        assert done.returncode == 2
        assert "nasnet db upgrade" in done.stderr


def test_a_newer_schema_is_worked_on(home):
    import sqlite3

    home.nasnet("db", "upgrade")
    with sqlite3.connect(home.folder / "nasnet.db") as connection:
        connection.execute("UPDATE nasnet_schema SET version_num = 'later'")
    connection.close()
    assert home.json("search", "list") == []


def modules_after(program):
    """The modules that a Python program has loaded at its end."""
    program += "; import sys; print('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_no_command_and_nothing_that_commands_need():
    loaded = modules_after(
        "import contextlib, sys; from pipeline.cli import main; sys.argv = ['nasnet', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n0"
    )
    commands = {name for name in loaded if name.startswith("pipeline.cli.")}
    assert commands == {"pipeline.cli.lazy"}
    assert not {"torch", "sqlalchemy", "celery", "pydantic", "rich"} & loaded


def test_commands_load_torch_and_what_is_optional_only_when_they_must():
    tables = {**COMMANDS, **SearchCommands.entries}
    del tables["network"]  # it builds one, whatever it is asked
    modules = sorted({entry.place.partition(":")[0] for entry in tables.values()})
    loaded = modules_after(f"import {', '.join(modules)}")
    assert not {"torch", "plotly", "fastapi", "onnx", "pyarrow", "pandas"} & loaded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nothing"], "no such option: --nothing (see `nasnet --help`)"),
        (["serach"], "no such command 'serach'. Did you mean 'search'? (see `nasnet --help`)"),
        (["search", "crate"], "search: no such command 'crate'. Did you mean 'create'?"),
        (["search", "pause"], "search pause: missing argument 'name' (see `nasnet search pause"),
        (["run", "digits", "--sets", "a=1"], "run: no such option: --sets"),
        (["run", "digits", "more"], "run: got unexpected extra argument(s) (more)"),
        (["run", "digits", "--set"], "option '--set' requires an argument"),
        (["genotype", "list", "--search", "s", "--limit", "x"], "invalid value for '--limit'"),
        (["genotype", "list", "--search", "s", "--arm", "\x1b[2J"], "invalid value for '--arm'"),
        (["query", "SELECT 1", "--timeout", "0"], "invalid value for '--timeout'"),
        (["dashboard", "--port", "0"], "dashboard: invalid value for '--port'"),
        (["data", "check"], "data check: missing argument 'DATASET'"),
    ],
)
def test_arguments_that_are_refused_are_one_line_and_exit_code_2(home, arguments, said):
    done = home.nasnet(*arguments, check=False)
    [line] = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("nasnet: ")
    assert said in line
    assert line.isprintable()


@pytest.mark.parametrize("group", [[], ["search"], ["db"]])
def test_a_group_alone_shows_its_help(home, group):
    done = home.nasnet(*group, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == home.nasnet(*group, "--help").stdout


@pytest.mark.parametrize("entries", [COMMANDS, SearchCommands.entries], ids=["nasnet", "search"])
def test_every_command_of_a_table_is_there_and_its_help_fits_a_line(entries):
    commands = LoadedCommands(entries)
    assert list(commands) == list(entries)
    for name, entry in entries.items():
        assert commands[name].help
        assert len(entry.help) <= 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('dataset = "C:\\Users\\me"', r"write dataset = 'C:\Users\me'"),
        ("mode = synchronous  # as it was", "text stands in quotes: write 'synchronous'"),
        ("dataset = imagefolder:/data", "text stands in quotes: write 'imagefolder:/data'"),
        ("[training]\nflip = True", "(at line 2, column 8); write true"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_with_what_to_write(home, text, said):
    (home.folder / "odd.toml").write_text(text)
    done = home.nasnet("run", "odd.toml", check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert said in line


def test_searches_are_marked_renamed_and_deleted(home):
    for name in ("a", "b"):
        home.nasnet("search", "create", "digits", "--name", name)
    home.nasnet("search", "tag", "a", "--add", "small", "--add", "x/1")
    home.nasnet("search", "note", "a", "first line\nsecond line")
    assert home.json("search", "tag", "a")["tags"] == ["small", "x/1"]
    assert home.nasnet("search", "note", "a").stdout == "first line\nsecond line\n"
    [row] = home.json("search", "list", "--tag", "small")
    assert (row["name"], row["note"]) == ("a", "first line\nsecond line")
    assert home.json("search", "list", "--tag", "small", "--tag", "none") == []
    listed = home.nasnet("search", "list").stdout
    assert "small; x/1  first line  " in listed
    home.nasnet("search", "rename", "a", "c")
    home.nasnet("search", "tag", "c", "--remove", "small")
    shown = home.json("search", "show", "c")
    assert (shown["tags"], shown["note"]) == (["x/1"], "first line\nsecond line")
    for refused, said in (
        (["rename", "c", "b"], "search 'b' is there already"),
        (["rename", "c", "x:1"], "the new name 'x:1'"),
        (["rename", "c", ""], "the new name ''"),
        (["tag", "c", "--add", "two words"], "--add 'two words'"),
        (["note", "c", "x" * 10_001], "at most 10,000 letters"),
        (["delete", "c"], "--yes deletes it"),
        (["delete", "nothing"], "no search 'nothing'"),
    ):
        done = home.nasnet("search", *refused, check=False)
        assert (done.returncode, said in done.stderr) == (2, True)
        assert len(done.stderr.splitlines()) == 1
    assert home.json("search", "delete", "c", "--yes")["children"] == 0
    assert [row["name"] for row in home.json("search", "list")] == ["b"]
    assert home.json("db", "check")["problems"] == []


def test_a_search_has_its_file_s_name_with_hyphens_for_what_no_name_may_have(home):
    (home.folder / "-my pets (1).toml").write_text("preset = 'digits'")
    home.nasnet("search", "create", "./-my pets (1).toml")
    assert [row["name"] for row in home.json("search", "list")] == ["my-pets--1-"]


@pytest.mark.parametrize(("answer", "left"), [("n\n", ["a"]), ("y\n", [])])
def test_somebody_is_asked_before_a_search_is_deleted(home, answer, left):
    import pty
    import subprocess

    home.nasnet("search", "create", "digits", "--name", "a")
    ours, theirs = pty.openpty()
    command = [*home.command, "search", "delete", "a"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env=home.environment,
    )  # fmt: skip
    os.write(ours, answer.encode())
    said, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert "Delete search 'a' with 0 children, 0 runs, 0 genotypes, 0 files of 0 bytes" in said
    assert process.returncode == (0 if answer == "y\n" else 2)
    assert [row["name"] for row in home.json("search", "list")] == left


def test_the_version_and_short_help_are_there(home):
    assert re.fullmatch(r"nasnet \d+\.\d+\.\d+\n", home.nasnet("--version").stdout)
    for command in ([], ["search"], ["search", "delete"], ["preset", "show"]):
        assert home.nasnet(*command, "-h").stdout == home.nasnet(*command, "--help").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_presets(home, shell):
    """As docs/how-to/shell.md installs it."""
    program = {**home.environment, "_NASNET_COMPLETE": f"source_{shell}"}
    done = subprocess.run([NASNET], env=program, capture_output=True, text=True)
    assert "_NASNET_COMPLETE" in done.stdout


def test_completion_knows_commands_and_presets(home):
    def completed(line):
        words = {
            "_NASNET_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        environment = {**home.environment, **words}
        done = subprocess.run([NASNET], env=environment, capture_output=True, text=True)
        return done.stdout.split()

    assert completed("nasnet ru") == ["run"]
    assert "delete" in completed("nasnet search ")
    assert completed("nasnet run enas-macro-d") == ["enas-macro-digits"]


def test_numbers_are_shown_as_they_are():
    assert [shown(value) for value in (1e-5, 0.5, 0.0, -2e-7)] == [
        *("1e-05", "0.5000", "0.0000", "-2e-07"),
    ]


@pytest.mark.parametrize(
    ("source", "hint"),
    [("digitz", "did you mean digits?"), (".", "that is a folder; `nasnet init .`")],
)
def test_a_preset_that_is_none_is_refused_with_what_may_be_meant(home, source, hint):
    assert hint in home.nasnet("run", source, check=False).stderr
