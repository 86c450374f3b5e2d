"""Networks that torchvision has, made for any images: baselines beside found cells."""

import re

from torch import nn

from pipeline.errors import InvalidGenotypeError
from pipeline.networks.inputs import Inputs
from pipeline.spaces.known.genotype import KnownNetwork

# Families whose first convolution and pooling may be exchanged for a stem for small images.
FAMILIES = re.compile(
    r"(resnet|resnext|wide_resnet|densenet|mobilenet_v|efficientnet_|mnasnet|regnet_|shufflenet_)"
)
NORM_MOMENTUM = 0.1  # a decay of 0.9, as NetworkConfig has it
SMALL = 64  # pixels a side, below which an image cannot be halved twice before the first block


def known_names() -> list[str]:
    """The networks there are."""
    from torchvision import models  # it takes seconds to import, and searches need none of it

    return [name for name in models.list_models(module=models) if FAMILIES.match(name)]


def build(genotype: KnownNetwork, _config: object, inputs: Inputs) -> nn.Module:
    """A network with weights drawn at random.

    Small images get the stem that ResNets have for CIFAR (arXiv:1512.03385, section 4.2): a 3x3
    convolution that does not halve, and no pooling after it. Batch norm's statistics follow as
    fast as ours do: torchvision's MobileNets have a tenth of that, which some hundred steps are
    too few for (digits, 15 epochs: 0.91 in training, 0.08 in evaluation).

    Raises:
        InvalidGenotypeError: there is no such network.
    """
    from torchvision import models

    if genotype.name not in known_names():
        raise InvalidGenotypeError(f"no known network {genotype.name!r}")
    network: nn.Module = models.get_model(genotype.name, weights=None, num_classes=inputs.classes)
    small = min(inputs.shape[1:]) < SMALL
    if small or inputs.shape[0] != 3:
        _exchange_stem(network, inputs.shape[0], small=small)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORM_MOMENTUM
    return network


def _exchange_stem(network: nn.Module, channels: int, *, small: bool) -> None:
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    stem = nn.Conv2d(
        channels,
        first.out_channels,
        3 if small else first.kernel_size,  # type: ignore[arg-type] # it is a pair
        stride=1 if small else first.stride,  # type: ignore[arg-type]
        padding=1 if small else first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule(name, stem)
    pools = [n for n, m in network.named_modules() if isinstance(m, nn.MaxPool2d)]
    for pool in pools[:1] if small else []:
        network.set_submodule(pool, nn.Identity())
