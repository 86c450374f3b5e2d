import pytest
import torch

from db.schema.session import database_url
from pipeline.config.search import load_config, make_config
from pipeline.config.tables import (
    differences,
    merge,
    parse_assignments,
    preset_names,
    preset_text,
    read_preset,
)
from pipeline.errors import UserError
from pipeline.settings import check_broker_url, get_settings


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_its_own_storage(name):
    import tomllib

    config = make_config(tomllib.loads(preset_text(name)))
    assert load_config(config.model_dump(mode="json")) == config


def test_the_paper_s_search_has_the_paper_s_numbers():
    import tomllib

    config = make_config(tomllib.loads(preset_text("nasnet-cifar10")))
    assert (config.controller.batch, config.controller.learning_rate) == (20, 3.5e-4)
    assert (config.controller.entropy_weight, config.controller.baseline_decay) == (1e-5, 0.95)
    assert (config.network.num_cells, config.training.epochs) == (2, 20)
    assert (config.validation, config.budget.children) == (5000, 20_000)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("training.epochs=x", "training.epochs"),
        ("training.epochs=1.5", "training.epochs"),
        ("training.learning_rate=nan", "training.learning_rate"),
        ("controller.speed=1", "controller.speed: there is no such key"),
        ("speed=1", "speed: there is no such key"),
        ("network.num_filters=3", "network.num_filters"),
        ("controller.name=q", "controller"),
        ("reward=3", "reward"),
        ("space.blocks=99", "space.blocks"),
        ("budget.children=0", "budget.children"),
    ],
)
def test_a_bad_key_or_value_is_named_in_one_line(assignment, said):
    with pytest.raises(UserError) as error:
        make_config(parse_assignments([assignment]))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "rolling"}, "mode: 'synchronous'"),
        ({"training": {"schedule": "cosine"}}, "training.schedule: 'restarts' alone"),
        ({"training": {"devices": 2}}, "training.devices: 1 alone"),
        ({"image_size": 32}, "image_size: to be left out"),
        ({"early_stopping": {"name": "asha"}}, "early_stopping: to be left out"),
        ({"budget": {"children": 4050}}, "no multiple of a phase's 100"),
        ({"shared": {"updates": 0}}, "shared.updates"),
    ],
)
def test_where_weights_are_shared_some_keys_have_to_fit(changes, said):
    tables = merge(read_preset("enas-macro-digits"), changes)
    with pytest.raises(UserError) as error:
        make_config(tables)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_nasnet_s_own_cells_share_no_weights():
    with pytest.raises(UserError, match=r"space\.name: 'enas-macro' or 'enas-micro'"):
        make_config({"mode": "synchronous", "shared": {}})


@pytest.mark.parametrize("keys", [{"optimizer": "rmsprop"}, {"momentum": 0.0}])
def test_momentum_that_looks_ahead_needs_sgd_and_some_momentum(keys):
    with pytest.raises(UserError, match="nesterov"):
        make_config({"training": {"nesterov": True, **keys}})


@pytest.mark.parametrize("assignments", [["a"], ["=1"], ["a=1", "a.b=2"], ["a.b=1", "a=2"]])
def test_assignments_that_make_no_sense_are_refused(assignments):
    with pytest.raises(UserError, match="--set"):
        parse_assignments(assignments)


def test_assignments_are_toml_or_else_plain_text():
    tables = parse_assignments(["a.b=1", "a.c=npz:/x", "d=true", "e=[1]", "f="])
    assert tables == {"a": {"b": 1, "c": "npz:/x"}, "d": True, "e": [1], "f": ""}


def test_only_what_was_written_is_compared():
    stored = make_config({"seed": 3}).model_dump(mode="json")
    assert differences({"seed": 3, "budget": {"children": 7}}, stored) == [
        ("budget.children", 20_000, 7)
    ]


def test_tables_are_merged_key_by_key():
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}}) == {
        "a": {"b": 9, "c": 2},
        "d": 3,
    }


@pytest.mark.parametrize(
    "url",
    [
        *("rediss://h:1/0", "amqp://h", "h:6379"),
        "rediss://h:1/0?ssl_cert_reqs=none",
        "rediss://h:1/0?ssl_cert_reqs=required&ssl_cert_reqs=none",
        "rediss://h:1/0?ssl_cert_reqs=required_not",
        "rediss://h:1/0?x=ssl_cert_reqs=required&ssl_cert_reqs=none",
        "rediss://h:1/0?ssl_cert_reqs=required&ssl_check_hostname=false",
        "redis://h:1/0?socket_timeout=abc",
        "redis://h:1/0?x=1",
    ],
)
def test_brokers_that_are_unsafe_or_unknown_are_refused(url):
    with pytest.raises(UserError, match="NASNET_BROKER_URL"):
        check_broker_url(url)


def test_tls_with_certificate_checks_is_accepted():
    check_broker_url("rediss://h:1/0?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem")


def settings(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"NASNET_{name}", value)
    get_settings.cache_clear()
    return get_settings()


def test_memory_is_read_with_its_unit(home, monkeypatch):
    assert settings(monkeypatch, MEMORY="1.5G").memory == 3 * 2**29


@pytest.mark.parametrize(("name", "value"), [("LEASE", "1"), ("LEASE", "x"), ("MEMORY", "1K")])
def test_a_bad_setting_names_its_variable(home, monkeypatch, name, value):
    with pytest.raises(UserError, match=f"NASNET_{name}"):
        settings(monkeypatch, **{name: value})


def test_postgresql_is_spoken_by_psycopg_3(home, monkeypatch):
    for scheme in ("postgres", "postgresql"):
        found = settings(monkeypatch, DATABASE_URL=f"{scheme}://u@h/d")
        assert str(database_url(found)) == "postgresql+psycopg://u@h/d"


def test_first_biases_need_heads_that_have_some():
    bias = {"kind": "operation", "values": [10.0, 0.0]}
    with pytest.raises(UserError, match="bias_init: needs head_bias = true"):
        make_config({"controller": {"bias_init": [bias], "head_bias": False}})


@pytest.mark.parametrize("name", ["enas-macro-cifar10", "enas-macro-cifar10-code"])
def test_the_final_training_of_enas_macro_decays_twice_the_script_s_l2(name):
    """l2_reg = 2e-4 on sums of squares, whose gradient has a 2 (src/utils.py, get_train_ops)."""
    weight = torch.tensor([3.0], requires_grad=True)
    (2e-4 * weight.square().sum()).backward()
    decay = make_config(read_preset(name)).retrain.training.weight_decay
    assert decay * weight.item() == pytest.approx(weight.grad.item())
