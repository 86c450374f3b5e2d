"""Genotypes of cells: a normal and a reduction cell as plain, frozen data.

Hidden states are numbered as in the authors' code
(tensorflow/models: research/slim/nets/nasnet/nasnet_utils.py): 0 is h_i, the output of the
previous cell, 1 is h_{i-1}, the output of the one before it, and block b makes state b + 2.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InvalidGenotypeError
from pipeline.io.json_text import read_json
from pipeline.spaces.base import Genotype
from pipeline.spaces.canonical import Graph, canonical_order, stands_in_order

# Larger cells are refused: the canonical form of any cell must be found within a second.
MAX_BLOCKS = 12
# The 13 operations of the NASNet space (arXiv:1707.07012, section 3), in the paper's order. Stored
# searches that name no operations mean these, so this list never changes.
PAPER_OPERATIONS = (
    "identity",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "conv_1x1",
    "conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
# All operations that cells may have; a new one is added here, and its layers to `operations`.
OPERATIONS = PAPER_OPERATIONS
_KNOWN = set(OPERATIONS)  # which a million imported cells are looked up in
COMBINES = ("add", "concat")
# DARTS' names of operations that it calls otherwise, and its inputs that it counts otherwise.
DARTS_NAMES = {"skip_connect": "identity", "conv_7x1_1x7": "conv_1x7_7x1"}
_SWAPPED = {0: 1, 1: 0}


@dataclass(frozen=True, slots=True)
class Block:
    """Two hidden states, an operation on each, and how the two results are combined."""

    left_input: int
    left_op: str
    right_input: int
    right_op: str
    combine: str = "add"

    @property
    def sides(self) -> tuple[tuple[int, str], tuple[int, str]]:
        """The two (input, operation) pairs."""
        return (self.left_input, self.left_op), (self.right_input, self.right_op)

    def validate(self, cell: str, b: int) -> None:
        """Check block ``b`` of a cell, which may read b + 2 hidden states.

        Raises:
            InvalidGenotypeError: naming the cell and the block.
        """
        last = b + 1
        if not (
            0 <= self.left_input <= last
            and 0 <= self.right_input <= last
            and self.left_op in _KNOWN
            and self.right_op in _KNOWN
            and self.combine in COMBINES
        ):
            raise InvalidGenotypeError(f"{cell} cell, block {b}: {self._problem(last)}")

    def _problem(self, last: int) -> str:
        for side, (state, operation) in zip(("left", "right"), self.sides, strict=True):
            if operation not in _KNOWN:
                known = ", ".join(OPERATIONS)
                return f"{side} operation {operation!r} is unknown; known: {known}"
            if not 0 <= state <= last:
                return f"{side} input {state} is not one of the states 0 to {last}"
        return f"combine {self.combine!r} is unknown; known: {', '.join(COMBINES)}"


# Many cells share their blocks, of which the space has some thousand.
_block = functools.lru_cache(2**14)(Block)


@dataclass(frozen=True, slots=True)
class Cell:
    """Blocks in order, and the hidden states whose concatenation is the cell's output.

    The list is explicit because the published cells need it: NASNet-A concatenates a state that
    is also used ("hiddenstate_indices" and "used_hiddenstates" of the authors' code).
    """

    blocks: tuple[Block, ...]
    concat: tuple[int, ...]

    @classmethod
    def with_unused_concat(cls, blocks: Sequence[Block]) -> "Cell":
        """The cell as the paper builds it: all hidden states that no block reads are output."""
        used = {state for block in blocks for state, _ in block.sides}
        return cls(tuple(blocks), tuple(s for s in range(len(blocks) + 2) if s not in used))

    def validate(self, name: str) -> None:
        """Check every rule of a cell.

        Raises:
            InvalidGenotypeError: naming the cell and the block.
        """
        if not 1 <= len(self.blocks) <= MAX_BLOCKS:
            raise InvalidGenotypeError(
                f"{name} cell: {len(self.blocks)} blocks, expected 1 to {MAX_BLOCKS}"
            )
        for b, block in enumerate(self.blocks):
            block.validate(name, b)
        last = len(self.blocks) + 1
        if not self.concat or len(set(self.concat)) != len(self.concat):
            raise InvalidGenotypeError(f"{name} cell: concat must name each state at most once")
        if not all(0 <= state <= last for state in self.concat):
            raise InvalidGenotypeError(
                f"{name} cell: concat {list(self.concat)} names a state that is not 0 to {last}"
            )

    def canonical(self) -> "Cell":
        """The one cell that stands for all encodings of the same graph.

        Blocks that reach no output are dropped, the sides of an add (and of a concatenation,
        whose 1x1 convolution makes it as symmetric) are ordered, blocks are renumbered, and the
        output states are sorted.
        """
        return self._renumbered(canonical_order(self._graph(), self.live_blocks()))

    def _graph(self) -> Graph:
        return Graph(
            tuple(block.sides for block in self.blocks),
            tuple(block.combine for block in self.blocks),
            self.concat,
        )

    @property
    def is_canonical(self) -> bool:
        """Whether this is the one encoding that stands for all of its graph.

        As ``self == self.canonical()``, in a fraction of the time: a million imported cells are
        asked.
        """
        graph = self._graph()
        read = {state for sides in graph.sides for state, _ in sides}
        # where each block is read or output, the last one is output, and so all reach it
        if not read.union(self.concat).issuperset(range(2, len(self.blocks) + 2)):
            return False
        if list(self.concat) != sorted(self.concat):
            return False
        if any(left > right for left, right in graph.sides):
            return False
        in_order = stands_in_order(graph)
        return self == self.canonical() if in_order is None else in_order

    def live_blocks(self) -> tuple[int, ...]:
        """The blocks that reach the output."""
        reached = set(self.concat)
        for b in reversed(range(len(self.blocks))):
            if b + 2 in reached:
                reached.update(state for state, _ in self.blocks[b].sides)
        return tuple(b for b in range(len(self.blocks)) if b + 2 in reached)

    def _renumbered(self, order: Sequence[int]) -> "Cell":
        number = {0: 0, 1: 1} | {b + 2: position + 2 for position, b in enumerate(order)}
        blocks = []
        for b in order:
            (left, left_op), (right, right_op) = sorted(
                (number[state], operation) for state, operation in self.blocks[b].sides
            )
            blocks.append(Block(left, left_op, right, right_op, self.blocks[b].combine))
        return Cell(tuple(blocks), tuple(sorted(number[state] for state in self.concat)))

    @property
    def operations(self) -> frozenset[str]:
        """The operations that its blocks use."""
        return frozenset(operation for block in self.blocks for _, operation in block.sides)

    def to_data(self) -> dict[str, Any]:
        """Plain lists: a block is [left input, left op, right input, right op, combine]."""
        return {
            "blocks": [
                [b.left_input, b.left_op, b.right_input, b.right_op, b.combine]
                for b in self.blocks
            ],
            "concat": list(self.concat),
        }

    @classmethod
    def from_data(cls, data: Any, name: str) -> "Cell":
        """The inverse of ``to_data``; checks types, then the rules.

        Raises:
            InvalidGenotypeError: naming the cell and the block.
        """
        if not isinstance(data, dict) or set(data) != {"blocks", "concat"}:
            raise InvalidGenotypeError(f"{name} cell: expected the keys blocks and concat")
        if not isinstance(data["blocks"], list) or not isinstance(data["concat"], list):
            raise InvalidGenotypeError(f"{name} cell: blocks and concat must be lists")
        blocks = []
        for b, row in enumerate(data["blocks"]):
            types = [type(value) for value in row] if isinstance(row, list) else []
            if types != [int, str, int, str, str]:
                raise InvalidGenotypeError(
                    f"{name} cell, block {b}: expected [left input, left op, right input, "
                    f"right op, combine]"
                )
            blocks.append(_block(*row))
        if any(type(state) is not int for state in data["concat"]):
            raise InvalidGenotypeError(f"{name} cell: concat must list state numbers")
        cell = cls(tuple(blocks), tuple(data["concat"]))
        cell.validate(name)
        return cell


@dataclass(frozen=True, slots=True)
class CellGenotype(Genotype):
    """A normal and a reduction cell: an architecture of the NASNet family."""

    normal: Cell
    reduction: Cell

    kind = "cell"

    def validate(self) -> None:
        """Check every rule of both cells.

        Raises:
            InvalidGenotypeError: naming the cell and the block.
        """
        self.normal.validate("normal")
        self.reduction.validate("reduction")

    def canonical(self) -> "CellGenotype":
        """The genotype that stands for all encodings of the same two graphs."""
        return CellGenotype(self.normal.canonical(), self.reduction.canonical())

    @property
    def is_canonical(self) -> bool:
        """Whether it equals its canonical form."""
        return self.normal.is_canonical and self.reduction.is_canonical

    @property
    def operations(self) -> tuple[frozenset[str], frozenset[str]]:
        """The operations of the normal cell and of the reduction cell."""
        return self.normal.operations, self.reduction.operations

    @classmethod
    def from_json(cls, text: str | bytes) -> "CellGenotype":
        """Read and check a genotype.

        Raises:
            InvalidGenotypeError: where the text is no genotype; names the block.
        """
        try:
            data = read_json(text)
        except ValueError as error:
            raise InvalidGenotypeError(f"not JSON: {error}") from None
        return cls.from_data(data)

    def to_data(self) -> dict[str, Any]:
        """Plain dicts and lists, as they go into JSON."""
        return {
            "kind": self.kind,
            "normal": self.normal.to_data(),
            "reduction": self.reduction.to_data(),
        }

    @classmethod
    def from_darts(cls, data: Any) -> "CellGenotype":
        """Read DARTS' encoding (quark0/darts: cnn/genotypes.py): pairs of operation and input.

        Its inputs 0 and 1 are the other way round: 0 is the cell two back.

        Raises:
            InvalidGenotypeError: where the data is no such genotype; names the block.
        """
        cells = []
        for name, key in (("normal", "normal"), ("reduction", "reduce")):
            pairs, concat = data.get(key), data.get(f"{key}_concat")
            if not isinstance(pairs, list) or len(pairs) % 2 or not isinstance(concat, list):
                raise InvalidGenotypeError(f"{name} cell: expected {key} and {key}_concat")
            if not all(isinstance(p, list) and len(p) == 2 and type(p[1]) is int for p in pairs):
                raise InvalidGenotypeError(f"{name} cell: expected pairs of operation and input")
            sides = [(_SWAPPED.get(i, i), DARTS_NAMES.get(str(op), str(op))) for op, i in pairs]
            blocks = [
                [*left, *right, "add"] for left, right in zip(sides[::2], sides[1::2], strict=True)
            ]
            swapped = [_SWAPPED.get(s, s) if type(s) is int else s for s in concat]
            cells.append(Cell.from_data({"blocks": blocks, "concat": swapped}, name))
        return cls(*cells)

    @classmethod
    def from_data(cls, data: Any) -> "CellGenotype":
        """The inverse of ``to_data``.

        Raises:
            InvalidGenotypeError: where the data is no genotype; names the block.
        """
        if not isinstance(data, dict) or data.get("kind", cls.kind) != cls.kind:
            raise InvalidGenotypeError('a genotype is an object with "kind": "cell"')
        if set(data) - {"kind"} != {"normal", "reduction"}:
            raise InvalidGenotypeError("a cell genotype has the keys kind, normal and reduction")
        return cls(
            Cell.from_data(data["normal"], "normal"),
            Cell.from_data(data["reduction"], "reduction"),
        )
