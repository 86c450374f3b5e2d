"""A search that somebody asks for: its configuration read and checked, created or resumed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from db.lifecycle import budgets, searches
from db.schema import migrations
from db.schema.enums import SearchState
from db.schema.rows import SearchRow
from db.schema.session import transaction
from pipeline.actions.data import CheckedData, check_data, check_unchanged
from pipeline.config import search as configs
from pipeline.config import tables as config_tables
from pipeline.config.controllers import PolicyConfig, check_kinds
from pipeline.config.run import is_recipe
from pipeline.config.search import CHANGEABLE, SearchConfig
from pipeline.config.tables import Tables
from pipeline.data.dataset_names import absolute_name
from pipeline.errors import UserError
from pipeline.io.reading import HANDED
from pipeline.io.refused_values import UnknownKeysError
from pipeline.settings import get_settings
from pipeline.spaces import make_space
from tasks import runs
from tasks.devices import slot_specs

if TYPE_CHECKING:
    from pipeline.data.check import DataReport, OnFile

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Request:
    """A configuration as it was written, and as it is with all defaults filled in."""

    name: str
    written: Tables  # in the file and by --set: what a stored search is compared with
    tables: Tables  # with the preset beneath

    @property
    def config(self) -> SearchConfig:
        """The whole configuration, for a search that is new."""
        return configs.make_config(self.tables)


def read_request(source: str, name: str | None, assignments: list[str] | None) -> Request:
    """Read a preset or a file, and what was set beside it; nothing is written.

    Raises:
        UserError: an unknown preset or key, a wrong type, a file that cannot be read.
    """
    own = config_tables.parse_assignments(assignments or [])
    path = Path(source)
    if source.endswith(".toml") or source.startswith(HANDED) or path.is_file():
        in_file = config_tables.read_toml(path)
        preset = in_file.get("preset")
        written = config_tables.merge(in_file, own)
        default_name = _name_of(path)
    else:
        preset, written, default_name = source, {**own, "preset": source}, source
    if preset is not None and not isinstance(preset, str):
        raise UserError(f"{source}: preset: expected a preset's name")
    base = {} if preset is None else config_tables.read_preset(preset)
    if is_recipe(base):
        raise UserError(f"preset {preset} says how to train, not what to search: `nasnet retrain`")
    tables = config_tables.merge(base, written)
    request = Request(checked_name(default_name if name is None else name), written, tables)
    try:
        _ = request.config  # raises what is wrong with it
    except UnknownKeysError as error:
        raise _conflict(error, str(preset), written) or error from None
    return request


def _name_of(path: Path) -> str:
    """A file's name with hyphens for what a search's name may not have."""
    plain = "".join(c if _fits(c) else "-" for c in path.name.removesuffix(".toml"))
    return plain.lstrip("-")[:LONGEST_NAME]


def _fits(character: str) -> bool:
    return character.isalnum() or character in "-_."


# Of which other keys a table may have.
DECIDING = {"space.name", "controller.name", "network.skeleton", "early_stopping.name"}


def _conflict(error: UnknownKeysError, preset: str, written: Tables) -> UserError | None:
    """What is said where a preset's keys do not go with what was written beside it."""
    flat = dict(config_tables.flattened(written))
    of_preset = [key for key in error.keys if not _is_in(written, key)]
    causes = [f"{key} = {value!r}" for key, value in flat.items() if key in DECIDING]
    if not of_preset or not causes:
        return None
    fitting = [name for name in config_tables.preset_names() if _has(name, flat)]
    presets = f"preset {' or '.join(fitting[:3])} has it" if fitting else "no preset has it"
    return UserError(
        f"{' and '.join(causes)}: does not go with preset {preset}, which sets "
        f"{', '.join(of_preset)}; {presets}, or write a file without a preset"
    )


def _is_in(tables: Any, key: str) -> bool:
    """Whether tables have a dotted key, whatever it is of."""
    for part in key.split("."):
        if not isinstance(tables, dict) or part not in tables:
            return False
        tables = tables[part]
    return True


def _has(preset: str, written: Tables) -> bool:
    """Whether a search's preset has what was written of the deciding keys."""
    tables = config_tables.read_preset(preset)
    if is_recipe(tables):
        return False
    found = dict(config_tables.flattened(configs.make_config(tables).model_dump(mode="json")))
    return all(found.get(key) == value for key, value in written.items() if key in DECIDING)


def checked_name(name: str, said: str = "--name") -> str:
    """A name that a search may have; ``said`` is where it was written.

    Raises:
        UserError: it may not.
    """
    # a colon parts a search's name from a rank, a hyphen begins an option, and a name stands in
    # links and file names
    fits = name.strip(".") and all(map(_fits, name)) and name[0] != "-"
    if not fits or len(name) > LONGEST_NAME:
        raise UserError(
            f"{said} {name!r}: use letters, digits, and - _ . (at most {LONGEST_NAME}, no hyphen "
            "first)"
        )
    return name


@dataclass(frozen=True, slots=True)
class Opened:
    """A search that is there now."""

    search_id: int
    name: str
    created: bool
    changed: tuple[str, ...] = ()  # keys of budget and stop that were changed
    data: "DataReport | None" = None  # of a search that is new


