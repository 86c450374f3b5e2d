"""In which order a graph's blocks are written, so that equal graphs are written alike.

Colours are refined from what a block reads and what reads it until they stay; where two blocks
still share one, each in turn is told apart from the rest (individualisation).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Side = tuple[int, str]  # a state that is read, and the operation on it


@dataclass(frozen=True, slots=True)
class Graph:
    """Blocks in any order that reads only what came before: a cell's, or a network's layers.

    States 0 and 1 come from outside; block b makes state b + 2.
    """

    sides: tuple[tuple[Side, ...], ...]  # what each block reads
    combines: tuple[str, ...]  # what it makes of it
    concat: tuple[int, ...]  # the states that are the output


def canonical_orders(graph: Graph, live: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Block orders to take the least of: one, unless blocks look alike from every side."""
    depth: dict[int, int] = {}
    for b in live:
        depth[b] = 1 + max(depth.get(state - 2, 0) for state, _ in graph.sides[b])
    start = {b: (depth[b], b + 2 in graph.concat, graph.combines[b]) for b in live}
    yield from _individualised(graph, live, _ranked(start))


def stands_in_order(graph: Graph) -> bool | None:
    """Whether blocks, all of them live, are written in the order that ``canonical_orders`` finds.

    None where blocks look alike from every side: only the orders themselves can tell. A fraction
    of their cost, since colours that fall from a block to the next refuse the order at once, and
    only neighbours of one colour are looked at again.
    """
    depth = [0, 0]
    for sides in graph.sides:
        depth.append(1 + max([depth[state] for state, _ in sides]))
    colours = _rising(
        [(depth[s], s in graph.concat, graph.combines[s - 2]) for s in range(2, len(depth))]
    )
    while colours is not None and colours[-1] < len(colours) - 1:
        before, colours = colours, _told_apart(graph, colours)
        if colours == before:
            return None
    return colours is not None


def _rising(signatures: Sequence[Any]) -> list[int] | None:
    """The ranks of signatures that never fall; None where one does."""
    ranks = [0]
    for before, signature in itertools.pairwise(signatures):
        if signature < before:
            return None
        ranks.append(ranks[-1] + (before < signature))
    return ranks


def _told_apart(graph: Graph, colours: list[int]) -> list[int] | None:
    """A round of ``_refined``, for colours that never fall: None where the finer ones do."""
    state_colours = [-2, -1, *colours]
    twins = {b for b in range(len(colours)) if colours.count(colours[b]) > 1}
    readers: dict[int, list[Side]] = {b: [] for b in twins}
    for c, sides in enumerate(graph.sides):
        for state, operation in sides:
            if state - 2 in twins:
                readers[state - 2].append((colours[c], operation))
    return _rising(
        [
            (
                colour,
                sorted([(state_colours[s], operation) for s, operation in graph.sides[b]]),
                sorted(readers[b]),
            )
            if b in twins
            else (colour,)
            for b, colour in enumerate(colours)
        ]
    )


def _individualised(
    graph: Graph, live: tuple[int, ...], colours: dict[int, int]
) -> Iterator[tuple[int, ...]]:
    colours = _refined(graph, live, colours)
    order = sorted(live, key=lambda b: colours[b])
    for _, group in itertools.groupby(order, key=lambda b: colours[b]):
        twins = list(group)
        if len(twins) > 1:
            # blocks that read the same states and are read alike may stand in any order
            first = twins[:1] if _interchangeable(graph, twins) else twins
            for chosen in first:
                yield from _individualised(
                    graph, live, _ranked({b: (colours[b], b != chosen) for b in live})
                )
            return
    yield tuple(order)


def _refined(graph: Graph, live: tuple[int, ...], colours: dict[int, int]) -> dict[int, int]:
    readers: dict[int, list[tuple[int, str]]] = {b: [] for b in live}
    for c in live:
        for state, operation in graph.sides[c]:
            if state >= 2:
                readers[state - 2].append((c, operation))
    count = len(set(colours.values()))
    while count < len(live):
        refined = _ranked(
            {
                b: (
                    colours[b],
                    tuple(sorted([(colours.get(s - 2, s - 2), op) for s, op in graph.sides[b]])),
                    tuple(sorted([(colours[c], op) for c, op in readers[b]])),
                )
                for b in live
            }
        )
        before, count = count, len(set(refined.values()))
        if count == before:
            return refined
        colours = refined
    return colours


def _ranked(signatures: dict[int, Any]) -> dict[int, int]:
    rank = {signature: i for i, signature in enumerate(sorted(set(signatures.values())))}
    return {b: rank[signature] for b, signature in signatures.items()}


def _interchangeable(graph: Graph, twins: Sequence[int]) -> bool:
    reads = {tuple(sorted(graph.sides[b])) for b in twins}
    readers = {
        tuple(
            sorted((c, op) for c, sides in enumerate(graph.sides) for s, op in sides if s == b + 2)
        )
        for b in twins
    }
    return len(reads) == 1 and len(readers) == 1
