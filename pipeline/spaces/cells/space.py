"""What spaces of a normal and a reduction cell have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import Decision, Turn, check_whole
from pipeline.spaces.cells.genotype import Cell, CellGenotype


class CellSpace(ABC):
    """The same decisions twice, block by block: first the normal cell's, then the reduction's."""

    turns: tuple[Turn, ...]
    decisions: tuple[Decision, ...]

    def __init__(self, blocks: int, operations: Sequence[str]) -> None:
        self.blocks = blocks  # of each cell
        self.operations = tuple(operations)  # that a block may choose from

    @property
    @abstractmethod
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What people call each decision, and each of its choices."""

    @abstractmethod
    def _decode_cell(self, actions: Sequence[int]) -> Cell:
        """The cell that these actions, its own, stand for."""

    @abstractmethod
    def _encode_cell(self, name: str, cell: Cell) -> list[int]:
        """The actions of a cell whose number of blocks, operations and output are the space's."""

    def length(self, learned: int) -> int:
        """All decisions, whatever was learned."""
        return len(self.decisions)

    def canonical(self, actions: Sequence[int]) -> tuple[int, ...]:
        """The actions of the canonical genotype: all blocks are live here, so it has as many."""
        return self.encode(self.decode(actions).canonical())

    def digest(self, actions: Sequence[int]) -> str:
        """The genotype's digest."""
        return self.decode(actions).digest

    def decode(self, actions: Sequence[int]) -> CellGenotype:
        """The two cells that these actions stand for; unused hidden states are concatenated.

        Raises:
            InvalidGenotypeError: naming the decision that is out of range.
        """
        check_whole(self, actions)
        half = len(actions) // 2
        return CellGenotype(self._decode_cell(actions[:half]), self._decode_cell(actions[half:]))

    def encode(self, genotype: CellGenotype) -> tuple[int, ...]:
        """The actions that decode to exactly this genotype.

        Raises:
            InvalidGenotypeError: for another number of blocks, an operation or combination that
                is not searched, or an output that is not the concatenation of the unused states
                (NASNet-A's own cells are such).
        """
        actions: list[int] = []
        for name, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
            _check_cell(name, cell, self.blocks)
            self._check_operations(name, cell)
            actions += self._encode_cell(name, cell)
        return tuple(actions)

    def _check_operations(self, name: str, cell: Cell) -> None:
        for b, block in enumerate(cell.blocks):
            for _, operation in block.sides:
                if operation not in self.operations:
                    raise InvalidGenotypeError(
                        f"{name} cell, block {b}: operation {operation!r} is not searched"
                    )


def _check_cell(name: str, cell: Cell, blocks: int) -> None:
    """Check a cell's number of blocks, and that its output is what they leave unused."""
    cell.validate(name)
    if len(cell.blocks) != blocks:
        raise InvalidGenotypeError(
            f"{name} cell: {len(cell.blocks)} blocks, but the space has {blocks}"
        )
    if cell != Cell.with_unused_concat(cell.blocks):
        raise InvalidGenotypeError(
            f"{name} cell: concat {list(cell.concat)} is not the list of unused states"
        )
