"""``nasnet retrain``, ``transfer``, ``baseline``: trainings in full, as runs like any other."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.checked_data import check_data
from pipeline.cli.output import JsonFlag, print_json, say
from pipeline.config import search as configs
from pipeline.config import tables as config_tables
from pipeline.config.search import DataConfig, RunConfig
from pipeline.config.spaces import KIND_OF_SPACE
from pipeline.data.dataset_names import absolute_name
from pipeline.errors import MachineError, UserError
from pipeline.io.text import whole_number

if TYPE_CHECKING:
    from db.schema.enums import Purpose

PresetOption = Annotated[
    str | None, typer.Option("--preset", help="The recipe, such as cifar10-final.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One key, such as training.batch_size=32."),
]
CellsOption = Annotated[int | None, typer.Option("--cells", help="N, normal cells a stage.")]
FiltersOption = Annotated[int | None, typer.Option("--filters", help="F of the first stage.")]
EpochsOption = Annotated[int | None, typer.Option("--epochs")]
LikeOption = Annotated[
    str | None,
    typer.Option("--like", metavar="SEARCH|RUN", help="Data, split and recipe are those of it."),
]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, max=1000, help="Runs of each.")]


@dataclass(slots=True)
class Recipe:
    """A configuration on its way: tables that later ones are laid over."""

    tables: dict[str, Any] = field(default_factory=dict)

    def lay(self, tables: dict[str, Any]) -> None:
        """Put tables over what is there."""
        self.tables = config_tables.merge(self.tables, tables)

    def lay_options(
        self,
        assignments: list[str] | None,
        cells: int | None,
        filters: int | None,
        epochs: int | None,
    ) -> None:
        """Put what was written on the command line over what is there."""
        network = {"num_cells": cells, "num_filters": filters}
        options = {
            "network": {key: value for key, value in network.items() if value is not None},
            "training": {} if epochs is None else {"epochs": epochs},
        }
        self.lay({key: table for key, table in options.items() if table})
        self.lay(config_tables.parse_assignments(assignments or []))

    def made(self, kind: str) -> RunConfig:
        """The configuration for a kind of genotype, checked, with the device filled in.

        Raises:
            UserError: naming the key, what it was given, and what it may be.
        """
        if "training" not in self.tables:
            raise UserError(
                "no recipe: give --preset, such as cifar10-final, or --like SEARCH|RUN"
            )
        if self.tables.get("dataset") is None:
            raise UserError("no data set: give --set dataset=NAME, or --like SEARCH|RUN")
        tables = {key: value for key, value in self.tables.items() if key != "preset"}
        network = None
        if kind != "known":
            network = configs.make_network_config(kind, tables.get("network", {})).model_dump()
        config = configs.make_run_config({**tables, "network": network})
        if config.training.device is not None:
            return config
        from pipeline.settings import get_settings
        from tasks.devices import slot_specs

        kind = slot_specs(get_settings().devices)[0].kind
        training = config.training.model_copy(update={"device": kind})
        return config.model_copy(update={"training": training})


def _preset_tables(name: str) -> dict[str, Any]:
    """A preset as a recipe; of a search, its data and its table ``retrain``."""
    tables = config_tables.read_preset(name)
    if configs.is_recipe(tables):
        return tables
    return _search_tables(f"preset {name!r}", configs.make_config(tables))


def _search_tables(what: str, search: configs.SearchConfig) -> dict[str, Any]:
    if search.retrain is None:
        raise UserError(f"{what} has no table retrain that says how: give --preset")
    data = {name: getattr(search, name) for name in DataConfig.model_fields}
    recipe = search.retrain.model_dump(mode="json")
    recipe["training"]["device"] = recipe["training"]["device"] or search.training.device
    return {**data, **recipe}


def _like_tables(like: str) -> dict[str, Any]:
    """The data and the recipe of a search, or of a run by its number."""
    from db.lifecycle import runs, searches
    from db.schema.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    with transaction(read_only=True) as connection:
        number = whole_number(like)
        if searches.find(connection, like) is None and number is not None:
            run = runs.get(connection, number)
            if run is None:
                raise UserError(f"--like {like}: there is no search and no run of that name")
            stored = configs.load_run_config(run.config).model_dump(mode="json")
            return {key: value for key, value in stored.items() if value is not None}
        config = configs.load_config(searches.get(connection, like).config)
    return _search_tables(f"search {like!r}", config)


def _only_recipe(tables: dict[str, Any]) -> dict[str, Any]:
    return {key: tables[key] for key in ("network", "training", "image_size") if key in tables}


def _data_of(search: configs.SearchConfig) -> dict[str, Any]:
    return {name: getattr(search, name) for name in DataConfig.model_fields}


def retrain(
    search: Annotated[str, typer.Argument(help="The search's name.")],
    top: Annotated[int, typer.Option("--top", min=1, help="So many of its best genotypes.")] = 1,
    arm: Annotated[
        str | None, typer.Option("--arm", help="Of this arm only: policy, control or derive.")
    ] = None,
    preset: PresetOption = None,
    assignments: SetOption = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a search's best genotypes in full, and test each once.

    The recipe is the search's table `retrain`, or a preset's; the data are the search's.
    """
    from db.lifecycle import searches
    from db.schema.enums import Arm, SearchState
    from db.schema.session import transaction
    from pipeline.cli.home import open_store
    from tasks import runs

    if arm is not None and arm not in list(Arm):
        raise UserError(f"--arm {arm}: expected policy, control or derive")
    open_store()
    with transaction(read_only=True) as connection:
        found = searches.get(connection, search)
    stored = configs.load_config(found.config)
    if found.state is SearchState.PAUSED:
        raise UserError(f"search {search!r} is paused: `nasnet search resume {search}` first")
    recipe = Recipe()
    if preset is None:
        recipe.lay(_search_tables(f"search {search!r}", stored))
    else:
        recipe.lay(_only_recipe(_preset_tables(preset)))
        recipe.lay({"training": {"device": stored.training.device}})
    recipe.lay_options(assignments, cells, filters, epochs)
    recipe.lay({key: value for key, value in _data_of(stored).items() if value is not None})
    config = recipe.made(KIND_OF_SPACE[stored.space.name])

    def ask(connection: Any, config: RunConfig) -> list[int]:
        asked = runs.ask_retrain(
            connection,
            found.id,
            config,
            top=top,
            seeds=seeds,
            arm=None if arm is None else Arm(arm),
        )
        if not asked:
            raise UserError(f"search {search!r} has no genotype with a reward yet")
        return asked

    _train(config, ask, as_json)


