"""Whose clock decides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from db.lifecycle import leases
from db.schema import migrations
from db.schema.session import transaction
from tests.factories import claim, make_children, make_slot, queue_run, run_of

EXPIRE = """
import time
from db import attempts
from db.schema.session import transaction
with transaction() as connection:
    print(int(time.time()), *attempts.expire(connection))
"""


@pytest.mark.parametrize("minutes", [-10, 10])
def test_postgresql_s_clock_decides_and_not_a_host_s_that_is_off(postgres_url, minutes):
    libfaketime = pytest.importorskip("libfaketime", reason="needs the extra `test`, on Linux")
    migrations.upgrade()
    _, [child_id] = make_children()
    run = run_of(child_id)
    queue_run(run.id)
    claim(run.id, make_slot(), lease=90.0)
    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    shifted = {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{60 * minutes:+}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def expire(**environment):
        done = subprocess.run(
            [sys.executable, "-c", EXPIRE],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[3],
        )
        return [int(word) for word in done.stdout.split()]

    here, *none = expire()
    there, *expired = expire(**shifted)
    assert abs(there - here) > 500  # the clock was off
    assert (none, expired) == ([], [])
    with transaction() as connection:
        leases.renew(connection, run.id, 1, lease=-1.0)
    _, *expired = expire(**shifted)
    assert expired == [run.id]