def check_search(
    request: Request, on_file: "OnFile | None" = None
) -> CheckedData[SearchConfig] | None:
    """Look whether the search can be created or gone on with, before anything is written.

    Args:
        on_file: as ``check_data``.

    Returns:
        What to create it with; None where the store has a search of that name.

    Raises:
        UserError: a key that was written differs from the stored search's; the data set cannot
            be used; the search is read only.
    """
    found = _find(request.name)
    if found is not None:
        _check_stored(request, found)
        return None
    config = _resolved(request.config)
    if isinstance(config.controller, PolicyConfig):
        check_kinds(config.controller, make_space(config.space))
    return check_data(config, on_file)


def _check_stored(request: Request, found: SearchRow) -> None:

    changed_tables(request, found.config)
    if found.state is SearchState.IMPORTED:
        raise UserError(f"search {found.name!r} was imported: it can be read, not resumed")


def _find(name: str) -> Any:

    if not migrations.is_made():
        return None
    migrations.require()
    with transaction(read_only=True) as connection:
        return searches.find(connection, name)


def open_search(
    request: Request, *, resume: bool, checked: CheckedData[SearchConfig] | None = None
) -> Opened:
    """Create the search, or let the one of that name go on.

    Args:
        checked: what ``check_search`` gave; without it that is asked now.

    Raises:
        UserError: as ``check_search``.
    """

    checked = checked or check_search(request)
    if checked is not None:
        with transaction() as connection:
            checked.note(connection)
            stored = checked.config.model_dump(mode="json")
            search_id = searches.create(connection, request.name, stored)
        if search_id is not None:
            return Opened(search_id, request.name, created=True, data=checked.report)
    found = _find(request.name)
    _check_stored(request, found)
    return _open_stored(request, found, resume=resume)


def _open_stored(request: Request, found: SearchRow, *, resume: bool) -> Opened:

    changed = changed_tables(request, found.config)
    if resume and _will_train(found, changed):
        check_unchanged(configs.load_config(found.config))
    with transaction() as connection:
        if changed is not None:
            budgets.check_change(connection, found, changed["budget"])
            searches.reconfigure(connection, found.id, changed)
            if _is_complete(found, changed):
                runs.ask_then(connection, found.id, configs.load_config(changed))
        if resume:
            _resume(connection, found, changed)
    return Opened(found.id, request.name, created=False, changed=_changes(found.config, changed))


def _is_complete(found: SearchRow, changed: Tables) -> bool:
    """Whether a search has met its budget and keeps it: what comes then may be asked for now."""

    met = found.state is SearchState.FINISHED and found.reason != searches.STOPPED_BY_HAND
    return met and changed["budget"] == found.config["budget"]


def _will_train(found: SearchRow, changed: Tables | None) -> bool:
    """Whether a search that is gone on with has children to train."""

    if found.state is SearchState.FINISHED:
        return changed is not None and changed["budget"] != found.config["budget"]
    return found.state is not SearchState.IMPORTED


def _resume(connection: Connection, found: SearchRow, changed: Tables | None) -> None:

    # whether the new budget suffices is asked again before anything is proposed
    raised = changed is not None and changed["budget"] != found.config["budget"]
    paused = {SearchState.PAUSED, SearchState.STOPPING, SearchState.FAILED}
    if found.state in paused or (found.state is SearchState.FINISHED and raised):
        searches.resume(connection, found.id)


def changed_tables(request: Request, stored: Tables) -> Tables | None:
    """The stored configuration with the written budget and stops, or None where all agree.

    Raises:
        UserError: any other key differs.
    """
    current = configs.load_config(stored).model_dump(mode="json")
    different = config_tables.differences(_named_alike(request.written, current), current)
    for key, old, new in different:
        if key.split(".")[0] not in CHANGEABLE:
            raise UserError(
                f"search {request.name!r} has {key} = {old!r}, not {new!r}: only "
                f"{' and '.join(CHANGEABLE)} may change; choose another --name for a new search"
            )
    if not different:
        return None
    written = {key: request.written[key] for key in CHANGEABLE if key in request.written}
    return configs.make_config(config_tables.merge(current, written)).model_dump(mode="json")


def _named_alike(written: Tables, stored: Tables) -> Tables:
    """What was written, its data set named as it is stored where both are the same."""
    if not isinstance(written.get("dataset"), str):
        return written
    named = absolute_name(written["dataset"])
    if named == absolute_name(stored["dataset"]):  # earlier releases stored relative paths
        named = stored["dataset"]
    return {**written, "dataset": named}


def _changes(stored: Tables, changed: Tables | None) -> tuple[str, ...]:
    if changed is None:
        return ()
    return tuple(f"{key} = {new}" for key, _, new in config_tables.differences(changed, stored))


def _resolved(config: SearchConfig) -> SearchConfig:
    """The configuration with the device filled in: what this machine has."""
    if config.training.device is not None:
        return config

    kind = slot_specs(get_settings().devices)[0].kind
    return config.model_copy(
        update={"training": config.training.model_copy(update={"device": kind})}
    )
