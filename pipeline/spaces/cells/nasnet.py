"""The NASNet search space: a normal and a reduction cell (arXiv:1707.07012, section 3)."""

from collections.abc import Sequence
from typing import Self

from pipeline.spaces.base import Decision, Turn
from pipeline.spaces.cells.config import NASNetSpaceConfig
from pipeline.spaces.cells.genotype import COMBINES, PAPER_OPERATIONS, Block, Cell
from pipeline.spaces.cells.space import CellSpace

DECISIONS_PER_BLOCK = 5


def _inputs(block: int) -> tuple[str, ...]:
    return ("h_i", "h_i-1", *(f"state {b + 2}" for b in range(block)))


class NASNetSpace(CellSpace):
    """Five decisions a block, in the paper's order; block b may read b + 2 hidden states.

    First the normal cell's blocks, then the reduction cell's: 2 x 5B decisions, each a turn of
    its own. Which input can be chosen differs from block to block, so each block's inputs have
    a head of their own; operations and combinations share one each.
    """

    def __init__(self, blocks: int = 5, operations: Sequence[str] = PAPER_OPERATIONS) -> None:
        super().__init__(blocks, operations)
        cell = tuple(
            decision
            for b in range(blocks)
            for decision in (
                Decision(f"input_{b}", b + 2),
                Decision(f"input_{b}", b + 2),
                Decision("operation", len(self.operations)),
                Decision("operation", len(self.operations)),
                Decision("combine", len(COMBINES)),
            )
        )
        self.decisions = cell + cell
        self.turns = tuple(Turn((decision,)) for decision in self.decisions)

    @classmethod
    def of(cls, config: NASNetSpaceConfig) -> Self:
        """The space of a configuration."""
        return cls(config.blocks, config.operations)

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Such as ``("normal 2, left input", ("h_i", "h_i-1", "state 2", "state 3"))``."""
        parts = ("left input", "right input", "left operation", "right operation", "combine")
        return tuple(
            (f"{cell} {b}, {part}", choices)
            for cell in ("normal", "reduction")
            for b in range(self.blocks)
            for part, choices in zip(
                parts, (*[_inputs(b)] * 2, *[self.operations] * 2, COMBINES), strict=True
            )
        )

    def _decode_cell(self, actions: Sequence[int]) -> Cell:
        names = self.operations
        rows = zip(*[iter(actions)] * DECISIONS_PER_BLOCK, strict=True)
        return Cell.with_unused_concat(
            [
                Block(left, names[left_op], right, names[right_op], COMBINES[combine])
                for left, right, left_op, right_op, combine in rows
            ]
        )

    def _encode_cell(self, name: str, cell: Cell) -> list[int]:
        return [
            action
            for block in cell.blocks
            for action in (
                block.left_input,
                block.right_input,
                self.operations.index(block.left_op),
                self.operations.index(block.right_op),
                COMBINES.index(block.combine),
            )
        ]
