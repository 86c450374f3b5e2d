"""Configurations of earlier releases keep what they were made with."""

import pytest

from pipeline.config.formats import FORMAT, without_later_keys
from pipeline.config.run import load_run_config, make_run_config
from pipeline.config.search import load_config, make_config
from pipeline.config.tables import read_preset
from pipeline.errors import UserError
from pipeline.spaces.cells.config import ENAS_OPERATIONS
from pipeline.spaces.cells.genotype import PAPER_OPERATIONS
from pipeline.spaces.macro import genotype as macro


def test_a_search_of_format_1_keeps_its_random_split():
    config = load_config({"format": 1, "dataset": "npz:/x.npz"})
    assert config.split == "random"
    assert config.format == FORMAT
    assert make_config({"dataset": "npz:/x.npz"}).split is None


def test_a_training_of_format_1_keeps_what_its_search_does():
    search = load_config({"format": 1, "dataset": "digits"})
    run = without_later_keys(search.run_config().model_dump(mode="json"))
    assert load_run_config(run) == search.run_config()


OLD_TRAINING = {"average_decay": 0.9999, "cutout": 16}


@pytest.mark.parametrize(
    "part",
    [
        lambda old: load_config({"format": 1, "training": old}).training,
        lambda old: load_config({"format": 1, "retrain": {"training": old}}).retrain.training,
        lambda old: (
            load_config(
                {"format": 1, "retrain": {"preset": "cifar10-final", "training": old}}
            ).retrain.training
        ),
        lambda old: load_run_config({"network": None, "training": old}).training,
    ],
    ids=["search", "recipe", "recipe of a preset", "run"],
)
def test_a_training_of_format_1_blanks_with_black_and_averages_without_a_ramp(part):
    training = part(OLD_TRAINING)
    assert (training.cutout_fill, training.average_ramp) == ("black", False)
    assert (training.cutout, training.average_decay) == (16, 0.9999)
    new = make_config({"training": OLD_TRAINING}).training
    assert (new.cutout_fill, new.average_ramp) == ("mean", True)


def test_images_from_files_were_not_cut_out_in_format_1():
    files = {"dataset": "imagefolder:/x", "image_size": 32}
    search = load_config(
        {**files, "training": OLD_TRAINING, "retrain": {"training": OLD_TRAINING}}
    )
    run = load_run_config({**files, "network": None, "training": OLD_TRAINING})
    for training in (search.training, search.retrain.training, run.training):
        assert training.cutout == 0


@pytest.mark.parametrize("preset", ["paper", "small-budget"])
def test_a_search_of_format_1_draws_its_tournaments_without_replacement(preset):
    controller = {"name": "evolution", "preset": preset}
    assert not load_config({"format": 1, "controller": controller}).controller.replacement
    new = make_config({"controller": controller})
    assert new.controller.replacement == (preset == "paper")
    assert load_config(new.model_dump(mode="json")) == new


def test_a_search_of_enas_code_of_format_1_learns_as_it_did():
    """The released code's readings are keys that format 1 did not have."""
    stored = make_config(read_preset("enas-macro-cifar10-code")).model_dump(mode="json")
    later = ("head_bias", "reward_entropy")
    controller = {k: v for k, v in stored["controller"].items() if k not in later}
    controller |= {"skip_prior": {"rho": 0.4, "weight": 0.8}, "baseline_moves": "before"}
    found = load_config({**stored, "format": 1, "controller": controller}).controller
    assert (found.head_bias, found.reward_entropy) == (True, "surprise")
    assert (found.skip_prior.per, found.skip_prior.of) == ("skip", "drawn")
    assert found.baseline_moves == "before"


