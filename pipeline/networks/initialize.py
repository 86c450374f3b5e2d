"""How the weights of a new network are drawn."""

import math
from typing import Literal

from torch import nn


def initialize(network: nn.Module, fan: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draw convolutions from N(0, 2 / fan), a depthwise filter's being its own size (He).

    slim (nasnet_cifar_arg_scope) draws by fan out, cuts the normal off at two deviations, with
    the same variance, and treats the classifier alike; ours keeps torch's default. ENAS' code
    draws by fan in (melodyguan/enas: common_ops.py, he_normal).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            channels = module.in_channels if fan == "fan_in" else module.out_channels
            count = module.weight[0, 0].numel() * channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / count))
