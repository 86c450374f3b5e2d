"""No password, token or address of the settings is printed, whatever is wrong with it."""

import logging
import sys

import pytest
import structlog
import typer

import pipeline.cli
from db.schema.session import get_engine
from pipeline import logs
from pipeline.cli import faults
from pipeline.errors import UserError
from pipeline.machine.doctor import diagnose
from pipeline.settings import get_settings, redacted

TAIL = "hunter2tail"
ODD = [
    f"postgresql://me:fore1@{TAIL}@127.0.0.1:1/db",
    f"postgresql://me:fore1/{TAIL}@127.0.0.1:1/db",
    f"postgresql://me:fore1?{TAIL}@127.0.0.1:1/db",
    f"postgresql://me:fore1#{TAIL}@127.0.0.1:1/db",
    f"postgresql://me:12/{TAIL}@127.0.0.1:1/db",
    f"postgresql://me:fore1[{TAIL}@127.0.0.1:1/db",
    f"postgresql://me:fore1 {TAIL}@127.0.0.1:1/db",
    f"postgresql://me:fore1\u2100{TAIL}@127.0.0.1:1/db",
    f"postgresql://127.0.0.1:{TAIL}/db",
    f"postgresql:me:{TAIL}@127.0.0.1/db",
    TAIL,
]


def leaves(group=None, names=()):
    """All commands, with as many arguments as each needs."""
    group = group or typer.main.get_command(pipeline.cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*names, name))
        else:
            needed = [p for p in command.params if p.required and p.param_type_name == "argument"]
            yield [*names, name, *("x" for p in needed for _ in range(max(1, p.nargs)))]


def said(monkeypatch, capfd, arguments, **settings):
    """What a command says, and how it ends."""
    for name, value in settings.items():
        monkeypatch.setenv(f"NASNET_{name}", value)
    get_settings.cache_clear()
    get_engine.cache_clear()
    monkeypatch.setattr(sys, "argv", ["nasnet", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as ended:
        pipeline.cli.main()
    told = capfd.readouterr()
    return ended.value.code, told.out + told.err


def test_no_command_says_a_part_of_a_password_that_is_not_escaped(home, monkeypatch, capfd):
    looked = 0
    for number, arguments in enumerate(leaves()):
        for url in ODD if number == 0 else [ODD[number % len(ODD)]]:
            _, told = said(monkeypatch, capfd, arguments, DATABASE_URL=url)
            assert TAIL[:3] not in told, (arguments, url)
            assert "fore1" not in told, (arguments, url)
            looked += "NASNET_DATABASE_URL" in told
    assert looked > 20  # most of them read the settings


@pytest.mark.parametrize("url", [url.replace("postgresql", "redis") for url in ODD])
def test_a_broker_s_url_is_refused_without_its_password(home, monkeypatch, capfd, url):
    code, told = said(monkeypatch, capfd, ["doctor"], BROKER_URL=url)
    assert code == 2
    assert told.startswith("nasnet: NASNET_BROKER_URL: ")
    assert len(told.splitlines()) == 1
    assert TAIL not in told


@pytest.mark.parametrize(
    "url",
    [
        *(f"redis://127.0.0.1:1/{TAIL}", f"redis://127.0.0.1:1/0?password={TAIL}"),
        f"redis://:{TAIL}@127.0.0.1:port/0",
    ],
)
def test_a_password_at_another_place_is_refused_unseen(home, monkeypatch, capfd, url):
    code, told = said(monkeypatch, capfd, ["search", "list"], BROKER_URL=url)
    assert (code, TAIL in told) == (2, False)


@pytest.mark.parametrize(
    "url", [f"ftp://me:{TAIL}@host/folder", f"simplecache::ftp://me:a/{TAIL}@host/folder"]
)
def test_artifacts_take_no_password_since_rows_keep_their_address(home, monkeypatch, capfd, url):
    code, told = said(monkeypatch, capfd, ["search", "list"], ARTIFACTS=url)
    assert (code, TAIL in told) == (2, False)
    assert "NASNET_ARTIFACTS: has a password" in told


@pytest.mark.parametrize("token", ["a", "hunter2tail"])
def test_a_token_that_could_be_guessed_is_refused_and_not_shown(home, monkeypatch, capfd, token):
    code, told = said(monkeypatch, capfd, ["dashboard"], TOKEN=token)
    assert code == 2
    assert told == "nasnet: NASNET_TOKEN: expected text of 16 characters or more\n"


@pytest.fixture
def secretive(home, monkeypatch):
    """Settings full of secrets."""
    monkeypatch.setenv("NASNET_DATABASE_URL", f"postgresql://me:{TAIL}%40base@127.0.0.1:1/db")
    monkeypatch.setenv("NASNET_BROKER_URL", f"redis://:{TAIL}broker@127.0.0.1:1/0")
    monkeypatch.setenv("NASNET_TOKEN", f"{TAIL}-of-the-dashboard")
    monkeypatch.setenv("NASNET_NOTIFY", f"json://me:{TAIL}@127.0.0.1/{TAIL}")
    get_settings.cache_clear()


QUOTED = f"{TAIL}%40base {TAIL}@base {TAIL}broker {TAIL}-of-the-dashboard json://me:{TAIL}@127.0.0.1/{TAIL}"


def test_what_a_library_quotes_of_the_settings_is_in_no_log(secretive, tmp_path):
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    logs.configure("test", tmp_path / "log")
    try:
        try:
            raise ValueError(QUOTED)
        except ValueError as error:
            structlog.get_logger("tasks").exception("failed", error=str(error))
            logging.getLogger("a library").warning("quoted %s", QUOTED, exc_info=True)
        structlog.reset_defaults()
    finally:
        for handler in logging.getLogger().handlers:
            handler.close()
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    told = (tmp_path / "log").read_text()
    assert told.count("Traceback") == 2
    assert TAIL not in told


def test_what_a_library_quotes_of_the_settings_is_in_no_error(secretive, capsys):
    assert TAIL not in redacted(QUOTED)
    with pytest.raises(SystemExit):
        faults._say(QUOTED)
    assert TAIL not in capsys.readouterr().err


def test_the_doctor_says_what_does_not_answer_and_no_password(secretive):
    [finding] = diagnose(get_settings())
    assert finding.check == "database"
    assert "127.0.0.1" in finding.problem
    assert TAIL not in finding.problem


def test_an_unknown_option_of_a_database_s_url_is_named(home, monkeypatch, capfd):
    url = f"postgresql://127.0.0.1:1/db?passwrod={TAIL}"
    code, told = said(monkeypatch, capfd, ["search", "list"], DATABASE_URL=url)
    assert code == 2
    assert told == 'nasnet: NASNET_DATABASE_URL: invalid connection option "passwrod"\n'
    get_settings.cache_clear()
    with pytest.raises(UserError, match="passwrod"):
        get_engine()