def transfer(
    genotype: Annotated[
        str, typer.Argument(metavar="GENOTYPE", help="nasnet-a, digits:1, a digest, a JSON file.")
    ],
    dataset: Annotated[str, typer.Option("--dataset", help="Such as imagefolder:PATH.")],
    from_run: Annotated[
        int | None, typer.Option("--from", metavar="RUN", help="Start from its weights.")
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="With --from: train the new head alone.")
    ] = False,
    preset: PresetOption = None,
    like: LikeOption = None,
    assignments: SetOption = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a genotype on other data, from scratch or from a run's weights with a new head.

    The recipe is a preset's, or that of --like; for SEARCH:RANK that search's.
    """
    from db.schema.enums import Purpose
    from pipeline.cli.named_genotype import resolve

    chosen = resolve(genotype)
    start = None if from_run is None else _start(from_run, chosen)
    name, colon, _ = genotype.rpartition(":")
    like = like or (name if colon else None) or (None if from_run is None else str(from_run))
    recipe = _transfer_recipe(preset, like, start, freeze=freeze)
    dataset = absolute_name(dataset)
    recipe.lay({"dataset": dataset})
    recipe.lay_options(assignments, cells, filters, epochs)
    if recipe.tables.get("image_size") is None and dataset.startswith("imagefolder:"):
        recipe.lay({"image_size": _usual_size(dataset)})
    config = recipe.made(chosen.kind)
    if start is not None and config.network is not None:
        _check_skeleton(config, start)
    start_id = None if start is None else start.artifact_id
    _train(config, _asking(Purpose.TRANSFER, chosen, seeds, start_id), as_json)


def _transfer_recipe(
    preset: str | None, like: str | None, start: "_Start | None", *, freeze: bool
) -> Recipe:
    """How to train, on data that are still to be named."""
    recipe = Recipe()
    if preset is not None:
        recipe.lay(_only_recipe(_preset_tables(preset)))
    elif like is not None:
        recipe.lay(_only_recipe(_like_tables(like)))
    if start is not None:
        recipe.lay({"network": start.network})
    if freeze and start is None:
        raise UserError("--freeze: there is nothing to freeze without --from RUN")
    if freeze:
        recipe.lay({"network": {"auxiliary": False}, "training": {"freeze": True}})
    return recipe


def baseline(
    name: Annotated[
        str,
        typer.Argument(help="A network of torchvision, such as resnet18 or mobilenet_v3_small."),
    ],
    preset: PresetOption = None,
    like: LikeOption = None,
    assignments: SetOption = None,
    cells: CellsOption = None,
    filters: FiltersOption = None,
    epochs: EpochsOption = None,
    seeds: SeedsOption = 1,
    as_json: JsonFlag = False,
) -> None:
    """Train a known network under the same recipe as found ones, for the leaderboard."""
    from db.schema.enums import Purpose
    from pipeline.spaces.cells.genotype import KnownNetwork
    from pipeline.spaces.known import known_names

    if name not in known_names():
        raise UserError(f"no network {name!r}; there are: {', '.join(known_names())}")
    if cells is not None or filters is not None:
        raise UserError(f"--cells, --filters: {name} has a size of its own")
    recipe = Recipe()
    if preset is not None:
        recipe.lay(_preset_tables(preset))
    elif like is not None:
        recipe.lay(_like_tables(like))
    recipe.lay_options(assignments, None, None, epochs)
    recipe.tables.pop("network", None)
    config = recipe.made("known")
    _train(config, _asking(Purpose.BASELINE, KnownNetwork(name), seeds), as_json)


@dataclass(frozen=True, slots=True)
class _Start:
    """Weights to start from, and the skeleton they belong to."""

    artifact_id: int
    network: dict[str, Any]


def _start(run_id: int, chosen: Any) -> _Start:
    from db.lifecycle import checkpoints, runs
    from db.schema.session import transaction
    from pipeline.cli.home import open_store

    open_store()
    with transaction(read_only=True) as connection:
        run = runs.get(connection, run_id) if 0 < run_id < 2**31 else None
        weights = None if run is None else checkpoints.weights_of_run(connection, run_id)
        genotype_id = None if run is None else run.genotype_id  # shared weights are of none
        digest = "" if genotype_id is None else runs.digest_of(connection, genotype_id)
    if run is None:
        raise UserError(f"--from {run_id}: there is no such run")
    if weights is None:
        raise UserError(
            f"--from {run_id}: a run of purpose {run.purpose} that is {run.state} has no weights; "
            "finished retrain and transfer runs have"
        )
    if digest != chosen.digest:
        raise UserError(f"--from {run_id}: it trained another genotype ({digest[:12]})")
    return _Start(weights.id, run.config["network"] or {})


def _check_skeleton(config: RunConfig, start: _Start) -> None:
    """The weights' network must be the one that is trained."""
    assert config.network is not None
    had = {"skeleton": "nasnet", **start.network}  # older releases wrote none for cells
    for key in ("skeleton", *config.network.weights):
        wanted = getattr(config.network, key)
        if wanted != had[key]:
            raise UserError(
                f"network.{key}: the weights of --from belong to {had[key]}, not {wanted}"
            )


