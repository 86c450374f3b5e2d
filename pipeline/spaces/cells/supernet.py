"""ENAS' stacks of cells as its search has them: one child, or all of a space, weights shared.

arXiv:1802.03268, section 2.4; the released code where the paper is silent: melodyguan/enas
src/cifar10/micro_child.py (_model, _enas_layer). The code's final network is another: see
``pipeline.spaces.cells.network``, ENAS.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from pipeline.errors import InvalidGenotypeError, UserError
from pipeline.networks.initialize import initialize
from pipeline.networks.inputs import Inputs
from pipeline.networks.layers import FactorizedReduction, Layers
from pipeline.networks.state import Operation, State
from pipeline.spaces.cells.cell import Shape, match_previous
from pipeline.spaces.cells.config import MicroNetworkConfig, MicroSpaceConfig
from pipeline.spaces.cells.genotype import Cell, CellGenotype
from pipeline.spaces.cells.operations import CONSTRUCTORS, pointwise
from pipeline.spaces.pictures import SIDES

# a block, its side, the state it reads and the operation on it: what weights belong to
Choice = tuple[int, str, int, str]


def build_shared(
    space: MicroSpaceConfig,
    config: MicroNetworkConfig,
    inputs: Inputs,
) -> "MicroNetwork":
    """The supernet of a space, weights at random.

    Raises:
        UserError: the skeleton's cells are not those that share weights.
    """
    if config.cells != "search":
        raise UserError("network.cells: only 'search' cells share weights")
    return MicroNetwork(config, space, inputs)


class SharedCell(nn.Module):
    """A cell whose weights belong to (block, side, input, operation) and to each output state.

    Operations have stride 1: a reduction cell's h_i is halved before it. The output is ReLU and
    a 1x1 convolution of the concatenated states back to F channels, which is the sum of one 1x1
    convolution for each state, and batch norm.
    """

    def __init__(
        self,
        make: Layers,
        current: Shape,
        previous: Shape,
        filters: int,
        choices: Iterable[Choice],
        outputs: Iterable[int],
    ) -> None:
        super().__init__()
        same = current.channels == filters
        self.current = None if same else pointwise(make, current.channels, filters, 1)
        self.previous = match_previous(make, current, previous, filters)
        self.ops, self.weightless = nn.ModuleDict(), nn.ModuleDict()
        for choice in choices:
            operation = CONSTRUCTORS[choice[-1]](make, filters, filters, 1)
            if any(True for _ in operation.parameters()):
                self.ops[_name(choice)] = operation
            else:
                self.weightless[choice[-1]] = operation
        self.out = nn.ModuleDict({str(state): make.conv(filters, filters) for state in outputs})
        self.norm = make.norm(filters)

    def forward(self, current: State, previous: State, cell: Cell) -> State:
        """h_i and h_{i-1} -> h_{i+1}, (N, F, H, W) of h_i's size."""
        states = {
            0: current if self.current is None else State(current.through(self.current)),
            1: previous if self.previous is None else State(previous.through(self.previous)),
        }
        for b in cell.live_blocks():
            left, right = (
                states[state].through(self._operation((b, side, state, name)))
                for side, (state, name) in zip(SIDES, cell.blocks[b].sides, strict=True)
            )
            states[b + 2] = State(left + right)
        first, *rest = (self.out[str(s)](states[s].activated) for s in cell.concat)
        for part in rest:
            first = first + part
        return State(self.norm(first))

    def _operation(self, choice: Choice) -> Operation:
        name = _name(choice)
        found = self.ops[name] if name in self.ops else self.weightless[choice[-1]]
        assert isinstance(found, Operation)
        return found


def _name(choice: Choice) -> str:
    return "_".join(map(str, choice))


class MicroNetwork(nn.Module):
    """Stem, three stages of N normal cells with a reduction between them, classifier.

    Before a reduction cell its h_i is halved, and stands in as h_{i-1} of the cell after it.

    Args:
        choices: a genotype, to build its choices alone; or a space, to build all there are. The
            weights of a child that stands alone are some of the supernet's, by the same names.
    """

    def __init__(
        self,
        config: MicroNetworkConfig,
        choices: CellGenotype | MicroSpaceConfig,
        inputs: Inputs,
    ) -> None:
        super().__init__()
        self.only = choices if isinstance(choices, CellGenotype) else None
        make = Layers(norm_decay=config.norm_decay, norm_epsilon=config.norm_epsilon)
        stem, filters = int(config.stem_multiplier * config.num_filters), config.num_filters
        self.stem = nn.Sequential(make.conv(inputs.shape[0], stem, (3, 3)), make.norm(stem))
        previous = current = Shape(stem, 0)
        self.cells, self.reductions = nn.ModuleList(), nn.ModuleDict()
        stage = [False] * config.num_cells
        self.is_reduction = [*stage, True, *stage, True, *stage]
        for number, reduction in enumerate(self.is_reduction):
            if reduction:
                filters = 2 * filters if config.widen else filters
                reduce = FactorizedReduction(make, current.channels, filters)
                self.reductions[str(number)] = reduce
                previous, current = current, Shape(filters, current.halvings + 1)
            places = _places(choices, reduction)
            self.cells.append(SharedCell(make, current, previous, filters, *places))
            previous, current = current, Shape(filters, current.halvings)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(filters, inputs.classes, bias=False)
        initialize(self, "fan_in")

    def forward(self, x: Tensor, genotype: CellGenotype | None = None) -> Tensor:
        """Images (N, channels, H, W) -> logits (N, classes) of one child: of ``only`` by default.

        The genotype is the space's own, not its canonical form.
        """
        child = genotype or self.only
        if child is None:
            raise ValueError("a supernet runs one child: say which")
        previous = current = State(self.stem(x))
        for number, cell in enumerate(self.cells):
            if self.is_reduction[number]:
                halved = State(self.reductions[str(number)](current.plain))
                previous, current = current, halved
            genes = child.reduction if self.is_reduction[number] else child.normal
            previous, current = current, cell(current, previous, genes)
        logits: Tensor = self.classifier(self.dropout(current.activated.mean((2, 3))))
        return logits


def _places(
    choices: CellGenotype | MicroSpaceConfig, reduction: bool
) -> tuple[list[Choice], Sequence[int]]:
    """What a cell builds: operations, and the states that its output may read."""
    if isinstance(choices, MicroSpaceConfig):
        blocks = choices.blocks
        every = itertools.product(range(blocks), SIDES, range(blocks + 1), choices.operations)
        return [place for place in every if place[2] < place[0] + 2], range(blocks + 2)
    cell = choices.reduction if reduction else choices.normal
    return [*_places_of(cell)], cell.concat


def _places_of(cell: Cell) -> Iterator[Choice]:
    for b in cell.live_blocks():
        if cell.blocks[b].combine != "add":
            raise InvalidGenotypeError(f"block {b}: ENAS' cells add, they do not concatenate")
        for side, (state, name) in zip(SIDES, cell.blocks[b].sides, strict=True):
            yield b, side, state, name
