"""Whatever is typed ends in exit code 0, 1 or 2, and never in a traceback."""

import io
import shutil
import sys

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli
from tests.conftest import _forget_process_state
from tests.factories import make_children

# Those that go on until they are ended; they take no texts but a host and a port.
ENDLESS = {"up", "dashboard"}
# What commands that only read are given beside: names that are there.
KNOWN = ("nasnet-a", "s0", "s0:1", "SELECT 1")
READING = {"network", "query", "report", "leaderboard", "doctor", "search", "genotype", "preset"}
WRITING = {"create", "pause", "resume", "stop", "extend", "accept-data", "delete", "rename"}

BYTES = st.binary(max_size=40).map(
    lambda data: data.replace(b"\0", b"").decode(errors="surrogateescape")
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    BYTES,
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        [
            "9" * 5000, "-" + "9" * 400, "1e999", "nan", "inf", "\u00b2", "\u0663", "s0:\u00b2",
            "s0:" + "9" * 5000, "nasnet-a:1", "", " ", "/dev/null", "/", "/dev/zero", ".",
            "cpu-\u00b2", "seed=" + "9" * 5000, "seed=0x" + "f" * 5000, "x=" + "[" * 5000,
            ".".join("a" * 3000) + "=1", "a=1\nb=2", "seed=\udcff", "--", "-", "=",
            "a" * 5000, "\udcff",
        ]
    ),
)  # fmt: skip


def leaves(command, path=()):
    """Every command there is with its words."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


COMMANDS = [
    (path, command)
    for path, command in leaves(typer.main.get_command(cli.app))
    if path[0] not in ENDLESS
]


@st.composite
def command_lines(draw):
    """A command with its arguments and some of its options, each anything."""
    path, command = draw(st.sampled_from(COMMANDS))
    reads = path[0] in READING and path[-1] not in WRITING
    values = TEXTS | st.sampled_from(KNOWN) if reads else TEXTS
    words = list(path)
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        if parameter.name == "help" or not (parameter.required or draw(st.integers(0, 3)) == 0):
            continue
        if is_option:
            words.append(parameter.opts[0])
        if not (is_option and parameter.is_flag):
            words.append(draw(values))
    return words


@pytest.fixture(scope="module")
def run(sqlite_template, tmp_path_factory):
    """A function that runs a command line in a store of its own; returns code and output."""
    folder = tmp_path_factory.mktemp("typed")
    shutil.copy(sqlite_template, folder / "nasnet.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASNET_HOME", str(folder))
        patch.chdir(folder)
        _forget_process_state()
        make_children()
        yield run_main
    _forget_process_state()


def run_main(arguments):
    printed = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, io.TextIOWrapper(printed, "utf-8", write_through=True))
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setattr(sys, "argv", ["nasnet", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        return code, printed.getvalue().decode()  # the streams close it when they go


@given(arguments=command_lines())
def test_whatever_is_typed_is_done_or_refused_in_words(run, arguments):
    code, printed = run(arguments)
    assert code in {0, 1, 2}, printed
    assert "Traceback" not in printed
    assert "fault of ours" not in printed
