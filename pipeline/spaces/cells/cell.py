"""Cells: blocks of two operations between a cell's two inputs and its output.

The authors' code is followed where the paper is silent: tensorflow/models
research/slim/nets/nasnet/nasnet_utils.py (NasNetABaseCell), here "slim".
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.networks.layers import FactorizedReduction, Layers
from pipeline.networks.state import Operation, State
from pipeline.spaces.cells import genotype as g
from pipeline.spaces.cells.operations import (
    CONSTRUCTORS,
    Constructor,
    factorized_identity,
    pointwise,
    relu_conv_norm,
)


@dataclass(frozen=True, slots=True)
class CellRules:
    """What the authors of NASNet and those of ENAS do otherwise in a cell."""

    constructors: Mapping[str, Constructor]
    twice: bool  # whether h_i is brought to F channels before the 1x1 that it always gets


SLIM = CellRules(CONSTRUCTORS, twice=False)
# melodyguan/enas: micro_child.py, _fixed_layer (_maybe_calibrate_size, then "layer_base")
ENAS = CellRules({**CONSTRUCTORS, "identity": factorized_identity}, twice=True)


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a feature map: its channels, and how often the image was halved.

    Halvings are counted, sizes are not measured: a network does not depend on its images' size.
    """

    channels: int
    halvings: int


class Output:
    """What a cell or the stem hands on: hidden states, concatenated only where it must be."""

    def __init__(self, states: Sequence[State]) -> None:
        self.states = tuple(states)

    @functools.cached_property
    def state(self) -> State:
        """The concatenation, (N, all channels, H, W), as one hidden state."""
        if len(self.states) == 1:
            return self.states[0]
        return State(torch.cat([state.plain for state in self.states], 1))

    @property
    def activated(self) -> list[Tensor]:
        """The parts after ReLU; all readers share them."""
        return [state.activated for state in self.states]

    def through(self, operation: Operation) -> State:
        """The output brought to another shape, by what begins with ReLU and a 1x1 convolution."""
        return State(operation(self.activated))


class Block(nn.Module):
    """Two operations on two hidden states, added or concatenated.

    The paper inserts 1x1 convolutions "as necessary": a concatenation (2F channels) is brought
    back to F by ReLU, 1x1, batch norm, so that every state has F channels. That is our reading.
    """

    def __init__(
        self,
        layers: Layers,
        block: g.Block,
        channels: tuple[int, int],
        filters: int,
        *,
        reduction: bool,
        constructors: Mapping[str, Constructor],
    ) -> None:
        super().__init__()
        self.inputs = block.left_input, block.right_input
        # slim drops every path but identities, also those that a 1x1 convolution brings to shape
        self.may_drop = tuple(name != "identity" for _, name in block.sides)
        # only the cell's two inputs are still to be halved, and may differ from F
        self.left, self.right = (
            constructors[name](layers, channels[state], filters, 2 if reduction else 1)
            if state < 2
            else constructors[name](layers, filters, filters, 1)
            for state, name in block.sides
        )
        self.project = (
            nn.Sequential(nn.ReLU(), layers.conv(2 * filters, filters), layers.norm(filters))
            if block.combine == "concat"
            else None
        )

    def forward(self, states: Mapping[int, State], keep: float) -> Tensor:
        """The new hidden state; each path of an image is kept with that probability."""
        results = [
            self._dropped(states[state].through(operation), keep if may_drop else 1.0)
            for state, operation, may_drop in zip(
                self.inputs, (self.left, self.right), self.may_drop, strict=True
            )
        ]
        if self.project is None:
            return results[0] + results[1]
        projected: Tensor = self.project(torch.cat(results, 1))
        return projected

    def _dropped(self, result: Tensor, keep: float) -> Tensor:
        if keep == 1.0:
            return result
        from torchvision.ops import stochastic_depth  # torchvision takes seconds to import

        dropped: Tensor = stochastic_depth(result, 1 - keep, "row", self.training)
        return dropped


