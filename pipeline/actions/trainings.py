"""Trainings in full: what is to be trained and how, then asked for as runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from db.lifecycle import checkpoints, searches
from db.lifecycle import runs as rows
from db.schema import migrations
from db.schema.enums import Arm, Purpose, SearchState
from db.schema.session import transaction
from pipeline.actions.data import CheckedData, check_data
from pipeline.actions.genotypes import resolve
from pipeline.actions.recipes import (
    Recipe,
    Typed,
    data_of,
    like_tables,
    only_recipe,
    preset_tables,
    search_tables,
)
from pipeline.actions.stores import open_home, open_store
from pipeline.config.run import RunConfig
from pipeline.config.search import load_config
from pipeline.config.tables import Tables
from pipeline.data.check import usual_size
from pipeline.data.dataset_names import absolute_name, check_dataset, own_path
from pipeline.errors import MachineError, UserError
from pipeline.spaces.base import Genotype
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.registry import SPACES, AnyNetworkConfig
from tasks import runs

if TYPE_CHECKING:
    from pipeline.data.check import OnFile

# Writes the rows of trainings, in a transaction of the caller's; returns the runs.
Ask = Callable[[Connection, RunConfig], list[int]]


@dataclass(frozen=True, slots=True)
class Training:
    """Trainings that can be asked for: how, and what writes their rows."""

    config: RunConfig
    ask: Ask


@dataclass(frozen=True, slots=True)
class Requested:
    """Trainings that were asked for."""

    run_ids: list[int]
    data: CheckedData[RunConfig]


def ask_for(training: Training, on_file: "OnFile | None" = None) -> Requested:
    """Look at the images, then write the rows; the same asked for again are the same runs.

    Args:
        on_file: as ``check_data``.

    Raises:
        UserError: the images cannot be used, or there is nothing to train.
    """
    checked = check_data(training.config, on_file)
    open_home()
    migrations.prepare()
    with transaction() as connection:
        checked.note(connection)
        return Requested(training.ask(connection, checked.config), checked)


def retrain(search: str, typed: Typed, *, top: int, seeds: int, arm: Arm | None) -> Training:
    """The best genotypes of a search in full, on the search's data.

    Raises:
        UserError: there is no such search, it is paused, or nothing says how to train.
    """
    open_store()
    with transaction(read_only=True) as connection:
        found = searches.get(connection, search)
    stored = load_config(found.config)
    if found.state is SearchState.PAUSED:
        raise UserError(f"search {search!r} is paused: `nasnet search resume {search}` first")
    recipe = Recipe()
    if typed.preset is None:
        recipe.lay(search_tables(f"search {search!r}", stored))
    else:
        recipe.lay(only_recipe(preset_tables(typed.preset)))
        recipe.lay({"training": {"device": stored.training.device}})
    recipe.lay_typed(typed)
    recipe.lay({key: value for key, value in data_of(stored).items() if value is not None})

    def ask(connection: Connection, config: RunConfig) -> list[int]:
        asked = runs.ask_retrain(connection, found.id, config, top=top, seeds=seeds, arm=arm)
        if not asked:
            raise UserError(f"search {search!r} has no genotype with a reward yet")
        return asked

    return Training(recipe.made(SPACES[stored.space.name].kind.name), ask)


def transfer(
    genotype: str,
    dataset: str,
    typed: Typed,
    *,
    seeds: int,
    from_run: int | None = None,
    freeze: bool = False,
) -> Training:
    """A genotype on other data, from scratch or from a run's weights with a new head.

    Args:
        genotype: as ``resolve``; of SEARCH:RANK that search's recipe is the default.
        from_run: the run whose weights are begun with.
        freeze: whether the new head is trained alone.

    Raises:
        UserError: there is no such genotype or run, or nothing says how to train.
    """
    chosen = resolve(genotype)
    start = None if from_run is None else _start(from_run, chosen)
    name, colon, _ = genotype.rpartition(":")
    like = typed.like or (name if colon else None) or (None if from_run is None else str(from_run))
    recipe = _transfer_recipe(replace(typed, like=like), start, freeze=freeze)
    dataset = absolute_name(dataset)
    recipe.lay({"dataset": dataset})
    recipe.lay_typed(typed)
    own = own_path(dataset)
    if recipe.tables.get("image_size") is None and own is not None and own[0] == "imagefolder":
        recipe.lay({"image_size": _usual_size(dataset, own[1])})
    config = recipe.made(chosen.kind)
    if start is not None and config.network is not None:
        _check_skeleton(config.network, start)
    start_id = None if start is None else start.artifact_id
    return Training(config, _asking(Purpose.TRANSFER, chosen, seeds, start_id))


def baseline(name: str, typed: Typed, *, seeds: int) -> Training:
    """A known network under the same recipe as found ones.

    Raises:
        UserError: there is no such network, or nothing says how to train.
    """
    from pipeline.spaces.known.network import known_names

    if name not in known_names():
        raise UserError(f"no network {name!r}; there are: {', '.join(known_names())}")
    if typed.cells is not None or typed.filters is not None:
        raise UserError(f"--cells, --filters: {name} has a size of its own")
    recipe = Recipe()
    if typed.preset is not None:
        recipe.lay(preset_tables(typed.preset))
    elif typed.like is not None:
        recipe.lay(like_tables(typed.like))
    recipe.lay_typed(typed)
    recipe.tables.pop("network", None)
    return Training(recipe.made("known"), _asking(Purpose.BASELINE, KnownNetwork(name), seeds))


def _transfer_recipe(typed: Typed, start: "_Start | None", *, freeze: bool) -> Recipe:
    """How to train, on data that are still to be named."""
    recipe = Recipe()
    if typed.preset is not None:
        recipe.lay(only_recipe(preset_tables(typed.preset)))
    elif typed.like is not None:
        recipe.lay(only_recipe(like_tables(typed.like)))
    if start is not None:
        recipe.lay({"network": start.network})
    if freeze and start is None:
        raise UserError("--freeze: there is nothing to freeze without --from RUN")
    if freeze:
        recipe.lay({"network": {"auxiliary": False}, "training": {"freeze": True}})
    return recipe


@dataclass(frozen=True, slots=True)
class _Start:
    """Weights to start from, and the skeleton they belong to."""

    artifact_id: int
    network: Tables


def _start(run_id: int, chosen: Genotype) -> _Start:
    open_store()
    with transaction(read_only=True) as connection:
        run = rows.get(connection, run_id) if 0 < run_id < 2**31 else None
        weights = None if run is None else checkpoints.weights_of_run(connection, run_id)
        genotype_id = None if run is None else run.genotype_id  # shared weights are of none
        digest = "" if genotype_id is None else rows.digest_of(connection, genotype_id)
    if run is None:
        raise UserError(f"--from {run_id}: there is no such run")
    if weights is None:
        raise UserError(
            f"--from {run_id}: a run of purpose {run.purpose} that is {run.state} has no weights; "
            "finished retrain and transfer runs have"
        )
    if digest != chosen.digest:
        raise UserError(f"--from {run_id}: it trained another genotype ({digest[:12]})")
    network = run.config["network"]
    return _Start(weights.id, network if isinstance(network, dict) else {})


def _check_skeleton(network: AnyNetworkConfig, start: _Start) -> None:
    """The weights' network must be the one that is trained."""
    had = {"skeleton": "nasnet", **start.network}  # older releases wrote none for cells
    for key in ("skeleton", *network.weights):
        wanted = getattr(network, key)
        if wanted != had[key]:
            raise UserError(
                f"network.{key}: the weights of --from belong to {had[key]}, not {wanted}"
            )


def _usual_size(dataset: str, folder: Path) -> int:
    """What images of several sizes are brought to where nothing says so."""
    try:
        check_dataset(dataset)
        return usual_size(folder)
    except MachineError as error:
        raise UserError(str(error)) from None


def _asking(purpose: Purpose, chosen: Genotype, seeds: int, start_id: int | None = None) -> Ask:
    canonical = chosen.canonical()

    def ask(connection: Connection, config: RunConfig) -> list[int]:
        genotype_id = runs.add_genotype(connection, canonical)
        return [
            runs.ask(
                connection,
                purpose,
                (genotype_id, canonical.literal_digest),
                config,
                seed=seed,
                start_artifact_id=start_id,
            )
            for seed in range(seeds)
        ]

    return ask
