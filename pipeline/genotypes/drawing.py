"""Drawings: cells as in Figure 4 of arXiv:1707.07012, the network they make, two compared.

A ``Picture`` is plain data; Graphviz, inside this process (extra `dashboard`), lays it out as SVG
or PNG. Reading it needs no colour: operations are named, what differs is dashed and says so.
What a file or a user named arrives as text, never as markup. Nothing here needs torch.
"""

import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.etree import ElementTree

from pipeline.config.networks import MicroNetworkConfig, NetworkConfig
from pipeline.errors import UserError
from pipeline.genotypes.differences import (
    SIDES,
    block_text,
    differences,
    in_words,
    layer_text,
    macro_layer_text,
    operation_label,
)
from pipeline.spaces.cells.genotype import Cell, Genotype, KnownNetwork
from pipeline.spaces.layers.genotype import LayerGenotype
from pipeline.spaces.macro.genotype import MacroGenotype

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = ("svg", "png")
LONGEST = 60  # characters of a text in a picture; what is longer is cut
INPUTS = ("h\u1d62", "h\u1d62\u208b\u2081")  # h_i and h_{i-1}, with Unicode's subscripts
OUTPUT = "h\u1d62\u208a\u2081"  # h_{i+1}
GREY = "#767676"  # 4.5 : 1 on white and on black

_TEXT = {"fontname": "Helvetica,Arial,sans-serif", "fontsize": "12", "fontcolor": GREY}
_GRAPH = _TEXT | {"rankdir": "BT", "nodesep": "0.14", "ranksep": "0.32", "labelloc": "t"}
# from bottom to top, a frame's "b" is above
_FRAME = _TEXT | {"color": GREY, "style": "rounded", "margin": "10", "labelloc": "b"}
_EDGE = _TEXT | {"color": GREY, "arrowsize": "0.6"}
_NODE = _TEXT | {"color": "#555555", "fontcolor": "#1a1a1a", "style": "filled", "shape": "box"}
_NODE |= {"height": "0.3", "width": "0.7", "margin": "0.1,0.04", "fillcolor": "#f4f4f4"}
_CONVOLUTION = {"fillcolor": "#cfe2f7"}
_POOLING = {"fillcolor": "#d3ecc8", "shape": "octagon", "margin": "0.02,0.02"}
_LOOKS = {  # an operation's by the first word of its name
    "identity": {"style": "filled,rounded"},
    "sep": {"fillcolor": "#ffe8a3", "style": "filled,rounded"},
    "conv": _CONVOLUTION,
    "dil": _CONVOLUTION,
    "avg": _POOLING,
    "max": _POOLING,
    "combine": {"fillcolor": "#e3d9f2", "shape": "ellipse", "margin": "0.04,0.02"},
    "state": {"fillcolor": "#ffffff", "shape": "ellipse"},
    "normal": {"fillcolor": "#e3d9f2", "width": "1.9"},
    "reduction": {"fillcolor": "#e3d9f2", "shape": "trapezium", "margin": "0,0"},
}
_graphviz_lock = threading.Lock()  # its libraries keep variables for the whole process


@dataclass(frozen=True, slots=True)
class Node:
    """A box; its name becomes the element's id, its title what a resting pointer reads."""

    name: str
    label: str
    look: str
    title: str
    frame: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow, from what is read to what reads."""

    tail: str
    head: str
    label: str = ""
    mark: str = ""
    dashed: bool = False

    @property
    def name(self) -> str:
        """Its element's id."""
        return f"{self.tail}--{self.head}"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, and the text that says it."""

    title: str
    description: str
    caption: str = ""
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    frames: dict[str, tuple[str, str]] = field(default_factory=dict)  # name: label, outer frame
    beside: list[tuple[str, str]] = field(default_factory=list)  # nodes at one height
    above: list[tuple[str, str]] = field(default_factory=list)  # nodes, the lower one first


def picture_of(genotype: Genotype, title: str = "") -> Picture:
    """A genotype's cells or layers, as they are written; or the name of a known network."""
    picture = Picture(title or genotype.digest[:12], in_words(genotype), title)
    _add(picture, genotype, "", {})
    return picture


def picture_of_comparison(
    first: Genotype, second: Genotype, names: tuple[str, str] = ("first", "second")
) -> Picture:
    """The canonical forms of two genotypes side by side; what differs is marked."""
    found = differences(first, second)
    said = "; ".join(f"{d.cell} {d.part}: {d.first or '-'} / {d.second or '-'}" for d in found)
    picture = Picture(" / ".join(plain(name) for name in names), said or "no difference")
    marks = (
        {name: d.mark for d in found for name in d.first_names},
        {name: d.mark for d in found for name in d.second_names},
    )
    for outer, name, genotype, marked in zip("ab", names, (first, second), marks, strict=True):
        picture.frames[outer] = name, ""
        _add(picture, genotype.canonical(), outer, marked)
    return picture


