"""NASNet-A for CIFAR beside its authors' code, written out once more from what it computes.

tensorflow/models: research/slim/nets/nasnet (nasnet.py, nasnet_utils.py). What "SAME" means is
taken from its definition, window by window, with the pixels that are there told from those that
are not: no padding is made. In float64; nothing of ours is called but for the weights.
"""

import pytest
import torch
from torch import nn

from pipeline.config.run import changed, make_run_config
from pipeline.config.search import make_config
from pipeline.config.tables import read_preset
from pipeline.networks.inputs import Inputs
from pipeline.spaces.building import build
from pipeline.spaces.cells.network import build_network
from pipeline.spaces.cells.published import NASNET_A
from pipeline.spaces.cells.published_networks import PUBLISHED_NETWORKS

EPSILON = 1e-5


def windows(x, side, stride):
    """(N, C, H, W) -> the pixels under each window, (N, C, h, w, side, side), and which exist."""
    pixels, exist = x, torch.ones_like(x[:1, :1], dtype=torch.bool)
    for dim in (2, 3):
        size = x.shape[dim]
        count = -(-size // stride)
        lacking = max((count - 1) * stride + side - size, 0)
        first = torch.arange(count)[:, None] * stride - lacking // 2
        at = (first + torch.arange(side)).flatten()
        there = (at >= 0) & (at < size)
        shape = [1, 1, 1, 1]
        shape[dim] = -1
        exist = exist.index_select(dim, at.clamp(0, size - 1)) & there.view(shape)
        pixels = pixels.index_select(dim, at.clamp(0, size - 1))

    def unfolded(t):
        n, c, h, w = t.shape
        return t.view(n, c, h // side, side, w // side, side).movedim(3, 4)

    return unfolded(pixels), unfolded(exist)


class Slim:
    """The network of some weights, named as ours are."""

    def __init__(self, weights):
        self.weights = {name: tensor.double() for name, tensor in weights.items()}

    def norm(self, x, name):
        mean, var, scale, shift = (
            self.weights[f"{name}.{leaf}"][:, None, None]
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + EPSILON).sqrt() * scale + shift

    def pointwise(self, x, name):
        return torch.einsum("nchw,fc->nfhw", x, self.weights[f"{name}.weight"][:, :, 0, 0])

    def depthwise(self, x, name, stride):
        weight = self.weights[f"{name}.weight"][:, 0]
        pixels, exist = windows(x, weight.shape[-1], stride)
        return torch.einsum("nchwij,cij->nchw", pixels * exist, weight)

    def separable(self, x, name, stride):
        x = self.pointwise(self.depthwise(x.relu(), f"{name}.0", stride), f"{name}.1")
        x = self.norm(x, f"{name}.2").relu()
        x = self.pointwise(self.depthwise(x, f"{name}.4", 1), f"{name}.5")
        return self.norm(x, f"{name}.6")

    def identity(self, x, name, stride):
        if f"{name}.0.weight" not in self.weights:
            return x
        return self.norm(
            self.pointwise(x.relu()[:, :, ::stride, ::stride], f"{name}.0"), f"{name}.1"
        )

    def pooled(self, x, name, stride, kind):
        pixels, exist = windows(x, 3, stride)
        if kind == "max":
            x = pixels.masked_fill(~exist, -torch.inf).amax((-1, -2))
        else:
            x = (pixels * exist).sum((-1, -2)) / exist.sum((-1, -2))
        if f"{name}.1.weight" not in self.weights:
            return x
        return self.norm(self.pointwise(x, f"{name}.1"), f"{name}.2")

    def average(self, x, name, stride):
        return self.pooled(x, name, stride, "average")

    def maximum(self, x, name, stride):
        return self.pooled(x, name, stride, "max")

    def previous(self, x, name, current):
        """_reduce_prev_layer."""
        if x is None:
            return current
        if f"{name}.0.norm.weight" in self.weights:
            x = nn.functional.pad(x.relu(), (0, 1, 0, 1))
            even, odd = x[:, :, :-1:2, :-1:2], x[:, :, 1::2, 1::2]
            halves = [self.pointwise(even, f"{name}.0.even"), self.pointwise(odd, f"{name}.0.odd")]
            return self.norm(torch.cat(halves, 1), f"{name}.0.norm")
        if f"{name}.0.weight" in self.weights:
            return self.norm(self.pointwise(x.relu(), f"{name}.0"), f"{name}.1")
        return x

    def cell(self, number, x, previous, *, reduction):
        name = f"cells.{number}"
        states = [
            self.norm(self.pointwise(x.relu(), f"{name}.current.0"), f"{name}.current.1"),
            self.previous(previous, f"{name}.previous", x),
        ]
        sep, idt, avg, top = self.separable, self.identity, self.average, self.maximum
        blocks = (
            [(0, sep, 1, sep), (0, top, 1, sep), (0, avg, 1, sep), (3, idt, 2, avg),
             (2, sep, 0, top)]
            if reduction
            else [(0, sep, 1, sep), (1, sep, 1, sep), (0, avg, 1, idt), (1, avg, 1, avg),
                  (0, sep, 0, idt)]
        )  # fmt: skip
        for block, (left, left_op, right, right_op) in enumerate(blocks, start=2):
            place = f"{name}.blocks.{block}"
            stride = [2 if reduction and state < 2 else 1 for state in (left, right)]
            states.append(
                left_op(states[left], f"{place}.left", stride[0])
                + right_op(states[right], f"{place}.right", stride[1])
            )
        if f"{name}.outputs.1.0.weight" in self.weights:  # _combine_unused_states
            fitted = self.pointwise(states[1], f"{name}.outputs.1.0")
            states[1] = self.norm(fitted, f"{name}.outputs.1.1")
        return torch.cat(states[3:] if reduction else states[1:], 1)

    def logits(self, x):
        x = x.double()
        stem, (pixels, exist) = self.weights["stem.0.weight"], windows(x, 3, 1)
        x = torch.einsum("nchwij,fcij->nfhw", pixels * exist, stem)
        x, previous = self.norm(x, "stem.1"), None
        count = 1 + max(int(name.split(".")[1]) for name in self.weights if name[:5] == "cells")
        stage = (count - 2) // 3 + 1
        for number in range(count):
            reduction = (number + 1) % stage == 0
            previous, x = x, self.cell(number, x, previous, reduction=reduction)
        means = x.relu().mean((2, 3))
        return means @ self.weights["classifier.weight"].t() + self.weights["classifier.bias"]


def randomize(network):
    """Random weights, and batch norm statistics unlike those of a new network."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.2, generator=generator)
    return network.eval()


def preset_network():
    return make_run_config(read_preset("cifar10-final")).network


@pytest.mark.parametrize(
    "config",
    [PUBLISHED_NETWORKS["nasnet-a-cifar"].config, preset_network()],
    ids=["nasnet-a-cifar", "cifar10-final"],
)
@pytest.mark.parametrize("size", [16, 15])
def test_the_published_network_for_cifar_says_what_its_authors_code_does(config, size):
    config = changed(config, {"num_cells": 2, "num_filters": 4, "auxiliary": False})
    torch.manual_seed(0)
    network = build_network(NASNET_A, config, Inputs((3, size, size), 10))
    x = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    expected = Slim(randomize(network).state_dict()).logits(x)
    assert expected.std() > 0.1
    with torch.inference_mode():
        torch.testing.assert_close(network(x).double(), expected, rtol=1e-4, atol=1e-4)


def test_symmetric_padding_is_another_network():
    config = changed(preset_network(), {"num_cells": 1, "num_filters": 4, "padding": "symmetric"})
    network = build_network(NASNET_A, config, Inputs((3, 16, 16), 10))
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = Slim(randomize(network).state_dict()).logits(x)
    with torch.inference_mode():
        assert (network(x) - expected).abs().max() > 0.05


def test_every_published_network_and_recipe_of_tensorflow_code_pads_as_tensorflow_does():
    assert {published.config.padding for published in PUBLISHED_NETWORKS.values()} == {"same"}
    for name in ("cifar10-final", "imagenet-large", "imagenet-mobile"):
        assert make_run_config(read_preset(name)).network.padding == "same"
    for name in ("nasnet-cifar10", "enas-micro-cifar10", "enas-micro-cifar10-code"):
        assert make_config(read_preset(name)).retrain.network.padding == "same"


def test_enas_final_cells_read_the_pixels_that_tensorflow_s_do():
    """micro_child.py, _fixed_conv: the first depthwise convolution of the first reduction."""
    published = PUBLISHED_NETWORKS["enas-micro-cifar"]
    config = changed(published.config, {"num_cells": 1, "num_filters": 4, "auxiliary": False})
    network = build(published.genotype, config, Inputs((3, 16, 16), 10))
    block = next(
        block
        for block in network.cells[1].blocks.values()
        if block.inputs[0] < 2
        and isinstance(block.left[0], nn.Conv2d)
        and block.left[0].groups > 1
    )
    depthwise = block.left[0]
    x = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = Slim({"0.weight": depthwise.weight}).depthwise(x.double(), "0", 2)
    torch.testing.assert_close(depthwise(x).double(), expected, rtol=1e-5, atol=1e-5)
