"""A skeleton of cells as a picture, from the image to the classes (arXiv:1707.07012, figure 2)."""

import itertools
from collections.abc import Mapping

from pipeline.spaces.cells.config import MicroNetworkConfig, NetworkConfig
from pipeline.spaces.pictures import Edge, Node, Picture


def picture_of_network(
    config: NetworkConfig | MicroNetworkConfig,
    endpoints: Mapping[str, tuple[int, ...]],
    image_shape: tuple[int, int, int],
    title: str = "network",
) -> Picture:
    """A skeleton from the image to the classes (arXiv:1707.07012, figure 2).

    ``endpoints`` are the shapes (channels, height, width) by slim's names, as
    ``pipeline.spaces.description.describe`` finds them; equal cells in a row are one box.
    """
    chain = [("image", "image", "state", image_shape), *_stem(config, endpoints["Stem"])]
    cells = [name for name in endpoints if "Cell_" in name]
    for kind, group in itertools.groupby(cells, key=lambda name: name.rpartition("_")[0]):
        *_, last = run = list(group)
        look = "normal" if kind == "Cell" else "reduction"
        count = f" x {len(run)}" if kind == "Cell" else ""
        chain.append((last, f"{look} cell{count}", look, endpoints[last]))
    chain.append(("classifier", "global average, linear", "layer", ()))
    chain.append(("classes", f"{endpoints['Logits'][0]:,} classes", "state", ()))
    nodes = [Node(name, label, look, label) for name, label, look, _ in chain]
    edges = [
        Edge(name, head, " x ".join(map(str, shape)))
        for (name, _, _, shape), (head, *_) in itertools.pairwise(chain)
    ]
    if config.auxiliary:  # it reads what the last reduction cell reads; ENAS' what it makes
        stage = -1 if isinstance(config, MicroNetworkConfig) else -2
        read = [name for name, _, look, _ in chain if look == "normal"][stage]
        nodes.append(Node("auxiliary", "auxiliary head", "layer", "a second classifier"))
        edges.append(Edge(read, "auxiliary", "in training only", dashed=True))
    return Picture(title, ", ".join(node.label for node in nodes), title, nodes, edges)


def _stem(
    config: NetworkConfig | MicroNetworkConfig, shape: tuple[int, ...]
) -> list[tuple[str, str, str, tuple[int, ...]]]:
    if isinstance(config, MicroNetworkConfig) or config.stem == "cifar":
        return [("stem", "conv 3x3", "conv", shape)]
    return [
        ("stem", "conv 3x3, stride 2", "conv", ()),
        ("stem-cells", "reduction cell x 2", "reduction", shape),
    ]
