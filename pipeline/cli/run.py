"""``nasnet run``, ``up``, ``down``: a search from start to end, and this machine's processes."""

import sys
import time
from pathlib import Path

import typer

from db.lifecycle import searches
from db.reads import ranking
from db.reads.progress import WAITING_FOR_WORKERS, progress
from db.schema import migrations
from db.schema.enums import SearchState
from db.schema.session import transaction
from pipeline import logs
from pipeline.actions.searches import Opened, check_search, open_search, read_request
from pipeline.actions.stores import open_home
from pipeline.cli import dashboard
from pipeline.cli.best import best_rows, print_best
from pipeline.cli.follow import EXIT_HALTED, TICK, Interruption, follow, quietly
from pipeline.cli.options import NameOption, SetOption, SourceArgument
from pipeline.cli.output import JsonFlag, print_json, say
from pipeline.cli.progress import image_bar
from pipeline.cli.runs_watch import RunsView, RunsWatcher, report_runs, runs_show
from pipeline.cli.typed import TypedCommand
from pipeline.cli.watch import BEST, JsonShow, LiveShow, View, Watcher
from pipeline.errors import UserError
from pipeline.io import locks
from pipeline.machine.processes import check_machine, make_supervisor
from pipeline.machine.supervisor import Supervisor, end_home
from pipeline.settings import get_settings
from tasks import runs
from tasks.slot import SUPERVISOR_LOCK, UP_LOCK


def run(
    source: SourceArgument,
    name: NameOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a search to its end: create it, or go on with the one of that name.

    Exit code 0: the budget is met; 3: paused, stopped or failed; 2: the command cannot be done.
    """
    request = read_request(source, name, assignments)
    typed = TypedCommand(source, name, tuple(assignments or ()), as_json)
    check_machine()
    with image_bar() as on_file:
        checked = check_search(request, on_file)
    settings = open_home()
    migrations.prepare()
    opened = open_search(request, resume=True, checked=checked)
    logs.configure(SUPERVISOR_LOCK, settings.home / "logs" / "supervisor.log")
    as_json = as_json or not sys.stdout.isatty()
    _announce(opened, settings.home, as_json)
    raise typer.Exit(_run_to_its_end(opened, typed, as_json))


def _announce(opened: Opened, home: Path, as_json: bool) -> None:
    verb = "created" if opened.created else "resumed"
    if as_json:
        data = {} if opened.data is None else {"data": opened.data.to_data()}
        print_json({"event": verb, "search": opened.name, "home": str(home), **data})
        return
    if opened.data is not None:
        say(opened.data.line())
    changed = f" with {', '.join(opened.changed)}" if opened.changed else ""
    say(f"home {home}: {verb} search {opened.name!r}{changed}")


def _run_to_its_end(opened: Opened, typed: TypedCommand, as_json: bool) -> int:
    search_id, name = opened.search_id, opened.name
    interruption = Interruption()
    supervisor = make_supervisor()
    watcher = Watcher(search_id, from_now=True)
    try:
        view = follow(supervisor, watcher, JsonShow() if as_json else LiveShow(name), interruption)
        ended = _follow_then(supervisor, search_id, view, as_json, interruption)
    finally:
        supervisor.stop(interruption.is_repeated)
    if interruption.number is not None and view.progress.state.is_active:
        _say_how_to_go_on(name, typed.line(), as_json, view)
        return interruption.exit_code
    code = _report(opened, typed, view, as_json)
    if not (as_json or supervisor.is_wanted):
        _say_who_waits(search_id)
    if ended is None:
        return code
    if interruption.number is not None:
        return interruption.exit_code
    return code or report_runs(ended, as_json)


def _say_who_waits(but: int) -> None:
    """Name the searches that are left without workers, now that those of this home have gone."""
    with transaction(read_only=True) as connection:
        for search_id in searches.active(connection):
            now = progress(connection, search_id)
            if search_id != but and now is not None and now.status == WAITING_FOR_WORKERS:
                name = searches.by_id(connection, search_id).name
                say(f"search {name!r} is {now.status}: `nasnet up` starts them")


def _follow_then(
    supervisor: Supervisor,
    search_id: int,
    view: View,
    as_json: bool,
    interruption: Interruption,
) -> RunsView | None:
    """Follow what a search does by itself after its end, if there is something to follow."""
    if view.progress.state is not SearchState.FINISHED or interruption.number is not None:
        return None
    waiting = runs.unfinished(search_id)
    if not waiting:
        return None
    return follow(supervisor, RunsWatcher(waiting), runs_show(as_json), interruption)


def _say_how_to_go_on(name: str, command: str, as_json: bool, view: View) -> None:
    if as_json:
        print_json({"event": "interrupted", "search": name, "go_on": command})
    else:
        say(
            f"stopped after {view.progress.completed} of {view.progress.budget} children; "
            f"go on with: {command}"
        )


def _report(opened: Opened, typed: TypedCommand, view: View, as_json: bool) -> int:
    """Print the result of a search that rests; returns the exit code."""
    name = opened.name
    with transaction(read_only=True) as connection:
        rows = best_rows(ranking.best(connection, opened.search_id, limit=BEST), name)
    finished = view.progress.state is SearchState.FINISHED
    met = finished and view.reason != searches.STOPPED_BY_HAND
    command = typed.line()
    if finished and not met:
        extend = f"nasnet search extend {name} --children {view.progress.budget}"
        command = f"{extend} && {typed.line(budget=False)}"
    if as_json:
        reason = {} if view.reason is None else {"reason": view.reason}
        go_on = reason if met else {"reason": view.reason, "go_on": command}
        print_json(
            {
                "event": str(view.progress.state),
                "search": name,
                "children": view.progress.completed,
                "version": view.progress.version,
                "best": rows,
                **go_on,
            }
        )
        return 0 if met else EXIT_HALTED
    print_best(name, view, rows)
    if met and view.reason is not None:
        say(view.reason)
    if not met:
        say(f"{view.progress.state}: {view.reason or 'by hand'}; go on with: {command}")
    return 0 if met else EXIT_HALTED


def up() -> None:
    """Keep this machine's processes running, for searches created elsewhere, until `down`.

    Where the extra `dashboard` is installed it is served, too: NASNET_DASHBOARD says where.
    """
    check_machine()
    settings = open_home()
    migrations.prepare()
    interruption = Interruption()
    served = settings.dashboard_address if dashboard.is_installed() else None
    supervisor = make_supervisor(served)
    if locks.acquire(settings.lock_path(UP_LOCK)) is None:
        raise UserError(f"{settings.home}: a `nasnet up` keeps its processes running already")
    logs.configure(SUPERVISOR_LOCK)
    names = ", ".join(worker.name for worker in supervisor.workers)
    if supervisor.take_over():
        say(f"home {settings.home}: keeping {names} running; `nasnet down` ends them")
    else:
        say(
            f"home {settings.home}: another command keeps its processes running; when it ends, "
            f"this one keeps {names}; `nasnet down` ends them"
        )
    if served is not None:
        say(f"{dashboard.address(*served)}; its token is in {dashboard.token(settings)}")
    try:
        while interruption.number is None:
            if supervisor.take_over():
                supervisor.tick()
            for notice in supervisor.notices():
                quietly(say, notice)
            time.sleep(TICK)
        quietly(say, supervisor.leaving())
    finally:
        supervisor.stop(interruption.is_repeated)


def down() -> None:
    """End all processes of this home softly: runs are given back, and go on next time."""
    settings = get_settings()
    ended = end_home(settings)
    say(f"home {settings.home}: ended {', '.join(ended) or 'nothing: nothing was running'}")
