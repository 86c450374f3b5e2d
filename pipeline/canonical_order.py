"""In which order a cell's blocks are written, so that equal graphs are written alike.

Colours are refined from what a block reads and what reads it until they stay; where two blocks
still share one, each in turn is told apart from the rest (individualisation).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.genotype import Cell


def canonical_orders(cell: "Cell", live: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Block orders to take the least of: one, unless blocks look alike from every side."""
    depth: dict[int, int] = {}
    for b in live:
        depth[b] = 1 + max(depth.get(state - 2, 0) for state, _ in cell.blocks[b].sides)
    start = {b: (depth[b], b + 2 in cell.concat, cell.blocks[b].combine) for b in live}
    yield from _individualised(cell, live, _ranked(start))


def _individualised(
    cell: "Cell", live: tuple[int, ...], colours: dict[int, int]
) -> Iterator[tuple[int, ...]]:
    colours = _refined(cell, live, colours)
    order = sorted(live, key=lambda b: colours[b])
    for _, group in itertools.groupby(order, key=lambda b: colours[b]):
        twins = list(group)
        if len(twins) > 1:
            # blocks that read the same states and are read by the same may stand in any order
            first = twins[:1] if _interchangeable(cell, twins) else twins
            for chosen in first:
                yield from _individualised(
                    cell, live, _ranked({b: (colours[b], b != chosen) for b in live})
                )
            return
    yield tuple(order)


def _refined(cell: "Cell", live: tuple[int, ...], colours: dict[int, int]) -> dict[int, int]:
    while True:
        signature = {
            b: (
                colours[b],
                tuple(sorted((colours.get(s - 2, s - 2), op) for s, op in cell.blocks[b].sides)),
                tuple(
                    sorted(
                        (colours[c], op)
                        for c in live
                        for s, op in cell.blocks[c].sides
                        if s == b + 2
                    )
                ),
            )
            for b in live
        }
        refined = _ranked(signature)
        if len(set(refined.values())) == len(set(colours.values())):
            return refined
        colours = refined


def _ranked(signatures: dict[int, Any]) -> dict[int, int]:
    rank = {signature: i for i, signature in enumerate(sorted(set(signatures.values())))}
    return {b: rank[signature] for b, signature in signatures.items()}


def _interchangeable(cell: "Cell", twins: Sequence[int]) -> bool:
    reads = {tuple(sorted(cell.blocks[b].sides)) for b in twins}
    readers = {
        tuple(
            sorted(
                (c, op)
                for c, other in enumerate(cell.blocks)
                for s, op in other.sides
                if s == b + 2
            )
        )
        for b in twins
    }
    return len(reads) == 1 and readers == {()}
