"""The skeletons that cells are stacked in: "N @ F" for CIFAR, and its form for ImageNet.

Figure 2 of arXiv:1707.07012; the authors' code where the paper is silent: tensorflow/models
research/slim/nets/nasnet/nasnet.py (_build_nasnet_base, _build_aux_head), here "slim".
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.networks.initialize import initialize
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import Layers
from pipeline.networks.state import State
from pipeline.spaces.cells import cell as cells
from pipeline.spaces.cells.cell import Cell, CellRules, Output, Shape
from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.cells.genotype import Cell as CellGenes
from pipeline.spaces.cells.genotype import CellGenotype
from pipeline.spaces.cells.supernet import MicroNetwork

IMAGENET_STEM = 32  # channels of its convolution, before the multiplier
STAGES = 3


class Heads(NamedTuple):
    """What a network says of images: (N, classes) each."""

    logits: Tensor
    auxiliary: Tensor | None  # of the head that only trains


@dataclass(frozen=True, slots=True)
class Variant:
    """What the authors of NASNet and those of ENAS do otherwise with the same skeleton."""

    rules: CellRules = cells.SLIM
    widens: bool = True  # whether filters double with each reduction
    # whether the stem is the first cell's h_{i-1}, too, and brought to shape like any
    stem_twice: bool = False
    auxiliary_later: int = 0  # cells from that before reduction 2 to what the second head reads
    bias: bool = True  # of the classifiers
    fan: Literal["fan_in", "fan_out"] = "fan_out"  # that weights are drawn by


SLIM = Variant()


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell's place. Outputs are numbered: 0 is the stem's convolution, k + 1 the k-th cell."""

    genes: CellGenes
    reduction: bool
    filters: int
    current: int
    previous: int | None  # None: there is none, h_i is taken in its place, unprojected
    ends_stage: bool = False


