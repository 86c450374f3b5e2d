"""The 13 operations of the NASNet space, with stride 1 and 2 (arXiv:1707.07012, section 3).

The paper names them and says that each convolution is ReLU, convolution, batch norm and that
separable ones are applied twice (appendix A.4). The rest is read as in Google's code for the
whole set (tensorflow/tpu: models/official/amoeba_net/network_utils.py, _apply_operation): the
3x3, dilated and two-part convolutions run inside a bottleneck of F/4 filters (3F/8 for 1x3 and
3x1), and dilated ones are full, not depthwise. The paper mentions no bottleneck.

An operation does not hold its first ReLU: one that starts with it reads the activated state
(``reads_activated``), so that all readers of a state share one ReLU.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class Operation(nn.Sequential):
    """Layers from one hidden state, plain or activated, to F channels."""

    def __init__(self, *layers: nn.Module, reads_activated: bool) -> None:
        super().__init__(*layers)
        self.reads_activated = reads_activated


# (channels in, filters F out, stride) -> operation
Constructor = Callable[[int, int, int], Operation]


def conv(
    channels: int,
    filters: int,
    kernel: tuple[int, int] = (1, 1),
    *,
    stride: int | tuple[int, int] = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Conv2d:
    """A convolution without bias whose output is the input's size over the stride, rounded up."""
    return nn.Conv2d(
        channels,
        filters,
        kernel,
        stride=stride,
        padding=(dilation * (kernel[0] // 2), dilation * (kernel[1] // 2)),
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def norm(filters: int) -> nn.BatchNorm2d:
    """Batch norm, decay 0.9 and epsilon 1e-5 (slim: nasnet.py, nasnet_cifar_arg_scope)."""
    return nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1)


def relu_conv_norm(*stages: Sequence[nn.Conv2d]) -> Operation:
    """ReLU, one or more convolutions, batch norm, stage after stage.

    The first ReLU is left to the state that is read.
    """
    layers: list[nn.Module] = []
    for convs in stages:
        layers += [nn.ReLU(), *convs, norm(convs[-1].out_channels)]
    return Operation(*layers[1:], reads_activated=True)


def identity(channels: int, filters: int, stride: int) -> Operation:
    """The state itself, or a 1x1 convolution of it where the shapes differ."""
    if stride == 1 and channels == filters:
        return Operation(reads_activated=False)
    return pointwise(channels, filters, stride)


def pointwise(channels: int, filters: int, stride: int) -> Operation:
    """A 1x1 convolution."""
    return relu_conv_norm([conv(channels, filters, stride=stride)])


def separable(side: int) -> Constructor:
    """A depthwise separable convolution, applied twice, nothing between its two halves."""
    kernel = (side, side)

    def build(channels: int, filters: int, stride: int) -> Operation:
        return relu_conv_norm(
            [
                conv(channels, channels, kernel, stride=stride, groups=channels),
                conv(channels, filters),
            ],
            [
                conv(filters, filters, kernel, groups=filters),
                conv(filters, filters),
            ],
        )

    return build


def bottleneck(share: float, *kernels: tuple[int, int], dilation: int = 1) -> Constructor:
    """1x1 down to a share of the filters, one convolution per kernel, 1x1 back up.

    Where the share is less than one filter, the two 1x1 are left out.
    """

    def build(channels: int, filters: int, stride: int) -> Operation:
        width = int(share * filters) or filters
        stages = []
        if width < filters:
            stages.append([conv(channels, width)])
            channels = width
        for kernel in kernels:
            # a 1x7 strides along its own axis, the 7x1 after it along the other
            strides = (stride if kernel[0] > 1 else 1, stride if kernel[1] > 1 else 1)
            stages.append([conv(channels, width, kernel, stride=strides, dilation=dilation)])
            channels = width
        if width < filters:
            stages.append([conv(width, filters)])
        return relu_conv_norm(*stages)

    return build


def average_pool(side: int, stride: int) -> nn.Module:
    """An average that leaves the padding out, as TensorFlow's SAME does."""
    return nn.AvgPool2d(side, stride, side // 2, count_include_pad=False)


def max_pool(side: int, stride: int) -> nn.Module:
    """A maximum."""
    return nn.MaxPool2d(side, stride, side // 2)


def pooling(pool: Callable[[int, int], nn.Module], side: int) -> Constructor:
    """A pooling, then a 1x1 convolution without ReLU where the channels differ (slim: _pooling).

    The padding is the same on both sides; with stride 2 TensorFlow's lies right and below.
    """

    def build(channels: int, filters: int, stride: int) -> Operation:
        layers = [pool(side, stride)]
        if channels != filters:
            layers += [conv(channels, filters), norm(filters)]
        return Operation(*layers, reads_activated=False)

    return build


# by the names of pipeline.genotype.OPERATIONS
CONSTRUCTORS: dict[str, Constructor] = {
    "identity": identity,
    "conv_1x3_3x1": bottleneck(3 / 8, (1, 3), (3, 1)),
    "conv_1x7_7x1": bottleneck(1 / 4, (1, 7), (7, 1)),
    "dil_conv_3x3": bottleneck(1 / 4, (3, 3), dilation=2),
    "avg_pool_3x3": pooling(average_pool, 3),
    "max_pool_3x3": pooling(max_pool, 3),
    "max_pool_5x5": pooling(max_pool, 5),
    "max_pool_7x7": pooling(max_pool, 7),
    "conv_1x1": pointwise,
    "conv_3x3": bottleneck(1 / 4, (3, 3)),
    "sep_conv_3x3": separable(3),
    "sep_conv_5x5": separable(5),
    "sep_conv_7x7": separable(7),
}


class FactorizedReduction(nn.Module):
    """Half the size without losing every other pixel (slim: nasnet_utils.factorized_reduction).

    One path takes the even rows and columns, the other the odd ones; each gives half of the
    filters, which are even in number (``NetworkConfig``). Odd sizes are rounded up: a row and a
    column of zeros stand in for what the second path lacks.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.even = conv(channels, filters // 2)
        self.odd = conv(channels, filters // 2)
        self.norm = norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, filters, H/2, W/2)."""
        shifted = pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2]
        halves = self.even(x[:, :, ::2, ::2]), self.odd(shifted)
        reduced: Tensor = self.norm(torch.cat(halves, 1))
        return reduced
