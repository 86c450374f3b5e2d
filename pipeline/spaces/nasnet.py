"""The NASNet search space: a normal and a reduction cell (arXiv:1707.07012, section 3)."""

from collections.abc import Sequence

from pipeline.errors import InvalidGenotypeError
from pipeline.genotype import COMBINES, OPERATIONS, Block, Cell, CellGenotype
from pipeline.spaces.base import Decision, Turn, check_whole

DECISIONS_PER_BLOCK = 5


def _inputs(block: int) -> tuple[str, ...]:
    return ("h_i", "h_i-1", *(f"state {b + 2}" for b in range(block)))


class NASNetSpace:
    """Five decisions a block, in the paper's order; block b may read b + 2 hidden states.

    First the normal cell's blocks, then the reduction cell's: 2 x 5B decisions, each a turn of
    its own. Which input can be chosen differs from block to block, so each block's inputs have
    a head of their own; operations and combinations share one each.
    """

    def __init__(self, blocks: int = 5) -> None:
        self.blocks = blocks
        cell = tuple(
            decision
            for b in range(blocks)
            for decision in (
                Decision(f"input_{b}", b + 2),
                Decision(f"input_{b}", b + 2),
                Decision("operation", len(OPERATIONS)),
                Decision("operation", len(OPERATIONS)),
                Decision("combine", len(COMBINES)),
            )
        )
        self.decisions = cell + cell
        self.turns = tuple(Turn((decision,)) for decision in self.decisions)

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Such as ``("normal 2, left input", ("h_i", "h_i-1", "state 2", "state 3"))``."""
        parts = ("left input", "right input", "left operation", "right operation", "combine")
        return tuple(
            (f"{cell} {b}, {part}", choices)
            for cell in ("normal", "reduction")
            for b in range(self.blocks)
            for part, choices in zip(
                parts, (*[_inputs(b)] * 2, *[OPERATIONS] * 2, COMBINES), strict=True
            )
        )

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
        return CellGenotype(self._cell(actions[:half]), self._cell(actions[half:]))

    def _cell(self, actions: Sequence[int]) -> Cell:
        rows = zip(*[iter(actions)] * DECISIONS_PER_BLOCK, strict=True)
        return Cell.with_unused_concat(
            [
                Block(left, OPERATIONS[left_op], right, OPERATIONS[right_op], COMBINES[combine])
                for left, right, left_op, right_op, combine in rows
            ]
        )

    def encode(self, genotype: CellGenotype) -> tuple[int, ...]:
        """The actions that decode to exactly this genotype.

        Raises:
            InvalidGenotypeError: for another number of blocks, or an output that is not the
                concatenation of the unused states (NASNet-A's own cells are such).
        """
        actions: list[int] = []
        for name, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
            check_cell(name, cell, self.blocks)
            for block in cell.blocks:
                actions += [
                    block.left_input,
                    block.right_input,
                    OPERATIONS.index(block.left_op),
                    OPERATIONS.index(block.right_op),
                    COMBINES.index(block.combine),
                ]
        return tuple(actions)


def check_cell(name: str, cell: Cell, blocks: int) -> None:
    """Check that a cell is of so many blocks, and that its output is what they leave unused.

    Raises:
        InvalidGenotypeError: naming the cell.
    """
    cell.validate(name)
    if len(cell.blocks) != blocks:
        raise InvalidGenotypeError(
            f"{name} cell: {len(cell.blocks)} blocks, but the space has {blocks}"
        )
    if cell != Cell.with_unused_concat(cell.blocks):
        raise InvalidGenotypeError(
            f"{name} cell: concat {list(cell.concat)} is not the list of unused states"
        )
