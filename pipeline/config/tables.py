"""A configuration before it is checked: tables from presets, TOML files and ``--set``, merged."""

import difflib
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.io.reading import blaming, read_bytes

Tables = dict[str, Any]  # keys of a configuration, in tables of tables, as TOML has them

# Of a configuration; all keys with all comments, as `nasnet preset show` prints them, are 24,000.
MOST_BYTES = 2**17
# Parts of a dotted key; ours have four. What tomllib takes grows with their square: 20,000 parts
# took 1.6 GB.
MOST_PARTS = 16
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY = re.compile(
    rf"""(?:^|[\[{{,])[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MOST_PARTS}}}""", re.MULTILINE
)
DEEPEST = 20  # tables and lists in one another
SHOWN = 100  # letters of an assignment that is refused


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    files = resources.files("pipeline.presets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def _hint(name: str) -> str:
    """What somebody may have meant."""
    if Path(name).is_dir():
        return f": that is a folder; `nasnet init {shlex.quote(name)}` makes a file for its images"
    near = difflib.get_close_matches(name, preset_names(), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def preset_text(name: str) -> str:
    """A preset's TOML, comments included.

    Raises:
        UserError: there is no such preset.
    """
    if name not in preset_names():
        raise UserError(f"no preset {name!r}{_hint(name)}; there are: {', '.join(preset_names())}")
    return resources.files("pipeline.presets").joinpath(f"{name}.toml").read_text("utf-8")


def description(name: str) -> str:
    """What a preset is for: the first sentence of its file, without what is in brackets.

    Raises:
        UserError: there is no such preset.
    """
    lines = itertools.takewhile(lambda line: line.startswith("#"), preset_text(name).splitlines())
    text = re.sub(r"\s*\([^()]*\)", "", " ".join(line[1:].strip() for line in lines))
    return re.split(r"(?<=\.)\s", text)[0].removesuffix(".")


def read_preset(name: str) -> dict[str, Any]:
    """A preset's tables.

    Raises:
        UserError: there is no such preset.
    """
    return tomllib.loads(preset_text(name))


def read_toml(path: Path) -> dict[str, Any]:
    """A configuration file's tables.

    Raises:
        UserError: the file cannot be read, is no TOML, or has no keys.
    """
    with blaming(path):
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")  # some editors begin so
    with blaming(path, "not TOML"):
        tables = _parse_file(text.replace("\r\n", "\n").replace("\r", "\n"))
    if not tables:
        raise UserError(f"{path}: has no keys; `nasnet preset show digits` lists those there are")
    return tables


def _parse_file(text: str) -> dict[str, Any]:
    """A file's tables; where it is no TOML, the error says what is probably meant.

    Raises:
        ValueError, RecursionError: as ``parse_toml``.
    """
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}{_correction(text, str(error))}") from None


def _correction(text: str, problem: str) -> str:
    """What to write in a line with a backslash in double quotes, or with text without quotes."""
    place = re.search(r"\(at line (\d+), column (\d+)\)", problem)
    if place is None:
        return ""
    line = text.split("\n")[int(place[1]) - 1]
    key, _, value = (part.strip() for part in line.partition("="))
    quoted = re.match(r'"([^"]*\\[^"]*)"', value)
    if quoted is not None and "'" not in value:
        return f"; a backslash in double quotes begins an escape: write {key} = '{quoted[1]}'"
    bare = re.match(r"[A-Za-z/~.][^\s#,\[\]{}\"']*", line[int(place[2]) - 1 :])
    if bare is None or not problem.startswith("Invalid value"):
        return ""
    if bare[0].lower() in {"true", "false"}:
        return f"; write {bare[0].lower()}"
    return f"; text stands in quotes: write '{bare[0]}'"


def parse_toml(text: str) -> dict[str, Any]:
    """A text's tables, unless it was made to fill the memory, or what no key takes is in it.

    Raises:
        ValueError: it is no TOML (``TOMLDecodeError``); tables or lists are in one another too
            deep; a whole number is too long.
        RecursionError: much too deep.
    """
    deep = _DEEP_KEY.search(text)
    if deep is not None:
        line = text.count("\n", 0, deep.end()) + 1
        raise ValueError(f"a key of more than {MOST_PARTS} parts (at line {line})")
    tables = tomllib.loads(text)
    _check_values(tables)
    return tables


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``--set key=value``, dotted keys, as nested tables. Values are TOML, or else plain text.

    Raises:
        UserError: an assignment has no ``=`` or contradicts another.
    """
    tables: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {assignment}: expected key=value, such as budget.children=40")
        value = _parsed(assignment, text)
        *path, leaf = key.strip().split(".")
        if len(path) >= MOST_PARTS:
            raise UserError(f"--set {key[:SHOWN]}...: a key of more than {MOST_PARTS} parts")
        table = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UserError(f"--set {assignment}: {part} is a value, not a table")
        if isinstance(table.get(leaf), dict) != isinstance(value, dict) and leaf in table:
            raise UserError(f"--set {assignment}: {leaf} is given twice")
        table[leaf] = value
    return tables


def _parsed(assignment: str, text: str) -> Any:
    with blaming(f"--set {assignment[:SHOWN]}", "cannot be read"):
        try:
            found = parse_toml(f"value = {text}")
        except tomllib.TOMLDecodeError:
            return text
    return found["value"] if len(found) == 1 else text  # of several lines


def _check_values(value: Any, depth: int = 0) -> None:
    """Refuse what no key takes, and what others then would have to bear.

    Raises:
        ValueError: a table in a table in a table and so on, or a number of too many digits.
    """
    if depth > DEEPEST:
        raise ValueError(f"tables and lists are more than {DEEPEST} deep")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_values(inner, depth + 1)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number has more than 64 bits")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the keys of ``over`` in its place, table by table."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        merged[key] = value
    return merged


def flattened(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each key, dotted, with its value."""
    for key, value in tables.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(
    written: Mapping[str, Any], stored: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """(key, stored, written) of each key that somebody wrote and that differs."""
    found: list[tuple[str, Any, Any]] = []
    for key, value in written.items():
        old = stored.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found += differences(value, old, f"{prefix}{key}.")
        elif value != old:
            found.append((f"{prefix}{key}", old, value))
    return found