def _add(picture: Picture, genotype: Genotype, outer: str, marks: Mapping[str, str]) -> None:
    """Draw a genotype in a frame; marks are by the names that it has in a picture of its own."""
    before = f"{outer}-" if outer else ""
    if isinstance(genotype, KnownNetwork):
        node = (
            "network",
            genotype.name,
            "layer",
            in_words(genotype),
            outer,
            marks.get("network", ""),
        )
        picture.nodes.append(Node(f"{before}network", *node[1:]))
        return
    if isinstance(genotype, LayerGenotype):
        _add_layers(picture, genotype, outer, marks.get("network", ""))
        return
    if isinstance(genotype, MacroGenotype):
        _add_chain(picture, genotype, outer, marks)
        return
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


def _add_layers(picture: Picture, genotype: LayerGenotype, outer: str, mark: str) -> None:
    """Layers from the image to the classifier."""
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


def _add_chain(
    picture: Picture, genotype: MacroGenotype, outer: str, marks: Mapping[str, str]
) -> None:
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


def draw(picture: Picture, form: Format) -> bytes:
    """A file's bytes; always the same ones for a picture, where the fonts are the same.

    Raises:
        UserError: the extra `dashboard` is missing here.
    """
    if form == "png":
        return _laid_out(picture, form)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{_svg(picture, "", GREY)}\n'.encode()


def svg_fragment(picture: Picture, prefix: str = "") -> str:
    """An ``<svg>`` element to stand in a page; every id begins with ``prefix``.

    What stands outside of boxes has the colour of the page's text.

    Raises:
        UserError: the extra `dashboard` is missing here.
    """
    return _svg(picture, prefix, "currentColor")


def _svg(picture: Picture, prefix: str, ink: str) -> str:
    root = ElementTree.fromstring(_laid_out(picture, "svg"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if key.startswith("{")]:
            del element.attrib[key]
        if element.tag == "text" and element.get("fill") == GREY:
            element.set("fill", ink)
    titles = {node.name: plain(node.title, 200) for node in picture.nodes}
    for group in root.iter("g"):
        title, name = group.find("title"), group.get("id", "")
        if title is not None:
            name = str(title.text).removeprefix("cluster_").replace("->", "--")
            title.text = titles.get(name)
            if title.text is None:
                group.remove(title)
        group.set("id", prefix + name)
    said = {"title": plain(picture.title), "desc": plain(picture.description, 4000)}
    for number, (tag, text) in enumerate(said.items()):
        element = ElementTree.Element(tag, {"id": prefix + tag})
        element.text = text
        root.insert(number, element)
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "class": "drawing", "role": "img"}
    root.attrib |= {"aria-labelledby": f"{prefix}title", "aria-describedby": f"{prefix}desc"}
    return ElementTree.tostring(root, encoding="unicode")


def _laid_out(picture: Picture, form: Format) -> bytes:
    """As Graphviz draws it; no process is started."""
    try:
        from pygraphviz import AGraph
    except ImportError:
        raise UserError(
            "drawings need the extra `dashboard`: pip install 'nasnet-pipeline[dashboard]'"
        ) from None
    paper = {"bgcolor": "white", "dpi": "144"} if form == "png" else {"bgcolor": "transparent"}
    with _graphviz_lock:
        graph = AGraph(directed=True, **_GRAPH, **paper, label=_label(picture.caption))
        try:
            _fill(graph, picture)
            return bytes(graph.draw(format=form, prog="dot"))
        finally:
            graph.close()


def _fill(graph: Any, picture: Picture) -> None:
    groups = {"": graph}
    for name, (label, outer) in picture.frames.items():
        groups[name] = groups[outer].add_subgraph(
            name=f"cluster_{name}", label=_label(label), **_FRAME
        )
    for node in picture.nodes:
        look = _marked(_NODE | _LOOKS.get(node.look, {}), node.mark)
        groups[node.frame].add_node(node.name, label=_label(node.label, node.mark), **look)
    for pair in picture.beside:
        frame = next(node.frame for node in picture.nodes if node.name == pair[0])
        groups[frame].add_subgraph(pair, rank="same")
    for pair in picture.beside + picture.above:
        graph.add_edge(*pair, style="invis")
    for edge in picture.edges:
        look = _EDGE | ({"style": "dashed", "weight": "0"} if edge.dashed else {})
        look |= {"label": f"  {_label(edge.label)}"} if edge.label else {}
        if edge.mark:  # in its middle, where room is made for it: at its end boxes would hide it
            look |= {"label": f" {_label(edge.mark)} "}
        graph.add_edge(edge.tail, edge.head, **_marked(look, edge.mark))


def _marked(look: dict[str, str], mark: str) -> dict[str, str]:
    if not mark:
        return look
    style = ",".join(filter(None, (look.get("style"), "dashed")))
    return look | {"style": style, "penwidth": "2.6", "color": "#d03a34"}


def plain(text: str, most: int = LONGEST) -> str:
    """Text in one line, printable and not too long."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text[:10_000]).split())
    return one_line if len(one_line) <= most else one_line[: most - 3] + "..."


def _label(*lines: str) -> str:
    """For Graphviz, without what it would read: escapes, entities, and HTML in <>."""
    text = "\n".join(plain(line) for line in lines if line)
    for special, harmless in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(special, harmless)
    return text
