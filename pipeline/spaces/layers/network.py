"""Networks layer by layer, as NAS trained its children (arXiv:1611.01578, section 3.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pipeline.networks.initialize import initialize
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import Layers
from pipeline.spaces.layers.config import LayerNetworkConfig
from pipeline.spaces.layers.genotype import Layer, LayerGenotype


class LayerNetwork(nn.Module):
    """Convolution, batch norm, ReLU a layer; whatever no layer reads goes to the classifier.

    Several inputs are concatenated on depth; smaller maps are padded with zeros, right and below,
    to the largest. The order inside a layer is not stated in the paper, and neither is what lies
    between the last maps and the classifier: here their mean over all pixels.
    """

    def __init__(
        self,
        genotype: LayerGenotype,
        config: LayerNetworkConfig,
        inputs: Inputs,
    ) -> None:
        super().__init__()
        self.genotype = genotype
        make = Layers(norm_decay=config.norm_decay, norm_epsilon=config.norm_epsilon)
        channels = [inputs.shape[0]]
        self.layers = nn.ModuleList()
        for layer in genotype.layers:
            filters = layer.filters + config.extra_filters
            read = sum(channels[source] for source in layer.inputs)
            self.layers.append(_made(make, layer, read, filters))
            channels.append(filters)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(sum(channels[n] for n in genotype.outputs), inputs.classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, channels, H, W) -> logits (N, classes)."""
        maps = [x]
        for layer, module in zip(self.genotype.layers, self.layers, strict=True):
            maps.append(module(concatenated([maps[source] for source in layer.inputs])))
        last = concatenated([maps[n] for n in self.genotype.outputs])
        logits: Tensor = self.classifier(self.dropout(last.mean((2, 3))))
        return logits


def concatenated(maps: Sequence[Tensor]) -> Tensor:
    """Maps (N, C, H, W) on depth; smaller ones are padded right and below with zeros."""
    if len(maps) == 1:
        return maps[0]
    height = max(part.shape[2] for part in maps)
    width = max(part.shape[3] for part in maps)
    return torch.cat(
        [pad(part, (0, width - part.shape[3], 0, height - part.shape[2])) for part in maps], 1
    )


def _made(make: Layers, layer: Layer, channels: int, filters: int) -> nn.Sequential:
    convolution = make.conv(
        channels,
        filters,
        (layer.height, layer.width),
        stride=(layer.stride_height, layer.stride_width),
    )
    modules: list[nn.Module] = [convolution, make.norm(filters), nn.ReLU()]
    if layer.pool > 1:
        modules.append(nn.MaxPool2d(layer.pool, layer.pool, ceil_mode=True))
    return nn.Sequential(*modules)


def build(
    genotype: LayerGenotype,
    config: LayerNetworkConfig,
    inputs: Inputs,
) -> LayerNetwork:
    """A genotype's network, weights at random."""
    return LayerNetwork(genotype, config, inputs)
