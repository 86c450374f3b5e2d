"""Networks in files of other programs; read again, they say the same."""

import json
import os
import subprocess
import sys

import pytest
import torch

from pipeline.config.run import make_network_config
from pipeline.errors import UserError
from pipeline.exports import Exported, ExportError, write_genotype, write_network, writing
from pipeline.genotypes.genotype_files import read_genotype
from pipeline.networks.inputs import Inputs
from pipeline.spaces.building import build
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.published import AMOEBANET_A, DARTS_V2, NASNET_A
from pipeline.spaces.known.genotype import KnownNetwork
from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer

SHAPE = (3, 16, 16)


def make_exported(genotype=NASNET_A, **network):
    torch.manual_seed(0)
    config = NetworkConfig(num_cells=1, num_filters=4, **network)
    built = build(genotype, config, Inputs(SHAPE, 5))
    for name, buffer in built.named_buffers():  # as if trained
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return Exported(genotype, config, built, Inputs(SHAPE, 5))


@pytest.fixture
def images():
    return torch.rand(7, *SHAPE)  # another number than at export


def outputs(network, images):
    with torch.no_grad():
        return network.eval()(images)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_onnxruntime_says_what_the_network_says(tmp_path, images, padding):
    onnxruntime = pytest.importorskip("onnxruntime")
    exported = make_exported(padding=padding, auxiliary=True)
    write_network(exported, "onnx", tmp_path / "n.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx")
    (found,) = session.run(None, {"images": images.numpy()})
    expected = outputs(exported.network, images)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_a_torch_export_says_what_the_network_says(tmp_path, images):
    exported = make_exported(AMOEBANET_A)
    write_network(exported, "pt2", tmp_path / "n.pt2")
    found = outputs_of_program(tmp_path / "n.pt2", images)
    torch.testing.assert_close(found, outputs(exported.network, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["safetensors", "onnx", "pt2"])
def test_a_file_that_cannot_be_written_whole_is_one_line_and_not_there(tmp_path, form):
    write_network(make_exported(), form, tmp_path / f"whole.{form}")
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384));"
        "from pipeline.cli import main; main()"
    )
    asked = ["genotype", "export", "nasnet-a", "--untrained", "--cells=1", "--filters=4"]
    done = subprocess.run(
        [sys.executable, "-c", script, *asked, "--format", form, "--out", f"half.{form}"],
        env={**os.environ, "NASNET_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"whole.{form}"]


def test_an_enas_child_that_stands_alone_is_exported(tmp_path, images):
    genotype = MacroGenotype((MacroLayer("conv_3x3"), MacroLayer("max_pool_3x3", (1,))))
    config = make_network_config(genotype.kind, {"filters": 4})
    built = build(genotype, config, Inputs(SHAPE, 5))
    write_network(Exported(genotype, config, built, Inputs(SHAPE, 5)), "pt2", tmp_path / "n.pt2")
    found = outputs_of_program(tmp_path / "n.pt2", images)
    torch.testing.assert_close(found, outputs(built, images), rtol=1e-4, atol=1e-4)


def outputs_of_program(path, images):
    with torch.no_grad():
        return torch.export.load(path).module()(images)


def test_safetensors_have_the_weights_and_what_they_belong_to(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    exported = make_exported()
    write_network(exported, "safetensors", tmp_path / "n.safetensors")
    with safetensors.safe_open(tmp_path / "n.safetensors", "pt") as file:
        assert json.loads(file.metadata()["network"])["num_filters"] == 4
        state = exported.network.state_dict()
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(name), state[name]) for name in state)
    assert read_genotype(tmp_path / "n.safetensors") == NASNET_A


@pytest.mark.parametrize("genotype", [NASNET_A, DARTS_V2, KnownNetwork("resnet18")])
def test_a_genotype_goes_out_and_comes_back(tmp_path, genotype):
    write_genotype(genotype, tmp_path / "g.json")
    assert read_genotype(tmp_path / "g.json") == genotype


def test_darts_own_listing_is_read(tmp_path):
    """quark0/darts: cnn/genotypes.py, DARTS_V2, as JSON."""
    listing = {
        "normal": [
            *[["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0]],
            *[["sep_conv_3x3", 1], ["sep_conv_3x3", 1], ["skip_connect", 0]],
            *[["skip_connect", 0], ["dil_conv_3x3", 2]],
        ],
        "normal_concat": [2, 3, 4, 5],
        "reduce": [
            *[["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2]],
            *[["max_pool_3x3", 1], ["max_pool_3x3", 0], ["skip_connect", 2]],
            *[["skip_connect", 2], ["max_pool_3x3", 1]],
        ],
        "reduce_concat": [2, 3, 4, 5],
    }
    (tmp_path / "darts.json").write_text(json.dumps(listing))
    assert read_genotype(tmp_path / "darts.json") == DARTS_V2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("g.json", b"{", "cannot be read"),
        ("g.json", b"[" * 100_000, "cannot be read"),
        ("g.json", b'{"kind": "known", "name": 3}', "keys kind and name"),
        ("g.json", b'{"normal": [["a"]], "normal_concat": [2]}', "normal cell"),
        ("g.json", b'{"normal": 3, "normal_concat": [2], "reduce": []}', "normal cell"),
        ("g.safetensors", b"", "not a safetensors file"),
        ("g.safetensors", b"\xff" * 16, "not a safetensors file"),
        ("g.safetensors", (2).to_bytes(8, "little") + b"{}", "cannot be read"),
        ("g.safetensors", (2).to_bytes(8, "little") + b"{} ", "no genotype"),
    ],
)
def test_a_file_that_is_no_genotype_is_refused_in_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_genotype(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_says_something_else_is_never_left_behind(tmp_path, monkeypatch):
    def wrong(network, images, metadata, path):
        for parameter in network.parameters():
            parameter.data.mul_(2)
        right(network, images, metadata, path)

    right = writing._WRITERS["pt2"]
    monkeypatch.setitem(writing._WRITERS, "pt2", wrong)
    with pytest.raises(ExportError, match="outputs differ"):
        write_network(make_exported(), "pt2", tmp_path / "n.pt2")
    assert list(tmp_path.iterdir()) == []
