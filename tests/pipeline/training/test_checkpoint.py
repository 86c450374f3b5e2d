"""Checkpoint files: whole or not there, and never unpickled before their sha256 is right."""

import hashlib
import io
import os
import pickle
import stat
import subprocess
import sys

import fsspec
import pytest
import torch

from pipeline.errors import MachineError
from pipeline.io import files
from pipeline.training import checkpoint
from pipeline.training.checkpoint import CorruptCheckpointError

STATE = {"network": {"weight": torch.arange(6.0).view(2, 3)}, "progress": {"epoch": 3}}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def no_unpickling(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("torch.load was called")

    monkeypatch.setattr(torch, "load", refuse)


@pytest.mark.parametrize("prefix", ["", "file://", "local://"])
def test_state_comes_back_as_it_was_written(tmp_path, prefix):
    path = tmp_path / "run-1" / "a.pt"
    sha256, size = checkpoint.write(f"{prefix}{path}", STATE)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert path.stat().st_size == size
    state = checkpoint.read(f"{prefix}{path}", sha256)
    assert torch.equal(state["network"]["weight"], STATE["network"]["weight"])
    assert state["progress"] == {"epoch": 3}


def test_other_file_systems_will_do():
    url = "memory://artifacts/run-1/a.pt"
    sha256, _ = checkpoint.write(url, STATE)
    assert checkpoint.read(url, sha256)["progress"] == {"epoch": 3}
    files.delete(url)
    files.delete(url)
    with pytest.raises(CorruptCheckpointError):
        checkpoint.read(url, sha256)


def test_files_and_every_new_folder_are_for_the_owner_alone(tmp_path):
    old_mask = os.umask(0)
    try:
        checkpoint.write(str(tmp_path / "a" / "b" / "c.pt"), STATE)
    finally:
        os.umask(old_mask)
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700
    assert mode(tmp_path / "a" / "b" / "c.pt") == 0o600
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["c.pt"]


def test_leftover_of_a_crash_is_not_written_into(tmp_path):
    (tmp_path / "a.pt.tmp").write_bytes(b"x" * 100_000)
    url = str(tmp_path / "a.pt")
    sha256, _ = checkpoint.write(url, STATE)
    checkpoint.read(url, sha256)


def test_folder_deleted_between_making_and_using_it_is_made_again(tmp_path, monkeypatch):
    make, lost = files._make_folder, []

    def make_and_lose(folder):
        make(folder)
        if folder.name == "run-1" and not lost:
            folder.rmdir()  # as `delete` of another process does
            lost.append(folder)

    monkeypatch.setattr(files, "_make_folder", make_and_lose)
    checkpoint.write(str(tmp_path / "run-1" / "a.pt"), STATE)
    assert lost
    assert (tmp_path / "run-1" / "a.pt").exists()


def test_missing_file_is_corrupt(tmp_path):
    with pytest.raises(CorruptCheckpointError, match=r"gone\.pt"):
        checkpoint.read(str(tmp_path / "gone.pt"), "0" * 64)


@pytest.mark.parametrize("damage", ["flipped", "cut off", "longer", "empty"])
def test_damage_is_found_before_anything_is_unpickled(tmp_path, damage, no_unpickling):
    path = tmp_path / "a.pt"
    sha256, _ = checkpoint.write(str(path), STATE)
    data = path.read_bytes()
    damaged = {
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "cut off": data[:-1],
        "longer": data + b"\0",
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(CorruptCheckpointError, match="not the file that was written"):
        checkpoint.read(str(path), sha256)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write_bytes(path, data):
    path.write_bytes(data)
    return str(path), hashlib.sha256(data).hexdigest()


def test_pickled_code_is_refused_even_with_the_right_sha256(tmp_path):
    buffer = io.BytesIO()
    torch.save({"network": Attack(str(tmp_path / "attacked"))}, buffer)
    with pytest.raises(CorruptCheckpointError):
        checkpoint.read(*write_bytes(tmp_path / "a.pt", buffer.getvalue()))
    plain = pickle.dumps(Attack(str(tmp_path / "attacked")), protocol=2)
    with pytest.raises(CorruptCheckpointError):
        checkpoint.read(*write_bytes(tmp_path / "b.pt", plain))
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a checkpoint"])
def test_file_that_never_was_a_checkpoint_is_corrupt(tmp_path, data):
    with pytest.raises(CorruptCheckpointError):
        checkpoint.read(*write_bytes(tmp_path / "a.pt", data))


def test_tensor_alone_is_no_checkpoint(tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.zeros(1), buffer)
    with pytest.raises(CorruptCheckpointError, match="not a checkpoint"):
        checkpoint.read(*write_bytes(tmp_path / "a.pt", buffer.getvalue()))


def test_delete_tolerates_absence_and_removes_an_empty_folder(tmp_path):
    first, second = (str(tmp_path / "run-1" / name) for name in ("a.pt", "b.pt"))
    checkpoint.write(first, STATE)
    checkpoint.write(second, STATE)
    files.delete(first)
    assert (tmp_path / "run-1" / "b.pt").exists()
    files.delete(second)
    files.delete(second)
    assert not (tmp_path / "run-1").exists()


def test_place_that_cannot_be_written_is_the_machines_fault(tmp_path):
    (tmp_path / "file").write_text("no folder")
    url = str(tmp_path / "file" / "a.pt")
    with pytest.raises(MachineError, match=r"file/a\.pt: cannot be written"):
        checkpoint.write(url, STATE)


# The kernel refuses the write itself, as it does on a full disk.
FILE_TOO_LARGE = """
import resource, sys, torch
from pipeline.errors import MachineError
from pipeline.training import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoint.write(sys.argv[1], {"weight": torch.zeros(100_000)})
except MachineError as error:
    print(error)
"""


def test_write_that_fails_midway_is_the_machines_fault_and_leaves_nothing(tmp_path):
    path = tmp_path / "run-1" / "a.pt"
    command = [sys.executable, "-c", FILE_TOO_LARGE, str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == f"{path}: cannot be written: File too large\n"
    assert list(path.parent.iterdir()) == []


class AwayFileSystem(fsspec.AbstractFileSystem):
    protocol = "away"

    def _open(self, path, mode="rb", **kwargs):
        raise ConnectionError("no route to host")

    def makedirs(self, path, exist_ok=False):
        pass

    def rm(self, path, recursive=False, maxdepth=None):
        raise ConnectionError("no route to host")


def test_store_that_is_away_is_the_machines_fault():
    fsspec.register_implementation("away", AwayFileSystem, clobber=True)
    with pytest.raises(MachineError, match="no route"):
        checkpoint.write("away://bucket/a.pt", STATE)
    with pytest.raises(MachineError, match="no route"):
        checkpoint.read("away://bucket/a.pt", "0" * 64)
    files.delete("away://bucket/a.pt")
