"""keras' NASNet and ours, beside one another; its torch backend computes it."""

import os

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.keras_weights import load_keras, read_keras, to_keras
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.published import AMOEBANET_A, NASNET_A

# keras' own, of its variables
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# (N, F, multiplier of the stem's 32 channels, skip): small ones of keras' two shapes
MOBILE, LARGE = (2, 8, 1.0, False), (3, 16, 3.0, True)
SIZES = {"mobile": MOBILE, "large": LARGE}


def ours(shape=MOBILE, genotype=NASNET_A, **changes):
    cells, filters, stem, skip = shape
    config = NetworkConfig(
        **{
            "num_cells": cells, "num_filters": filters, "stem": "imagenet",
            "stem_multiplier": stem, "skip_reduction_input": skip, "padding": "keras",
            "norm_decay": 0.9997, "norm_epsilon": 1e-3, **changes,
        }
    )  # fmt: skip
    torch.manual_seed(0)
    return build_network(genotype, config, Inputs((3, 64, 64), 7)).eval()


def theirs(shape=MOBILE, size=64):
    """keras refuses its two names with torch, "due to an outstanding bug", not the function."""
    os.environ["KERAS_BACKEND"] = "torch"  # read when keras is imported
    keras = pytest.importorskip("keras", reason="needs the extra `test`: keras")
    if keras.backend.backend() != "torch":
        pytest.skip(f"keras computes with {keras.backend.backend()}")
    from keras.src.applications.nasnet import NASNet

    cells, filters, stem, skip = shape
    return NASNet(
        (size, size, 3),
        penultimate_filters=24 * filters,
        num_blocks=cells,
        stem_block_filters=int(32 * stem),
        skip_reduction=skip,
        weights=None,
        classes=7,
        classifier_activation=None,
        default_size=size,
    )


def weights_of(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}


def randomize(model, seed=0):
    """Random weights, and batch norm statistics unlike those of a new network."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        arrays = layer.get_weights()
        if len(arrays) == 4:  # gamma, beta, moving mean and variance
            count = len(arrays[0])
            layer.set_weights(
                [
                    generator.uniform(0.5, 1.5, count),
                    generator.normal(0, 0.2, count),
                    generator.normal(0, 0.2, count),
                    generator.uniform(0.5, 2, count),
                ]
            )
    return model


def moved_statistics(network):
    """Ours, whose batch norms have seen some images."""
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.9
        network(images(96))
    return network.eval()


def outputs(model, x):
    found = model(x.permute(0, 2, 3, 1).contiguous(), training=False)
    return found.detach().cpu()


def images(size):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 67, 96])
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_keras_network_and_ours_say_the_same_with_the_same_weights(shape, size):
    peer, network = randomize(theirs(shape, size)), ours(shape)
    load_keras(network, weights_of(peer))
    with torch.inference_mode():
        expected, found = outputs(peer, images(size)), network(images(size))
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_only_keras_own_padding_gives_keras_outputs():
    peer = randomize(theirs())
    with torch.inference_mode():
        expected = outputs(peer, images(64))
        for padding in ("same", "symmetric", "timm"):
            network = ours(padding=padding)
            load_keras(network, weights_of(peer))
            assert not torch.allclose(network(images(64)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_file_that_keras_wrote_is_read(tmp_path):
    for name, shape in SIZES.items():
        peer = randomize(theirs(shape))
        peer.save_weights(tmp_path / f"{name}.weights.h5")
    pytest.importorskip("h5py", reason="needs h5py")
    from keras.src.legacy.saving import legacy_h5_format

    legacy_h5_format.save_model_to_hdf5(peer, tmp_path / "whole.h5")
    import h5py

    with h5py.File(tmp_path / "weights.h5", "w") as file:  # as the published files are
        legacy_h5_format.save_weights_to_hdf5_group(file, peer)
    for name in ("whole.h5", "weights.h5"):
        found = read_keras(tmp_path / name)
        expected = weights_of(peer)
        assert found.keys() == expected.keys()
        for layer, arrays in expected.items():
            assert all(map(np.array_equal, arrays, found[layer])), layer
    with pytest.raises(UserError, match=r"mobile.weights.h5: not weights that keras wrote"):
        read_keras(tmp_path / "mobile.weights.h5")  # keras 3's own form names no layer


@pytest.mark.slow
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_weights_go_to_keras_whose_layers_take_them(shape):
    network = moved_statistics(ours(shape, auxiliary=True))
    peer, weights = theirs(shape), to_keras(network)
    assert weights.keys() == weights_of(peer).keys()
    for layer, arrays in weights.items():
        peer.get_layer(layer).set_weights(arrays)
    with torch.inference_mode():
        torch.testing.assert_close(
            outputs(peer, images(64)), network(images(64)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
def test_weights_go_out_and_come_back(shape):
    network = moved_statistics(ours(shape, auxiliary=True))
    again = ours(shape)
    load_keras(again, to_keras(network))
    first = network.state_dict()
    for key, tensor in again.state_dict().items():
        if not key.endswith(".num_batches_tracked"):  # which keras does not have
            assert torch.equal(tensor, first[key]), key


def test_weights_without_a_top_leave_the_classifier():
    weights, network = to_keras(ours()), ours()
    weights.pop("predictions")
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.stem[0].weight.zero_()
    load_keras(network, weights)
    assert not network.classifier.weight.any()
    assert network.stem[0].weight.any()


def test_other_networks_and_other_weights_are_refused(tmp_path):
    weights = to_keras(ours())
    for network in (ours(genotype=AMOEBANET_A), ours(stem="cifar")):
        with pytest.raises(UserError, match="keras' NASNet is NASNet-A for ImageNet; this is an"):
            load_keras(network, weights)
    with pytest.raises(UserError, match=r"stem_conv1 is \[3, 3, 3, 32\], expected \[3, 3, 3, 96"):
        load_keras(ours(stem_multiplier=3.0), weights)
    with pytest.raises(UserError, match=r"not weights of keras' NASNet: \w+ has no place"):
        load_keras(ours(num_cells=1), weights)
    weights.pop("normal_bn_1_3")
    with pytest.raises(UserError, match="normal_bn_1_3 is missing"):
        load_keras(ours(), weights)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    pytest.importorskip("h5py", reason="needs h5py")
    (tmp_path / "x.h5").write_text("no")
    for name in ("x.h5", "not there.h5"):
        with pytest.raises(UserError, match=f"{name}: not weights that keras wrote as HDF5"):
            read_keras(tmp_path / name)
