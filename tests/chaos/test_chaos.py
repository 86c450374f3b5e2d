"""Half a minute of the monkey on a real search; ``python -m tests.chaos`` takes longer."""

import contextlib

import pytest

from tests.chaos.monkey import LEASE, Monkey, check_the_end, disturb_until, wait_for_end
from tests.processes import TINY, Home, wait_until


@contextlib.contextmanager
def search_on_its_way(folder):
    """The search TINY with a child done: its home, and a monkey that may disturb it."""
    home = Home(folder / "home", lease=str(LEASE), free="64K")
    (home.folder / "tiny.toml").write_text(TINY)
    monkey = Monkey(home, ["run", "tiny.toml", "--json"], seed=1)
    try:
        wait_until(lambda: home.completed("tiny") >= 1)
        yield home, monkey
    finally:
        home.close()
        monkey.close()


def check_undisturbed(home, monkey, undisturbed):
    """It ends, bit for bit, as where nobody disturbs it."""
    last = wait_for_end(monkey)
    assert (last["event"], last["children"], last["version"]) == ("finished", 12, 3)
    assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
    check_the_end(home)
    assert not (home.folder / "forged").exists()


def test_half_a_minute_of_the_monkey_changes_nothing(tmp_path, undisturbed):
    """Nothing is lost, nothing counted twice."""
    with search_on_its_way(tmp_path) as (home, monkey):
        assert monkey.forge() == "forge messages"
        disturb_until(monkey, seconds=30, every=1.5)
        assert monkey.kills >= 8
        check_undisturbed(home, monkey, undisturbed)


@pytest.mark.slow
def test_three_thousand_forged_messages_a_queue_change_nothing(tmp_path, undisturbed):
    with search_on_its_way(tmp_path) as (home, monkey):
        assert monkey.forge(3000) == "forge messages"
        check_undisturbed(home, monkey, undisturbed)
        logs = "".join(path.read_text("utf-8") for path in home.folder.glob("logs/*.log"))
        assert "a message was dropped" in logs
        assert "a process ended" not in monkey.said + logs
