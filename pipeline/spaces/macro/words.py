"""How macro genotypes are written, drawn and compared."""

import itertools
from collections.abc import Iterator

from pipeline.spaces.macro.genotype import MacroGenotype, MacroLayer
from pipeline.spaces.pictures import Difference, Edge, Marks, Node, Picture, operation_label


def sentence(genotype: MacroGenotype) -> str:
    """Layer by layer."""
    chain = "; ".join(map(macro_layer_text, itertools.count(1), genotype.layers))
    return f"{chain}; output = layer {len(genotype.layers)}."


def lines(genotype: MacroGenotype) -> Iterator[str]:
    """A line for each layer."""
    for number, layer in enumerate(genotype.layers, start=1):
        yield f"  {macro_layer_text(number, layer)}"
    yield f"  output = layer {len(genotype.layers)}"


def macro_layer_text(number: int, layer: MacroLayer) -> str:
    """Such as "layer 3 = sep_conv_5x5(2), joined with 0, 1"; 0 is the stem."""
    own = f"layer {number} = {layer.operation}({number - 1})"
    return f"{own}, joined with {_skips_text(layer)}" if layer.skips else own


def _skips_text(layer: MacroLayer) -> str:
    return ", ".join(map(str, layer.skips)) or "none"


def draw(picture: Picture, genotype: MacroGenotype, outer: str, marks: Marks) -> None:
    """Layers in a chain from the stem to the classifier; skips are dashed."""
    before = f"{outer}-" if outer else ""
    whole = marks.get("network", "")
    picture.nodes.append(Node(f"{before}layer-0", "stem (0)", "conv", "the stem", outer, whole))
    for number, layer in enumerate(genotype.layers, start=1):
        name, look = f"layer-{number}", layer.operation.partition("_")[0]
        label = f"{operation_label(layer.operation)} ({number})"
        text, mark = macro_layer_text(number, layer), marks.get(name, whole)
        picture.nodes.append(Node(f"{before}{name}", label, look, text, outer, mark))
        for source in sorted({number - 1, *layer.skips}):
            read = source == number - 1  # by the operation; it may be joined to the result, too
            said = "and joined" if read and source in layer.skips else ""
            ends = f"{before}layer-{source}", f"{before}{name}"
            picture.edges.append(Edge(*ends, said, dashed=not read))
    last = f"{before}classifier"
    picture.nodes.append(Node(last, "global average, linear", "layer", "the classifier", outer))
    picture.edges.append(Edge(f"{before}layer-{len(genotype.layers)}", last))


def differences(a: MacroGenotype, b: MacroGenotype) -> Iterator[Difference]:
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