def plan_cells(
    genotype: CellGenotype, config: NetworkConfig, variant: Variant = SLIM
) -> list[PlannedCell]:
    """All cells of a network, from the image to the classifier."""
    plan: list[PlannedCell] = []
    first = 0 if variant.stem_twice else None

    def add(
        reduction: bool, filters: int, *, previous: int | None = None, ends_stage: bool = False
    ) -> None:
        genes = genotype.reduction if reduction else genotype.normal
        newest = len(plan)
        before = previous if previous is not None else newest - 1 if newest else first
        plan.append(PlannedCell(genes, reduction, filters, newest, before, ends_stage))

    if config.stem == "imagenet":
        add(True, config.num_filters // 4)
        add(True, config.num_filters // 2, ends_stage=True)
    for stage in range(STAGES):
        filters = config.num_filters * 2 ** (stage if variant.widens else 0)
        # slim, skip_reduction_layer_input: the first cell after a reduction reads past it and past
        # the cell before it
        past_reduction = len(plan) - 1 if stage and config.skip_reduction_input else None
        if stage:
            add(True, filters)
        for number in range(config.num_cells):
            previous = past_reduction if number == 0 else None
            add(False, filters, previous=previous, ends_stage=number == config.num_cells - 1)
    return plan


class CellNetwork(nn.Module):
    """Stem, three stages of N normal cells with a reduction between them, classifier.

    Filters double with each reduction. The penultimate layer of NASNet-A has 4 x 6F channels:
    "6 @ 768" is N = 6, F = 32. For ImageNet two reduction cells of F/4 and F/2 filters come first.
    """

    def __init__(
        self,
        genotype: CellGenotype,
        config: NetworkConfig,
        inputs: Inputs,
        variant: Variant = SLIM,
    ) -> None:
        super().__init__()
        layers = Layers(
            padding=config.padding, norm_decay=config.norm_decay, norm_epsilon=config.norm_epsilon
        )
        self.plan = plan_cells(genotype, config, variant)
        self.stem_cells = 2 if config.stem == "imagenet" else 0
        self.stem, stem = _stem(layers, config, inputs.shape[0])
        shapes = [stem]
        self.cells = nn.ModuleList()
        for place in self.plan:
            previous = None if place.previous is None else shapes[place.previous]
            cell = Cell(
                layers,
                place.genes,
                shapes[place.current],
                previous,
                place.filters,
                reduction=place.reduction,
                rules=variant.rules,
            )
            self.cells.append(cell)
            shapes.append(cell.shape)
        self.keep = _keep_probabilities(config, len(self.plan))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(shapes[-1].channels, inputs.classes, bias=variant.bias)
        self.auxiliary: AuxiliaryHead | None = None
        if config.auxiliary:
            before_last_reduction = len(self.plan) - config.num_cells - 1
            self._auxiliary_reads = before_last_reduction + variant.auxiliary_later
            shape = shapes[self._auxiliary_reads]
            size = _map_size(config, inputs.shape[1:], shape.halvings)
            self.auxiliary = AuxiliaryHead(
                layers, shape.channels, size, inputs.classes, bias=variant.bias
            )
        initialize(self, variant.fan)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, channels, H, W) -> logits (N, classes)."""
        return self._classify(self._outputs(x, 1.0)[-1])

    def heads(self, x: Tensor, progress: float) -> Heads:
        """The logits of both heads, at a share (0 to 1) of the training: paths drop ever more."""
        outputs = self._outputs(x, progress)
        auxiliary = None
        if self.auxiliary is not None:
            auxiliary = self.auxiliary(torch.cat(outputs[self._auxiliary_reads].activated, 1))
        return Heads(self._classify(outputs[-1]), auxiliary)

    def features(self, x: Tensor) -> list[Tensor]:
        """The last map of every stage, the largest first; ImageNet's stem cells are a stage."""
        outputs = self._outputs(x, 1.0)
        ends = [number + 1 for number, place in enumerate(self.plan) if place.ends_stage]
        return [outputs[end].state.plain for end in ends]

    def endpoints(self, x: Tensor) -> dict[str, tuple[int, ...]]:
        """Shapes of what the network makes of images, without the batch; named as in slim."""
        outputs = self._outputs(x, 1.0)
        stem = self.stem_cells
        shapes = {"Stem": tuple(outputs[stem].state.plain.shape[1:])}
        counts = {"Cell": 0, "Reduction_Cell": 0}
        for place, output in zip(self.plan[stem:], outputs[stem + 1 :], strict=True):
            kind = "Reduction_Cell" if place.reduction else "Cell"
            shapes[f"{kind}_{counts[kind]}"] = tuple(output.state.plain.shape[1:])
            counts[kind] += 1
        return {**shapes, "Logits": tuple(self._classify(outputs[-1]).shape[1:])}

    def _outputs(self, x: Tensor, progress: float) -> list[Output]:
        """The stem's convolution and every cell."""
        outputs = [Output([State(self.stem(x))])]
        for place, cell, final in zip(self.plan, self.cells, self.keep, strict=True):
            previous = place.current if place.previous is None else place.previous
            keep = 1 - progress * (1 - final) if self.training else 1.0
            outputs.append(cell(outputs[place.current], outputs[previous], keep))
        return outputs

    def _classify(self, last: Output) -> Tensor:
        means = torch.cat([part.mean((2, 3)) for part in last.activated], 1)
        logits: Tensor = self.classifier(self.dropout(means))
        return logits


def _stem(layers: Layers, config: NetworkConfig, channels: int) -> tuple[nn.Sequential, Shape]:
    """The first convolution and its batch norm, without a ReLU."""
    if config.stem == "imagenet":
        filters = int(config.stem_multiplier * IMAGENET_STEM)
        # without padding, whatever the rest has (slim: VALID)
        first = nn.Conv2d(channels, filters, 3, stride=2, bias=False)
        return nn.Sequential(first, layers.norm(filters)), Shape(filters, 1)
    filters = int(config.stem_multiplier * config.num_filters)
    first = layers.conv(channels, filters, (3, 3))
    return nn.Sequential(first, layers.norm(filters)), Shape(filters, 0)


def _map_size(config: NetworkConfig, image: tuple[int, int], halvings: int) -> tuple[int, int]:
    """Height and width of a map, by the number of its halvings."""
    height, width = image
    if config.stem == "imagenet":
        height, width, halvings = (height - 1) // 2, (width - 1) // 2, halvings - 1
    return -(-height // 2**halvings), -(-width // 2**halvings)


def _keep_probabilities(config: NetworkConfig, cells: int) -> list[float]:
    """How likely each cell keeps a path at the end of the training (ScheduledDropPath).

    The paper has one probability for all cells; the authors' code lowers it with depth (slim,
    nasnet_utils._apply_drop_path, version 3), stems and reductions counted.
    """
    dropped = 1 - config.drop_path_keep
    if config.drop_path_schedule == "paper":
        return [1 - dropped] * cells
    return [1 - (number + 1) / cells * dropped for number in range(cells)]


class AuxiliaryHead(nn.Sequential):
    """A second classifier before the last reduction, for training only (slim: _build_aux_head).

    It reads an activated map. A map smaller than the pool's 5x5 is pooled whole.
    """

    def __init__(
        self,
        layers: Layers,
        channels: int,
        size: tuple[int, int],
        classes: int,
        *,
        bias: bool = True,
    ) -> None:
        height, width = (min(5, side) for side in size)
        pooled = ((size[0] - height) // 3 + 1, (size[1] - width) // 3 + 1)
        super().__init__(
            nn.AvgPool2d((height, width), 3),
            layers.conv(channels, 128),
            layers.norm(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, pooled, bias=False),
            layers.norm(768),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(768, classes, bias=bias),
        )


def enas_network(
    genotype: CellGenotype,
    config: MicroNetworkConfig,
    inputs: Inputs,
) -> CellNetwork:
    """ENAS' final network of cells (melodyguan/enas: micro_child.py, _fixed_layer).

    Its auxiliary head is NASNet's: of the code's the last convolution pads and is averaged.
    """
    variant = Variant(
        rules=cells.ENAS,
        widens=config.widen,
        stem_twice=True,
        auxiliary_later=2,
        bias=False,
        fan="fan_in",
    )
    alike = NetworkConfig(
        num_cells=config.num_cells,
        num_filters=config.num_filters,
        stem_multiplier=config.stem_multiplier,
        padding=config.padding,
        norm_decay=config.norm_decay,
        norm_epsilon=config.norm_epsilon,
        dropout=config.dropout,
        drop_path_keep=config.drop_path_keep,
        auxiliary=config.auxiliary,
    )
    return CellNetwork(genotype, alike, inputs, variant=variant)


def build(
    genotype: CellGenotype,
    config: NetworkConfig | MicroNetworkConfig,
    inputs: Inputs,
) -> CellNetwork | MicroNetwork:
    """A genotype's network in NASNet's skeleton, or in one of ENAS' two.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule; names the block.
        UserError: the images are too small for the stem.
    """
    if isinstance(config, NetworkConfig):
        return build_network(genotype, config, inputs)
    if config.cells == "final":
        return enas_network(genotype, config, inputs)
    return MicroNetwork(config, genotype, inputs)


def build_network(
    genotype: CellGenotype,
    config: NetworkConfig,
    inputs: Inputs,
) -> CellNetwork:
    """A genotype's network for images (channels, height, width), its weights drawn at random.

    Only an auxiliary head depends on the images' size; what is halved is rounded up.

    Raises:
        InvalidGenotypeError: the genotype breaks a rule; names the block.
        UserError: the images are too small for the stem.
    """
    if config.stem == "imagenet" and min(inputs.shape[1:]) < 3:
        raise UserError(
            f"images of {inputs.shape[2]}x{inputs.shape[1]}: ImageNet's stem needs 3x3"
        )
    genotype.validate()
    return CellNetwork(genotype, config, inputs)
