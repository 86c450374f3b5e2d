"""`nasnet data check` and `nasnet init` as a new user meets them, from any working folder."""

import json
import os
import shutil
import tomllib

import numpy as np
import pytest
from PIL import Image

from tests.processes import Home


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        path = tmp_path / "pets and more" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (12, 12 + number % 3, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "pets and more"


def test_a_data_set_is_looked_at_and_nothing_is_written(home, folder):
    told = home.nasnet("data", "check", f"../{folder.name}").stdout
    assert "12x12 to 12x14" in told
    assert "must be set, since sizes differ; 12 would fit" in told
    assert "cat      16           2     2" in told
    assert home.json("data", "check", str(folder))["dataset"] == f"imagefolder:{folder}"
    assert list(home.folder.iterdir()) == []


def test_damaged_files_are_named_and_refused(home, folder):
    (folder / "cat" / "0.png").write_bytes(b"broken")
    done = home.nasnet("data", "check", str(folder), check=False)
    assert done.returncode == 2
    assert "cat/0.png: not an image that can be read" in done.stderr
    assert "1 of 40 files cannot be read" in done.stderr


def test_init_writes_a_file_that_run_takes_as_it_is(home, folder):
    home.nasnet("init", f"../{folder.name}", "--out", "pets.toml")
    written = tomllib.loads((home.folder / "pets.toml").read_text("utf-8"))
    assert written["dataset"] == f"imagefolder:{folder}"
    assert written["image_size"] == 12
    again = home.nasnet("init", str(folder), "--out", "pets.toml", check=False)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    created = home.nasnet("search", "create", "pets.toml").stdout
    assert "40 images of 12x12 to 12x14, 2 classes of 20" in created
    config = home.json("search", "show", "pets")["config"]
    assert (config["dataset"], config["split"]) == (f"imagefolder:{folder}", "stratified")
    [row] = home.rows("SELECT fingerprint, summary FROM datasets")
    assert row[0] == config["fingerprint"]
    assert json.loads(row[1])["classes"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "says"), [(b"n\xff", "its path is not UTF-8"), (b"~nosuchuser", "home directory")]
)
def test_init_leaves_no_file_where_it_refuses(home, folder, name, says):
    shutil.copytree(folder, home.folder / os.fsdecode(name))
    done = home.nasnet("init", os.fsdecode(name), "--out", "pets.toml", check=False)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (home.folder / "pets.toml").exists()


def test_a_search_is_gone_on_with_from_any_folder_and_by_any_spelling_of_its_path(home, folder):
    small = ("--set", "image_size=12", "--name", "pets")
    home.nasnet("search", "create", "digits", *small, "--set", f"dataset=../{folder.name}")
    for spelling in (str(folder), f"imagefolder:{folder}", f"imagefolder:../{folder.name}"):
        again = ("search", "create", "digits", *small, "--set", f"dataset={spelling}")
        assert "is there already" in home.nasnet(*again, check=False).stderr


def test_a_changed_data_set_is_refused_by_run_in_a_line(home, folder):
    small = ("digits", "--set", "image_size=12", "--name", "pets")
    home.nasnet("search", "create", *small, "--set", f"dataset={folder}")
    (folder / "cat" / "0.png").unlink()
    done = home.nasnet("run", "digits", "--name", "pets", check=False)
    assert done.returncode == 2
    assert "train has 19 images of 'cat', had 20" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    accepted = home.nasnet("search", "accept-data", "pets").stdout
    assert "goes on with the images as they are now" in accepted