def _usual_size(dataset: str) -> int:
    """What images of several sizes are brought to where nothing says so."""
    from pipeline.data.check import usual_size
    from pipeline.data.dataset_names import check_dataset, own_path

    found = own_path(dataset)
    assert found is not None
    try:
        check_dataset(dataset)
        return usual_size(found[1])
    except MachineError as error:
        raise UserError(str(error)) from None


def _asking(
    purpose: "Purpose", chosen: Any, seeds: int, start_id: int | None = None
) -> Callable[[Any, RunConfig], list[int]]:
    canonical = chosen.canonical()

    def ask(connection: Any, config: RunConfig) -> list[int]:
        from tasks import runs

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


def _train(config: RunConfig, ask: Callable[[Any, RunConfig], list[int]], as_json: bool) -> None:
    """Write the rows, start what is needed, follow to the end; called again it goes on."""
    from db.schema import migrations
    from db.schema.session import transaction
    from pipeline import logs
    from pipeline.cli.follow import Interruption, follow, make_supervisor
    from pipeline.cli.home import check_machine, open_home
    from pipeline.cli.runs_watch import RunsWatcher, report_runs, runs_show
    from tasks import runs
    from tasks.slot import SUPERVISOR_LOCK

    check_machine()
    checked = check_data(config)
    settings = open_home()
    migrations.prepare()
    with transaction() as connection:
        checked.note(connection)
        run_ids = ask(connection, checked.config)
    logs.configure(SUPERVISOR_LOCK, settings.home / "logs" / "supervisor.log")
    as_json = as_json or not sys.stdout.isatty()
    if as_json:
        data = checked.report.to_data()
        print_json({"event": "asked", "runs": run_ids, "home": str(settings.home), "data": data})
    else:
        say(checked.report.line())
        say(f"home {settings.home}: runs {', '.join(map(str, run_ids))}")
    interruption = Interruption()
    supervisor = make_supervisor()
    runs.start()
    try:
        view = follow(supervisor, RunsWatcher(run_ids), runs_show(as_json), interruption)
    finally:
        supervisor.stop(interruption.is_repeated)
    if interruption.number is not None and not view.rests:
        if as_json:
            print_json({"event": "interrupted", "runs": run_ids})
        else:
            say("stopped; the same command goes on")
        raise typer.Exit(interruption.exit_code)
    raise typer.Exit(report_runs(view, as_json))
