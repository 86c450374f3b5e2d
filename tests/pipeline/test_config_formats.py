"""Configurations of earlier releases keep what they were made with."""

import pytest

from pipeline.config import load_config, load_run_config, make_config
from pipeline.config_formats import FORMAT, without_later_keys
from pipeline.errors import UserError


def test_a_search_of_format_1_keeps_its_random_split():
    config = load_config({"format": 1, "dataset": "npz:/x.npz"})
    assert config.split == "random"
    assert config.format == FORMAT
    assert make_config({"dataset": "npz:/x.npz"}).split is None


def test_a_training_of_format_1_keeps_what_its_search_does():
    search = load_config({"format": 1, "dataset": "digits"})
    run = without_later_keys(search.run_config().model_dump(mode="json"))
    assert load_run_config(run) == search.run_config()


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
