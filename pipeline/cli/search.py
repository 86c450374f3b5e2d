"""``nasnet search``: searches as rows, whatever runs them."""

import sys
from typing import Annotated, Any

import typer

from pipeline.cli import search_changes, search_files
from pipeline.cli.output import JsonFlag, print_json, print_rows, say
from pipeline.cli.request import NameOption, SetOption, SourceArgument
from pipeline.errors import UserError
from pipeline.io.text import one_line

app = typer.Typer(help="Create, list, watch, steer, mark, delete searches.", no_args_is_help=True)

NO_SLOTS = "none is there: `nasnet up` starts those of this machine"
NameArgument = Annotated[str, typer.Argument(help="The search's name.")]


@app.command()
def create(
    source: SourceArgument,
    name: NameOption = None,
    assignments: SetOption = None,
) -> None:
    """Create a search; the workers of this store, here or elsewhere, begin with it."""
    from db.schema import migrations
    from pipeline.cli.home import open_home
    from pipeline.cli.request import Typed, check_search, open_search, read_request
    from tasks.steering import ring_here

    request = read_request(source, name, assignments)
    checked = check_search(request)
    if checked is None:
        raise _is_there(request.name)
    open_home()
    migrations.prepare()
    opened = open_search(request, resume=False, checked=checked)
    if not opened.created:
        raise _is_there(opened.name)
    ring_here(opened.search_id)
    if opened.data is not None:
        say(opened.data.line())
    command = Typed(source, name, tuple(assignments or ())).command()
    say(
        f"created search {opened.name!r}; `{command}` starts workers and follows it, "
        f"`nasnet up` starts workers alone; `nasnet search watch {opened.name}` shows it"
    )


def _is_there(name: str) -> UserError:
    return UserError(f"search {name!r} is there already; `nasnet run` goes on with it")


