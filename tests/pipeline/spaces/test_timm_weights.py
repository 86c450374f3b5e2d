import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.cells.config import NetworkConfig
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.published import AMOEBANET_A, NASNET_A
from pipeline.spaces.cells.timm_weights import load_timm, to_timm

timm_nasnet = pytest.importorskip("timm.models.nasnet", reason="needs the extra `test`: timm")


def ours(genotype=NASNET_A, **changes):
    config = NetworkConfig(
        **{
            "num_cells": 6, "num_filters": 8, "stem": "imagenet", "skip_reduction_input": True,
            "padding": "timm", "norm_decay": 0.9997, "norm_epsilon": 1e-3, **changes,
        }
    )  # fmt: skip
    return build_network(genotype, config, Inputs((3, 64, 64), 7)).eval()


def theirs():
    return timm_nasnet.NASNetALarge(num_classes=7, num_features=24 * 8).eval()


def randomize(network, seed=0):
    """Random weights, and batch norm statistics unlike those of a new network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
    return network


@pytest.mark.parametrize("size", [64, 67, 96])
def test_timms_network_and_ours_say_the_same_with_the_same_weights(size):
    peer, network = randomize(theirs()), ours()
    load_timm(network, peer.state_dict())
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = peer(x), network(x)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_only_timms_own_padding_gives_timms_outputs():
    peer = randomize(theirs())
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for padding in ("same", "symmetric"):
        network = ours(padding=padding)
        load_timm(network, peer.state_dict())
        with torch.inference_mode():
            assert not torch.allclose(network(x), peer(x), rtol=1e-4, atol=1e-4)


def test_weights_go_to_timm_and_back():
    network = randomize(ours(auxiliary=True))
    weights = to_timm(network)
    peer = theirs()
    peer.load_state_dict(weights)
    again = ours()
    load_timm(again, peer.state_dict())
    first = network.state_dict()
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, first[key]), key


def test_other_networks_and_other_weights_are_refused():
    weights = theirs().state_dict()
    for network in (ours(AMOEBANET_A), ours(stem="cifar")):
        with pytest.raises(UserError, match="this is another network"):
            load_timm(network, weights)
    with pytest.raises(UserError, match=r"conv0\.conv\.weight is \[96, 3, 3, 3\]"):
        load_timm(ours(stem_multiplier=1.0), weights)
    with pytest.raises(UserError, match=r"cell_\d+.*has no place"):
        load_timm(ours(num_cells=5), weights)
    weights.pop("last_linear.bias")
    with pytest.raises(UserError, match=r"last_linear\.bias is missing"):
        load_timm(ours(), weights)
