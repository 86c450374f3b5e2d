"""What a user does to a search that exists: pause, extend, delete ...; from whatever face."""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from db.lifecycle import budgets, checkpoints, datasets, deletion, queue, searches
from db.schema.enums import SearchState
from db.schema.rows import SearchRow
from db.schema.session import transaction
from pipeline.config.search import SearchConfig, load_config, make_config
from pipeline.config.tables import merge
from pipeline.data.summary import changes, summary_from_data
from pipeline.errors import UserError
from pipeline.io import files
from pipeline.settings import get_settings
from tasks.app import ring

BUDGETS = ("children", "hours", "device_hours", "target_reward", "plateau")


def pause(name: str) -> str:
    """Queue nothing more of a search; its runs are given back with a checkpoint.

    This function and the others below:

    Returns:
        What was done, in words.

    Raises:
        UserError: there is no such search, or it is in a state that this does not fit.
    """

    def change(connection: Connection, search: SearchRow) -> str:
        if not search.state.is_active:
            raise UserError(f"search {name!r} is {search.state}: there is nothing to pause")
        searches.pause(connection, search.id, searches.PAUSED_BY_HAND)
        return "paused; `nasnet search resume` goes on"

    return _change(name, change, then_ring=False)


def resume(name: str) -> str:
    """Let a paused, stopping or failed search go on, by the workers that are there."""

    def change(connection: Connection, search: SearchRow) -> str:
        if search.state is SearchState.RUNNING:
            return "runs already"
        if search.state is SearchState.IMPORTED:
            raise UserError(f"search {name!r} was imported: it can be read, not resumed")
        if search.state is SearchState.FINISHED:
            raise UserError(f"search {name!r} is finished; `nasnet search extend` raises a budget")
        searches.resume(connection, search.id)
        return "resumed; `nasnet run` or `nasnet up` starts workers here"

    return _change(name, change)


def stop(name: str) -> str:
    """Propose nothing more; what has begun ends, the last update follows, then it is finished."""

    def change(connection: Connection, search: SearchRow) -> str:
        if search.state in {SearchState.FINISHED, SearchState.IMPORTED}:
            raise UserError(f"search {name!r} is {search.state}: there is nothing to stop")
        searches.stop(connection, search.id, searches.STOPPED_BY_HAND)
        return "stopping; children that no worker had begun were withdrawn"

    return _change(name, change)


def extend(name: str, budget: Mapping[str, float]) -> str:
    """Change some of a search's budgets (``BUDGETS``) and let it go on, finished or not."""

    def change(connection: Connection, search: SearchRow) -> str:
        if search.state is SearchState.IMPORTED:
            raise UserError(f"search {name!r} was imported: it can be read, not extended")
        config = load_config(search.config).model_dump(mode="json")
        before = config["budget"]
        if budget.get("children", before["children"]) < before["children"]:
            raise UserError(
                f"search {name!r} has a budget of {before['children']} children already; "
                f"{budget['children']} is less"
            )
        config = make_config(merge(config, {"budget": budget})).model_dump(mode="json")
        budgets.check_change(connection, search, config["budget"])
        searches.reconfigure(connection, search.id, config)
        searches.resume(connection, search.id)
        changes = [f"{key} {before[key]} -> {config['budget'][key]}" for key in budget]
        return f"budget: {', '.join(changes)}; running"

    return _change(name, change)


def accept_data(name: str, fingerprint: str, summary: dict[str, Any]) -> str:
    """Let a search go on with other images than it was made with, as they are now.

    Trainings that were on their way begin anew: no row points at their checkpoints any more, so
    the files are swept. Rewards that were earned stay.

    Args:
        fingerprint: of the images as they are now.
        summary: what the table ``datasets`` says of them.
    """

    def change(connection: Connection, search: SearchRow) -> str:
        config = load_config(search.config)
        if config.fingerprint == fingerprint:
            return "the images are those that it was made with"
        if search.state is SearchState.IMPORTED:
            raise UserError(f"search {name!r} was imported: it can be read, not gone on with")
        _check_alike(connection, name, config, summary)
        datasets.put(connection, fingerprint, config.dataset, summary)
        accepted = config.model_copy(update={"fingerprint": fingerprint})
        searches.reconfigure(connection, search.id, accepted.model_dump(mode="json"))
        for run_id in queue.change_config(connection, search.id, {"fingerprint": fingerprint}):
            begun = checkpoints.of_run(connection, run_id)
            checkpoints.forget_files(connection, [checkpoint.id for checkpoint in begun])
        if queue.is_worked_on(connection, search.id):
            raise UserError(f"search {name!r} is being trained for: `nasnet search pause {name}`")
        return "goes on with the images as they are now; rewards earned on others stay"

    return _change(name, change, then_ring=False)


def _check_alike(
    connection: Connection, name: str, config: SearchConfig, now: dict[str, Any]
) -> None:
    """Other images may be accepted, but not other classes, parts or sizes.

    Rewards of before and after would say nothing of each other.
    """
    fingerprint = config.fingerprint
    before = None if fingerprint is None else datasets.summary(connection, fingerprint)
    if before is None:
        return
    alike = ["classes", "shape", *(("smallest", "largest") if config.image_size is None else ())]
    differing = [key for key in alike if before[key] != now[key]]
    old, new = summary_from_data(before), summary_from_data(now)
    if set(old.images) != set(new.images):
        differing.append("parts")
    if differing:
        what = changes(old, new)
        raise UserError(
            f"search {name!r} was made with other {' and '.join(differing)}: {what}; create a new "
            "search"
        )


def delete(name: str) -> deletion.Owned:
    """Delete a search that rests, with all that is its own; returns what has gone.

    The rows go in one transaction, the files after it.
    """
    with transaction() as connection:
        search = _locked(connection, name)
        deletion.check_rests(connection, search)
        gone = deletion.owned(connection, search)
        places = deletion.delete_search(connection, search)
    for place in places:
        files.delete(place)
    return gone


def rename(name: str, new: str) -> str:
    """Give a search another name, one that a search may have (``actions.searches``)."""
    try:
        with transaction() as connection:
            searches.rename(connection, searches.get(connection, name).id, new)
    except IntegrityError:
        raise UserError(f"search {new!r} is there already: choose another name") from None
    return f"is search {new!r} now"


def _change(
    name: str, change: Callable[[Connection, SearchRow], str], *, then_ring: bool = True
) -> str:
    """Change a search under its lock, then ring."""
    with transaction() as connection:
        search = _locked(connection, name)
        done = change(connection, search)
    if then_ring:
        ring_here(search.id)
    return done


def _locked(connection: Connection, name: str) -> SearchRow:
    """A search's row, kept from other writers.

    Raises:
        UserError: there is none of this name, or it was deleted at this moment.
    """
    search = searches.lock(connection, searches.get(connection, name).id)
    return searches.get(connection, name) if search is None else search


def ring_here(search_id: int) -> None:
    """Ring for what is due, unless nothing runs here that could hear."""
    settings = get_settings()
    if settings.broker_url is not None or settings.socket.exists():
        ring(search_id)