@app.command("list")
def list_searches(
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="With this tag; repeatable: with all.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List all searches, or those with a tag."""
    from db.lifecycle import searches
    from db.reads import queries
    from db.reads.progress import WAITING_FOR_WORKERS, progress
    from db.schema.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    rows = []
    with transaction(read_only=True) as connection:
        for search in queries.list_searches(connection):
            tags = searches.tags_of(connection, search.id)
            if not set(tag or ()) <= set(tags):
                continue
            now = progress(connection, search.id)
            assert now is not None
            rewards, _ = queries.rewards(connection, search.id)
            rows.append(
                {
                    "name": search.name,
                    "state": str(search.state),
                    "status": now.status,
                    "children": now.completed,
                    "control": now.control,
                    "budget": now.budget,
                    "best_reward": rewards.best,
                    "mean_reward": rewards.mean,
                    "version": now.version,
                    "created_at": search.created_at,
                    "reason": search.reason,
                    "tags": tags,
                    "note": search.note,
                }
            )
    columns = ["name", "status", "children", "budget", "best_reward", "version", "created_at"]
    columns += [key for key in ("tags", "note") if any(row[key] for row in rows)]
    print_rows(_short(rows, as_json), [*columns, "reason"], as_json=as_json)
    if not as_json and any(row["status"] == WAITING_FOR_WORKERS for row in rows):
        say("`nasnet up` starts workers on this machine, `nasnet doctor` says why none works")


def _short(rows: list[dict[str, Any]], as_json: bool) -> list[dict[str, Any]]:
    """Rows with the first line of each note, where people read them."""
    if as_json:
        return rows
    return [{**row, "note": (row["note"] or "").partition("\n")[0] or None} for row in rows]


@app.command()
def show(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show a search: its state, counts, policy and whole configuration."""
    from db.lifecycle import runs, searches
    from db.reads import queries
    from db.reads.progress import progress
    from db.schema.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    with transaction(read_only=True) as connection:
        search = searches.get(connection, name)
        now = progress(connection, search.id)
        assert now is not None
        rewards, control = queries.rewards(connection, search.id)
        version = queries.newest_version(connection, search.id)
        lonely = runs.without_slot(connection, search_id=search.id)
        row = {
            "name": search.name,
            "uid": search.uid,
            "tags": searches.tags_of(connection, search.id),
            "note": search.note,
            "state": str(search.state),
            "status": now.status,
            "reason": search.reason,
            "created_at": search.created_at,
            "resumed_at": search.resumed_at,
            "ended_at": search.ended_at,
            "children": {
                "completed": now.completed,
                "budget": now.budget,
                "waiting": now.unstarted,
                **queries.state_counts(connection, search.id),
            },
            "reward": {"best": rewards.best, "mean": rewards.mean},
            "phases": None if now.sharing is None else now.phases,
            "control": queries.control_arm(now, control),
            "policy": None if version is None else dict(version._mapping),
            "no_slot_for": [f"run {run.id}: {run.devices} x {run.device}" for run in lonely],
            "config": search.config,
        }
    if as_json:
        print_json(row)
    else:
        _print_tree(row)


def _print_tree(row: dict[str, Any], indent: str = "") -> None:
    from pipeline.cli.output import shown

    for key, value in row.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{one_line(key)}")
            _print_tree(value, indent + "  ")
        else:
            typer.echo(f"{indent}{one_line(key):<{23 - len(indent)}} {shown(value)}")


@app.command()
def watch(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Watch a search until it rests; Ctrl-C ends the watching, not the search."""
    import time

    from db.lifecycle import searches
    from db.schema.session import transaction
    from pipeline.cli.home import open_store
    from pipeline.cli.watch import JsonShow, LiveShow, Watcher

    open_store()
    with transaction(read_only=True) as connection:
        search_id = searches.get(connection, name).id
    watcher = Watcher(search_id, from_now=True)
    show = JsonShow() if as_json or not sys.stdout.isatty() else LiveShow(name, no_slots=NO_SLOTS)
    try:
        while True:
            view = watcher.look()
            show.update(view)
            if not view.progress.state.is_active:
                break
            time.sleep(1.0)
    except KeyboardInterrupt:
        pass
    finally:
        show.close()


def _steer(name: str, verb: str, *arguments: Any) -> None:
    """Do something to a search, and say what was done."""
    from pipeline.cli.home import open_store
    from tasks import steering

    open_store()
    say(f"search {name!r}: {getattr(steering, verb)(name, *arguments)}")


@app.command()
def pause(name: NameArgument) -> None:
    """Queue nothing more of a search; its runs are given back with a checkpoint."""
    _steer(name, "pause")


@app.command()
def resume(name: NameArgument) -> None:
    """Let a paused, stopping or failed search go on, by the workers that are there."""
    _steer(name, "resume")


@app.command()
def stop(name: NameArgument) -> None:
    """Propose nothing more; what has begun ends, the last update follows, then it is finished."""
    _steer(name, "stop")


@app.command()
def extend(
    name: NameArgument,
    children: Annotated[
        int | None, typer.Option(min=1, help="Completed children in all, no fewer than before.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="Since it was created.")] = None,
    device_hours: Annotated[float | None, typer.Option(help="Of all devices.")] = None,
    target_reward: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    plateau: Annotated[int | None, typer.Option(help="Children since the best one.")] = None,
) -> None:
    """Change a search's budget and let it go on, finished or not."""
    asked = {
        "children": children,
        "hours": hours,
        "device_hours": device_hours,
        "target_reward": target_reward,
        "plateau": plateau,
    }
    budget = {key: value for key, value in asked.items() if value is not None}
    if not budget:
        options = ", ".join("--" + key.replace("_", "-") for key in asked)
        raise UserError(f"say what to extend: one of {options}")
    _steer(name, "extend", budget)


@app.command("accept-data")
def accept_data(name: NameArgument) -> None:
    """Let a search go on with its images as they are now, where they were changed on purpose.

    Its classes and the images' size must be what they were. Pause it first.
    """
    from db.lifecycle import searches
    from db.schema.session import transaction
    from pipeline.cli.checked_data import check_data
    from pipeline.cli.home import open_store
    from pipeline.config.search import load_config
    from tasks import steering

    open_store()
    with transaction(read_only=True) as connection:
        config = load_config(searches.get(connection, name).config)
    checked = check_data(config.model_copy(update={"fingerprint": None}))
    done = steering.accept_data(name, checked.report.fingerprint, checked.summary)
    say(f"search {name}: {done}")
    say(checked.report.line())


@app.command()
def digest(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Print one hash over a search's children, rewards and policy versions.

    Free of times, hosts and row ids: two synchronous searches of one configuration have the
    same, whatever was killed in between.
    """
    from db.lifecycle import searches
    from db.reads import queries
    from db.schema.session import snapshot
    from pipeline.cli.home import open_store

    open_store()
    with snapshot() as connection:
        value = queries.search_digest(connection, searches.get(connection, name).id)
    if as_json:
        print_json({"search": name, "digest": value})
    else:
        typer.echo(value)


app.command("delete")(search_changes.delete)
app.command("rename")(search_changes.rename)
app.command("note")(search_changes.note)
app.command("tag")(search_changes.tag)
app.command("export")(search_files.export)
app.command("import")(search_files.import_)