# The keys of format 1, which the hash of what was asked was made of.
TRAINING_OF_1 = {
    *("epochs", "batch_size", "optimizer", "learning_rate", "schedule", "decay_rate"),
    *("decay_epochs", "restart_epochs", "restart_factor", "min_learning_rate", "momentum"),
    *("nesterov", "rmsprop_decay", "rmsprop_epsilon", "weight_decay", "grad_clip"),
    *("label_smoothing", "average_decay", "auxiliary_weight", "freeze", "crop_padding", "flip"),
    *("cutout", "crop_area", "distort_colors", "device", "devices", "threads"),
    *("checkpoint_seconds", "timeout"),
}
MICRO_OF_1 = {
    *("skeleton", "cells", "num_cells", "num_filters", "stem_multiplier", "widen", "norm_decay"),
    *("norm_epsilon", "dropout", "drop_path_keep", "auxiliary"),
}
NETWORK_OF_1 = {
    *("skeleton", "num_cells", "num_filters", "stem", "stem_multiplier", "skip_reduction_input"),
    *("padding", "norm_decay", "norm_epsilon", "dropout", "drop_path_keep"),
    *("drop_path_schedule", "auxiliary"),
}


@pytest.mark.parametrize(
    ("network", "keys"),
    [({"skeleton": "enas-micro"}, MICRO_OF_1), ({"skeleton": "nasnet"}, NETWORK_OF_1)],
    ids=["enas-micro", "nasnet"],
)
def test_a_training_that_format_1_asked_for_is_asked_for_in_its_own_keys(network, keys):
    run = load_run_config({"network": network, "training": OLD_TRAINING})
    asked = without_later_keys(run.model_dump(mode="json"))
    assert asked["training"].keys() == TRAINING_OF_1
    assert asked["network"].keys() == keys
    data = {"dataset", "split_seed", "validation", "image_size"}
    assert asked.keys() == data | {"network", "training"}


def test_keys_that_say_nothing_make_no_other_training():
    """Without cutout and average a recipe of today is the one that format 1 ran."""
    run = make_run_config({"network": {}, "training": {"cutout": 0, "crop_padding": 0}})
    assert without_later_keys(run.model_dump(mode="json"))["training"].keys() == TRAINING_OF_1
    run = make_run_config({"network": {}, "training": OLD_TRAINING | {"crop_fill": "mean"}})
    later = {"average_ramp", "crop_fill", "cutout_fill"}
    asked = without_later_keys(run.model_dump(mode="json"))
    assert asked["training"].keys() == TRAINING_OF_1 | later


def test_enas_final_cells_of_format_1_pad_symmetrically():
    network = {"skeleton": "enas-micro", "cells": "final"}
    search = {"format": 1, "space": {"name": "enas-micro"}, "retrain": {"network": network}}
    assert load_config(search).retrain.network.padding == "symmetric"
    assert load_run_config({"network": network, "training": {}}).network.padding == "symmetric"


def test_a_configuration_of_this_release_is_loaded_as_it_was_stored():
    config = make_config({"split": "stratified"})
    assert load_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("load", [load_config, load_run_config])
def test_a_newer_format_is_refused(load):
    with pytest.raises(UserError, match="upgrade the package"):
        load({"format": FORMAT + 1})


def test_what_is_asked_for_is_named_as_format_1_named_it():
    run = load_config({"format": 1}).run_config().model_dump(mode="json")
    assert not {"format", "split"} & set(without_later_keys(run))
    other = {**run, "split": "stratified"}
    assert without_later_keys(other)["split"] == "stratified"


@pytest.mark.parametrize("stored_format", [1, 2])
@pytest.mark.parametrize(
    ("space", "operations"),
    [
        ("nasnet", PAPER_OPERATIONS),
        ("enas-micro", ENAS_OPERATIONS),
        ("enas-macro", macro.PAPER_OPERATIONS),
    ],
)
def test_a_search_that_names_no_operations_has_those_of_its_paper(
    stored_format, space, operations
):
    stored = make_config({"space": {"name": space}}).model_dump(mode="json")
    del stored["space"]["operations"]
    config = load_config({**stored, "format": stored_format})
    assert config.format == FORMAT
    assert config.space.operations == operations
    assert config.model_dump(mode="json")["space"]["operations"] == list(operations)


def test_a_training_of_format_2_is_loaded_as_it_was_stored():
    run = make_run_config({"network": {}, "training": {}})
    assert load_run_config({**run.model_dump(mode="json"), "format": 2}) == run
