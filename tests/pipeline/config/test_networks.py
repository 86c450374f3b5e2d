"""Which skeleton a search's networks have: its space says, where the configuration does not."""

import pytest

from pipeline.config.run import make_network_config, make_run_config
from pipeline.config.search import load_config, make_config
from pipeline.errors import UserError
from pipeline.spaces.base import literal_of
from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.macro.config import MacroNetworkConfig
from pipeline.spaces.registry import SPACES, skeleton_names, skeletons_of


@pytest.mark.parametrize("space", SPACES)
def test_a_search_s_networks_have_the_skeleton_of_its_space(space):
    config = make_config({"space": {"name": space}, "retrain": {}})
    own = literal_of(SPACES[space].skeletons[0], "skeleton")
    assert config.network.skeleton == config.retrain.network.skeleton == own
    assert load_config(config.model_dump(mode="json")) == config
    assert own in skeleton_names(skeletons_of(SPACES[space].kind.name))


def test_a_configuration_of_an_older_release_has_nasnet_s_skeleton():
    stored = make_config({}).model_dump(mode="json")
    del stored["network"]["skeleton"]
    assert load_config(stored) == make_config({})
    run = make_run_config({"network": {"num_cells": 3}, "training": {}})
    assert run.network == NetworkConfig(num_cells=3)


def test_enas_cells_may_be_retrained_in_nasnet_s_skeleton():
    retrain = {"network": {"skeleton": "nasnet", "num_cells": 6}}
    config = make_config({"space": {"name": "enas-micro"}, "retrain": retrain})
    assert config.network == MicroNetworkConfig(skeleton="enas-micro")
    assert config.retrain.network == NetworkConfig(num_cells=6)


@pytest.mark.parametrize(
    ("space", "tables", "said"),
    [
        ("nasnet", {"network": {"skeleton": "layers"}}, "'layers' is another space's"),
        ("nas", {"network": {"skeleton": "nasnet"}}, "expected 'layers' with space.name = 'nas'"),
        ("enas-macro", {"network": {"skeleton": "enas-micro"}}, "expected 'enas-macro' with"),
        ("enas-micro", {"network": {"skeleton": "nasnet"}}, "network.skeleton: 'nasnet'"),
        (
            "enas-micro",
            {"retrain": {"network": {"skeleton": "layers"}}},
            "retrain.network.skeleton: 'layers' is another space's; expected 'enas-micro' or",
        ),
        ("nasnet", {"network": {"skeleton": "none"}}, "network.skeleton"),
        (
            "enas-macro",
            {"network": {"num_cells": 3}},
            "network.num_cells: goes with network.skeleton",
        ),
        ("enas-macro", {"network": {"filters": 3}}, "network.filters"),
        ("enas-macro", {"network": {"reductions": [4, 4]}}, "different numbers"),
        ("enas-macro", {"network": {"reductions": [13]}}, "network.reductions: the space has 12"),
        ("enas-micro", {"network": {"auxiliary": True}}, "need cells = 'final'"),
        ("enas-micro", {"space": {"name": "enas-micro", "blocks": 99}}, "space.blocks"),
        ("enas-macro", {"space": {"name": "enas-macro", "layers": 0}}, "space.layers"),
    ],
)
def test_a_network_that_the_space_has_not_is_named_in_one_line(space, tables, said):
    with pytest.raises(UserError) as error:
        make_config({"space": {"name": space}, **tables})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_network_is_configured_for_its_kind_of_genotype():
    assert make_network_config("macro", {"filters": 8}) == MacroNetworkConfig(
        skeleton="enas-macro", filters=8
    )
    final = {"skeleton": "enas-micro", "cells": "final"}
    assert make_network_config("cell", final) == MicroNetworkConfig(**final)
    with pytest.raises(UserError, match="'layers' is of another kind of genotypes"):
        make_network_config("cell", {"skeleton": "layers"})


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(1, ()), (2, ()), (3, (1, 2)), (6, (2, 4)), (12, (4, 8)), (24, (8, 16))],
)
def test_maps_are_halved_after_the_first_and_second_third(layers, expected):
    """general_child.py: after layers L / 3 - 1 and 2 (L / 3) - 1, counted from 0."""
    assert MacroNetworkConfig(skeleton="enas-macro").reductions_of(layers) == expected


def test_search_cells_have_nothing_to_pad():
    tables = {"space": {"name": "enas-micro"}, "network": {"padding": "same"}}
    with pytest.raises(UserError, match="padding: needs cells = 'final'"):
        make_config(tables)
