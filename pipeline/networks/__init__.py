"""Networks: a genotype built with torch, and what it costs."""

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import nn

from pipeline.config_networks import (
    SKELETONS_OF_KIND,
    AnyNetworkConfig,
    LayerNetworkConfig,
    MacroNetworkConfig,
    MicroNetworkConfig,
    NetworkConfig,
)
from pipeline.config_spaces import MacroSpaceConfig, MicroSpaceConfig, SpaceConfig
from pipeline.errors import UserError
from pipeline.genotype import CellGenotype, Genotype, KnownNetwork
from pipeline.layer_genotype import LayerGenotype
from pipeline.macro_genotype import MacroGenotype
from pipeline.networks.batch_statistics import batch_statistics
from pipeline.networks.known import build_known
from pipeline.networks.layer_network import LayerNetwork
from pipeline.networks.macro_network import MacroNetwork
from pipeline.networks.micro_network import MicroNetwork
from pipeline.networks.network import CellNetwork, Heads, enas_network

__all__ = [
    "CellNetwork",
    "Heads",
    "MacroNetwork",
    "MicroNetwork",
    "batch_statistics",
    "build",
    "build_network",
    "build_shared",
    "count_macs",
    "count_parameters",
    "head_names",
    "load_body",
]


def build(
    genotype: Genotype,
    config: AnyNetworkConfig | None,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> nn.Module:
    """The network of any genotype for images (channels, height, width), weights at random.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule, or is of no known network.
        UserError: the images are too small for the stem, or the skeleton is another kind's.
    """
    size = _Size(image_shape=image_shape, classes=classes)
    match genotype, config:
        case KnownNetwork(), _:
            return build_known(genotype, **size)
        case LayerGenotype(), LayerNetworkConfig():
            genotype.validate()
            return LayerNetwork(genotype, config, **size)
        case MacroGenotype(), MacroNetworkConfig():
            genotype.validate()
            return MacroNetwork(config, genotype, **size)
        case CellGenotype(), MicroNetworkConfig():
            return _build_micro(genotype, config, size)
        case CellGenotype(), NetworkConfig():
            return build_network(genotype, config, **size)
    expected = " or ".join(map(repr, SKELETONS_OF_KIND[genotype.kind]))
    raise UserError(f"network.skeleton: a genotype of kind {genotype.kind} needs {expected}")


class _Size(TypedDict):
    image_shape: tuple[int, int, int]
    classes: int


def _build_micro(genotype: CellGenotype, config: MicroNetworkConfig, size: _Size) -> nn.Module:
    genotype.normal.validate("normal")
    genotype.reduction.validate("reduction")
    if config.cells == "final":
        return enas_network(genotype, config, **size)
    return MicroNetwork(config, genotype, **size)


def build_shared(
    space: SpaceConfig,
    config: AnyNetworkConfig,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> MacroNetwork | MicroNetwork:
    """The supernet of a space: all its choices, weights at random.

    ``supernet(images, space.decode(actions))`` runs one child. Weights belong to places in the
    space's own encoding: a canonical form would be another child. The state of a child that is
    built alone is, by name, a part of the supernet's.

    Raises:
        UserError: the space's children cannot share weights, or not in this skeleton.
    """
    size = _Size(image_shape=image_shape, classes=classes)
    match space, config:
        case MacroSpaceConfig(), MacroNetworkConfig():
            return MacroNetwork(config, space.layers, **size)
        case MicroSpaceConfig(), MicroNetworkConfig(cells="search"):
            return MicroNetwork(config, space.blocks, **size)
        case MicroSpaceConfig(), MicroNetworkConfig():
            raise UserError("network.cells: only 'search' cells share weights")
    raise UserError(
        f"space.name: children of {space.name!r} share no weights in the skeleton "
        f"{config.skeleton!r}; those of enas-macro and enas-micro do in their own"
    )


def build_network(
    genotype: CellGenotype,
    config: NetworkConfig,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
) -> CellNetwork:
    """A genotype's network for images (channels, height, width), its weights drawn at random.

    Only an auxiliary head depends on the images' size; what is halved is rounded up.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule; names the block.
        UserError: the images are too small for the stem.
    """
    if config.stem == "imagenet" and min(image_shape[1:]) < 3:
        raise UserError(f"images of {image_shape[2]}x{image_shape[1]}: ImageNet's stem needs 3x3")
    genotype.normal.validate("normal")
    genotype.reduction.validate("reduction")
    return CellNetwork(genotype, config, image_shape=image_shape, classes=classes)


def head_names(network: nn.Module) -> list[str]:
    """The linear layers that say the classes: the last one, and an auxiliary head's."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    auxiliary = [name for name in linear if name.startswith("auxiliary.")]
    main = [name for name in linear if name not in auxiliary]
    return main[-1:] + auxiliary


def load_body(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Take all weights but the heads', which keep what they were drawn with.

    An auxiliary head that only one of the two networks has is left out, too. The first
    convolution is fitted to images of another number of channels: each gets the same share.

    Raises:
        UserError: the weights are another network's.
    """
    own = network.state_dict()
    heads = tuple(f"{name}." for name in head_names(network))
    first = next(key for key, tensor in own.items() if tensor.dim() == 4)
    taken = {}
    for key, tensor in own.items():
        found = weights.get(key)
        if key == first and found is not None and found.shape[0] == tensor.shape[0]:
            found = _for_channels(found, tensor.shape[1])
        fits = found is not None and found.shape == tensor.shape
        if key.startswith(heads) or (key.startswith("auxiliary.") and not fits):
            continue
        if found is None or not fits:
            raise UserError(f"weights of another network: {key} is missing or of another shape")
        taken[key] = found
    network.load_state_dict({**own, **taken})


def _for_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A first convolution's weight, unchanged or for images of another number of channels."""
    if weight.shape[1] == channels:
        return weight
    return weight.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters; an auxiliary head's, which only trains, are not among them."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not name.startswith("auxiliary.")
    )


def count_macs(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of all convolutions and linear layers for one image (C, H, W).

    Batch norm, ReLU and pooling count nothing, as in the paper's numbers. Runs one empty image
    through the network; no buffer moves and no random number is drawn.
    """
    total = 0

    def count(module: Any, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        else:
            total += module.weight.numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    device = next(network.parameters()).device
    try:
        network.eval()
        with torch.inference_mode():
            network(torch.zeros(1, *image_shape, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return total