class Cell(nn.Module):
    """One cell with F filters: its two inputs brought to shape, its blocks, its output.

    What reaches no output is not built. The output concatenates the states that the genotype
    lists, in its order.
    """

    def __init__(
        self,
        layers: Layers,
        cell: g.Cell,
        current: Shape,
        previous: Shape | None,
        filters: int,
        *,
        reduction: bool,
        rules: CellRules = SLIM,
    ) -> None:
        super().__init__()
        self.concat = cell.concat
        live = cell.live_blocks()
        self.read = set(cell.concat).union(s for b in live for s, _ in cell.blocks[b].sides)
        self.current = (
            _project_current(layers, current.channels, filters, rules) if 0 in self.read else None
        )
        self.previous = (
            match_previous(layers, current, previous, filters) if 1 in self.read else None
        )
        # the first cell's h_{i-1} is h_i as it comes, not projected
        channels = filters, current.channels if previous is None else filters
        self.blocks = nn.ModuleDict(
            {
                str(b + 2): Block(
                    layers,
                    cell.blocks[b],
                    channels,
                    filters,
                    reduction=reduction,
                    constructors=rules.constructors,
                )
                for b in live
            }
        )
        fitting = {
            str(state): _fit_input(layers, channels[state], filters, reduction=reduction)
            for state in cell.concat
            if state < 2
        }
        self.outputs = nn.ModuleDict({state: fit for state, fit in fitting.items() if fit})
        self.shape = Shape(len(cell.concat) * filters, current.halvings + reduction)

    def forward(self, current: Output, previous: Output, keep: float = 1.0) -> Output:
        """h_i and h_{i-1} -> len(concat) maps (N, F, H, W), halved by a reduction cell.

        ``keep`` is the probability that a path of an image is not dropped.
        """
        states = self._inputs(current, previous)
        for number, block in self.blocks.items():
            states[int(number)] = State(block(states, keep))
        for number, fit in self.outputs.items():
            states[int(number)] = State(fit(states[int(number)].plain))
        return Output([states[number] for number in self.concat])

    def _inputs(self, current: Output, previous: Output) -> dict[int, State]:
        """States 0 and 1, brought to shape; what nothing reads is not there."""
        states = {}
        if self.current is not None:
            states[0] = current.through(self.current)
        if self.previous is not None:
            states[1] = previous.through(self.previous)
        elif 1 in self.read:
            states[1] = previous.state
        return states


def _project_current(layers: Layers, channels: int, filters: int, rules: CellRules) -> Operation:
    """Bring h_i to F channels, by a 1x1 convolution also where it has as many (slim)."""
    if rules.twice and channels != filters:
        first, second = layers.conv(channels, filters), layers.conv(filters, filters)
        return relu_conv_norm(layers, [first], [second])
    return pointwise(layers, channels, filters, 1)


def match_previous(
    layers: Layers, current: Shape, previous: Shape | None, filters: int
) -> Operation | None:
    """Bring h_{i-1} to the size of h_i and to F channels (slim: _reduce_prev_layer).

    Nothing is to do for the first cell, which has no h_{i-1} and takes h_i in its place.
    """
    if previous is None:
        return None
    if previous.halvings != current.halvings:
        reduce = FactorizedReduction(layers, previous.channels, filters)
        return Operation(reduce, reads_activated=True)
    if previous.channels != filters:
        return pointwise(layers, previous.channels, filters, 1)
    return None


def _fit_input(
    layers: Layers, channels: int, filters: int, *, reduction: bool
) -> nn.Module | None:
    """Bring a cell's input to its output's shape (slim: _combine_unused_states; no ReLU)."""
    if reduction:
        return FactorizedReduction(layers, channels, filters)
    if channels != filters:
        return nn.Sequential(layers.conv(channels, filters), layers.norm(filters))
    return None
