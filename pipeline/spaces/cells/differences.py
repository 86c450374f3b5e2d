"""What differs between two genotypes of cells, whose blocks are matched with one another."""

import math
from collections.abc import Iterator, Mapping

from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype
from pipeline.spaces.cells.words import block_text, side_text
from pipeline.spaces.pictures import SIDES, Difference

MATCHINGS = 2_000  # unfinished matchings that are looked at; then the best one so far is taken
# weights: a detail, a mark that is written, a place; no number of the later outweighs the earlier
_DETAIL, _MARK = 2**20, 2**10


def differences(a: CellGenotype, b: CellGenotype) -> Iterator[Difference]:
    """What two canonical forms have otherwise, cell by cell."""
    yield from _cell_differences("normal", a.normal, b.normal)
    yield from _cell_differences("reduction", a.reduction, b.reduction)


def _cell_differences(place: str, a: Cell, b: Cell) -> Iterator[Difference]:
    partner = _partners(a, b)
    for x, block in enumerate(a.blocks, start=2):
        if x in partner:
            y = partner[x]
            yield from _block_differences(place, (x, block), (y, b.blocks[y - 2]), partner)
        else:
            yield Difference(place, "block", block_text(x, block), None, _names(place, x))
    for y, block in enumerate(b.blocks, start=2):
        if y not in partner.values():
            yield Difference(place, "block", None, block_text(y, block), (), _names(place, y))
    for x, y in sorted(partner.items()):
        if x in a.concat and y not in b.concat:
            names = (f"{place}-h{x}--{place}-concat",)
            yield Difference(place, "output", f"state {x}", None, names)
        if y in b.concat and x not in a.concat:
            names = (f"{place}-h{y}--{place}-concat",)
            yield Difference(place, "output", None, f"state {y}", (), names)


def _names(place: str, state: int) -> tuple[str, ...]:
    return tuple(f"{place}-h{state}{end}" for end in ("", "-left", "-right"))


def _block_differences(
    place: str, first: tuple[int, Block], second: tuple[int, Block], partner: Mapping[int, int]
) -> Iterator[Difference]:
    """Of two blocks that stand for one another, each with its state."""
    (x, a), (y, b) = first, second
    for i, j in _pairs(a, b, partner):
        unlike = _unlike(a.sides[i], b.sides[j], partner)
        if any(unlike):
            part = "side" if all(unlike) else "input" if unlike[0] else "operation"
            said = f"state {x}: {side_text(a.sides[i])}", f"state {y}: {side_text(b.sides[j])}"
            names = (f"{place}-h{x}-{SIDES[i]}",), (f"{place}-h{y}-{SIDES[j]}",)
            yield Difference(place, part, *said, *names)
    if a.combine != b.combine:
        names = (f"{place}-h{x}",), (f"{place}-h{y}",)
        said = f"state {x}: {a.combine}", f"state {y}: {b.combine}"
        yield Difference(place, "combination", *said, *names)


def _unlike(
    a: tuple[int, str], b: tuple[int, str], partner: Mapping[int, int]
) -> tuple[bool, bool]:
    """Whether two sides differ in what they read; in the operation."""
    return partner.get(a[0]) != b[0], a[1] != b[1]


def _pairs(a: Block, b: Block, partner: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """Which sides of two blocks to compare: those that are more alike."""
    straight, crossed = ((0, 0), (1, 1)), ((0, 1), (1, 0))
    return min(straight, crossed, key=lambda pairs: _cost(a, b, pairs, partner))


def _cost(
    a: Block, b: Block, pairs: tuple[tuple[int, int], ...], partner: Mapping[int, int]
) -> int:
    unlike = [_unlike(a.sides[i], b.sides[j], partner) for i, j in pairs]
    return sum(_DETAIL * sum(side) + _MARK * any(side) for side in unlike)


def _partners(a: Cell, b: Cell) -> dict[int, int]:
    """The states of ``b`` that stand for those of ``a``, so that as little as can be differs.

    Branch and bound: blocks of ``a`` in order, each first with the block of ``b`` that is most
    like it in content, then in place. What a matching costs is known as far as it goes, because
    a block only reads earlier ones.
    """
    best: dict[int, int] = {}
    least, looked = math.inf, 0

    def cost(x: int, y: int, partner: Mapping[int, int]) -> int:
        one, other = a.blocks[x - 2], b.blocks[y - 2]
        more = (one.combine != other.combine) + ((x in a.concat) != (y in b.concat))
        sides = _cost(one, other, _pairs(one, other, partner), partner)
        return (_DETAIL + _MARK) * more + sides + abs(x - y)

    def extend(x: int, partner: dict[int, int], so_far: int) -> None:
        nonlocal best, least, looked
        looked += 1
        if so_far >= least or (best and looked > MATCHINGS):
            return
        if x == len(a.blocks) + 2:
            best, least = partner, so_far
            return
        free = [y for y in range(2, len(b.blocks) + 2) if y not in partner.values()]
        for more, y in sorted((cost(x, y, partner), y) for y in free):
            extend(x + 1, partner | {x: y}, so_far + more)
        if len(a.blocks) + 2 - x > len(free):  # not each has a partner
            extend(x + 1, partner, so_far)

    extend(2, {0: 0, 1: 1}, 0)
    return best
