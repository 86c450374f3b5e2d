"""How genotypes of cells are written and drawn, as in figure 4 of arXiv:1707.07012."""

import itertools
from collections.abc import Iterator

from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from pipeline.spaces.pictures import SIDES, Edge, Marks, Node, Picture, operation_label

INPUTS = ("h\u1d62", "h\u1d62\u208b\u2081")  # h_i and h_{i-1}, with Unicode's subscripts
OUTPUT = "h\u1d62\u208a\u2081"  # h_{i+1}


def sentence(genotype: CellGenotype) -> str:
    """Both cells, block by block."""
    return " ".join(
        f"{place} cell: {', '.join(map(block_text, itertools.count(2), cell.blocks))}, "
        f"output = concat of states {', '.join(map(str, cell.concat))}."
        for place, cell in (("normal", genotype.normal), ("reduction", genotype.reduction))
    )


def lines(genotype: CellGenotype) -> Iterator[str]:
    """Both cells, a line for each block."""
    for name, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        yield f"\n{name} cell (0: previous cell, 1: the one before it)"
        for state, block in enumerate(cell.blocks, start=2):
            yield f"  {block_text(state, block)}"
        yield f"  output = concat({', '.join(map(str, cell.concat))})"


def block_text(state: int, block: Block) -> str:
    """Such as "state 2 = sep_conv_5x5(0) add identity(1)"."""
    left, right = map(side_text, block.sides)
    return f"state {state} = {left} {block.combine} {right}"


def side_text(side: tuple[int, str]) -> str:
    """Such as "sep_conv_5x5(0)"."""
    return f"{side[1]}({side[0]})"


def draw(picture: Picture, genotype: CellGenotype, outer: str, marks: Marks) -> None:
    """Both cells, the reduction cell above where something else stands beside them."""
    before = f"{outer}-" if outer else ""
    for place, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        frame = f"{before}{place}"
        picture.frames[frame] = f"{place} cell", outer
        for name, label, look, title in _cell_nodes(cell):
            mark = marks.get(f"{place}-{name}", "")
            picture.nodes.append(Node(f"{frame}-{name}", label, look, title, frame, mark))
        for tail, head in _cell_edges(cell):
            mark = marks.get(f"{place}-{tail}--{place}-{head}", "")
            picture.edges.append(Edge(f"{frame}-{tail}", f"{frame}-{head}", mark=mark))
        picture.beside.append((f"{frame}-h0", f"{frame}-h1"))
    if outer:  # one cell above the other
        inputs = (f"{outer}-normal-h{state}" for state in range(2))
        picture.above.extend((f"{outer}-reduction-output", state) for state in inputs)


def _cell_nodes(cell: Cell) -> Iterator[tuple[str, str, str, str]]:
    """Name, label, look and title of each node of a cell."""
    for state, which in enumerate(("previous cell", "cell before the previous one")):
        yield f"h{state}", f"{INPUTS[state]} ({state})", "state", f"output of the {which}"
    for state, block in enumerate(cell.blocks, start=2):
        for side, (read, operation) in zip(SIDES, block.sides, strict=True):
            label, look = operation_label(operation), operation.partition("_")[0]
            yield f"h{state}-{side}", label, look, f"{operation} of state {read}"
        yield f"h{state}", f"{block.combine} ({state})", "combine", block_text(state, block)
    yield "concat", "concat", "combine", f"of states {', '.join(map(str, cell.concat))}"
    yield "output", OUTPUT, "state", "output of this cell"


def _cell_edges(cell: Cell) -> Iterator[tuple[str, str]]:
    for state, block in enumerate(cell.blocks, start=2):
        for side, (read, _) in zip(SIDES, block.sides, strict=True):
            yield f"h{read}", f"h{state}-{side}"
            yield f"h{state}-{side}", f"h{state}"
    yield from ((f"h{state}", "concat") for state in cell.concat)
    yield "concat", "output"
