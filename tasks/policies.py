"""Policies that this process has lately worked with: reading one anew costs more than sampling.

A controller's state carries everything it depends on, so one that is kept and one that is read
from its version's row are the same.
"""

from collections import OrderedDict

from db.lifecycle import versions
from db.reads import outcomes
from db.schema.enums import Arm
from db.schema.session import transaction
from pipeline.config.search import SearchConfig
from pipeline.controllers import Controller, Proposed, load_controller
from pipeline.spaces import make_space

KEPT = 4  # some megabytes each

_kept: OrderedDict[tuple[SearchConfig, str], Controller] = OrderedDict()


def take(config: SearchConfig, search_id: int, version: versions.NewestVersion) -> Controller:
    """The controller of a version's row, for the caller alone: it may learn.

    Raises:
        PolicyStateError: the row's state is not there or cannot be read.
    """
    kept = _kept.pop((config, version.sha256), None)
    if kept is not None:
        return kept
    return read(config, search_id, version.version, arm=Arm.POLICY)


def read(config: SearchConfig, search_id: int, version: int, *, arm: str) -> Controller:
    """The controller of a version as the store has it, which draws for an arm.

    Raises:
        PolicyStateError: the row's state is not there or cannot be read.
    """
    with transaction(read_only=True) as connection:
        state = versions.state(connection, search_id, version)
    space = make_space(config.space)
    return load_controller(config.controller, space, state, seed=config.seed, arm=arm)


def proposed(search_id: int, before: int | None = None) -> list[Proposed]:
    """What a controller that reads it is told of a search: its children so far.

    Args:
        before: only those of versions before this one.
    """
    with transaction(read_only=True) as connection:
        rows = outcomes.proposed(connection, search_id, before)
    return [Proposed(tuple(row.actions), row.digest, row.reward) for row in rows]


def keep(config: SearchConfig, sha256: str, controller: Controller) -> None:
    """Keep a controller that is, or is again, the version of that hash."""
    _kept[config, sha256] = controller
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
