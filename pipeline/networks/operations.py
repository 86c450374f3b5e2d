"""The 13 operations of the NASNet space, with stride 1 and 2 (arXiv:1707.07012, section 3).

The paper names them and says that all is ReLU, convolution, batch norm (appendix A.4). What it
leaves open is read as in Google's own code for the whole set (tensorflow/tpu:
models/official/amoeba_net/network_utils.py): convolutions other than the separable ones and the
1x1 run inside a bottleneck of F/4 filters (3F/8 for 1x3 and 3x1), which is left out where it
would be empty.

An operation does not hold its first ReLU: one that starts with it reads the activated state
(``reads_activated``), so that all readers of a state share one ReLU.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad


class Operation(nn.Sequential):
    """Layers from one hidden state to F channels."""

    def __init__(self, *layers: nn.Module, reads_activated: bool) -> None:
        super().__init__(*layers)
        self.reads_activated = reads_activated


Kernel = int | tuple[int, int]


def conv(
    channels: int,
    filters: int,
    kernel: Kernel = 1,
    *,
    stride: Kernel = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Conv2d:
    """A convolution without bias whose output is the input's size over the stride, rounded up."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return nn.Conv2d(
        channels,
        filters,
        kernel,
        stride=stride,
        padding=(dilation * (height // 2), dilation * (width // 2)),
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def norm(filters: int) -> nn.BatchNorm2d:
    """Batch norm, decay 0.9 and epsilon 1e-5 (slim: nasnet.py, nasnet_cifar_arg_scope)."""
    return nn.BatchNorm2d(filters, eps=1e-5, momentum=0.1)


def identity(channels: int, filters: int, stride: int) -> Operation:
    """The state itself, or a 1x1 convolution of it where the shapes differ."""
    if stride == 1 and channels == filters:
        return Operation(reads_activated=False)
    return pointwise(channels, filters, stride)


def pointwise(channels: int, filters: int, stride: int) -> Operation:
    """A 1x1 convolution."""
    return Operation(conv(channels, filters, stride=stride), norm(filters), reads_activated=True)


def separable(kernel: int) -> "Constructor":
    """A depthwise separable convolution, applied twice, nothing between its two halves."""

    def build(channels: int, filters: int, stride: int) -> Operation:
        return Operation(
            conv(channels, channels, kernel, stride=stride, groups=channels),
            conv(channels, filters),
            norm(filters),
            nn.ReLU(),
            conv(filters, filters, kernel, groups=filters),
            conv(filters, filters),
            norm(filters),
            reads_activated=True,
        )

    return build


def bottleneck(
    share: tuple[int, int], *kernels: tuple[int, int], dilation: int = 1
) -> "Constructor":
    """1x1 down to a share of the filters, one convolution per kernel, 1x1 back up."""

    def build(channels: int, filters: int, stride: int) -> Operation:
        inner = filters * share[0] // share[1]
        narrow = inner >= 1
        width = inner if narrow else filters
        layers: list[nn.Module] = []
        if narrow:
            layers += [conv(channels, width), norm(width)]
        for kernel in kernels:
            if layers:
                layers.append(nn.ReLU())
            # a 1x7 strides along its own axis only, the 7x1 after it along the other
            strides = tuple(stride if side > 1 else 1 for side in kernel)
            before = width if layers else channels
            layers += [
                conv(before, width, kernel, stride=(strides[0], strides[1]), dilation=dilation),
                norm(width),
            ]
        if narrow:
            layers += [nn.ReLU(), conv(width, filters), norm(filters)]
        return Operation(*layers, reads_activated=True)

    return build


class AveragePool(nn.Module):
    """3x3 average that leaves the padding out, as TensorFlow's SAME does."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        padding = self.kernel // 2
        return avg_pool2d(x, self.kernel, self.stride, padding, count_include_pad=False)


def pool(kind: str, kernel: int) -> "Constructor":
    """A pooling, and a 1x1 convolution without ReLU where the channels differ."""

    def build(channels: int, filters: int, stride: int) -> Operation:
        layers: list[nn.Module] = [
            AveragePool(kernel, stride)
            if kind == "avg"
            else nn.MaxPool2d(kernel, stride, kernel // 2)
        ]
        if channels != filters:
            layers += [conv(channels, filters), norm(filters)]
        return Operation(*layers, reads_activated=False)

    return build


Constructor = Callable[[int, int, int], Operation]

# name -> (channels in, filters F out, stride) -> operation
CONSTRUCTORS: dict[str, Constructor] = {
    "identity": identity,
    "conv_1x3_3x1": bottleneck((3, 8), (1, 3), (3, 1)),
    "conv_1x7_7x1": bottleneck((1, 4), (1, 7), (7, 1)),
    "dil_conv_3x3": bottleneck((1, 4), (3, 3), dilation=2),
    "avg_pool_3x3": pool("avg", 3),
    "max_pool_3x3": pool("max", 3),
    "max_pool_5x5": pool("max", 5),
    "max_pool_7x7": pool("max", 7),
    "conv_1x1": pointwise,
    "conv_3x3": bottleneck((1, 4), (3, 3)),
    "sep_conv_3x3": separable(3),
    "sep_conv_5x5": separable(5),
    "sep_conv_7x7": separable(7),
}


class FactorizedReduction(nn.Module):
    """Half the size without losing every other pixel (slim: nasnet_utils.factorized_reduction).

    One path takes the even rows and columns, the other the odd ones; each gives half the
    filters. Sizes that are odd are rounded up.
    """

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.even = conv(channels, filters // 2)
        self.odd = conv(channels, filters - filters // 2)
        self.norm = norm(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, filters, H/2, W/2)."""
        shifted = pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2]
        halves = self.even(x[:, :, ::2, ::2]), self.odd(shifted)
        reduced: Tensor = self.norm(torch.cat(halves, 1))
        return reduced
