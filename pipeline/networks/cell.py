"""Cells, and the CIFAR skeleton "N @ F" they are stacked in.

The authors' code is followed where the paper is silent: tensorflow/models
research/slim/nets/nasnet/{nasnet,nasnet_utils}.py (there: NasNetABaseCell).
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import genotype as g
from pipeline.networks.operations import (
    CONSTRUCTORS,
    FactorizedReduction,
    Operation,
    conv,
    norm,
    pointwise,
)

STEM_MULTIPLIER = 3  # the stem has 3F channels


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a feature map: its channels, and how often the image was halved.

    Halvings are counted, sizes are not measured: a network does not depend on its images' size.
    """

    channels: int
    halvings: int


class State:
    """A hidden state, whose ReLU is computed once, for the first operation that wants it."""

    def __init__(self, plain: Tensor) -> None:
        self.plain = plain

    @functools.cached_property
    def activated(self) -> Tensor:
        """The state after ReLU."""
        return self.plain.relu()

    def through(self, operation: Operation) -> Tensor:
        """An operation's result on the state."""
        result: Tensor = operation(self.activated if operation.reads_activated else self.plain)
        return result


class Block(nn.Module):
    """Two operations on two hidden states, added or concatenated.

    The paper inserts 1x1 convolutions "as necessary": a concatenation (2F channels) is brought
    back to F by ReLU, 1x1, batch norm, so that every state has F channels. That is our reading.
    """

    def __init__(
        self, block: g.Block, channels: tuple[int, int], filters: int, *, reduction: bool
    ) -> None:
        super().__init__()
        self.inputs = block.left_input, block.right_input
        # only the cell's two inputs are still to be halved, and may differ from F
        self.left, self.right = (
            CONSTRUCTORS[name](channels[state], filters, 2 if reduction else 1)
            if state < 2
            else CONSTRUCTORS[name](filters, filters, 1)
            for state, name in block.sides
        )
        self.project = (
            nn.Sequential(nn.ReLU(), conv(2 * filters, filters), norm(filters))
            if block.combine == "concat"
            else None
        )

    def forward(self, states: Mapping[int, State]) -> Tensor:
        """The new hidden state."""
        left, right = self.inputs
        results = states[left].through(self.left), states[right].through(self.right)
        if self.project is None:
            return results[0] + results[1]
        projected: Tensor = self.project(torch.cat(results, 1))
        return projected


class Cell(nn.Module):
    """One cell with F filters: its two inputs brought to shape, its blocks, its output.

    What reaches no output is not built. The output concatenates the states that the genotype
    lists, in its order.
    """

    def __init__(
        self,
        cell: g.Cell,
        current: Shape,
        previous: Shape | None,
        filters: int,
        *,
        reduction: bool,
    ) -> None:
        super().__init__()
        self.concat = cell.concat
        live = cell.live_blocks()
        read = set(cell.concat).union(s for b in live for s, _ in cell.blocks[b].sides)
        self.current = pointwise(current.channels, filters, 1) if 0 in read else None
        self.previous = _match_previous(current, previous, filters) if 1 in read else None
        # the first cell's h_{i-1} is h_i as it comes, not projected
        channels = filters, current.channels if previous is None else filters
        self.blocks = nn.ModuleDict(
            {
                str(b + 2): Block(cell.blocks[b], channels, filters, reduction=reduction)
                for b in live
            }
        )
        self.outputs = nn.ModuleList(
            _fit_input(channels[state], filters, reduction=reduction)
            if state < 2
            else nn.Identity()
            for state in cell.concat
        )
        self.shape = Shape(len(cell.concat) * filters, current.halvings + reduction)

    def forward(self, current: State, previous: State) -> Tensor:
        """h_i and h_{i-1} -> (N, len(concat) * F, H, W), H and W halved by a reduction cell."""
        states = {0: _shaped(current, self.current), 1: _shaped(previous, self.previous)}
        for number, block in self.blocks.items():
            states[int(number)] = State(block(states))
        outputs = zip(self.concat, self.outputs, strict=True)
        return torch.cat([fit(states[number].plain) for number, fit in outputs], 1)


def _shaped(state: State, operation: Operation | None) -> State:
    """A cell's input through what brings it to shape, or as it is."""
    return state if operation is None else State(state.through(operation))


def _match_previous(current: Shape, previous: Shape | None, filters: int) -> Operation | None:
    """Bring h_{i-1} to the size of h_i and to F channels (slim: _reduce_prev_layer).

    Nothing is to do for the first cell, which has no h_{i-1} and takes h_i in its place.
    """
    if previous is None:
        return None
    if previous.halvings != current.halvings:
        return Operation(FactorizedReduction(previous.channels, filters), reads_activated=True)
    if previous.channels != filters:
        return pointwise(previous.channels, filters, 1)
    return None


def _fit_input(channels: int, filters: int, *, reduction: bool) -> nn.Module:
    """Bring a cell's input to its output's shape (slim: _combine_unused_states; no ReLU)."""
    if reduction:
        return FactorizedReduction(channels, filters)
    if channels != filters:
        return nn.Sequential(conv(channels, filters), norm(filters))
    return nn.Identity()


class CellNetwork(nn.Module):
    """Stem, three stages of N normal cells with a reduction between them, classifier.

    Filters double with each reduction (arXiv:1707.07012, figure 2). The penultimate layer of
    NASNet-A has 4 x 6F channels: "6 @ 768" is N = 6, F = 32.
    """

    def __init__(
        self,
        genotype: g.CellGenotype,
        *,
        num_cells: int,
        num_filters: int,
        channels: int,
        classes: int,
    ) -> None:
        super().__init__()
        stem = STEM_MULTIPLIER * num_filters
        self.stem = nn.Sequential(conv(channels, stem, (3, 3)), norm(stem))
        self.cells = nn.ModuleList()
        current, previous = Shape(stem, 0), None
        for stage in range(3):
            filters = num_filters * 2**stage
            kinds = [(genotype.normal, False)] * num_cells
            if stage:
                kinds.insert(0, (genotype.reduction, True))
            for kind, reduction in kinds:
                cell = Cell(kind, current, previous, filters, reduction=reduction)
                self.cells.append(cell)
                current, previous = cell.shape, current
        self.classifier = nn.Linear(current.channels, classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, channels, H, W) -> logits (N, classes)."""
        current = previous = State(self.stem(x))
        for cell in self.cells:
            current, previous = State(cell(current, previous)), current
        logits: Tensor = self.classifier(current.activated.mean((2, 3)))
        return logits


def _initialize(network: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / fan out), a depthwise filter's fan out being its own size.

    slim (nasnet_cifar_arg_scope) cuts the normal off at two deviations, with the same variance,
    and treats the classifier alike; ours keeps torch's default.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
