"""A minute of the monkey on a real search; ``python -m tests.chaos`` is the same for longer."""

import pytest

from tests.chaos.monkey import (
    LEASE,
    Monkey,
    batches,
    checked,
    disturb_until,
    held_too_long,
    leftovers,
    wait_for_end,
)
from tests.processes import TINY, Home, wait_until

pytestmark = pytest.mark.slow


def test_half_a_minute_of_the_monkey_changes_nothing(tmp_path, undisturbed):
    """Nothing is lost, nothing counted twice: the search is, bit for bit, the undisturbed one."""
    home = Home(tmp_path / "home", lease=str(LEASE))
    (home.folder / "tiny.toml").write_text(TINY)
    try:
        monkey = Monkey(home, ["run", "tiny.toml", "--json"], seed=1)
        wait_until(lambda: home.completed("tiny") >= 1)
        disturb_until(monkey, seconds=30, every=1.5)
        last = wait_for_end(monkey)
        assert (last["event"], last["children"], last["version"]) == ("finished", 12, 3)
        assert sum(count for name, count in monkey.done.items() if name != "nobody") >= 10
        assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
        checked(home)
        assert held_too_long(home) == []
        assert batches(home) == [4, 4, 4]
        home.nasnet("down")
        assert leftovers(home) == []
    finally:
        home.close()
