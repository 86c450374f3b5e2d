"""``nasnet search pause``, ``resume``, ``stop``, ``extend``, ``accept-data``."""

from collections.abc import Callable
from typing import Annotated

import typer

from db.lifecycle import searches
from db.schema.session import transaction
from pipeline.actions.data import check_data
from pipeline.actions.stores import open_store
from pipeline.cli.options import SearchArgument
from pipeline.cli.output import say
from pipeline.cli.progress import image_bar
from pipeline.config.search import load_config
from pipeline.errors import UserError
from tasks import steering


def _steer(name: str, change: Callable[[str], str]) -> None:
    """Do something to a search, and say what was done."""
    open_store()
    say(f"search {name!r}: {change(name)}")


def pause(name: SearchArgument) -> None:
    """Queue nothing more of a search; its runs are given back with a checkpoint."""
    _steer(name, steering.pause)


def resume(name: SearchArgument) -> None:
    """Let a paused, stopping or failed search go on, by the workers that are there."""
    _steer(name, steering.resume)


def stop(name: SearchArgument) -> None:
    """Propose nothing more; what has begun ends, the last update follows, then it is finished."""
    _steer(name, steering.stop)


def extend(
    name: SearchArgument,
    children: Annotated[
        int | None,
        typer.Option(min=1, help="The number of children in all, no fewer than before."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Hours since the search was created.")
    ] = None,
    device_hours: Annotated[
        float | None, typer.Option(help="Hours of all devices together.")
    ] = None,
    target_reward: Annotated[
        float | None, typer.Option(help="End once this reward is reached (0 to 1).")
    ] = None,
    plateau: Annotated[
        int | None, typer.Option(help="End after this many children without a better one.")
    ] = None,
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
    _steer(name, lambda name: steering.extend(name, budget))


def accept_data(name: SearchArgument) -> None:
    """Let a search go on with its images as they are now, where they were changed on purpose.

    Its classes and the images' size must be what they were. Pause it first.
    """
    open_store()
    with transaction(read_only=True) as connection:
        config = load_config(searches.get(connection, name).config)
    with image_bar() as on_file:
        checked = check_data(config.model_copy(update={"fingerprint": None}), on_file)
    done = steering.accept_data(name, checked.report.fingerprint, checked.summary)
    say(f"search {name}: {done}")
    say(checked.report.line())
