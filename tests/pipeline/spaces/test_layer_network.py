"""NAS' children as torch modules."""

import pytest
import torch
from torch import nn

from pipeline.networks.costs import count_macs, count_parameters
from pipeline.networks.inputs import Inputs
from pipeline.spaces.building import build
from pipeline.spaces.layers.config import LayerNetworkConfig
from pipeline.spaces.layers.genotype import Layer, LayerGenotype
from pipeline.spaces.layers.network import concatenated

CONFIG = LayerNetworkConfig(skeleton="layers")


def made(*layers, **config):
    return build(
        LayerGenotype(layers),
        CONFIG.model_copy(update=config),
        Inputs((3, 8, 8), 10),
    )


def test_a_chain_has_the_parameters_that_are_counted_by_hand():
    network = made(Layer(3, 5, 6, (0,)), Layer(1, 1, 8, (1,)))
    convolutions = 3 * 5 * 3 * 6 + 6 * 8
    norms = 2 * 6 + 2 * 8
    classifier = 8 * 10 + 10
    assert count_parameters(network) == convolutions + norms + classifier
    assert count_macs(network, (3, 8, 8)) == 64 * convolutions + 80


def test_smaller_maps_are_padded_with_zeros_right_and_below():
    large, small = torch.ones(2, 1, 4, 4), 2 * torch.ones(2, 3, 2, 3)
    joined = concatenated([large, small])
    assert joined.shape == (2, 4, 4, 4)
    assert (joined[:, 1:, :2, :3] == 2).all()
    assert joined[:, 1:].sum() == small.sum()


def test_layers_of_several_sizes_and_inputs_meet():
    network = made(
        Layer(3, 3, 6, (0,), stride_height=2, stride_width=1),
        Layer(1, 3, 8, (0, 1), pool=2),
        Layer(5, 1, 6, (1, 2)),
        Layer(1, 1, 12, (0,)),
    )
    assert network(torch.randn(4, 3, 8, 8)).shape == (4, 10)
    assert network.classifier.in_features == 6 + 12


def test_a_chain_is_the_plain_network():
    network = made(Layer(3, 3, 6, (0,)), Layer(1, 3, 8, (1,), stride_height=2, stride_width=2))
    plain = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, (1, 3), stride=2, padding=(0, 1), bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    weights = zip(plain.state_dict(), network.state_dict().values(), strict=True)
    plain.load_state_dict(dict(weights))
    images = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(network(images), plain(images))


@pytest.mark.parametrize("extra", [0, 40])
def test_filters_can_be_added_to_every_layer(extra):
    network = made(Layer(3, 3, 6, (0,)), Layer(1, 1, 8, (1,)), extra_filters=extra)
    assert [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)] == [
        6 + extra,
        8 + extra,
    ]
