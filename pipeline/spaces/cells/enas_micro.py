"""ENAS' micro search space: a normal and a reduction cell (arXiv:1802.03268, section 2.4)."""

from collections.abc import Iterator, Sequence

from pipeline.errors import InvalidGenotypeError
from pipeline.spaces.base import Anchor, Decision, NextInput, Score, Turn
from pipeline.spaces.cells.config import MicroSpaceConfig
from pipeline.spaces.cells.genotype import Block, Cell
from pipeline.spaces.cells.space import CellSpace

DECISIONS_PER_BLOCK = 4


def state_of(index: int) -> int:
    """The hidden state, as genotypes number it, of ENAS' input index; and the other way round.

    Its index 0 is the output of the cell before the previous one, which is our state 1.
    """
    return 1 - index if index < 2 else index


class MicroSpace(CellSpace):
    """Four decisions a block: two inputs, then two operations, whose results are added.

    The turns are the released controller's (melodyguan/enas: micro_controller.py): a cell's two
    inputs are anchors of which only the key is kept; an input is chosen by attention to the
    anchors so far, and is what is fed next; a block ends with a step that leaves its anchor. The
    reduction cell goes on from the normal cell's LSTM state with anchors of its own.
    """

    def __init__(self, config: MicroSpaceConfig) -> None:
        super().__init__(config.blocks, config.operations)
        offset = config.operation_offset
        offsets = tuple(
            offset if name.startswith("sep_conv") else -offset for name in self.operations
        )
        self.turns = (
            *self._cell_turns(0, offsets if offset else ()),
            *self._cell_turns(config.blocks + 2, ()),
        )
        self.decisions = tuple(decision for turn in self.turns for decision in turn.decisions)

    def _cell_turns(self, first: int, offsets: tuple[float, ...]) -> Iterator[Turn]:
        """Of a cell whose anchors are numbered from ``first`` on."""
        for _ in range(2):
            yield Turn((), NextInput.START, Anchor.KEY)
        operation = Decision("operation", len(self.operations), offset=offsets)
        for block in range(self.blocks):
            anchors = tuple(range(first, first + block + 2))
            pointer = Decision("input", len(anchors), Score.POINTER, anchors)
            for _ in range(2):
                yield Turn((pointer,), NextInput.CHOSEN)
            for _ in range(2):
                yield Turn((operation,))
            yield Turn((), NextInput.START, Anchor.HIDDEN)

    @property
    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Such as ``("normal 1, left input", ("h_i-1", "h_i", "state 2"))``."""
        parts = ("left input", "right input", "left operation", "right operation")
        found: list[tuple[str, tuple[str, ...]]] = []
        for cell in ("normal", "reduction"):
            for b in range(self.blocks):
                inputs = ("h_i-1", "h_i", *(f"state {state + 2}" for state in range(b)))
                choices = (inputs, inputs, self.operations, self.operations)
                found += [
                    (f"{cell} {b}, {part}", named)
                    for part, named in zip(parts, choices, strict=True)
                ]
        return tuple(found)

    def _decode_cell(self, actions: Sequence[int]) -> Cell:
        names = self.operations
        rows = zip(*[iter(actions)] * DECISIONS_PER_BLOCK, strict=True)
        return Cell.with_unused_concat(
            [
                Block(state_of(left), names[left_op], state_of(right), names[right_op])
                for left, right, left_op, right_op in rows
            ]
        )

    def _encode_cell(self, name: str, cell: Cell) -> list[int]:
        names = self.operations
        actions: list[int] = []
        for b, block in enumerate(cell.blocks):
            if block.combine != "add":
                raise InvalidGenotypeError(
                    f"{name} cell, block {b}: combine {block.combine!r} is not searched"
                )
            actions += map(state_of, (block.left_input, block.right_input))
            actions += map(names.index, (block.left_op, block.right_op))
        return actions
