"""One machine's processes, killed: whatever dies, the search ends, and ends the same."""

import fcntl
import json
import os
import signal
import subprocess
import termios
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.processes import TINY, Home, wait_until
from tests.servers import Broker, free_port

PROCFILE = Path(__file__).parent.parent / "Procfile"


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


def test_workers_outlive_their_supervisor_and_are_adopted(make_home):
    home = make_home(lease="20")
    run = home.start("run", "tiny.toml", "--set=budget.children=20")
    wait_until(lambda: home.completed("tiny") >= 1)
    run.kill()
    run.wait()
    names = ("control", "reconcile", "cpu-0", "cpu-1", "broker")
    before = {name: home.pid(name) for name in names}
    assert all(before.values())
    again = home.start("run", "tiny.toml", "--set=budget.children=20")
    wait_until(lambda: home.pid("supervisor") == again.pid)
    assert {name: home.pid(name) for name in names} == before
    assert again.wait(240) == 0


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_sighup_ends_the_display_and_not_the_search(make_home):
    home = make_home()
    run = home.start("run", "tiny.toml", "--set=budget.children=4")
    wait_until(lambda: home.completed("tiny") >= 1)
    run.send_signal(signal.SIGHUP)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0
    assert "finished" not in output
    assert home.completed("tiny") == 4


@pytest.mark.slow
def test_a_paused_search_ends_the_run_with_the_reason_and_goes_on_when_run_again(make_home):
    home = make_home()
    run = home.start("run", "tiny.toml", "--set=budget.children=8")
    wait_until(lambda: home.completed("tiny") >= 1)
    home.nasnet("search", "pause", "tiny")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 3
    last = json.loads(output.splitlines()[-1])
    assert (last["event"], last["reason"]) == ("paused", "paused by hand")
    assert home.nasnet("run", "tiny.toml", "--set=budget.children=8").returncode == 0


@pytest.mark.slow
def test_up_keeps_processes_for_searches_created_elsewhere(make_home):
    home = make_home()
    up = home.start("up")
    wait_until(lambda: all(home.pid(n) for n in ("control", "reconcile", "cpu-0", "cpu-1")))
    home.nasnet("search", "create", "tiny.toml", "--set=budget.children=4")
    names = ("supervisor", "control", "reconcile", "cpu-0", "cpu-1", "broker")
    before = [home.pid(name) for name in names]
    watch = home.nasnet("run", "tiny.toml", "--set=budget.children=4")  # only watches
    assert json.loads(watch.stdout.splitlines()[-1])["event"] == "finished"
    assert [home.pid(name) for name in names] == before
    assert before[0] == up.pid
    home.nasnet("down")
    assert up.wait(60) == 0


def test_up_serves_the_dashboard_starts_it_again_and_ends_it_though_somebody_watches(make_home):
    pytest.importorskip("uvicorn", reason="needs the extra `dashboard`")
    home = make_home(devices="cpu", dashboard=f"127.0.0.1:{free_port()}")
    url = f"http://{home.environment['NASNET_DASHBOARD']}"
    home.nasnet("search", "create", "tiny.toml")
    home.nasnet("search", "pause", "tiny")
    up = home.start("up")
    first = wait_until(lambda: home.pid("dashboard"), what="the dashboard")
    with wait_until(lambda: opened(f"{url}/searches/tiny/events"), what="its events") as events:
        assert json.loads(events.readline().removeprefix(b"data: "))["state"] == "paused"
        os.kill(first, signal.SIGTERM)
        events.read()  # to its end: it lets go of who watches
    wait_until(lambda: home.pid("dashboard") not in {None, first}, what="another dashboard")
    wait_until(lambda: opened(f"{url}/"), what="its pages").close()
    home.nasnet("down")
    output, _ = up.communicate(timeout=60)
    assert up.returncode == 0
    assert output.count(url) == 1
    assert "ERROR" not in (home.folder / "logs" / "dashboard.log").read_text().upper()


def test_a_dashboard_that_nobody_looks_after_leaves(make_home):
    pytest.importorskip("uvicorn", reason="needs the extra `dashboard`")
    home = make_home()
    home.nasnet("db", "upgrade")
    process = home.start("dashboard", "--port", str(free_port()), NASNET_SUPERVISED="1")
    assert wait_until(lambda: home.pid("dashboard")) == process.pid
    assert process.wait(60) == 0


