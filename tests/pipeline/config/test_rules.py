"""What storage reads of a search's configuration is what the search itself reads."""

import json

import pytest

from pipeline.config.rules import load_rules, rules_from_text
from pipeline.config.run import is_recipe
from pipeline.config.search import load_config, make_config
from pipeline.config.tables import preset_names, read_preset

SEARCHES = [name for name in preset_names() if not is_recipe(read_preset(name))]


@pytest.mark.parametrize("preset", SEARCHES)
def test_the_rules_of_a_preset_are_its_configuration_s(preset):
    stored = make_config(read_preset(preset)).model_dump(mode="json")
    config, rules = load_config(stored), load_rules(stored)
    for part in ("mode", "control", "reward", "failures", "shared", "budget", "stop"):
        assert getattr(rules, part) == getattr(config, part)
    assert rules.controller.batch == config.controller.batch
    assert rules_from_text(json.dumps(stored)) == rules


def test_a_search_stored_before_there_was_a_limit_of_failures_has_none():
    stored = make_config({}).model_dump(mode="json")
    assert load_rules(stored).stop.failures == 0.5
    stored |= {"format": 1, "stop": {"duplicates": 0.9}}
    assert load_rules(stored).stop == load_config(stored).stop
    assert load_rules(stored).stop.failures == 1.0
    assert load_rules(stored).stop.duplicates == 0.9


def test_the_rules_of_a_newer_release_s_search_are_read_without_what_is_new():
    stored = make_config({"budget": {"children": 7}}).model_dump(mode="json")
    stored |= {"format": 99, "space": {"name": "of another package"}, "new": 1}
    stored["budget"]["joules"] = stored["stop"]["new"] = stored["failures"]["oom"]["new"] = 1
    stored["controller"] = {"name": "new", "batch": 5, "new": 1}
    rules = load_rules(stored)
    assert (rules.budget.children, rules.controller.batch) == (7, 5)
    assert rules.failures == make_config({}).failures
