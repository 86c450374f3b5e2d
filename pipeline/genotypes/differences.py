"""What differs between two genotypes: blocks of one are matched with blocks of the other."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.spaces.cells.genotype import Block, Cell, CellGenotype, Genotype, KnownNetwork
from pipeline.spaces.layers.genotype import Layer, LayerGenotype
from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer

SIDES = ("left", "right")
MATCHINGS = 2_000  # unfinished matchings that are looked at; then the best one so far is taken
# weights: a detail, a mark that is written, a place; no number of the later outweighs the earlier
_DETAIL, _MARK = 2**20, 2**10


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two genotypes have otherwise; states numbered as in each canonical form."""

    cell: str  # normal, reduction, or a layer; "" of whole networks
    part: str  # operation, input, side (both), combination, block, output, skips, layer, network
    first: str | None  # what the first has; None: nothing
    second: str | None
    first_names: tuple[str, ...] = ()  # of the first one's nodes and edges, to be marked
    second_names: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """What is written where it is."""
        return "only here" if None in (self.first, self.second) else "differs"


def differences(first: Genotype, second: Genotype) -> list[Difference]:
    """What two genotypes have otherwise in their canonical forms; none for equal graphs."""
    a, b = first.canonical(), second.canonical()
    if isinstance(a, CellGenotype) and isinstance(b, CellGenotype):
        cells = ("normal", a.normal, b.normal), ("reduction", a.reduction, b.reduction)
        return [found for place, x, y in cells for found in _cell_differences(place, x, y)]
    if isinstance(a, MacroGenotype) and isinstance(b, MacroGenotype):
        return list(_macro_differences(a, b))
    said, names = (in_words(a), in_words(b)), ("network",)
    return [] if a == b else [Difference("", "network", *said, names, names)]


def _macro_differences(a: MacroGenotype, b: MacroGenotype) -> Iterator[Difference]:
    """Layer by layer: a layer's number is its place in the chain."""
    pairs = itertools.zip_longest(a.layers, b.layers)
    for number, (x, y) in enumerate(pairs, start=1):
        place, name = f"layer {number}", (f"layer-{number}",)
        if y is None:
            yield Difference(place, "layer", macro_layer_text(number, x), None, name)
            continue
        if x is None:
            yield Difference(place, "layer", None, macro_layer_text(number, y), (), name)
            continue
        if x.operation != y.operation:
            yield Difference(place, "operation", x.operation, y.operation, name, name)
        if x.skips != y.skips:
            yield Difference(place, "skips", _skips_text(x), _skips_text(y), name, name)


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
            said = f"state {x}: {_side_text(a.sides[i])}", f"state {y}: {_side_text(b.sides[j])}"
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


def operation_label(operation: str) -> str:
    """An operation's name in a picture's box: "sep 5x5", "avg 3x3", "conv 1x7-7x1".

    In text it has the name by which it can be asked for: sep_conv_5x5.
    """
    first, *rest = operation.split("_")
    sizes = "-".join(word for word in rest if word not in {"conv", "pool"})
    return f"{'dilated' if first == 'dil' else first} {sizes}".strip()


def in_words(genotype: Genotype) -> str:
    """A genotype for whoever does not see its picture."""
    if isinstance(genotype, KnownNetwork):
        return f"torchvision's {genotype.name}"
    if isinstance(genotype, LayerGenotype):
        layers = "; ".join(map(layer_text, itertools.count(1), genotype.layers))
        return f"{layers}; output = concat of layers {', '.join(map(str, genotype.outputs))}."
    if isinstance(genotype, MacroGenotype):
        chain = "; ".join(map(macro_layer_text, itertools.count(1), genotype.layers))
        return f"{chain}; output = layer {len(genotype.layers)}."
    return " ".join(
        f"{place} cell: {', '.join(map(block_text, itertools.count(2), cell.blocks))}, "
        f"output = concat of states {', '.join(map(str, cell.concat))}."
        for place, cell in (("normal", genotype.normal), ("reduction", genotype.reduction))
    )


def layer_text(number: int, layer: Layer) -> str:
    """Such as "layer 3 = conv 3x5, 24 filters, stride 2x2 (1, 2)"; 0 is the image."""
    stride = layer.stride_height, layer.stride_width
    parts = [
        f"conv {layer.height}x{layer.width}, {layer.filters} filters",
        f"stride {stride[0]}x{stride[1]}" if stride != (1, 1) else "",
        f"max {layer.pool}x{layer.pool}" if layer.pool > 1 else "",
    ]
    inputs = ", ".join(map(str, layer.inputs))
    return f"layer {number} = {', '.join(filter(None, parts))} ({inputs})"


def macro_layer_text(number: int, layer: MacroLayer) -> str:
    """Such as "layer 3 = sep_conv_5x5(2), joined with 0, 1"; 0 is the stem."""
    own = f"layer {number} = {layer.operation}({number - 1})"
    return f"{own}, joined with {_skips_text(layer)}" if layer.skips else own


def _skips_text(layer: MacroLayer) -> str:
    return ", ".join(map(str, layer.skips)) or "none"


def block_text(state: int, block: Block) -> str:
    """Such as "state 2 = sep_conv_5x5(0) add identity(1)"."""
    left, right = map(_side_text, block.sides)
    return f"state {state} = {left} {block.combine} {right}"


def _side_text(side: tuple[int, str]) -> str:
    return f"{side[1]}({side[0]})"
