"""What is said of keys and values that cannot be: in our words, and in one line."""

import math
import re
import tomllib

import pytest
from pydantic import ValidationError

from pipeline.config.run import RunConfig, make_network_config
from pipeline.config.search import SearchConfig, make_config
from pipeline.config.tables import (
    description,
    merge,
    parse_assignments,
    preset_names,
    preset_text,
    read_preset,
)
from pipeline.config.text import documented
from pipeline.errors import UserError
from pipeline.io.key_values import keys_of, values
from pipeline.io.refused_values import UnknownKeysError, refusal
from pipeline.settings import Settings, get_settings
from tests.pipeline.spaces.test_description import MODELS

# Values of which each model and key refuses some.
ODD = [
    *(None, True, "", "x", "1", -1, 0, 1, 1.5, 10**30, -1e300, math.nan, math.inf),
    *([], {}, [1], ["x"], [[]], [{}], {"name": "x"}, {"name": 3}, {"x": 1}, {"skeleton": "x"}),
    *([{"kind": 3}], [{"kind": "x"}], object(), b"\xff", (1, 1.5)),
]
# The validation library's, and names of ours that nobody types.
WORDS = re.compile(
    r"Input|should|\btags?\b|\(\)|dictionary|instance|discriminator|type=|Value error|Config\b"
    r"|object has|Extra|Field required|https?:|pydantic|Unable|NoneType"
)


def messages(model, tables):
    try:
        model.model_validate(tables)
    except ValidationError as error:
        yield str(refusal(error, model))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_message_has_the_validation_library_s_words(model):
    said = [
        m for value in ODD for key in model.model_fields for m in messages(model, {key: value})
    ]
    said += [m for value in ODD for m in messages(model, value)]
    said += messages(model, {"no_such_key": 1})
    assert said
    for message in said:
        assert not WORDS.search(message), message
        assert "\n" not in message
        assert message


def test_each_key_of_a_search_is_named_with_what_it_may_be():
    """Whatever stands at whatever depth of whichever of several tables."""
    for key in keys_of(SearchConfig):
        for odd in ODD:
            tables = odd
            for part in reversed(key.name.split(".")):
                tables = {part: tables}
            for message in messages(SearchConfig, tables):
                assert not WORDS.search(message), message
                assert "\n" not in message


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        (
            "training.epochs=x",
            "training.epochs: expected a whole number from 1 to 100000, got 'x'",
        ),
        (
            "training.epochs=1.5",
            "training.epochs: expected a whole number from 1 to 100000, got 1.5",
        ),
        (
            "training.learning_rate=nan",
            "training.learning_rate: expected a number above 0, got nan",
        ),
        ("training.optimizer=adam", "training.optimizer: expected 'sgd' or 'rmsprop', got 'adam'"),
        ("training.flip=1", "training.flip: expected true or false, got 1"),
        (
            "space.name=q",
            "space.name: expected 'nasnet', 'nas', 'enas-macro' or 'enas-micro', got 'q'",
        ),
        ("space=3", "space: expected a table, got 3"),
        ("network.skeleton=q", "network.skeleton: expected 'nasnet', 'layers', 'enas-macro' or"),
        ("early_stopping.min_epochs=3", "early_stopping.name: expected 'asha' or 'median'"),
        ("then.retrain.seeds=1", "then.retrain.top: is needed: a whole number from 1 to 100000"),
        ("controller.squash=[1]", "controller.squash[0]: expected a table, got 1"),
        ("controller.squash=1", "controller.squash: expected a list of tables, got 1"),
        ("training={nesterov=true,momentum=0.0}", "training.nesterov: needs optimizer = 'sgd'"),
    ],
)
def test_a_value_that_cannot_be_is_told_from_what_may_be(assignment, said):
    with pytest.raises(UserError) as error:
        make_config(parse_assignments([assignment]))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("training.epoch=3", "do you mean training.epochs?"),
        ("trainin.epochs=3", "do you mean training?"),
        ("epochs=3", "do you mean controller.epochs or training.epochs?"),
        ("optimizer=sgd", "do you mean training.optimizer or"),
        ("network.num_filter=4", "do you mean network.num_filters?"),
        ("ppo=1", "ppo: there is no such key; `nasnet preset show digits` lists them"),
        ("controller={name='random',clip=1}", "goes with controller.name = 'ppo', not 'random'"),
        ("early_stopping={name='asha',min_children=2}", "early_stopping.name = 'median'"),
    ],
)
def test_a_key_that_is_not_there_is_answered_with_the_nearest(assignment, said):
    with pytest.raises(UnknownKeysError) as error:
        make_config(parse_assignments([assignment]))
    assert said in str(error.value)
    assert "`nasnet preset show digits`" in str(error.value)


def test_where_keys_are_shown_follows_the_space():
    with pytest.raises(UserError, match="`nasnet preset show nas-digits` lists them"):
        make_config({"space": {"name": "nas", "colour": 1}})
    with pytest.raises(UserError, match=r"network\.filters: goes with network\.skeleton"):
        make_network_config("cell", {"filters": 4})


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in Settings.model_fields for value in ("x", "-1", "a\tb", "1e400")],
)
def test_a_setting_is_refused_in_our_words_and_no_secret_is_shown(home, monkeypatch, name, value):
    monkeypatch.setenv(f"NASNET_{name.upper()}", value)
    get_settings.cache_clear()
    said = None
    try:
        get_settings()
    except UserError as error:
        said = str(error)
    if said is not None:
        assert said.startswith(f"NASNET_{name.upper()}: ")
        assert not WORDS.search(said)
        assert "\n" not in said
        assert name != "token" or f"got {value!r}" not in said


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_shown_with_all_keys_and_is_still_itself(name):
    tables = read_preset(name)
    model = SearchConfig if "controller" in tables else RunConfig
    config = model.model_validate(
        make_config(tables).model_dump() if model is SearchConfig else tables
    )
    shown = documented(config, tables)
    assert tomllib.loads(shown) == tables
    text = " ".join(line.removeprefix("# ") for line in shown.splitlines())
    for key, field in model.model_fields.items():
        assert f"{key} = " in shown or f"[{key}]" in shown
        assert " ".join(field.description.split()) in text
    for key in keys_of(type(config.training)):
        assert values(type(config.training).model_fields[key.leaf])[1:] in text
    assert max(map(len, shown.splitlines())) < 100 or "squash" in shown


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_in_a_line_what_it_is_for(name):
    said = description(name)
    assert 20 < len(said) < 120
    assert said.split()[1] in preset_text(name).splitlines()[0]


def test_defaults_that_are_shown_are_those_that_are_filled_in():
    """Lines that are comments become what the configuration had without them."""
    tables = read_preset("digits")
    config = make_config(tables)
    lines = documented(config, tables).splitlines()
    written = re.compile(r"# (\[[a-z_.]+\]|[a-z_]+ = .*)")
    restored, skipped = [], False
    for line in lines:
        match = written.fullmatch(line)
        text = match.group(1) if match else line
        if text.startswith("["):  # of tables that there are none of
            skipped = text in {
                "[early_stopping]",
                "[shared]",
                "[controller.skip_prior]",
                "[then.retrain]",
            }
        if not skipped and not text.endswith("= none"):
            restored.append(text)
    again = make_config(merge(tables, tomllib.loads("\n".join(restored))))
    assert again == config
