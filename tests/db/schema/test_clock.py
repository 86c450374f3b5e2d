"""Whose clock decides."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from db.lifecycle import attempts, leases
from db.schema import migrations
from db.schema.session import transaction
from tests.factories import claim, make_children, make_slot, queue_run, run_of

# For each line that is read: this host's time, and the runs whose leases ended.
EXPIRE = """
import sys, time
from db.lifecycle import attempts
from db.schema.session import transaction
for _ in sys.stdin:
    with transaction() as connection:
        print(int(time.time()), *attempts.expire(connection), flush=True)
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
    with subprocess.Popen(
        [sys.executable, "-c", EXPIRE],
        env={**os.environ, **shifted},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as there:

        def expire():
            there.stdin.write("\n")
            there.stdin.flush()
            return [int(word) for word in there.stdout.readline().split()]

        now, *expired = expire()
        assert abs(now - time.time()) > 500  # the clock is off
        assert expired == []
        with transaction() as connection:
            assert attempts.expire(connection) == {}
            leases.renew(connection, run.id, 1, lease=-1.0)
        _, *expired = expire()
        assert expired == [run.id]
