"""The units that ship: each starts what the Procfile does, and again whatever ended it."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "docs" / "systemd").glob("*.service"))


def service(path):
    unit = configparser.ConfigParser(interpolation=None, comment_prefixes="#")
    unit.optionxform = str
    unit.read_string(path.read_text("utf-8"))
    return unit


def test_the_units_start_what_the_procfile_does_and_up():
    procfile = (ROOT / "Procfile").read_text("utf-8").splitlines()
    wanted = {line.partition(": ")[2] for line in procfile} | {"nasnet up"}
    started = {service(path)["Service"]["ExecStart"].rpartition("/bin/")[2] for path in UNITS}
    assert started == wanted


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_again_after_whatever_end_and_for_ever(path):
    unit = service(path)
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert int(unit["Service"]["TimeoutStopSec"]) > 60  # a step and a checkpoint
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_systemd_finds_nothing_wrong_with_them(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    for path in UNITS:  # with a command and a user that are here
        text = path.read_text("utf-8").replace("/opt/nasnet/bin/nasnet", "/bin/true")
        (tmp_path / path.name).write_text(text.replace("User=nasnet", "User=root"))
    units = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert told == []
