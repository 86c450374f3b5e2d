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

from torch import nn

from pipeline.networks.layers import FactorizedReduction, Layers
from pipeline.networks.state import Operation

# (how layers are made, channels in, filters F out, stride) -> operation
Constructor = Callable[[Layers, int, int, int], Operation]


def relu_conv_norm(layers: Layers, *stages: Sequence[nn.Conv2d]) -> Operation:
    """ReLU, one or more convolutions, batch norm, stage after stage.

    The first ReLU is left to the state that is read.
    """
    modules: list[nn.Module] = []
    for convs in stages:
        modules += [nn.ReLU(), *convs, layers.norm(convs[-1].out_channels)]
    return Operation(*modules[1:], reads_activated=True)


def identity(layers: Layers, channels: int, filters: int, stride: int) -> Operation:
    """The state itself, or a 1x1 convolution of it where the shapes differ."""
    if stride == 1 and channels == filters:
        return Operation(reads_activated=False)
    return pointwise(layers, channels, filters, stride)


def factorized_identity(layers: Layers, channels: int, filters: int, stride: int) -> Operation:
    """The state itself; where it is to be halved, factorized (melodyguan/enas: micro_child.py)."""
    if stride == 1:
        return identity(layers, channels, filters, stride)
    return Operation(FactorizedReduction(layers, channels, filters), reads_activated=False)


def pointwise(layers: Layers, channels: int, filters: int, stride: int) -> Operation:
    """A 1x1 convolution."""
    return relu_conv_norm(layers, [layers.conv(channels, filters, stride=stride)])


def separable(side: int) -> Constructor:
    """A depthwise separable convolution, applied twice, nothing between its two halves."""
    kernel = (side, side)

    def build(layers: Layers, channels: int, filters: int, stride: int) -> Operation:
        return relu_conv_norm(
            layers,
            [
                layers.conv(channels, channels, kernel, stride=stride, groups=channels),
                layers.conv(channels, filters),
            ],
            [
                layers.conv(filters, filters, kernel, groups=filters),
                layers.conv(filters, filters),
            ],
        )

    return build


def bottleneck(share: float, *kernels: tuple[int, int], dilation: int = 1) -> Constructor:
    """1x1 down to a share of the filters, one convolution per kernel, 1x1 back up.

    Where the share is less than one filter, the two 1x1 are left out.
    """

    def build(layers: Layers, channels: int, filters: int, stride: int) -> Operation:
        width = int(share * filters) or filters
        stages = []
        if width < filters:
            stages.append([layers.conv(channels, width)])
            channels = width
        for kernel in kernels:
            # a 1x7 strides along its own axis, the 7x1 after it along the other
            strides = (stride if kernel[0] > 1 else 1, stride if kernel[1] > 1 else 1)
            stages.append(
                [layers.conv(channels, width, kernel, stride=strides, dilation=dilation)]
            )
            channels = width
        if width < filters:
            stages.append([layers.conv(width, filters)])
        return relu_conv_norm(layers, *stages)

    return build


def pooling(pool: Callable[[Layers, int, int], nn.Module], side: int) -> Constructor:
    """A pooling; a 1x1 convolution without ReLU follows where the channels differ (slim)."""

    def build(layers: Layers, channels: int, filters: int, stride: int) -> Operation:
        modules = [pool(layers, side, stride)]
        if channels == filters:
            name = f"{pool.__name__} {side} {stride}"
            return Operation(*modules, reads_activated=False, shared_as=name)
        modules += [layers.conv(channels, filters), layers.norm(filters)]
        return Operation(*modules, reads_activated=False)

    return build


# by the names of pipeline.spaces.cells.genotype.OPERATIONS
CONSTRUCTORS: dict[str, Constructor] = {
    "identity": identity,
    "conv_1x3_3x1": bottleneck(3 / 8, (1, 3), (3, 1)),
    "conv_1x7_7x1": bottleneck(1 / 4, (1, 7), (7, 1)),
    "dil_conv_3x3": bottleneck(1 / 4, (3, 3), dilation=2),
    "avg_pool_3x3": pooling(Layers.average_pool, 3),
    "max_pool_3x3": pooling(Layers.max_pool, 3),
    "max_pool_5x5": pooling(Layers.max_pool, 5),
    "max_pool_7x7": pooling(Layers.max_pool, 7),
    "conv_1x1": pointwise,
    "conv_3x3": bottleneck(1 / 4, (3, 3)),
    "sep_conv_3x3": separable(3),
    "sep_conv_5x5": separable(5),
    "sep_conv_7x7": separable(7),
}
