"""In which order a graph's blocks are written, so that equal graphs are written alike.

Colours are refined from what a block reads and what reads it until they stay; where two blocks
still share one, each in turn is told apart from the rest (individualisation), and the order
counts in which the blocks read the least. Two orders in which all blocks read the same are a
symmetry of the graph: what it maps to something that was tried need not be tried (McKay,
"Practical graph isomorphism"). Without that, n equal chains would have n! orders.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InvalidGenotypeError

Side = tuple[int, str]  # a state that is read, and the operation on it
Rows = tuple[tuple[int, ...], ...]  # what each block in an order reads

# Sides that are looked at: two or three seconds. Graphs that are random, or symmetrical, take some
# ten thousand; the slowest Steiner systems that fit into 64 layers 2.8 million.
MOST_LOOKS = 3_000_000


@dataclass(frozen=True, slots=True)
class Graph:
    """Blocks in any order that reads only what came before: a cell's, or a network's layers.

    States 0 and 1 come from outside; block b makes state b + 2.
    """

    sides: tuple[tuple[Side, ...], ...]  # what each block reads
    combines: tuple[str, ...]  # what it makes of it
    concat: tuple[int, ...]  # the states that are the output


def canonical_order(graph: Graph, live: tuple[int, ...]) -> tuple[int, ...]:
    """The order of the live blocks that stands for all.

    Raises:
        InvalidGenotypeError: more blocks look alike from every side than can be tried; it would
            take minutes, or years.
    """
    depth: dict[int, int] = {}
    for b in live:
        depth[b] = 1 + max(depth.get(state - 2, 0) for state, _ in graph.sides[b])
    start = {b: (depth[b], b + 2 in graph.concat, graph.combines[b]) for b in live}
    search = _Search(graph, live)
    ordered = _Ordered([], [-2, -1, *[0] * len(graph.sides)], {})
    for _, group in itertools.groupby(sorted(live, key=start.__getitem__), start.__getitem__):
        ordered.append(list(group))
    search.refine(ordered, list(ordered.twins))
    search.below(ordered, (), ())
    return tuple(search.best)


def stands_in_order(graph: Graph) -> bool | None:
    """Whether blocks, all of them live, are written in the order that ``canonical_order`` finds.

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


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Blocks in an order that is not yet fixed among those of a colour.

    A colour is the place of its first block, so that a colour that is split changes no other.
    """

    blocks: list[int]
    colours: list[int]  # of each state
    twins: dict[int, int]  # by colour, how many have it, where that is more than one

    def append(self, group: Sequence[int]) -> None:
        """Place a group of one colour after all others."""
        self.place(len(self.blocks), [group])

    def place(self, first: int, groups: Iterable[Sequence[int]]) -> None:
        """Place groups, a colour each, from a place on."""
        for group in groups:
            self.blocks[first : first + len(group)] = group
            for b in group:
                self.colours[b + 2] = first
            self.twins.pop(first, None)
            if len(group) > 1:
                self.twins[first] = len(group)
            first += len(group)

    def of(self, colour: int) -> list[int]:
        """The blocks of a colour that several have."""
        return self.blocks[colour : colour + self.twins[colour]]

    def told_apart(self, chosen: int) -> "_Ordered":
        """The same with one block before all others of its colour."""
        found = _Ordered(list(self.blocks), list(self.colours), dict(self.twins))
        colour = self.colours[chosen + 2]
        found.place(colour, [[chosen], [b for b in self.of(colour) if b != chosen]])
        return found


class _Search:
    """The tree of what can be told apart one after another; its leaves are orders."""

    def __init__(self, graph: Graph, live: tuple[int, ...]) -> None:
        names = sorted({operation for b in live for _, operation in graph.sides[b]})
        self.operations = len(names)
        rank = {name: i for i, name in enumerate(names)}
        self.reads = {b: [(s, rank[name]) for s, name in graph.sides[b]] for b in live}
        self.readers: dict[int, list[tuple[int, int]]] = {b: [] for b in live}
        for b, sides in self.reads.items():
            for state, operation in sides:
                if state >= 2:
                    self.readers[state - 2].append((b + 2, operation))
        self.looks = 0
        self.best: list[int] = []
        self.least: Rows = ()
        self.leaves: dict[Rows, tuple[list[int], tuple[int, ...]]] = {}
        self.symmetries: list[dict[int, int]] = []

    def below(self, ordered: _Ordered, chosen: tuple[int, ...], rows: Rows) -> int:
        """Look at all orders in which these were told apart; how many of them still hold.

        Fewer than were chosen: the rest of what is below the last of them mirrors what was seen.
        ``rows``: those that were fixed above.
        """
        # before the first twins all is fixed, and with it what they read: it is less deep
        fixed = min(ordered.twins, default=len(ordered.blocks) - 1) + 1
        rows += tuple(self._row(b, ordered) for b in ordered.blocks[len(rows) : fixed])
        if not ordered.twins:
            return self._leaf(ordered.blocks, chosen, rows)
        if self.best and rows > self.least[:fixed]:
            return len(chosen)
        twins = ordered.of(fixed - 1)
        tried: list[int] = []
        for twin in twins[:1] if self._interchangeable(twins) else twins:
            if twin in self._mirrored(tried, chosen):
                continue
            next_ = ordered.told_apart(twin)
            self.refine(next_, self.beside(next_, [twin]))
            back = self.below(next_, (*chosen, twin), rows)
            if back < len(chosen):
                return back
            tried.append(twin)
        return len(chosen)

    def refine(self, ordered: _Ordered, looked_at: Sequence[int]) -> None:
        """Split colours by what their blocks read and what reads them, until they stay.

        ``looked_at``: the colours of which this is not known to be alike.
        """
        while looked_at and ordered.twins:
            split = [(colour, self._groups(ordered, colour)) for colour in looked_at]
            moved: list[int] = []
            for colour, groups in split:
                if len(groups) > 1:
                    ordered.place(colour, groups)
                    # who reads of one group less reads of another more: one need not be asked
                    groups.remove(max(groups, key=len))
                    moved += itertools.chain(*groups)
            looked_at = self.beside(ordered, moved)

    def beside(self, ordered: _Ordered, moved: Iterable[int]) -> list[int]:
        """The colours of several blocks that read some of these, or are read by them."""
        found = set()
        for b in moved:
            for state, _ in itertools.chain(self.reads[b], self.readers[b]):
                found.add(ordered.colours[state])
        return [colour for colour in found if colour in ordered.twins]

    def _groups(self, ordered: _Ordered, colour: int) -> list[list[int]]:
        """The blocks of a colour, apart where what is beside them differs."""
        groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
        for b in ordered.of(colour):
            read_by = self._sorted(self.readers[b], ordered)
            groups.setdefault((self._row(b, ordered), read_by), []).append(b)
        return [groups[signature] for signature in sorted(groups)]

    def _row(self, b: int, ordered: _Ordered) -> tuple[int, ...]:
        return self._sorted(self.reads[b], ordered)

    def _sorted(self, sides: Sequence[tuple[int, int]], ordered: _Ordered) -> tuple[int, ...]:
        self.looks += 2 + len(sides)
        if self.looks > MOST_LOOKS:
            raise InvalidGenotypeError(
                "too many parts of it look alike from every side to put them in order; "
                "change one of them, such as what it reads"
            )
        colours, many = ordered.colours, self.operations
        return tuple(sorted([colours[state] * many + operation for state, operation in sides]))

    def _leaf(self, blocks: list[int], chosen: tuple[int, ...], rows: Rows) -> int:
        """Keep an order if it is the least; if it mirrors another, how many of the chosen hold."""
        if rows in self.leaves:
            mirrored, before = self.leaves[rows]
            moved = {a: b for a, b in zip(mirrored, blocks, strict=True) if a != b}
            self.symmetries.append(moved)
            pairs = zip(before, chosen, strict=False)
            return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        self.leaves[rows] = blocks, chosen
        if not self.best or rows < self.least:
            self.best, self.least = blocks, rows
        return len(chosen)

    def _mirrored(self, tried: Sequence[int], chosen: tuple[int, ...]) -> set[int]:
        """What symmetries that leave the chosen blocks in place make of those that were tried."""
        kept = [moved for moved in self.symmetries if moved.keys().isdisjoint(chosen)]
        found, new = set(tried), list(tried)
        while new:
            b = new.pop()
            mirrors = {moved[b] for moved in kept if b in moved} - found
            found |= mirrors
            new += mirrors
        return found

    def _interchangeable(self, twins: Sequence[int]) -> bool:
        """Whether blocks that read the same are read by the same, so that any order will do."""
        self.looks += sum(len(self.readers[b]) for b in twins)
        return len({tuple(sorted(self.readers[b])) for b in twins}) == 1
