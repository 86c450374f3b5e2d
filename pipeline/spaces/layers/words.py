"""How genotypes of layers are written and drawn."""

import itertools
from collections.abc import Iterator

from pipeline.spaces.layers.genotype import Layer, LayerGenotype
from pipeline.spaces.pictures import Edge, Marks, Node, Picture


def sentence(genotype: LayerGenotype) -> str:
    """Layer by layer."""
    layers = "; ".join(map(layer_text, itertools.count(1), genotype.layers))
    return f"{layers}; output = concat of layers {', '.join(map(str, genotype.outputs))}."


def lines(genotype: LayerGenotype) -> Iterator[str]:
    """A line for each layer."""
    for number, layer in enumerate(genotype.layers, start=1):
        yield f"  {layer_text(number, layer)}"
    yield f"  output = concat({', '.join(map(str, genotype.outputs))})"


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


def draw(picture: Picture, genotype: LayerGenotype, outer: str, marks: Marks) -> None:
    """Layers from the image to the classifier."""
    mark = marks.get("network", "")
    before = f"{outer}-" if outer else ""
    picture.nodes.append(Node(f"{before}layer-0", "image", "state", "the image", outer))
    for number, layer in enumerate(genotype.layers, start=1):
        text = layer_text(number, layer)
        label = text.partition("= ")[2].rpartition(" (")[0]
        name = f"{before}layer-{number}"
        picture.nodes.append(Node(name, f"{number}: {label}", "conv", text, outer, mark))
        picture.edges.extend(Edge(f"{before}layer-{source}", name) for source in layer.inputs)
    last = f"{before}classifier"
    picture.nodes.append(Node(last, "global average, linear", "layer", "the classifier", outer))
    picture.edges.extend(Edge(f"{before}layer-{number}", last) for number in genotype.outputs)
