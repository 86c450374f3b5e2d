"""``nasnet search list``, ``show``, ``watch``, ``digest``: searches as rows."""

import sys
import time
from collections.abc import Mapping
from typing import Annotated

import typer

from db.lifecycle import searches
from db.reads import digests, summary
from db.reads.progress import WAITING_FOR_WORKERS
from db.schema.session import snapshot, transaction
from pipeline.actions.stores import open_store
from pipeline.actions.summaries import count, progress_of, without_slot
from pipeline.cli.options import SearchArgument
from pipeline.cli.output import JsonFlag, print_json, print_rows, say, shown
from pipeline.cli.watch import JsonShow, LiveShow, Watcher
from pipeline.io.text import one_line

NO_SLOTS = "none is there: `nasnet up` starts those of this machine"


def list_searches(
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", help="Only searches with this tag; given several times, with all of them."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List all searches, or those with a tag."""
    open_store()
    rows: list[dict[str, object]] = []
    with transaction(read_only=True) as connection:
        for search in searches.list_all(connection):
            tags = searches.tags_of(connection, search.id)
            if not set(tag or ()) <= set(tags):
                continue
            now = progress_of(connection, search.id)
            rewards, _ = summary.rewards(connection, search.id)
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
                    "note": search.note if as_json else _first_line(search.note),
                }
            )
    columns = ["name", "status", "children", "budget", "best_reward", "version", "created_at"]
    columns += [key for key in ("tags", "note") if any(row[key] for row in rows)]
    print_rows(rows, [*columns, "reason"], as_json=as_json)
    if not as_json and any(row["status"] == WAITING_FOR_WORKERS for row in rows):
        say("`nasnet up` starts workers on this machine, `nasnet doctor` says why none works")


def _first_line(note: str | None) -> str | None:
    return (note or "").partition("\n")[0] or None


def show(name: SearchArgument, as_json: JsonFlag = False) -> None:
    """Show a search: its state, counts, policy and whole configuration."""
    open_store()
    with transaction(read_only=True) as connection:
        search = searches.get(connection, name)
        now = progress_of(connection, search.id)
        counts = count(connection, search.id)
        version = summary.newest_version(connection, search.id)
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
                **counts.states,
            },
            "reward": {"best": counts.rewards.best, "mean": counts.rewards.mean},
            "phases": None if now.sharing is None else now.phases,
            "control": summary.control_arm(now, counts.control),
            "policy": None if version is None else version._asdict(),
            "no_slot_for": without_slot(connection, search.id),
            "config": search.config,
        }
    if as_json:
        print_json(row)
    else:
        _print_tree(row)


def _print_tree(row: Mapping[str, object], indent: str = "") -> None:
    for key, value in row.items():
        if isinstance(value, dict):
            typer.echo(f"{indent}{one_line(key)}")
            _print_tree(value, indent + "  ")
        else:
            typer.echo(f"{indent}{one_line(key):<{23 - len(indent)}} {shown(value)}")


def watch(name: SearchArgument, as_json: JsonFlag = False) -> None:
    """Watch a search until it rests; Ctrl-C ends the watching, not the search."""
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


def digest(name: SearchArgument, as_json: JsonFlag = False) -> None:
    """Print one hash over a search's children, rewards and policy versions.

    Free of times, hosts and row ids: two synchronous searches of one configuration have the
    same, whatever was killed in between.
    """
    open_store()
    with snapshot() as connection:
        value = digests.search_digest(connection, searches.get(connection, name).id)
    if as_json:
        print_json({"search": name, "digest": value})
    else:
        typer.echo(value)
