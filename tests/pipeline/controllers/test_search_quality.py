"""The benchmark of controllers on a table: what it prints, and what its exit code says."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra `test`")

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "search_quality.py"


@pytest.fixture
def table(tmp_path):
    """Of 1,296 candidates one is best, and each decision counts."""
    rows = [
        f"{''.join(map(str, actions))},{sum(actions)},{100 * sum(actions)}"
        for actions in itertools.product(range(6), repeat=4)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["key,valid,test", *rows]))
    return path


def run(table, *arguments):
    columns = ["--key=key", "--sizes=6,6,6,6", "--reward=valid", "--report=test"]
    return subprocess.run(
        [sys.executable, SCRIPT, "--table", table, *columns, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def test_a_row_a_controller_and_1_where_tpe_is_ahead_of_all(table):
    done = run(
        table,
        "--controllers=random",
        "--peers=tpe",
        "--seeds=4",
        "--batch=5",
        "--evaluations=40,60",
    )
    assert done.returncode == 1, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[:2] for row in rows[1:]] == [["| random", "5"], ["| tpe", "5"]]
    random, tpe = (float(row[2].split()[0]) for row in rows[1:])
    assert 1200 < random < tpe <= 2000


def test_a_controller_that_does_not_exist_is_refused_in_a_line(table):
    done = run(table, "--controllers=evolution:speed=1")
    assert done.returncode == 2
    assert done.stderr == (
        "controller.speed: there is no such key; `nasnet preset show digits` lists them\n"
    )
