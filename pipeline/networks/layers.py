"""Convolutions, batch norms and poolings, made as a network's configuration asks.

``padding`` says what surrounds a map whose size a layer with a stride divides by it, rounded up:

- ``symmetric``: as much on both sides, as torch does by itself;
- ``same``: TensorFlow's, the odd pixel right and below, and averages leave the padding out;
- ``timm``: the same, but averages with a stride count the padding (timm: layers/pool2d_same.py,
  AvgPool2dSame), which timm's weights were evaluated with;
- ``keras``: as timm's, and maxima with a stride count it, too, as zeros (keras: applications/
  nasnet.py, ZeroPadding2D before the poolings of a reduction cell).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

# Elements of a part (N, C, H, W), fewer than which the calls cost more than what they save: a
# child of the preset `digits` steps 1.1 times as fast with its small maps concatenated.
SMALL_PART = 2**16

Padding = Literal["symmetric", "same", "timm", "keras"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """How the layers of one network are made."""

    padding: Padding = "symmetric"
    norm_decay: float = 0.9  # of the running statistics, in TensorFlow's sense
    norm_epsilon: float = 1e-5

    def conv(
        self,
        channels: int,
        filters: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        stride: int | tuple[int, int] = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> nn.Conv2d:
        """A convolution without bias; its output is the input's size over the stride."""
        around = dilation * (kernel[0] // 2), dilation * (kernel[1] // 2)
        plain = self.padding == "symmetric" or stride in {1, (1, 1)} or around == (0, 0)
        kind = PointwiseConv2d if kernel == (1, 1) else nn.Conv2d if plain else SameConv2d
        return kind(
            channels,
            filters,
            kernel,
            stride=stride,
            padding=around if plain else 0,
            dilation=dilation,
            groups=groups,
            bias=False,
        )

    def norm(self, filters: int) -> nn.BatchNorm2d:
        """A batch norm."""
        return nn.BatchNorm2d(
            filters, eps=self.norm_epsilon, momentum=round(1 - self.norm_decay, 9)
        )

    def max_pool(self, side: int, stride: int) -> nn.Module:
        """A maximum over the pixels there are; with a stride, keras' also over zeros around."""
        if self.padding == "symmetric" or stride == 1:
            return nn.MaxPool2d(side, stride, side // 2)
        return SameMaxPool2d(side, stride, counts_padding=self.padding == "keras")

    def average_pool(self, side: int, stride: int) -> nn.Module:
        """An average over the pixels there are; with a stride, timm's and keras' count zeros."""
        if self.padding == "symmetric" or stride == 1:
            return nn.AvgPool2d(side, stride, side // 2, count_include_pad=False)
        return SameAvgPool2d(side, stride, counts_padding=self.padding in {"timm", "keras"})


def pad_same(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], value: float = 0.0
) -> Tensor:
    """Pad (N, C, H, W) as TensorFlow's SAME does: the odd pixel lies right and below."""
    sides = []
    for size, reach, step in zip(
        reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True
    ):
        lacking = max((math.ceil(size / step) - 1) * step + reach - size, 0)
        sides += [lacking // 2, lacking - lacking // 2]
    return pad(x, sides, value=value)


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that also takes a concatenation in its parts, without making it.

    It is the sum of 1x1 convolutions of the parts, the weight's columns split among them. A
    concatenation costs more than its copy: the gradients it hands back are strided. Where there
    are none, in evaluation, it is made after all: the graph is then the paper's.

    With a stride it takes the pixels first, then convolves: the backward pass of a strided one
    on fewer than 8 channels writes beyond its memory on CPUs with AVX2 and no AVX-512
    (https://github.com/uxlfoundation/oneDNN/issues/6035; torch 2.14 has it).
    """

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """(N, C, H, W), or parts whose channels add up to C -> (N, filters, ...)."""
        if isinstance(x, Tensor):
            return conv2d(self._taken(x), self.weight)
        if not self.training or x[0].numel() < SMALL_PART:
            return conv2d(self._taken(torch.cat(list(x), 1)), self.weight)
        columns = self.weight.split([part.shape[1] for part in x], 1)
        result = conv2d(self._taken(x[0]), columns[0])
        for part, column in zip(x[1:], columns[1:], strict=True):
            result = result.add_(conv2d(self._taken(part), column))
        return result

    def _taken(self, x: Tensor) -> Tensor:
        """The pixels that the stride does not leave out."""
        if self.stride == (1, 1):
            return x
        return x[:, :, :: self.stride[0], :: self.stride[1]]


class SameConv2d(nn.Conv2d):
    """A convolution with a stride that pads as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, filters, H / stride, W / stride), rounded up."""
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        return super().forward(pad_same(x, (reach[0], reach[1]), (self.stride[0], self.stride[1])))


class SameMaxPool2d(nn.Module):
    """A maximum with a stride that pads as TensorFlow does, and counts the padding or not."""

    def __init__(self, side: int, stride: int, *, counts_padding: bool) -> None:
        super().__init__()
        self.side, self.stride = (side, side), (stride, stride)
        self.around = 0.0 if counts_padding else -torch.inf

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / stride, W / stride), rounded up."""
        return max_pool2d(pad_same(x, self.side, self.stride, self.around), self.side, self.stride)


class SameAvgPool2d(nn.Module):
    """An average with a stride that pads as TensorFlow does, and counts the padding or not."""

    def __init__(self, side: int, stride: int, *, counts_padding: bool) -> None:
        super().__init__()
        self.side, self.stride = (side, side), (stride, stride)
        self.counts_padding = counts_padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H / stride, W / stride), rounded up."""
        mean = avg_pool2d(pad_same(x, self.side, self.stride), self.side, self.stride)
        if self.counts_padding:
            return mean
        there = torch.ones_like(x[:1, :1])
        share = avg_pool2d(pad_same(there, self.side, self.stride), self.side, self.stride)
        return mean / share


class FactorizedReduction(nn.Module):
    """Half the size without losing every other pixel (slim: nasnet_utils.factorized_reduction).

    One path takes the even rows and columns, the other the odd ones; each gives half of the
    filters, the first the odd one. Odd sizes are rounded up: a row and a column of zeros stand
    in for what the second path lacks.
    """

    def __init__(self, layers: Layers, channels: int, filters: int) -> None:
        super().__init__()
        self.even = layers.conv(channels, filters - filters // 2)
        self.odd = layers.conv(channels, filters // 2)
        self.norm = layers.norm(filters)

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """(N, C, H, W), or its parts -> (N, filters, H/2, W/2)."""
        parts = [x] if isinstance(x, Tensor) else x
        height, width = parts[0].shape[2:]
        lacking = (0, width % 2, 0, height % 2)
        even = [part[:, :, ::2, ::2] for part in parts]
        odd = [part[:, :, 1::2, 1::2] for part in parts]
        if any(lacking):
            odd = [pad(part, lacking) for part in odd]
        reduced: Tensor = self.norm(torch.cat((self.even(even), self.odd(odd)), 1))
        return reduced