def opened(url):
    """An answer that is read bit by bit; None where nobody answers yet."""
    try:
        return urllib.request.urlopen(url, timeout=30)
    except urllib.error.URLError:
        return None


@pytest.mark.slow
def test_two_runs_in_one_home_share_its_processes(make_home):
    home = make_home()
    first = home.start("run", "tiny.toml", "--set=budget.children=4", "--name", "a")
    wait_until(lambda: home.pid("supervisor") == first.pid)
    second = home.start("run", "tiny.toml", "--set=budget.children=4", "--name", "b")
    assert first.wait(180) == 0
    assert second.wait(180) == 0
    digests = [home.nasnet("search", "digest", name).stdout for name in ("a", "b")]
    assert digests[0] == digests[1]


def in_terminal(home, *arguments):
    """A command in a terminal of its own: the process, and a function that reads what it shows."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        [*home.command, *arguments],
        env={**home.environment, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        cwd=home.folder,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(its, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    home.started.append(process)
    shown = ""

    def read_until(text):
        nonlocal shown
        while text not in shown:
            shown += os.read(ours, 2**16).decode(errors="replace")
        return shown

    return process, ours, read_until


@pytest.mark.slow
def test_a_terminal_shows_what_starts_what_is_trained_and_answers_ctrl_c_at_once(make_home):
    home = make_home()
    process, terminal, read_until = in_terminal(
        home, "run", "tiny.toml", "--set=budget.children=400", "--set=training.epochs=40"
    )
    shown = read_until("starting: broker, control, reconcile, 2 workers")
    shown = read_until("child 0.0: epoch ")
    assert "None" not in shown
    os.write(terminal, b"\x03")
    read_until("; Ctrl-C again to leave now")
    os.write(terminal, b"\x03")
    read_until("go on with: nasnet run tiny.toml --set budget.children=400")
    assert process.wait(60) == 130
    os.close(terminal)
    assert not any(home.pid(name) for name in ("cpu-0", "cpu-1", "control", "broker"))


@pytest.mark.slow
def test_workers_stay_for_the_second_run_when_the_first_ends(make_home):
    home = make_home()
    first = home.start("run", "tiny.toml", "--set=budget.children=4", "--name", "a")
    wait_until(lambda: home.pid("supervisor") == first.pid)
    second = home.start("run", "tiny.toml", "--name", "b")
    wait_until(lambda: home.pid(f"keeper-{second.pid}"))
    names = ("control", "reconcile", "cpu-0", "cpu-1", "broker")
    before = [wait_until(lambda name=name: home.pid(name)) for name in names]
    assert first.wait(180) == 0
    wait_until(lambda: home.pid("supervisor") == second.pid)
    assert [home.pid(name) for name in names] == before
    assert second.wait(180) == 0
    assert not any(home.pid(name) for name in names)


@pytest.mark.slow
def test_up_takes_over_from_a_run_and_down_ends_both(make_home):
    home = make_home()
    run = home.start("run", "tiny.toml", "--set=budget.children=400")
    wait_until(lambda: home.pid("supervisor") == run.pid)
    up = home.start("up")
    wait_until(lambda: home.pid("keeper-up") == up.pid)
    assert home.nasnet("up", check=False).returncode == 2
    before = wait_until(lambda: home.pid("cpu-0"))
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    wait_until(lambda: home.pid("supervisor") == up.pid)
    assert home.pid("cpu-0") == before
    again = home.start("run", "tiny.toml", "--set=budget.children=400")
    wait_until(lambda: home.pid(f"keeper-{again.pid}"))
    home.nasnet("down")
    assert (up.wait(60), again.wait(60)) == (0, 143)
    assert not home.pid("cpu-0")


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once_and_no_slot_says_that_it_works(make_home):
    home = make_home()
    (home.folder / "tiny.toml").write_text(TINY.replace("epochs = 2", "epochs = 100000"))
    run = home.start("run", "tiny.toml")
    wait_until(lambda: home.pid("cpu-0"))
    wait_until(lambda: any(row["run"] for row in home.json("worker", "list")))
    run.send_signal(signal.SIGINT)
    said = ""
    while "again" not in said:
        said = run.stdout.readline()
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130
    states = {state for (state,) in home.rows("SELECT state FROM slots")}
    assert states == {"down"}


def test_a_search_that_no_worker_is_there_for_waits_and_says_what_to_type(make_home):
    home = make_home()
    created = home.nasnet("search", "create", "tiny.toml", "--name=a", "--set=seed=7")
    assert (
        "`nasnet run tiny.toml --name a --set seed=7` starts workers and follows it"
        in created.stdout
    )
    [listed] = home.json("search", "list")
    assert (listed["state"], listed["status"]) == ("running", "waiting for workers")
    assert "waiting for workers" in home.nasnet("search", "list").stdout
    assert home.json("search", "show", "a")["status"] == "waiting for workers"
    home.nasnet("search", "pause", "a")
    assert home.json("search", "show", "a")["status"] == "paused"


@pytest.mark.slow
def test_a_worker_started_by_hand_serves_and_gives_its_run_back_on_sigterm(make_home):
    home = make_home()
    home.nasnet("search", "create", "tiny.toml", "--set=budget.children=8")
    up = home.start("up")
    wait_until(lambda: home.completed("tiny") >= 1)
    pid = home.kill("cpu-0", signal.SIGTERM)
    wait_until(lambda: home.pid("cpu-0") not in {None, pid}, what="another cpu-0")
    wait_until(lambda: home.json("search", "show", "tiny")["state"] == "finished")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    home.nasnet("down")
    assert up.wait(60) == 0


# A step of it takes a second, and some hundred megabytes; one child is the whole search.
LARGE = [
    *("--set", "network.num_filters=256", "--set", "training.batch_size=1297"),
    *("--set", "controller.batch=1", "--set", "budget.children=1"),
]


def test_a_child_that_takes_no_step_in_time_is_a_timeout_twice_and_then_an_answer(make_home):
    home = make_home(devices="cpu")
    run = home.start("run", "tiny.toml", *LARGE, "--set", "training.timeout=0.1")
    assert run.wait(180) == 0
    assert home.rows("SELECT reward, failure FROM children") == [(0.0, "timeout")]
    assert home.rows("SELECT failure FROM attempts") == [("timeout",), ("timeout",)]


@pytest.mark.slow
def test_a_child_that_wants_more_memory_than_its_slot_has_fails_alone(make_home):
    home = make_home(devices="cpu", memory="1536M")
    run = home.start("run", "tiny.toml", *LARGE)
    worker = wait_until(lambda: home.pid("cpu-0"))
    wait_until(lambda: home.completed("tiny") == 1)
    assert home.pid("cpu-0") in {worker, None}  # the process goes on, or has ended with the run
    assert run.wait(60) == 0
    assert home.rows("SELECT reward, failure FROM children") == [(0.0, "oom")]
    assert home.rows("SELECT failure FROM attempts") == [("oom",), ("oom",)]


@pytest.fixture
def tcp_broker(tmp_path):
    """The URL of a Redis-compatible server that asks for a password."""
    broker = Broker(tmp_path)
    yield broker.url
    broker.kill()


@pytest.mark.slow
def test_processes_of_the_procfile_on_postgresql_and_a_broker_over_tcp_end_the_same(
    make_home, postgres_url, tcp_broker, undisturbed
):
    home = make_home(database_url=postgres_url, broker_url=tcp_broker)
    home.nasnet("db", "upgrade")
    home.nasnet("search", "create", "tiny.toml")
    lines = [line.split(": nasnet ") for line in PROCFILE.read_text("utf-8").splitlines()]
    assert [name for name, _ in lines] == ["control", "reconcile", "train"]
    for _, command in [*lines, lines[-1]]:  # two of `train`
        home.start(*command.split())
    home.nasnet("search", "watch", "tiny")
    assert home.nasnet("search", "digest", "tiny").stdout == undisturbed
    assert not (home.folder / "nasnet.db").exists()


@pytest.mark.slow
def test_a_search_trains_its_best_in_full_by_itself_and_goes_on_after_a_kill(make_home):
    home = make_home()
    recipe = ["network.num_cells=1", "network.num_filters=2", "training.epochs=6"]
    more = ["training.checkpoint_seconds=0.2", "training.batch_size=128"]
    sets = [f"--set=retrain.{assignment}" for assignment in recipe + more]
    arguments = ["run", "tiny.toml", *sets, "--set=budget.children=4", "--set=then.retrain.top=2"]
    run = home.start(*arguments)
    epochs = "SELECT count(*) FROM epochs JOIN runs ON id = run_id WHERE purpose = 'retrain'"
    wait_until(lambda: home.completed("tiny") and home.rows(epochs)[0][0] >= 2)
    holder = home.rows(
        "SELECT name FROM slots JOIN runs ON slots.id = slot_id WHERE purpose = 'retrain'"
    )[0][0]
    home.kill(holder)
    run.kill()
    done = home.nasnet(*arguments, "--json")
    ended = json.loads(done.stdout.splitlines()[-1])
    assert [row["state"] for row in ended["runs"]] == ["done"] * len(ended["runs"])
    board = home.json("leaderboard")
    assert [row["purpose"] for row in board] == ["retrain", "retrain"]
    assert all(row["epochs"] == 6 and row["test_accuracy"] is not None for row in board)
    assert max(row["attempts"] for row in board) >= 2
    assert home.rows("SELECT max(images_trained) FROM runs WHERE purpose = 'retrain'") == [(7782,)]


@pytest.mark.slow
def test_a_run_of_two_processes_that_loses_one_resumes_from_its_checkpoint(make_home):
    home = make_home(devices="cpu+cpu")
    sets = ["training.devices=2", "training.checkpoint_seconds=0.2"]
    arguments = ["baseline", "mobilenet_v3_small", "--preset=digits", "--epochs=5"]
    arguments += [f"--set={assignment}" for assignment in sets]
    command = home.start(*arguments)
    wait_until(lambda: _count(home, "artifacts") >= 1, what="a checkpoint")
    worker = home.pid("cpu-0+1")
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in _command_line(pid)]
    os.kill(int(workers[-1]), signal.SIGKILL)
    output, _ = command.communicate(timeout=200)
    (run,) = json.loads(output.splitlines()[-1])["runs"]
    assert (run["state"], run["epochs"]) == ("done", 5)
    attempts = home.rows("SELECT outcome, failure, images_trained FROM attempts ORDER BY number")
    assert [(outcome, failure) for outcome, failure, _ in attempts] == [
        ("failed", "lost"),
        ("done", None),
    ]
    # no more is repeated than came after the checkpoint
    assert attempts[1][2] < 5 * 1297
    assert home.pid("cpu-0+1") is None


def _count(home, table):
    return home.rows(f"SELECT count(*) FROM {table}")[0][0] if home.pid("cpu-0+1") else 0


def _command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


SHARED = """
preset = "enas-macro-digits"

