"""Cells, and the CIFAR skeleton "N @ F" they are stacked in.

The authors' code is followed where the paper is silent: tensorflow/models
research/slim/nets/nasnet/{nasnet,nasnet_utils}.py (there: NasNetABaseCell).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import genotype as g
from pipeline.networks.operations import CONSTRUCTORS, FactorizedReduction, Operation, conv, norm

STEM_MULTIPLIER = 3  # the stem has 3F channels


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a feature map: channels, and how often the image was halved."""

    channels: int
    halvings: int


class Block(nn.Module):
    """Two operations on two hidden states, added or concatenated.

    The paper inserts 1x1 convolutions "as necessary": a concatenation (2F) is brought back to F
    by ReLU, 1x1, batch norm, so that every state has F channels. That is our reading.
    """

    def __init__(self, block: g.Block, channels: list[int], filters: int, *, reduction: bool):
        super().__init__()
        self.sides = block.sides
        operations = [
            CONSTRUCTORS[name](channels[state], filters, 2 if reduction and state < 2 else 1)
            for state, name in block.sides
        ]
        self.left, self.right = operations
        self.project = (
            nn.Sequential(nn.ReLU(), conv(2 * filters, filters), norm(filters))
            if block.combine == "concat"
            else None
        )

    def forward(self, states: "States") -> Tensor:
        """The new hidden state."""
        (left, _), (right, _) = self.sides
        results = states.apply(self.left, left), states.apply(self.right, right)
        if self.project is None:
            return results[0] + results[1]
        projected: Tensor = self.project(torch.cat(results, 1))
        return projected


class States:
    """Hidden states by number, each with its ReLU computed at most once."""

    def __init__(self, current: Tensor, previous: Tensor) -> None:
        self._plain = {0: current, 1: previous}
        self._activated: dict[int, Tensor] = {}

    def add(self, number: int, state: Tensor) -> None:
        """Note a block's result."""
        self._plain[number] = state

    def plain(self, number: int) -> Tensor:
        """The state itself."""
        return self._plain[number]

    def apply(self, operation: Operation, number: int) -> Tensor:
        """An operation's result on a state."""
        if not operation.reads_activated:
            result: Tensor = operation(self._plain[number])
            return result
        if number not in self._activated:
            self._activated[number] = self._plain[number].relu()
        result = operation(self._activated[number])
        return result


class Cell(nn.Module):
    """One cell with F filters: its two inputs brought to shape, its blocks, its output.

    Blocks that reach no output are not built. The output concatenates the states that the
    genotype lists; an input among them is brought to the blocks' shape first.
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
        self.current = nn.Sequential(nn.ReLU(), conv(current.channels, filters), norm(filters))
        self.previous = _match(current, previous, filters)
        projected = previous is not None
        channels = [filters, filters if projected else current.channels]
        channels += [filters] * len(cell.blocks)
        self.blocks = nn.ModuleDict(
            {
                str(b + 2): Block(cell.blocks[b], channels, filters, reduction=reduction)
                for b in cell.live_blocks()
            }
        )
        self.outputs = nn.ModuleDict(
            {
                str(state): _fit(channels[state], filters, reduction=reduction)
                for state in cell.concat
                if state < 2 and (reduction or channels[state] != filters)
            }
        )
        self.shape = Shape(len(cell.concat) * filters, current.halvings + reduction)

    def forward(self, current: Tensor, previous: Tensor) -> Tensor:
        """(N, C, H, W) and that of the cell before -> (N, len(concat) F, H or H/2, ...)."""
        states = States(self.current(current), self.previous(previous))
        for number, block in self.blocks.items():
            states.add(int(number), block(states))
        outputs = [
            self.outputs[str(number)](states.plain(number))
            if str(number) in self.outputs
            else states.plain(number)
            for number in self.concat
        ]
        return torch.cat(outputs, 1)


def _match(current: Shape, previous: Shape | None, filters: int) -> nn.Module:
    """Bring h_{i-1} to the size of h_i and F channels (slim: _reduce_prev_layer).

    The first cell has no h_{i-1}: it takes h_i in its place, as it is.
    """
    if previous is None:
        return nn.Identity()
    if previous.halvings != current.halvings:
        return nn.Sequential(nn.ReLU(), FactorizedReduction(previous.channels, filters))
    if previous.channels != filters:
        return nn.Sequential(nn.ReLU(), conv(previous.channels, filters), norm(filters))
    return nn.Identity()


def _fit(channels: int, filters: int, *, reduction: bool) -> nn.Module:
    """Bring an unused input to the output's shape (slim: _combine_unused_states; no ReLU)."""
    if reduction:
        return FactorizedReduction(channels, filters)
    return nn.Sequential(conv(channels, filters), norm(filters))


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
        self.stem = nn.Sequential(conv(channels, stem, 3), norm(stem))
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
        current = self.stem(x)
        previous = current
        for cell in self.cells:
            current, previous = cell(current, previous), current
        logits: Tensor = self.classifier(current.relu().mean((2, 3)))
        return logits


def _initialize(network: nn.Module) -> None:
    """Convolutions as in slim: variance scaling by the fan out, a depthwise filter's own."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
