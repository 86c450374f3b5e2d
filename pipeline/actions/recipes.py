"""How a training in full is configured: from presets, searches and runs, and what was typed."""

from dataclasses import dataclass, field

from db.lifecycle import runs, searches
from db.schema.session import transaction
from pipeline.actions.stores import open_store
from pipeline.config import search as configs
from pipeline.config import tables as config_tables
from pipeline.config.run import (
    DataConfig,
    RunConfig,
    is_recipe,
    load_run_config,
    make_network_config,
    make_run_config,
)
from pipeline.config.tables import Tables
from pipeline.errors import UserError
from pipeline.io.text import whole_number
from pipeline.settings import get_settings
from tasks.devices import slot_specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What was typed beside the genotype and the data."""

    preset: str | None = None
    like: str | None = None  # a search, or a run's number, whose data and recipe are meant
    assignments: list[str] | None = None
    cells: int | None = None
    filters: int | None = None
    epochs: int | None = None


@dataclass(slots=True)
class Recipe:
    """A configuration on its way: tables that later ones are laid over."""

    tables: Tables = field(default_factory=dict)

    def lay(self, tables: Tables) -> None:
        """Put tables over what is there."""
        self.tables = config_tables.merge(self.tables, tables)

    def lay_typed(self, typed: Typed) -> None:
        """Put the sizes and keys that were typed over what is there."""
        network = {"num_cells": typed.cells, "num_filters": typed.filters}
        options = {
            "network": {key: value for key, value in network.items() if value is not None},
            "training": {} if typed.epochs is None else {"epochs": typed.epochs},
        }
        self.lay({key: table for key, table in options.items() if table})
        self.lay(config_tables.parse_assignments(typed.assignments or []))

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
        network = make_network_config(kind, tables.get("network", {}))
        dumped = None if network is None else network.model_dump()
        config = make_run_config({**tables, "network": dumped})
        if config.training.device is not None:
            return config
        kind = slot_specs(get_settings().devices)[0].kind
        training = config.training.model_copy(update={"device": kind})
        return config.model_copy(update={"training": training})


def preset_tables(name: str) -> Tables:
    """A preset as a recipe; of a search, its data and its table ``retrain``."""
    tables = config_tables.read_preset(name)
    if is_recipe(tables):
        return tables
    return search_tables(f"preset {name!r}", configs.make_config(tables))


def search_tables(what: str, search: configs.SearchConfig) -> Tables:
    """The data of a search and its table ``retrain`` as a recipe; ``what`` names it in errors.

    Raises:
        UserError: it has no such table.
    """
    if search.retrain is None:
        raise UserError(f"{what} has no table retrain that says how: give --preset")
    recipe = search.retrain.model_dump(mode="json")
    recipe["training"]["device"] = recipe["training"]["device"] or search.training.device
    return {**data_of(search), **recipe}


def like_tables(like: str) -> Tables:
    """The data and the recipe of a search, or of a run by its number."""
    open_store()
    with transaction(read_only=True) as connection:
        number = whole_number(like)
        if searches.find(connection, like) is None and number is not None:
            run = runs.get(connection, number)
            if run is None:
                raise UserError(f"--like {like}: there is no search and no run of that name")
            stored = load_run_config(run.config).model_dump(mode="json")
            return {key: value for key, value in stored.items() if value is not None}
        config = configs.load_config(searches.get(connection, like).config)
    return search_tables(f"search {like!r}", config)


def only_recipe(tables: Tables) -> Tables:
    """How to train, without what on."""
    return {key: tables[key] for key in ("network", "training", "image_size") if key in tables}


def data_of(search: configs.SearchConfig) -> Tables:
    """What a search trains on, as keys of a configuration."""
    return {name: getattr(search, name) for name in DataConfig.model_fields}