[space]
layers = 3

[network]
filters = 4
reductions = [1, 2]

[shared]
updates = 3
chunk = 5
derive = 10

[budget]
children = 120

[then.retrain]
top = 2

[retrain.network]
filters = 4
reductions = [1, 2]

[retrain.training]
epochs = 1
"""


def run_shared(home):
    """Start the search SHARED."""
    (home.folder / "shared.toml").write_text(SHARED)
    return home.start("run", "shared.toml")


def kill_when(home, children, *names):
    """Kill processes once a search has ``children`` children."""
    wait_until(lambda: home.completed("shared") >= children)
    for name in names:
        home.kill(name)


@pytest.mark.slow
def test_a_search_with_shared_weights_ends_the_same_whoever_is_killed(make_home):
    """Four phases; workers and the process that learns are killed, then all at once."""
    undisturbed, disturbed = make_home("undisturbed"), make_home("disturbed")
    assert run_shared(undisturbed).wait(240) == 0
    run = run_shared(disturbed)
    for children, name in ((20, "cpu-0"), (40, "control"), (60, "cpu-1")):
        kill_when(disturbed, children, name)
    wait_until(lambda: disturbed.completed("shared") >= 80)
    run.kill()
    kill_when(disturbed, 80, "cpu-0", "cpu-1", "control", "reconcile", "broker")
    assert run_shared(disturbed).wait(240) == 0
    for home in (undisturbed, disturbed):
        assert home.completed("shared") == 130
        assert home.rows("SELECT state FROM runs WHERE purpose = 'retrain'") == [("done",)] * 2
    digests = {h.nasnet("search", "digest", "shared").stdout for h in (undisturbed, disturbed)}
    assert len(digests) == 1
