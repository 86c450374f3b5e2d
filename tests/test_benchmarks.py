"""Every benchmark still runs; how fast anything is, no test says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SMALL = [
    "child.py --parts step --threads 1",
    "database.py --genotypes 2000 --databases sqlite",
    "database.py --genotypes 2000 --databases postgresql",
    "pipeline.py --parts policy,help,busy,loop --databases sqlite --stored 2000",
    "recovery.py --leases 3 --outages 2 --repeat 1",
    "scale.py --slots 8 --seconds 10 --controller random",
    "search_cost.py --searches nas-digits",
    "search_files.py --children 50",
    "search_files.py --children 50 --database postgresql",
    "trained_controllers.py --home {folder} --children 8 --seeds 1",
]


@pytest.mark.parametrize("command", SMALL)
def test_a_benchmark_runs_at_a_small_size(command, tmp_path):
    script, *arguments = command.format(folder=tmp_path / "home").split()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NASNET_")}
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / script, *arguments],
        env={**clean, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a target was missed, which is no fault
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.strip()
