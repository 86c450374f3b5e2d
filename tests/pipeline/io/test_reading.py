"""Files of others: what is no file is not waited for, and what a parser raises is a line."""

import json
import os
import socket
import stat
import struct
import zipfile

import numpy as np
import pytest

from pipeline.config.tables import parse_assignments, read_toml
from pipeline.data.decoding import read_image
from pipeline.data.image_arrays import read_npz
from pipeline.data.image_trees import ImageFile
from pipeline.errors import MachineError, UserError
from pipeline.exports.writing import write_genotype
from pipeline.genotypes.genotype_files import read_genotype
from pipeline.io import files
from pipeline.io.json_text import read_json
from pipeline.io.reading import blaming, open_file, read_bytes
from pipeline.io.text import whole_number
from pipeline.search_files.importing import read_header
from pipeline.settings import read_settings
from pipeline.spaces.cells.published import NASNET_A


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def make_device(path):
    path.symlink_to("/dev/zero")


def make_folder(path):
    path.mkdir()


def make_loop(path):
    path.symlink_to(path)


READERS = {
    "a.toml": read_toml,
    "a.json": read_genotype,
    "a.safetensors": read_genotype,
    "a.jsonl": read_header,
    "a.npz": read_npz,
    "a.png": read_image,
}


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, make_folder, make_loop])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, name, make):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = tmp_path / name
    make(path.relative_to(tmp_path) if make is make_socket else path)
    with pytest.raises((UserError, MachineError)) as raised:
        READERS[name](path)
    assert len(str(raised.value).splitlines()) == 1


def test_an_image_that_has_become_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(MachineError, match="a pipe, not a file"):
        ImageFile(tmp_path, "a.png", 10).read()


def test_what_a_shell_hands_over_is_read(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, NASNET_A.to_json().encode())
    os.close(writing)
    try:
        assert read_genotype(type(tmp_path)(f"/dev/fd/{reading}")) == NASNET_A
    finally:
        os.close(reading)


def test_a_file_larger_than_any_of_its_kind_is_refused(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"# 12345")
    assert read_bytes(path, 7) == b"# 12345"
    with pytest.raises(UserError, match="larger than 6 bytes"):
        read_bytes(path, 6)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), KeyError("a"), ValueError("")])
def test_whatever_a_parser_raises_is_a_line(error):
    with pytest.raises(UserError, match=r"file: cannot be read: .+"), blaming("file"):
        raise error


def test_our_own_errors_pass_as_they_are():
    with pytest.raises(MachineError, match=r"^away$"), blaming("file"):
        raise MachineError("away")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
        ('[{"x": {"a": 1, "a": 1}}]', "the key 'a' is there twice"),
        ("NaN", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("9" * 5000, "5,000 digits"),
        ("[" * 100_000, "too deep"),
        (b"\xff", "byte 0 is not UTF-8"),
        ("{", "no JSON"),
        ("", "no JSON"),
    ],
)
def test_json_that_leaves_anything_open_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        read_json(text)


def test_a_genotype_with_a_key_twice_is_refused(tmp_path):
    text = NASNET_A.to_json()
    (tmp_path / "a.json").write_text(text[:-1] + ',"kind":"cell"}')
    with pytest.raises(UserError, match="the key 'kind' is there twice"):
        read_genotype(tmp_path / "a.json")


@pytest.mark.parametrize(
    "metadata",
    ["5", "[]", '"text"', '{"genotype": 5}', '{"genotype": "{}", "genotype": "{}"}', "null"],
)
def test_metadata_of_another_type_are_refused(tmp_path, metadata):
    header = f'{{"__metadata__": {metadata}}}'.encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(UserError, match="cannot be read"):
        read_genotype(path)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "9" * 5000,
        "a = 0x" + "f" * 5000,
        "[" + ".".join("a" * 5000) + "]",
        "a." * 5000 + "a = 1",
        "a = 1\na = 2",
    ],
)
def test_toml_that_nothing_can_bear_is_refused(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(UserError, match="not TOML"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "assignment",
    ["seed=" + "9" * 5000, "seed=0x" + "f" * 5000, "a=" + "[" * 5000, "a." * 5000 + "a=1"],
)
def test_a_value_that_nothing_can_bear_is_not_set(assignment):
    with pytest.raises(UserError, match=r"^--set"):
        parse_assignments([assignment])


def test_lines_in_a_value_set_no_other_key():
    assert parse_assignments(["dataset=1\nseed = 2"]) == {"dataset": "1\nseed = 2"}


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2147483647, 2147483647, 9, 9), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-6,), }",
        "{'descr': '<f8', 'fortran_order': 5, 'shape': (6,), }",
        "__import__('os').abort()",
        "[" * 9000,
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }",
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (3, 0), (9, 0)])
def test_an_array_whose_header_cannot_be_is_refused(tmp_path, header, version):
    size = struct.pack("<H" if version == (1, 0) else "<I", len(header))
    array = b"\x93NUMPY" + bytes(version) + size + header.encode() + b"\0" * 64
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x_train.npy", array)
        file.writestr("y_train.npy", array)
    with pytest.raises(UserError, match=r"a\.npz: "):
        read_npz(path)


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("007", 7), ("999999999", 999_999_999)])
def test_ascii_digits_are_a_number(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["\u00b2", "\u0663", "", "-1", "1.0", " 1", "9" * 10, "9" * 5000])
def test_other_digits_are_none(text):
    assert whole_number(text) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"NASNET_BROKER_URL": "redis://:secret@host:12x/0"},
        {"NASNET_BROKER_URL": "redis://[::1/0"},
        {"NASNET_BROKER_URL": "redis://host:99999/0"},
        {"NASNET_MEMORY": "infG"},
        {"NASNET_MEMORY": "9" * 5000},
        {"NASNET_DASHBOARD": "127.0.0.1:12x"},
        {"NASNET_DASHBOARD": "127.0.0.1:" + "9" * 5000},
        {"NASNET_DASHBOARD": "127.0.0.1:\u00b2"},
    ],
)
def test_a_setting_that_cannot_be_is_named(home, monkeypatch, settings):
    [(name, value)] = settings.items()
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=name) as raised:
        read_settings()
    assert "secret" not in str(raised.value)


def test_numbers_of_an_honest_archive_are_read(tmp_path):
    images, labels = np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels)
    assert read_npz(tmp_path / "a.npz").class_names == ("0", "1")
    with open_file(tmp_path / "a.npz") as file:
        assert file.read(2) == b"PK"
    assert json.loads(json.dumps(read_json('{"a": [1, 2.5, null]}'))) == {"a": [1, 2.5, None]}


# All ways in which a file that somebody named is written.
WRITERS = (
    lambda path: files.write(str(path), memoryview(b"new")),
    lambda path: write_genotype(NASNET_A, path),
)


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_no_file_is_not_replaced_by_one(tmp_path, write):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (pipe, tmp_path):
        with pytest.raises(UserError, match="not a file"):
            write(name)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_link_stays_and_the_file_that_it_names_is_replaced(tmp_path, write):
    (tmp_path / "there").mkdir()
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    file.write_text("old")
    link.symlink_to(file)
    write(link)
    assert link.is_symlink()
    assert file.read_text() != "old"
