"""Configurations and genotypes that were made to fill the memory, or to break a reader."""

import contextlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.tables import MOST_BYTES, parse_assignments, parse_toml, read_toml
from pipeline.errors import UserError
from pipeline.genotypes.genotype_files import MOST_BYTES as MOST_OF_GENOTYPE
from pipeline.genotypes.genotype_files import read_genotype
from pipeline.spaces import canonical
from tests.pipeline.spaces.test_canonical import cycles

ROOM = MOST_BYTES - 100
MADE = {
    "parts": ".".join("a" * (ROOM // 2)) + " = 1",
    "parts of a table": f"[{'.'.join('a' * (ROOM // 2))}]",
    "parts in braces": "x = { " + ".".join("a" * (ROOM // 2 - 10)) + " = 1 }",
    "quoted parts": '"a"' + '."a"' * (ROOM // 4) + " = 1",
    "lists": f"x = {'[' * (ROOM // 2)}{']' * (ROOM // 2)}",
    "tables": f"x = {'{x=' * (ROOM // 4)}1{'}' * (ROOM // 4)}",
    "empty tables": f"x = [{'{},' * (ROOM // 3)}]",
    "digits": f"x = {'9' * ROOM}",
    "keys": "\n".join(f"a{i}.b.c = 1" for i in range(ROOM // 14)),
}
WITHIN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
from pathlib import Path
from pipeline.errors import UserError
{}
for path in sys.argv[1:]:
    try:
        read(Path(path))
    except UserError as error:
        print(error)
"""
CONFIG = "from pipeline.config.search import make_config\n"
CONFIG += "from pipeline.config.tables import read_toml\n"
CONFIG += "read = lambda path: make_config(read_toml(path))"
GENOTYPE = "from pipeline.genotypes.genotype_files import read_genotype as read"


def refused_within_half_a_gigabyte(reader, folder, texts):
    """Each text in a file of its own is refused in a line, by one process."""
    paths = [folder / f"made{number}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    script = [sys.executable, "-c", WITHIN.format(reader), *map(str, paths)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(texts)


def test_configurations_that_were_made_to_fill_the_memory_are_refused(tmp_path):
    refused_within_half_a_gigabyte(CONFIG, tmp_path, list(MADE.values()))


def test_genotypes_that_were_made_to_fill_the_memory_are_refused(tmp_path):
    texts = ["[" * 10**5, f"[{'{},' * 80_000}{{}}]", '{"kind": ' + "9" * 10**4 + "}"]
    assert max(map(len, texts)) < MOST_OF_GENOTYPE
    refused_within_half_a_gigabyte(GENOTYPE, tmp_path, texts)


@pytest.mark.parametrize("name", ["long.json", "long.toml"])
def test_a_file_that_is_too_long_or_never_ends_is_refused_before_it_is_read(name, tmp_path):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(10**12)
    read = read_genotype if path.suffix == ".json" else read_toml
    for given_ in (path, Path("/dev/zero")):
        with pytest.raises(UserError, match=r"larger than|not a file"):
            read(given_)


parts = st.lists(st.sampled_from(["seed", "training", "a", "'.'", '"="', "", "x y"]), max_size=20)
values = st.text(max_size=30) | st.sampled_from(["1", "[1, {a.b = 2}]", "'a", "[" * 2000, "1e999"])


@given(parts.map(".".join), values)
def test_an_assignment_is_a_value_a_text_or_refused(key, value):
    with contextlib.suppress(UserError):
        assert isinstance(parse_assignments([f"{key}={value}"]), dict)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=5))
def test_texts_with_dots_and_braces_are_no_deep_keys(texts):
    lines = [f"{json.dumps(key)} = {json.dumps(text)}" for key, text in texts.items()]
    document = "\n".join(lines).replace("\x7f", "\\u007f")
    try:
        expected = tomllib.loads(document)
    except tomllib.TOMLDecodeError:
        return
    assert parse_toml(document) == expected


def test_a_path_of_many_dotted_parts_is_a_text():
    path = "/data/a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t"
    assert parse_toml(f"dataset = '{path}'  # {path}") == {"dataset": path}


def test_a_genotype_that_would_take_too_long_is_refused_by_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(canonical, "MOST_LOOKS", 100_000)
    path = tmp_path / "rings.json"
    path.write_text(cycles(2, 2, 3, 3, 4, 5, 6, 7).to_json())
    with pytest.raises(UserError, match=r"rings.json: too many parts of it look alike"):
        read_genotype(path)
