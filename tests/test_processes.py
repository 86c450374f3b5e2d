"""One machine's processes, killed: whatever dies, the search ends, and ends the same."""

import json
import os
import signal

import pytest

from tests.processes import TINY, Home, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def make_home(tmp_path):
    homes = []

    def make(name="home", **settings):
        home = Home(tmp_path / name, **settings)
        (home.folder / "tiny.toml").write_text(TINY)
        homes.append(home)
        return home

    yield make
    for home in homes:
        home.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The digest of the tiny search that nobody disturbs, on one slot."""
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home", devices="cpu")
    (home.folder / "tiny.toml").write_text(TINY)
    try:
        done = home.nasnet("run", "tiny.toml")
        last = json.loads(done.stdout.splitlines()[-1])
        assert (last["event"], last["children"], last["version"]) == ("finished", 12, 3)
        return home.nasnet("search", "digest", "tiny").stdout
    finally:
        home.close()


def test_a_search_that_is_killed_all_over_ends_as_an_undisturbed_one(make_home, undisturbed):
    """kill -9 of a worker, then the broker, then control and reconcile, then the supervisor."""
    home = make_home()
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.completed("tiny") >= 1)
    for victim in ("cpu-0", "broker", "control", "reconcile"):
        home.kill(victim)
    wait_until(lambda: home.completed("tiny") >= 5)
    home.kill("cpu-1")
    run.kill()
    run.wait()
    assert home.pid("supervisor") is None
    done = home.nasnet("run", "tiny.toml")
    assert json.loads(done.stdout.splitlines()[0])["event"] == "resumed"
    assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
    children = home.json("search", "show", "tiny")["children"]
    assert (children["completed"], children["failed"], children["skipped"]) == (12, 0, 0)


def test_workers_outlive_their_supervisor_and_are_adopted(make_home):
    home = make_home(lease="20")
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.completed("tiny") >= 1)
    run.kill()
    run.wait()
    names = ("control", "reconcile", "cpu-0", "cpu-1", "broker")
    before = {name: home.pid(name) for name in names}
    assert all(before.values())
    again = home.start("run", "tiny.toml")
    wait_until(lambda: home.pid("supervisor") == again.pid)
    assert {name: home.pid(name) for name in names} == before
    assert again.wait(120) == 0


def test_processes_that_nobody_adopts_leave_and_take_the_broker_with_them(make_home):
    home = make_home()
    (home.folder / "tiny.toml").write_text(TINY.replace("epochs = 2", "epochs = 100000"))
    run = home.start("run", "tiny.toml")
    wait_until(lambda: all(home.pid(n) for n in ("cpu-0", "cpu-1", "control", "reconcile")))
    wait_until(lambda: any(row["run"] for row in home.json("worker", "list")))
    run.kill()  # before the pause: a supervisor that sees it ends everything itself
    run.wait()
    home.nasnet("search", "pause", "tiny")
    names = ("cpu-0", "cpu-1", "control", "reconcile", "broker")
    wait_until(lambda: not any(home.pid(n) for n in names), what="all to leave")


def test_a_hung_worker_is_ended_and_its_run_trained_by_another_process(make_home, undisturbed):
    home = make_home()
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.completed("tiny") >= 1)
    stopped = home.kill("cpu-0", signal.SIGSTOP)
    wait_until(lambda: home.pid("cpu-0") not in {None, stopped}, what="another cpu-0")
    assert run.wait(120) == 0
    assert home.nasnet("search", "digest", "tiny").stdout == undisturbed


def test_ctrl_c_stops_softly_and_says_how_to_go_on(make_home, undisturbed):
    home = make_home()
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.completed("tiny") >= 1)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert json.loads(output.splitlines()[-1])["go_on"].startswith("nasnet run tiny.toml")
    assert home.json("search", "show", "tiny")["state"] == "running"
    assert not any(row["run"] for row in home.json("worker", "list"))
    home.nasnet("run", "tiny.toml")
    assert home.nasnet("search", "digest", "tiny").stdout == undisturbed


def test_sighup_ends_the_display_and_not_the_search(make_home):
    home = make_home()
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.completed("tiny") >= 1)
    run.send_signal(signal.SIGHUP)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0
    assert "finished" not in output
    assert home.completed("tiny") == 12


def test_a_paused_search_ends_the_run_with_the_reason_and_goes_on_when_run_again(make_home):
    home = make_home()
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.completed("tiny") >= 1)
    home.nasnet("search", "pause", "tiny")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 3
    last = json.loads(output.splitlines()[-1])
    assert (last["event"], last["reason"]) == ("paused", "paused by hand")
    assert home.nasnet("run", "tiny.toml").returncode == 0


def test_up_keeps_processes_for_searches_created_elsewhere(make_home):
    home = make_home()
    up = home.start("up")
    wait_until(lambda: all(home.pid(n) for n in ("control", "reconcile", "cpu-0", "cpu-1")))
    home.nasnet("search", "create", "tiny.toml")
    watch = home.nasnet("run", "tiny.toml")  # only watches
    assert json.loads(watch.stdout.splitlines()[-1])["event"] == "finished"
    assert home.pid("supervisor") == up.pid
    home.nasnet("down")
    assert up.wait(60) == 0


def test_two_runs_in_one_home_share_its_processes(make_home):
    home = make_home()
    first = home.start("run", "tiny.toml", "--name", "a")
    wait_until(lambda: home.pid("supervisor") == first.pid)
    second = home.start("run", "tiny.toml", "--name", "b")
    assert first.wait(180) == 0
    assert second.wait(180) == 0
    digests = [home.nasnet("search", "digest", name).stdout for name in ("a", "b")]
    assert digests[0] == digests[1]


def test_a_worker_started_by_hand_serves_and_gives_its_run_back_on_sigterm(make_home):
    home = make_home()
    home.nasnet("search", "create", "tiny.toml")
    up = home.start("up")
    wait_until(lambda: home.completed("tiny") >= 1)
    pid = home.kill("cpu-0", signal.SIGTERM)
    wait_until(lambda: home.pid("cpu-0") not in {None, pid}, what="another cpu-0")
    wait_until(lambda: home.json("search", "show", "tiny")["state"] == "finished")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    home.nasnet("down")
    assert up.wait(60) == 0
