"""SEARCH:RANK is that search's network, for its images, with the weights that it kept."""

import json

import pytest
import torch
from typer.testing import CliRunner

from db.lifecycle.checkpoints import forget_files
from db.reads import ranking
from db.reads.ranks import Rank
from db.schema.models import Artifact
from db.schema.session import transaction
from pipeline.actions.exporting import of_search, untrained
from pipeline.actions.genotypes import find
from pipeline.actions.networks import base_of, network_at
from pipeline.cli import app
from pipeline.config.run import DataConfig
from pipeline.data.datasets import load_dataset
from pipeline.data.inputs import inputs_of
from pipeline.data.known_datasets import DATASETS
from pipeline.errors import UserError
from pipeline.networks.costs import count_macs, count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.training import checkpoint
from pipeline.training.evaluation import Normalize, evaluate
from tests.factories import rows
from tests.tasks.test_sharing import MACRO, MICRO, search

NO_SIZES = (None, None, None, None)


@pytest.fixture
def store(sqlite_store):
    """Networks and files are looked at here, which no database changes."""


def at(name, number):
    with transaction(read_only=True) as connection:
        return network_at(connection, Rank(name, number))


def listed(search_id):
    with transaction(read_only=True) as connection:
        return ranking.best(connection, search_id, limit=100)


def accuracy(network, config):
    data = load_dataset(config, None)
    device = torch.device("cpu")
    images, labels = data.validation
    batch = Normalize(data, device)(images), labels
    return evaluate(network, [batch], device)["accuracy"]


def test_its_numbers_and_its_accuracy_are_those_of_the_list(searched):
    for number, row in enumerate(listed(searched), start=1):
        base = base_of(find(f"digits:{number}"))
        exported = untrained(find(f"digits:{number}"), *NO_SIZES)
        assert exported.inputs == Inputs((1, 8, 8), 10)
        assert count_parameters(exported.network) == row.parameters
        assert count_macs(exported.network, base.inputs.shape) == row.macs
        printed = CliRunner().invoke(app, ["network", f"digits:{number}", "--json"])
        assert json.loads(printed.stdout)["parameters"] == row.parameters
        assert json.loads(printed.stdout)["macs"] == row.macs
        if number <= 3:
            found = at("digits", number)
            trained = of_search(found)
            assert trained.metadata()["weights"].startswith(f"digits:{number}, run ")
            assert accuracy(trained.network, found.data) == pytest.approx(row.accuracy, abs=1e-6)


def invoke(*arguments):
    return CliRunner().invoke(app, ["genotype", "export", *arguments])


def test_weights_are_kept_ones_and_random_only_where_asked_for(searched, tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    refused = [["nasnet-a"], ["digits:1", "--size", "16"], ["digits:1", "--classes", "3"]]
    for arguments in refused:
        done = invoke(*arguments, "--format", "safetensors")
        assert isinstance(done.exception, UserError)
        assert "--untrained" in str(done.exception)
    assert list(tmp_path.glob("*.safetensors")) == []
    for name, more, said in (
        ("a", ["--untrained"], "random (seed 0)"),
        ("b", ["--untrained", "--size", "12", "--cells", "2"], "random (seed 0)"),
        ("c", [], "digits:1, run "),
    ):
        done = invoke("digits:1", "--format", "safetensors", "--out", f"{name}.safetensors", *more)
        assert said in done.stdout
        with safetensors.safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            metadata = file.metadata()
        assert metadata["weights"].startswith(said)
        assert json.loads(metadata["image_shape"]) == ([1, 12, 12] if name == "b" else [1, 8, 8])
    weights_that_are_changed_or_gone_are_said_in_a_line_with_what_to_do()


def weights_that_are_changed_or_gone_are_said_in_a_line_with_what_to_do():
    found = at("digits", 1)
    with open(found.weights.uri.removeprefix("file://"), "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="weights cannot be read"):
        of_search(found)
    with transaction() as connection:
        artifacts = connection.execute(Artifact.__table__.select())
        forget_files(connection, [row.id for row in artifacts])
    with pytest.raises(UserError, match=r"NASNET_KEEP.*`nasnet retrain digits --top 2`") as caught:
        of_search(at("digits", 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tables", [MACRO, MICRO], ids=["macro", "micro"])
def test_a_child_of_shared_weights_has_its_part_of_them(worker, post, tables):
    search_id = search(post, tables=tables)
    [last] = rows(Artifact.__table__.select().where(Artifact.number == 1))
    supernet = checkpoint.read(last.uri, last.sha256)["network"]
    assert listed(search_id)[0].reward_kind == "shared"
    exported = of_search(at("s", 1))
    assert "shared by its search" in exported.weights
    state = exported.network.state_dict()
    assert all(torch.equal(tensor, supernet[name]) for name, tensor in state.items())
    printed = CliRunner().invoke(app, ["network", "s:1", "--json"])
    assert json.loads(printed.stdout)["parameters"] == count_parameters(exported.network)


def test_the_shapes_that_are_written_down_are_those_of_the_images():
    data = load_dataset(DataConfig(dataset="digits"), None)
    assert DATASETS["digits"].inputs == data.inputs


def test_the_shape_of_one_s_own_images_is_looked_up(tmp_path):
    import numpy as np

    images, labels = np.zeros((9, 6, 4, 3), np.uint8), np.arange(9) % 3
    parts = {f"{kind}_{part}": array for part in ("train", "test") for kind, array in
             (("x", images), ("y", labels))}  # fmt: skip
    np.savez(tmp_path / "a.npz", **parts)
    found = inputs_of(DataConfig(dataset=f"npz:{tmp_path / 'a.npz'}"), tmp_path)
    assert found == Inputs((3, 6, 4), 3)
