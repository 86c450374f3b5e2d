"""Half a minute of the monkey on a real search; ``python -m tests.chaos`` takes longer."""

import pytest

from tests.chaos.monkey import LEASE, Monkey, check_the_end, disturb_until, wait_for_end
from tests.processes import TINY, Home, wait_until


def test_half_a_minute_of_the_monkey_changes_nothing(tmp_path, undisturbed):
    """Nothing is lost, nothing counted twice: the search is, bit for bit, the undisturbed one."""
    home = Home(tmp_path / "home", lease=str(LEASE), free="64K")
    (home.folder / "tiny.toml").write_text(TINY)
    monkey = Monkey(home, ["run", "tiny.toml", "--json"], seed=1)
    try:
        wait_until(lambda: home.completed("tiny") >= 1)
        assert monkey.forge() == "forge messages"
        disturb_until(monkey, seconds=30, every=1.5)
        last = wait_for_end(monkey)
        assert (last["event"], last["children"], last["version"]) == ("finished", 12, 3)
        assert monkey.kills >= 8
        assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
        check_the_end(home)
        assert not (home.folder / "forged").exists()
    finally:
        home.close()
        monkey.close()


@pytest.mark.slow
def test_three_thousand_forged_messages_a_queue_change_nothing(tmp_path, undisturbed):
    home = Home(tmp_path / "home", lease=str(LEASE), free="64K")
    (home.folder / "tiny.toml").write_text(TINY)
    monkey = Monkey(home, ["run", "tiny.toml", "--json"], seed=1)
    try:
        wait_until(lambda: home.completed("tiny") >= 1)
        assert monkey.forge(3000) == "forge messages"
        last = wait_for_end(monkey)
        assert (last["event"], last["children"], last["version"]) == ("finished", 12, 3)
        logs = "".join(path.read_text("utf-8") for path in home.folder.glob("logs/*.log"))
        assert "a message was dropped" in logs
        assert "a process ended" not in monkey.said + logs
        assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
        check_the_end(home)
        assert not (home.folder / "forged").exists()
    finally:
        home.close()
        monkey.close()
