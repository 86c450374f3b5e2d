"""A host's clock is set by a day while a search runs on it."""

from pathlib import Path

import pytest

from tests.processes import TINY, Home, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.close()


@pytest.mark.parametrize("jumps", [("+1d", "+0"), ("-1d", "+0")], ids=["forwards", "backwards"])
def test_a_clock_that_is_set_by_a_day_and_back_costs_a_search_nothing(
    home, tmp_path, undisturbed, jumps
):
    libfaketime = pytest.importorskip("libfaketime", reason="needs the extra `test`, on Linux")
    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    (home.folder / "tiny.toml").write_text(TINY)
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    command = home.start("run", "tiny.toml", **faked)
    for done, jump in zip((1, 5), jumps, strict=True):
        wait_until(lambda done=done: home.completed("tiny") >= done, what=f"{done} children")
        clock.write_text(f"{jump}\n")
    assert command.wait(300) == 0
    assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
    assert home.json("db", "check")["problems"] == []
